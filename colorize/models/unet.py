"""A U-Net for colour: strided encoder, skip connections, global context; half resolution and below throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.base import Network
from colorize.models.convolution import Conv3x3
from colorize.models.heads import create_head

if TYPE_CHECKING:
    from colorize.data.store import Pictures


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__(
            Conv3x3(channels_in, channels_out, stride, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity (He et al., CVPR 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Sequential(Conv3x3(channels, channels, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)), inplace=True)


class GlobalContext(nn.Module):
    """What the whole picture shows, added everywhere: mean and maximum of each channel through two linear layers.

    A patch of lightness alone does not tell a strawberry from a stone; the scene does (Iizuka et al., SIGGRAPH 2016).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))[:, :, None, None]


class UNet(Network):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1) (Ronneberger et al., MICCAI 2015, with strided steps).

    Colour is soft: the eye and every codec store it at half resolution, so nothing here is computed above that, and
    ab is upsampled bilinearly at the end. Hundreds of classes a pixel are predicted at a quarter of the side, as in
    their paper, and the decoder ends there.

    Args:
        widths: channels at 1/2, 1/4, 1/8, ... of the picture's side.
        blocks: residual blocks at each of these.
        head: "ab" or "classes" (`colorize.models.heads.ClassHead`).
        dropout: share of the channels that come from the level below and are dropped while training (Tompson et al.,
            CVPR 2015). They know what a picture shows; of a few dozen pictures they would learn each one by heart.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 64, 128, 256, 256),
        blocks: Sequence[int] = (0, 0, 1, 1, 1),
        head: str = "ab",
        dropout: float = 0.0,
    ):
        super().__init__()
        if len(widths) < 2 or len(blocks) != len(widths) or min(widths) < 1:
            raise ValueError(
                f"model.widths={list(widths)} and model.blocks={list(blocks)} must name two levels or more, alike"
            )
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"model.dropout={dropout} is not in [0, 1)")
        self.stride = 2 ** len(widths)
        channels = (1, *widths)
        self.encoder = nn.ModuleList(
            nn.Sequential(ConvBlock(below, width, stride=2), *(ResidualBlock(width) for _ in range(count)))
            for below, width, count in zip(channels[:-1], widths, blocks, strict=True)
        )
        self.context = GlobalContext(widths[-1])
        finest = 1 if head == "classes" else 0  # the level at which the decoder ends
        levels = widths[finest:]
        pairs = list(zip(levels[:0:-1], levels[-2::-1], strict=True))  # (deep, shallow) from the bottom up
        self.dropout = nn.Dropout2d(dropout)
        self.narrow = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for deep, shallow in pairs)
        self.decoder = nn.ModuleList(ConvBlock(shallow, shallow) for _, shallow in pairs)
        self.head = create_head(head, widths[finest])
        self._shrunk = 2 ** (finest + 1)  # the output's side is the picture's divided by it

    def prepare(self, pictures: Tensor | Pictures) -> None:
        self.head.prepare(pictures)

    def output(self, l: Tensor) -> Tensor:
        return self.head(self.features(l))

    def features(self, l: Tensor) -> Tensor:
        """l (B, 1, H, W) -> what the head makes the output of: (B, C, H / 2, W / 2), of classes a quarter."""
        skips = []
        x = l - 0.5
        for level in self.encoder:
            x = self.block(level, x)
            skips.append(x)
        x = self.context(skips.pop())
        for narrow, level in zip(self.narrow, self.decoder, strict=True):
            x = self.block(_join, narrow, level, self.dropout(x), skips.pop())
        return x

    def decode(self, output: Tensor) -> Tensor:
        return _enlarge(self.head.decode(output), self._shrunk)


def _join(narrow: nn.Module, level: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    # Added, not joined as in the paper: a third of the arithmetic at the fine levels, where it all is.
    return level(_enlarge(narrow(x), 2) + skip)


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
