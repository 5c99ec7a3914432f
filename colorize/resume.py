"""Going on after a kill: checkpoints that are whole or not there, logs without a gap, one process a run."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import signal
import subprocess
import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from filelock import FileLock, Timeout
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from colorize import ranks
from colorize.cli import LAST, LOCK, PREVIOUS
from colorize.files import atomic

log = logging.getLogger(__name__)

_WAIT = 8.0  # seconds for the loader processes of a killed run, which hold its lock, to notice that they are orphans
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.\w+")  # what `colorize.files.atomic` leaves behind when it is killed


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints so that a kill or a power cut at any moment leaves a whole one to go on from.

    A file is on the disk before it gets its name, and the last but one stays as previous.ckpt.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            with open(temporary, "wb") as file:
                try:
                    torch.save(checkpoint, file)
                except RuntimeError as error:
                    if "inline_container" not in str(error):
                        raise
                    # the disk's own answer is lost in PyTorch's writer
                    reason = "cannot be written: is the disk full? the one before it is whole, for ckpt_path=last"
                    raise ValueError(f"{path} {reason}") from error
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST:
                with suppress(FileNotFoundError):
                    os.replace(path, path.with_name(PREVIOUS))
        if os.name == "posix":  # the names, too
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class StopBetweenSteps(L.Callback):
    """SIGTERM, and SIGUSR1 where Slurm is to requeue the job, end a run between two steps, in all processes at once.

    Lightning's own handlers talk to the other processes, and save, in the middle of whatever a step was doing: several
    processes then wait for each other for ever. Here nothing is saved: the last epoch's checkpoint is what goes on.
    """

    def __init__(self) -> None:
        self._stop = self._requeue = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._on_signal)
        if ranks.slurm_job() and isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment):
            signal.signal(signal.SIGUSR1, self._on_signal)  # Lightning puts both back at the end

    def _on_signal(self, number: int, _: Any) -> None:
        self._stop = True
        self._requeue |= number == signal.SIGUSR1

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if not trainer.strategy.reduce_boolean_decision(self._stop, all=False):
            return
        if self._requeue and trainer.is_global_zero:
            job = str(ranks.slurm_job())
            try:
                subprocess.run(["scontrol", "requeue", job], check=True)
                log.info("job %s is requeued and will go on", job)
            except (OSError, subprocess.CalledProcessError) as error:
                log.warning("job %s cannot be requeued (%s): submit it again with ckpt_path=last", job, error)
        raise SIGTERMException


class CSVLog(CSVLogger):
    """Lightning's, but one file for a run: the rows of earlier sessions stay."""

    @property
    def experiment(self) -> Any:
        if self._experiment is None and ranks.is_first():
            self._experiment = _Rows(self.log_dir)
        return super().experiment


class _Rows(ExperimentWriter):
    """Its file holds whole rows at any moment: some are appended at once, or all are written anew to another file."""

    def __init__(self, log_dir: str):
        super().__init__(log_dir)
        self._written: list[dict[str, Any]] = []

    def _check_log_dir_exists(self) -> None:
        """Lightning would remove what is there."""

    def keep(self, before: int) -> None:
        """Take up the rows of steps below ``before`` that are on the disk."""
        with suppress(FileNotFoundError), open(self.metrics_file_path, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["step"] and int(row["step"]) < before]
            self.metrics = [{key: value for key, value in row.items() if value} for row in rows]  # type: ignore[misc]
        with suppress(FileNotFoundError):
            os.remove(self.metrics_file_path) if not self.metrics else self.save()

    def save(self) -> None:
        if not self.metrics:
            return
        rows = io.StringIO()
        self._written += self.metrics
        if set().union(*self.metrics) <= set(self.metrics_keys):
            csv.DictWriter(rows, self.metrics_keys).writerows(self.metrics)
            with open(self.metrics_file_path, "a", encoding="utf-8", newline="") as file:
                file.write(rows.getvalue())
        else:
            self.metrics_keys = sorted(set().union(*self._written))
            writer = csv.DictWriter(rows, self.metrics_keys)
            writer.writeheader()
            writer.writerows(self._written)
            with atomic(self.metrics_file_path) as temporary:
                temporary.write_text(rows.getvalue(), encoding="utf-8", newline="")
        self.metrics = []


def go_on_logging(loggers: Sequence[Logger], step: int) -> None:
    """Drop what was logged at ``step`` and later: a run that goes on from there logs it again."""
    for logger in loggers:
        if isinstance(logger, CSVLog) and ranks.is_first():
            logger.experiment.keep(step)
        elif isinstance(logger, TensorBoardLogger):
            logger._kwargs["purge_step"] = step


def start_from(run_dir: Path, ckpt_path: str | None) -> Path | None:
    """The checkpoint to go on from, or None to begin: in the run's own folder the newest that is whole.

    A requeued Slurm job is in the folder of its first start and goes on without being told to.

    Raises:
        ValueError: there are checkpoints in the folder and all are damaged.
    """
    if not goes_on(ckpt_path):
        return None if ckpt_path is None else Path(ckpt_path)
    damaged: list[Path] = []
    for name in (LAST, PREVIOUS):
        path = run_dir / "checkpoints" / name
        if path.is_file():
            if _is_whole(path):
                if damaged:
                    log.warning("%s is damaged: going on from the one before, %s", damaged[0], name)
                return path
            damaged.append(path)
    if damaged:
        raise ValueError(
            f"{' and '.join(map(str, damaged))} {'are' if damaged[1:] else 'is'} damaged: leave ckpt_path=last out to "
            f"start anew, or start from {run_dir / 'checkpoints/best.ckpt'} with finetune="
        )
    if ckpt_path == "last":
        log.info("%s has no checkpoint yet: it starts again", run_dir)
    return None


def goes_on(ckpt_path: str | None) -> bool:
    """Whether the run goes on in its own folder, if it began there."""
    return ckpt_path == "last" or (ckpt_path is None and ranks.slurm_job() is not None)


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None  # every byte against its checksum; torch.load compares none
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
        return False


def take(run_dir: Path) -> FileLock | None:
    """Make the run this process' own until it ends, however it ends; the first of several processes does it for all.

    Raises:
        ValueError: another process trains in this folder.
    """
    if not ranks.is_first():
        return None
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=_WAIT, poll_interval=0.2)
    except Timeout:
        raise ValueError(f"another process trains in {run_dir}: wait for its end, or stop it first") from None
    for path in run_dir.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()
    return lock
