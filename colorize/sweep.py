"""The table of a sweep: one row a job, its overrides and its figures, best first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from colorize.cli import FAILED, FINISHED

_NOT_SHOWN = ("val/loss", "val/colourfulness_ratio", "test/psnr", "best_epoch", "tested on", "failed")  # in a terminal
SORT_BY = "val/ciede2000"  # never by the test pictures: that would be choosing on them


class SweepTable(Callback):
    """Hydra's callback: rewrites sweep.{json,csv,md} in the sweep's folder after every job, prints them at the end."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode.name == "MULTIRUN":
            from colorize import report

            folder = Path(config.hydra.sweep.dir)
            report.write_table(sweep_rows(folder), folder / "sweep")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from colorize import report

        folder = Path(config.hydra.sweep.dir)
        rows = [{k.rpartition(".")[2]: v for k, v in row.items() if k not in _NOT_SHOWN} for row in sweep_rows(folder)]
        report.print_table(rows, title=f"{folder}, best {SORT_BY} first")
        print(f"table of the sweep: {(folder / 'sweep.md').resolve()}")


def sweep_rows(folder: Path) -> list[dict[str, Any]]:
    """One row for each job folder, best first; jobs that failed or are not done yet come last.

    Of the overrides, those that differ between jobs are shown.
    """
    jobs = {
        path.parents[1]: [str(item).partition("=")[::2] for item in OmegaConf.load(path)]
        for path in sorted(folder.glob("*/.hydra/overrides.yaml"), key=lambda path: _number(path.parents[1]))
    }
    common = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    rows = []
    for job, overrides in jobs.items():
        row: dict[str, Any] = {"job": job.name, **{k: v for k, v in overrides if (k, v) not in common}}
        if (job / FINISHED).exists():
            result = json.loads((job / FINISHED).read_text(encoding="utf-8"))
            test = result["test"][result["network"]]
            row |= {f"val/{name}": result["val"][name] for name in ("loss", "psnr", "ciede2000", "colourfulness_ratio")}
            row |= {f"test/{name}": test[name] for name in ("psnr", "ciede2000", "colourfulness_ratio")}
            row |= {"best_epoch": result["best_epoch"], "tested on": test["tested on"]}
        elif (job / FAILED).exists():
            row["failed"] = (job / FAILED).read_text(encoding="utf-8").strip()
        rows.append(row)
    return sorted(rows, key=lambda row: row.get(SORT_BY, float("inf")))


def _number(job: Path) -> tuple[int, str]:
    return (int(job.name) if job.name.isdigit() else -1, job.name)
