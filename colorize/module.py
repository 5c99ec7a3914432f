"""The LightningModule: a network, a loss and an optimizer, each chosen by name, and one step that all stages share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, optim
from torch.optim import lr_scheduler
from torchmetrics import MeanMetric

from colorize.color import l_ab_to_rgb, to_uint8
from colorize.losses import check_head, create_loss
from colorize.metrics import PictureMetrics
from colorize.models import create_model
from colorize.names import call_by_name
from colorize.video_metrics import warp_error

_OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    name: value
    for name, value in vars(optim).items()
    if inspect.isclass(value) and issubclass(value, optim.Optimizer) and value is not optim.Optimizer
}
for _name in ("SparseAdam", "LBFGS", "Muon"):  # not for dense convolutions and a plain step
    _OPTIMIZERS.pop(_name, None)
_SCHEDULERS: dict[str, Callable[..., Any]] = {
    name: value
    for name, value in vars(lr_scheduler).items()
    if inspect.isclass(value) and issubclass(value, lr_scheduler.LRScheduler) and value is not lr_scheduler.LRScheduler
}
_EPOCH: dict[str, Any] = {"on_step": False, "on_epoch": True, "logger": False}  # logged by `on_train_epoch_end`


class ColorizeModule(L.LightningModule):
    """Trains a network to predict ``ab`` from ``l``. Batches are {"l": (B, 1, H, W), "ab": (B, 2, H, W)}.

    Of clips, one after another in a batch, there is more: ``frames`` of each and ``motion`` (`ClipDataModule`).

    Every argument is plain str, int, float, bool, list or dict and is kept in the checkpoint, which is therefore
    self-contained and loads with ``weights_only=True``.

    Args:
        model: ``{"name": ..., **settings}`` of `colorize.models.create_model`.
        loss: the same of `colorize.losses.create_loss`. Of clips ``consistency`` times the change of ab along the
            motion is added: the mean of |da| and |db|, in units of 128, where a pixel was seen one frame before.
        optimizer: ``{"name": "Adagrad", "lr": 1e-3, ...}``: any class of torch.optim with its own arguments.
        scheduler: ``{"name": "CosineAnnealingLR", "T_max": 300, ...}``: one of torch.optim.lr_scheduler, stepped after
            each optimizer step; None for a constant rate.
        data: what to remember of the training set (`PhotoDataModule.summary`); only ``size`` is needed to build.
    """

    def __init__(
        self,
        model: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any] | None,
        data: dict[str, Any],
    ):
        super().__init__()
        self.save_hyperparameters()
        # channels_last: a third less time a step on a CPU, where convolutions would else reorder their input.
        self.model = create_model(**model).to(memory_format=torch.channels_last)
        self.loss = create_loss(**{key: value for key, value in loss.items() if key != "consistency"})
        self.consistency = loss.get("consistency", 0.0)
        check_head(self.model, loss["name"])
        if not isinstance(data["size"], int) or data["size"] % self.model.stride:
            raise ValueError(
                f"dataset.size={data['size']} must be a multiple of {self.model.stride} for {model['name']}"
            )
        self.val_metrics = PictureMetrics()
        self.fused = False  # one kernel for all weights, of the optimizers that know it
        self._train_loss = self._output_and_loss
        # Lightning's own mean over processes rounds down how many pictures each had: of 3 pictures 2 and 1 count wrong.
        self.val_loss, self.val_unsteady = MeanMetric(), MeanMetric()
        self.example_input_array = torch.zeros(1, 1, data["size"], data["size"])  # TensorBoard's graph

    def forward(self, l: Tensor) -> Tensor:
        """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1)."""
        return self.model(l.to(self.dtype)).float()  # under precision=bf16-true the weights are not float32

    def compile_training(self, mode: str) -> None:
        """Compile network and loss of the training steps, ``mode`` as torch.compile has it; all else stays as it is."""
        compiled = torch.compile(self._output_and_loss, mode=mode, dynamic=False)

        def train_loss(l: Tensor, ab: Tensor, frames: int) -> tuple[Tensor, Tensor]:
            torch.compiler.cudagraph_mark_step_begin()
            output, loss = compiled(l, ab, frames)
            return output, loss.clone()  # a CUDA graph's own is overwritten by the next step's, and this one is logged

        self._train_loss = train_loss

    def _output_and_loss(self, l: Tensor, ab: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        output = self.model.clip_output(l.to(self.dtype), frames).float()
        return output, self.loss(self.model, output, ab)

    def _step(self, batch: dict[str, Any], stage: str) -> tuple[Tensor, Tensor]:
        output_and_loss = self._train_loss if stage == "train" else self._output_and_loss
        output, loss = output_and_loss(batch["l"], batch["ab"], batch.get("frames", 1))
        size = len(batch["l"])
        if "motion" in batch:
            ab = self.model.decode(output)
            change, pixels = warp_error(ab.roll(1, 0), ab, batch["motion"])  # of a clip's first frame nothing was seen
            unsteady = change.sum() / pixels.sum().clamp(min=1)
            if stage == "train":
                self.log("train/unsteady", unsteady, sync_dist=True, batch_size=size, **_EPOCH)
            else:
                self.val_unsteady.update(unsteady, size)
            loss = loss + self.consistency * unsteady
        if stage == "train":
            self.log("train/loss", loss, prog_bar=True, batch_size=size)  # of this process at this step
            self.log(
                "train/loss_epoch", loss, on_step=False, on_epoch=True, logger=False, sync_dist=True, batch_size=size
            )
        else:
            self.val_loss.update(loss, size)
        return loss, output

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # What a network draws, for dropout, depends on the step alone, so that it is the same after resuming.
        seed = self.hparams["data"].get("seed", 0)
        when = [seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(when).generate_state(4, np.uint64)[3]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "train")[0]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        _, output = self._step(batch, "val")
        ab = self.model.decode(output)
        self.val_metrics.update(*(to_uint8(l_ab_to_rgb(batch["l"], x)) for x in (ab, batch["ab"])))

    def on_validation_epoch_end(self) -> None:
        values = self.val_metrics.compute()
        self.val_metrics.reset()
        for name, mean in {"loss": self.val_loss, "unsteady": self.val_unsteady}.items():
            if mean.update_called:
                self.log(f"val/{name}", mean.compute(), prog_bar=name == "loss")
            mean.reset()
        self.log_dict({f"val/{name}": float(value) for name, value in values.items() if name != "pictures"})

    def on_train_epoch_end(self) -> None:
        # Lightning would log an epoch's figures after its checkpoint: a run killed in between would lose them.
        names = ("train/loss_epoch", "train/unsteady")
        values = {name: float(v) for name, v in self.trainer.callback_metrics.items() if name in names}
        for logger in self.trainer.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, self.trainer.global_step - 1)

    def create_optimizer(self) -> optim.Optimizer:
        """The optimizer of the settings. Raises ValueError that names what is wrong with them."""
        settings = dict(self.hparams["optimizer"])
        if self.fused and "fused" in inspect.signature(_OPTIMIZERS.get(settings["name"], dict)).parameters:
            settings.setdefault("fused", True)
        return call_by_name("optimizer", _OPTIMIZERS, params=self.parameters(), **settings)

    def configure_optimizers(self) -> Any:
        optimizer = self.create_optimizer()
        if not self.hparams["scheduler"]:
            return optimizer
        scheduler = call_by_name("scheduler", _SCHEDULERS, optimizer=optimizer, **self.hparams["scheduler"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
