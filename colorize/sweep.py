"""What Hydra calls around the jobs of a sweep, with whichever launcher: the table grows with every job, and the end of
the sweep is a table, a plot and a sheet of pictures (`colorize.compare`), the best job's command and the exit code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepTable(Callback):
    """Rewrites sweep.{json,csv,md} in the sweep's folder after every job; at the end, draws and says what came out.

    `on_job_end` runs where the job ran, which may be another process or machine: what it knows of the other jobs is
    what their folders hold.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.launcher._target_.endswith(".LocalLauncher"):  # submitit_local starts all jobs at once
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # joblib shares the cores out itself

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode.name != "MULTIRUN":
            return
        from colorize import compare, report

        folder = Path(config.hydra.sweep.dir)
        rows = compare.table(compare.find_runs([folder]))
        report.write_table(rows, folder / "sweep")
        # What a sweeper is to make smallest; None, which Optuna takes for a failure, where there is nothing to judge.
        job_return.return_value = next(
            (row.get(compare.SORT_BY) for row in rows if row["job"] == str(config.hydra.job.num)), None
        )

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from colorize import compare

        folder = Path(config.hydra.sweep.dir)
        runs = compare.find_runs([folder])
        rows = compare.write(runs, folder / "sweep", folder / "tensorboard")
        compare.say(runs, rows, folder / "sweep")
        failed = {row["job"]: row["failed"] for row in rows if "failed" in row}
        for job, reason in failed.items():
            print(f"error: {reason} (job {job})", file=sys.stderr)
        if failed:
            sys.exit(1)
