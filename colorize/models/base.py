"""What every network is."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1), both as `colorize.color` scales them.

    A call colours. Training needs what comes before the colour: `output` is what the loss judges, `decode` makes ab of
    it. A network whose output is ab says nothing about either but `output`.

    Attributes:
        stride: H and W must be multiples of it.
    """

    stride: int

    def prepare(self, pictures: Tensor) -> None:
        """Look at the training pictures, uint8 RGB (N, 3, S, S).

        Called once before training from scratch or on another set, never when a checkpoint is only loaded.
        """

    def output(self, l: Tensor) -> Tensor:
        """l (B, 1, H, W) -> the network's own output: ab (B, 2, H, W), or what `decode` makes ab of."""
        raise NotImplementedError

    def decode(self, output: Tensor) -> Tensor:
        """The output -> ab (B, 2, H, W) in (-1, 1)."""
        return output

    def forward(self, l: Tensor) -> Tensor:
        return self.decode(self.output(l))
