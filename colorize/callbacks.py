"""What a run tells while it trains: time left, a grid of pictures, a warning when colour fades."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

from colorize import report
from colorize.color import l_ab_to_rgb
from colorize.files import atomic
from colorize.report import kind

log = logging.getLogger(__name__)

HISTORY = "history.json"  # in a run's folder


class FiniteLoss(L.Callback):
    """Stop at the first step whose loss is NaN or infinite, and keep what led to it, for inspection.

    Args:
        path: the file to write: ``batch``, as the network saw it, ``weights``, as they were before this step,
            ``loss``, ``epoch`` and ``step``; plain, for torch.load(path, weights_only=True).

    Raises:
        ValueError: the loss is not finite; in the first process to see it.
    """

    def __init__(self, path: str):
        self.path = Path(path)
        self._batch: Any = None

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch = batch

    def on_before_backward(self, trainer: L.Trainer, module: L.LightningModule, loss: Tensor) -> None:
        if loss.isfinite():
            return
        content = {"batch": _plain(self._batch), "weights": module.state_dict(), "loss": float(loss)}
        path = self.path if trainer.world_size == 1 else self.path.with_stem(f"{self.path.stem}_{trainer.global_rank}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            torch.save({**content, "epoch": trainer.current_epoch, "step": trainer.global_step}, temporary)
        raise ValueError(
            f"the loss became {float(loss)} in epoch {trainer.current_epoch}: lower optimizer.lr, or use "
            f"trainer.precision=32-true; {path} holds the batch and the weights, checkpoints/ the epochs before"
        )


def _plain(batch: Any) -> Any:
    """Tensors, numbers, lists and dicts alone: a named tuple's class could not be loaded."""
    if isinstance(batch, dict):
        return {key: _plain(value) for key, value in batch.items()}
    return [_plain(value) for value in batch] if isinstance(batch, list | tuple) else batch


class TimeEstimate(L.Callback):
    """Say before step 10 how long the run will take, and what to do instead where that is hours on a CPU.

    Args:
        long: seconds on a CPU from which on `experiment=quick` is named.
    """

    _FIRST, _LAST = 3, 8  # the first steps warm up caches and allocators

    def __init__(self, long: float = 3600.0):
        self.long = long
        self._steps = 0
        self._start = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._steps += 1
        if self._steps == self._FIRST:
            self._start = time.perf_counter()
        if self._steps != self._LAST or not trainer.is_global_zero:
            return
        step = (time.perf_counter() - self._start) / (self._LAST - self._FIRST)
        if trainer.estimated_stepping_batches == float("inf"):
            return
        left = (int(trainer.estimated_stepping_batches) - trainer.global_step) * trainer.accumulate_grad_batches
        seconds = step * left
        log.info("about %s to go: %.2f s a step, %d steps", duration(seconds), step, left)
        if seconds > self.long and trainer.strategy.root_device.type == "cpu":
            log.warning("that is long on a CPU: experiment=quick takes minutes; a GPU is used where there is one")


class Progress(RichProgressBar):
    """Lightning's bar: epoch, steps, rate, time left and the losses, without the loggers' version number.

    It is drawn ten times a second at most: to draw it after each step takes longer than a step of a GPU, and to show
    the loss is to wait for one.
    """

    _INTERVAL = 0.1  # seconds
    _drawn = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *rest: Any) -> None:
        now = time.perf_counter()
        if now - self._drawn >= self._INTERVAL or trainer.is_last_batch:
            self._drawn = now
            super().on_train_batch_end(trainer, module, *rest)

    def get_metrics(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, module).items() if name != "v_num"}


class PictureGrid(L.Callback):
    """A fixed grid real | grey | predicted of validation pictures in TensorBoard.

    Args:
        every_n_epochs: how often.
        pictures: rows of the grid, at most.
    """

    def __init__(self, every_n_epochs: int = 10, pictures: int = 6):
        if every_n_epochs < 1:
            raise ValueError(f"callbacks.picture_grid.every_n_epochs={every_n_epochs} must be at least 1")
        self.every_n_epochs, self.pictures = every_n_epochs, pictures

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        due = trainer.current_epoch % self.every_n_epochs == 0 or trainer.current_epoch + 1 == trainer.max_epochs
        if batch_idx or trainer.sanity_checking or not due or not trainer.is_global_zero:
            return
        l, ab = batch["l"][: self.pictures], batch["ab"][: self.pictures]
        predicted = module(l)
        columns = [l_ab_to_rgb(l, x) for x in (ab, torch.zeros_like(ab), predicted)]
        grid = make_grid(torch.stack(columns, dim=1).flatten(0, 1), nrow=len(columns))
        pictures = kind(module.hparams["data"]["rendered"])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"real, grey, predicted ({pictures})", grid, trainer.global_step - 1)


class History(L.Callback):
    """Every epoch's figures and the time they took, kept in the checkpoints, so that they survive resuming.

    When the fit ends, however it ends, the training and validation loss are drawn, the report's figure, and
    history.json beside it has every epoch's figures.

    Args:
        path: the PNG to write.
        title: set and network; what the pictures are is added.
    """

    def __init__(self, path: str, title: str):
        self.path, self.title = path, title
        self.epochs: dict[int, dict[str, float]] = {}  # by epoch, from 0: train/loss, val/loss, val/psnr, ...
        self.seconds = 0.0  # of training and validation, over all sessions
        self._mark = 0.0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            values = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")}
            self.epochs.setdefault(trainer.current_epoch, {}).update(values)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train/loss_epoch"])
        self.epochs.setdefault(trainer.current_epoch, {})["train/loss"] = loss
        now = time.perf_counter()
        self.seconds, self._mark = self.seconds + now - self._mark, now

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        curves = {
            stage: [
                (epoch, values[f"{stage}/loss"]) for epoch, values in self.epochs.items() if f"{stage}/loss" in values
            ]
            for stage in ("train", "val")
        }
        if trainer.is_global_zero and curves["train"]:
            pictures = kind(module.hparams["data"]["rendered"])
            report.loss_curve(curves, self.path, title=f"{self.title} ({pictures})")
            figures = [{"epoch": epoch, **values} for epoch, values in sorted(self.epochs.items())]
            report.write_json(Path(self.path).with_name(HISTORY), figures)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        with suppress(OSError):  # on a full disk the first error says more
            self.on_fit_end(trainer, module)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        for logger in trainer.loggers:  # what was logged before a checkpoint is on the disk before it is
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.seconds = state_dict["epochs"], state_dict["seconds"]


class FadeWatch(L.Callback):
    """Notice the fall back to grey that too many epochs of MSE bring: warn once when colourfulness collapses.

    Args:
        ratio: warn when predicted / real colourfulness falls below this share of the best seen in the run.
    """

    def __init__(self, ratio: float = 0.4):
        self.ratio = ratio
        self._best = 0.0
        self._warned = False

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        now = trainer.callback_metrics.get("val/colourfulness_ratio")
        if now is None or trainer.sanity_checking:
            return
        self._best = max(self._best, float(now))
        if not self._warned and self._best > 0.1 and now < self.ratio * self._best:
            self._warned = True
            log.warning(
                "epoch %d: predictions are falling back to grey (colourfulness %.0f %% of the real pictures', it was "
                "%.0f %%): stop earlier, lower optimizer.lr, or use callbacks=early_stopping",
                *(trainer.current_epoch, 100 * now, 100 * self._best),
            )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "warned": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._warned = state_dict["best"], state_dict["warned"]


def duration(seconds: float) -> str:
    """Seconds as a person says them: 40 s, 12 min, 3.1 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
