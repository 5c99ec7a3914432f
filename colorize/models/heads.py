"""Heads: what stands between a network's features and ab. One predicts ab, the other how likely each colour is."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from colorize.color import AB_SCALE, ab_bins, rgb_to_l_ab, to_float

if TYPE_CHECKING:
    from colorize.data.store import Pictures

TEMPERATURE = 0.38  # the paper's: between the mean, pale (1), and the most likely colour, patchy (0)
SIGMA = 5.0  # of the soft encoding, in units of a and b
NEAREST = 5  # classes that share a pixel
_REACH = 110  # |a| and |b| of every sRGB colour are below it


class Head(nn.Conv2d):
    """Features (B, C, H, W) -> the network's output, which `decode` makes ab (B, 2, H, W) of."""

    def prepare(self, pictures: Tensor | Pictures) -> None:
        """Look at the training pictures, uint8 RGB (N, 3, S, S)."""

    def decode(self, output: Tensor) -> Tensor:
        return output


class AbHead(Head):
    """3x3 convolution and tanh: ab itself."""

    def __init__(self, channels: int):
        super().__init__(channels, 2, 3, padding=1)
        self.activation = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))


class ClassHead(Head):
    """1x1 convolution to logits (B, Q, H, W) of the Q classes of `colorize.color.ab_bins`.

    Zhang, Isola and Efros, "Colorful Image Colorization" (ECCV 2016): where a thing could have several colours, their
    mean is grey, but a distribution can hold them all.

    Attributes:
        bins: (Q, 2), the classes' ab.
        prior: (Q,), the share of each class in the training pictures, uniform until `prepare`.
        temperature: of `decode`.
    """

    bins: Tensor
    prior: Tensor
    _nearest: Tensor

    def __init__(self, channels: int):
        bins = ab_bins()
        super().__init__(channels, len(bins), 1)
        self.temperature = TEMPERATURE
        self.register_buffer("bins", bins.clone())
        self.register_buffer("prior", torch.full((len(bins),), 1 / len(bins)))
        self.register_buffer("_nearest", _nearest_bins(), persistent=False)

    def prepare(self, pictures: Tensor | Pictures) -> None:
        """Count the classes in every fourth row and column of the training pictures: the prior."""
        total = torch.zeros(len(self.bins), dtype=torch.float64)
        for batch in pictures.split(32):
            part = to_float(batch[:, :, 2::4, 2::4].to(self.bins.device))
            indices, weights = self.encode(rgb_to_l_ab(part)[1])
            total.index_add_(0, indices.flatten().cpu(), weights.flatten().double().cpu())
        self.prior.copy_(total / total.sum())

    def encode(self, ab: Tensor, sigma: float = SIGMA) -> tuple[Tensor, Tensor]:
        """ab (B, 2, H, W) -> the classes nearest to it, int64 (B, 5, H, W), and their weights, float32, of sum 1.

        Weights fall off as a Gaussian of the distance with ``sigma`` in units of a and b (the paper's section 2.2).
        Classes are the nearest to the colour rounded to one unit, which spares a search; distances are exact.
        """
        a, b = ((ab.float() * AB_SCALE).round().long() + _REACH).clamp(0, 2 * _REACH).unbind(1)
        indices = self._nearest[a, b]  # (B, H, W, 5)
        offsets = (self.bins.float()[indices] - ab.float().movedim(1, -1).unsqueeze(-2)) * AB_SCALE
        weights = torch.softmax(-offsets.square().sum(-1) / (2 * sigma**2), dim=-1)
        return indices.movedim(-1, 1), weights.movedim(-1, 1)

    def decode(self, output: Tensor) -> Tensor:
        """Logits (B, Q, H, W) -> ab (B, 2, H, W): the annealed mean, softmax(logits / temperature) over the bins."""
        with torch.autocast(output.device.type, enabled=False):
            probabilities = torch.softmax(output.float() / self.temperature, dim=1)
            return torch.einsum("bqhw,qc->bchw", probabilities, self.bins.float())


@cache
def _nearest_bins() -> Tensor:
    """The nearest classes, nearest first, of every whole (a, b) from -110 to 110: int64 (221, 221, 5)."""
    whole = torch.arange(-_REACH, _REACH + 1.0)
    colours = torch.cartesian_prod(whole, whole)
    nearest = torch.cdist(colours, ab_bins() * AB_SCALE).topk(NEAREST, largest=False).indices
    return nearest.view(len(whole), len(whole), NEAREST)


HEADS: dict[str, type[AbHead] | type[ClassHead]] = {"ab": AbHead, "classes": ClassHead}


def create_head(name: str, channels: int) -> Head:
    """Build the head of ``model.head`` for features of so many channels. Raises ValueError that lists the names."""
    if name not in HEADS:
        raise ValueError(f"model.head={name} is not one of: {', '.join(HEADS)}")
    return HEADS[name](channels)
