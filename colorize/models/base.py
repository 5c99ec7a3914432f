"""What every network is."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1), both as `colorize.color` scales them.

    Attributes:
        stride: H and W must be multiples of it.
    """

    stride: int

    def forward(self, l: Tensor) -> Tensor:
        raise NotImplementedError
