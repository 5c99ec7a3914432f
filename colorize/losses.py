"""Losses by name: functions of (network, its output, real ab (B, 2, H, W)) that return a scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from colorize.models.base import Network
from colorize.names import call_by_name

Loss = Callable[[Network, Tensor, Tensor], Tensor]


def mse() -> Loss:
    """Mean squared error of ab / 128: the reference's loss. Its minimum is the mean of what a place could be: pale."""
    return lambda network, output, ab: F.mse_loss(network.decode(output), ab)


def smooth_l1(beta: float = 1.0, saturation: float = 0.0) -> Loss:
    """Smooth L1 (Girshick, Fast R-CNN, 2015): squared below ``beta`` (in units of ab / 128), absolute above.

    Args:
        beta: where the square ends.
        saturation: how much more a vivid pixel weighs than a grey one: 1 + saturation * chroma / 128. Most of a
            photograph is nearly grey, and without it the few vivid things (a strawberry) are drawn towards that.
    """

    def loss(network: Network, output: Tensor, ab: Tensor) -> Tensor:
        prediction = network.decode(output).float()
        if not saturation:
            return F.smooth_l1_loss(prediction, ab, beta=beta)
        weight = 1 + saturation * ab.norm(dim=1, keepdim=True)
        return (weight * F.smooth_l1_loss(prediction, ab, beta=beta, reduction="none")).mean()

    return loss


LOSSES: dict[str, Callable[..., Loss]] = {"mse": mse, "smooth_l1": smooth_l1}


def create_loss(name: str, **settings: Any) -> Loss:
    """Build a loss by name. Raises ValueError that lists the names."""
    return call_by_name("loss", LOSSES, name, **settings)
