"""Stopping the hopeless runs of a sweep: those that lag behind the median of the jobs that are done."""

from __future__ import annotations

import json
import logging
import statistics
from pathlib import Path
from typing import Any

import lightning as L

from colorize.callbacks import HISTORY
from colorize.cli import FINISHED

log = logging.getLogger(__name__)


class MedianStop(L.Callback):
    """Stop when the best value so far is worse than the median of the best values of the finished jobs at that epoch.

    The median rule of Golovin et al. (Google Vizier, KDD 2017), as Optuna's MedianPruner has it. It reads what the
    other jobs of the sweep left in their folders, since Optuna's Hydra sweeper hides its trials from the jobs. A job
    that was stopped itself counts as far as it went. What is stopped is judged as any other run.

    Args:
        run_dir: this job's folder; the others' are beside it.
        monitor: what to compare, the lower the better.
        jobs: how many must be finished first.
        epochs: how many this job may have in any case.
    """

    def __init__(self, run_dir: str, monitor: str = "val/ciede2000", jobs: int = 4, epochs: int = 2):
        self.sweep, self.monitor, self.jobs, self.epochs = Path(run_dir).parent, monitor, jobs, epochs
        self.best = float("inf")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        epoch = trainer.current_epoch
        self.best = min(self.best, float(trainer.callback_metrics[self.monitor]))
        if epoch + 1 < self.epochs or epoch + 1 == trainer.max_epochs:
            return
        others = [best for folder in self.sweep.iterdir() if (best := self._best(folder, epoch)) is not None]
        if len(others) >= self.jobs and self.best > statistics.median(others):
            trainer.should_stop = True
            log.info(
                "stopped in epoch %d: best %s %.4g, the median of %d finished jobs %.4g",
                *(epoch, self.monitor, self.best, len(others), statistics.median(others)),
            )

    def _best(self, folder: Path, epoch: int) -> float | None:
        """A finished job's best value up to an epoch; None of one that is not finished or had fewer epochs."""
        if not (folder / FINISHED).exists() or not (folder / HISTORY).exists():
            return None
        epochs = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        values = [row[self.monitor] for row in epochs if row["epoch"] <= epoch and row.get(self.monitor) is not None]
        return min(values) if values and epochs[-1]["epoch"] >= epoch else None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
