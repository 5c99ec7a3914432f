"""Losses by name: functions of (prediction, target), both ab (B, 2, H, W), that return a scalar."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from colorize.names import call_by_name

Loss = Callable[[Tensor, Tensor], Tensor]


def mse() -> Loss:
    """Mean squared error of ab / 128: the reference's loss. Its minimum is the mean of what a place could be: pale."""
    return F.mse_loss


def smooth_l1(beta: float = 1.0) -> Loss:
    """Smooth L1 (Girshick, Fast R-CNN, 2015): squared below ``beta`` (in units of ab / 128), absolute above."""
    return partial(F.smooth_l1_loss, beta=beta)


LOSSES: dict[str, Callable[..., Loss]] = {"mse": mse, "smooth_l1": smooth_l1}


def create_loss(name: str, **settings: Any) -> Loss:
    """Build a loss by name. Raises ValueError that lists the names."""
    return call_by_name("loss", LOSSES, name, **settings)
