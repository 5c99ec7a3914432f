"""dataset.batch_size=auto: the largest batch that fits, from what real steps of small batches take."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import lightning as L
import torch

from colorize import memory
from colorize.checkpoint import load_checkpoint
from colorize.data.datamodule import PhotoDataModule
from colorize.module import ColorizeModule

log = logging.getLogger(__name__)

_SHARE = 0.8  # of the memory that is free; validation, judging and other programs need some, too
_CLEAR = 128 * 2**20  # bytes by which two batches must differ to tell what a picture takes


def settle_batch_size(module: ColorizeModule, data: PhotoDataModule, trainer: L.Trainer, resume: Any) -> None:
    """Put a number in the place of ``dataset.batch_size=auto``: of the run to go on with, or the largest that fits.

    Lightning's BatchSizeFinder doubles the batch until a step fails, which on a CPU ends the process. Here steps of
    2, 4, 8, ... pictures are measured, on a copy of the network, until it is clear what a picture takes; the rest is
    reckoned. No more than there are training pictures.

    Raises:
        ValueError: several devices (each would find its own), or a system that does not tell a process' peak.
    """
    if data.batch_size != "auto":
        return
    if resume is not None:
        data.batch_size = load_checkpoint(resume).data.get("batch_size", 1)  # of weights alone: refused hereafter
        log.info("dataset.batch_size=auto: %d, as in %s", data.batch_size, resume)
        return
    if trainer.world_size > 1:
        raise ValueError("dataset.batch_size=auto is for one device: give a number with trainer.devices above 1")
    device = trainer.strategy.root_device
    peak, free = (_cuda_peak, _cuda_free) if device.type == "cuda" else (_process_peak, memory.available)
    step = _step(module, data, trainer, device)
    most = len(data.pictures("train"))
    size = min(2, most)  # of one picture a batch norm may have nothing to norm
    peak(partial(step, size))  # libraries take what they keep
    budget, used = _SHARE * free(), peak(_nothing)
    small, at_small = 0, used
    while True:
        at_size = peak(partial(step, size))
        each = (at_size - at_small) / (size - small)
        clear = at_size - at_small >= _CLEAR
        if clear or size == most or at_size - used + size * max(each, 0) > budget:  # twice the batch must fit
            break
        small, at_small, size = size, at_size, min(2 * size, most)
    found = most if each <= 0 else size + int((budget - (at_size - used)) // each)
    data.batch_size = max(1, min(most, found))
    log.info(
        "dataset.batch_size=auto: %d (%.0f MiB a picture, %.1f GiB free; there are %d training pictures)",
        *(data.batch_size, max(each, 0) / 2**20, budget / _SHARE / 2**30, most),
    )


def _step(module: ColorizeModule, data: PhotoDataModule, trainer: L.Trainer, device: torch.device) -> Callable:
    """A function that trains one step on so many pictures, as the run will, without a trace in the run."""
    network = deepcopy(module).train().to(device)
    network = trainer.precision_plugin.convert_module(network)  # type: ignore[assignment]
    optimizer = network.create_optimizer()
    pictures = data.pictures("train")

    def step(size: int) -> None:
        l, ab = data.augmented_l_ab(pictures[range(size)].to(device), 0, 0, 0)
        l = data.degraded(l, 0, 0, 0)
        with trainer.precision_plugin.train_step_context():
            loss = network.loss(network.model, network.model.output(l.to(network.dtype)).float(), ab)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _nothing() -> None:
    """No step: the peak is then what is in use."""


def _process_peak(step: Callable[[], None]) -> int:
    try:
        return memory.peak(step)
    except OSError as error:
        raise ValueError(
            "dataset.batch_size=auto measures memory on Linux or on a CUDA GPU, and this is neither: give a number"
        ) from error


def _cuda_peak(step: Callable[[], None]) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_reserved()


def _cuda_free() -> int:
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]
