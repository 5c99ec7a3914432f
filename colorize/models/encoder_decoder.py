"""The report's networks: a strided-convolution encoder, an upsampling decoder, a tanh head. No skips, no norms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.base import Network
from colorize.models.convolution import Conv3x3
from colorize.models.heads import Head, create_head

if TYPE_CHECKING:
    from colorize.data.store import Pictures

Layers = Sequence[int | str]


class StridedConv2d(Conv3x3):
    """3x3 convolution at stride 2, padded as Keras pads 'same': an even side gets its extra pixel right and below only.

    PyTorch's ``padding=1`` would shift every strided layer by a pixel against the reference.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return super().forward(F.pad(x, (width % 2, 1, height % 2, 1)))


class EncoderDecoder(Network):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1); H and W multiples of `stride`.

    Args:
        encoder: 3x3 convolutions with ReLU by their width, ``64``; ``"64/2"`` has stride 2.
        extra: more of them, at the encoder's resolution.
        decoder: widths, ``"up"`` (nearest neighbour, x2) and, exactly once, ``"head"``, after which only ups can stand.
        init: "torch" (PyTorch's own: Kaiming-uniform) or "glorot" (Keras' own: Glorot and Bengio 2010, zero biases).
        head: "ab" (2 channels and tanh) or "classes" (`colorize.models.heads.ClassHead`).
    """

    def __init__(self, encoder: Layers, decoder: Layers, extra: Layers = (), init: str = "torch", head: str = "ab"):
        super().__init__()
        if list(decoder).count("head") != 1:
            raise ValueError(f"model.decoder={list(decoder)} needs exactly one 'head'")
        if set(decoder[list(decoder).index("head") + 1 :]) - {"up"}:
            raise ValueError(f"model.decoder={list(decoder)} has layers after 'head': only 'up' can stand there")
        if init not in ("torch", "glorot"):
            raise ValueError(f"model.init={init} is not one of: torch, glorot")
        channels = 1
        modules: list[nn.Module] = []
        for layer in (*encoder, *extra, *decoder):
            if layer == "up":
                modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
                continue
            if layer == "head":
                modules.append(create_head(head, channels))
                self._after_head = len(modules)
                continue
            width, stride = _parse(layer)
            convolution = StridedConv2d(channels, width) if stride == 2 else Conv3x3(channels, width)
            modules += [convolution, nn.ReLU(inplace=True)]
            channels = width
        self.layers = nn.Sequential(*modules)
        self.stride = 2 ** sum(isinstance(m, StridedConv2d) for m in modules)
        if self.stride != 2 ** list(decoder).count("up"):
            raise ValueError(
                f"model.decoder has {list(decoder).count('up')} 'up' for an encoder that shrinks by {self.stride}: "
                "the output would not have the input's size"
            )
        if init == "glorot":
            for module in modules:
                if isinstance(module, nn.Conv2d) and module.bias is not None:
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)

    @property
    def head(self) -> Head:
        return cast(Head, self.layers[self._after_head - 1])

    def prepare(self, pictures: Tensor | Pictures) -> None:
        self.head.prepare(pictures)

    def output(self, l: Tensor) -> Tensor:
        return self._through(self.layers[: self._after_head], l)

    def _through(self, layers: nn.Sequential, x: Tensor) -> Tensor:
        """``layers(x)``, each change of resolution the beginning of a block."""
        starts = [i for i, m in enumerate(layers) if isinstance(m, nn.Upsample) or getattr(m, "stride", None) == (2, 2)]
        for start, end in pairwise([0, *(start for start in starts if start), len(layers)]):
            x = self.block(layers[start:end], x)
        return x

    def decode(self, output: Tensor) -> Tensor:
        return self.layers[self._after_head :](self.head.decode(output))


def _parse(layer: int | str) -> tuple[int, int]:
    width, _, stride = str(layer).partition("/")
    if not width.isdigit() or stride not in ("", "1", "2"):
        raise ValueError(f"layer {layer!r} is not understood: write a width (64), a strided width (64/2), up or head")
    return int(width), int(stride or 1)


def alpha(
    encoder: Layers = ("8/2", 8, 16, "16/2", 32, "32/2"),
    decoder: Layers = ("up", 32, "up", 16, "up", "head"),
    init: str = "torch",
) -> EncoderDecoder:
    """The report's alpha, 32,202 parameters: small enough to learn one picture by heart."""
    return EncoderDecoder(encoder, decoder, init=init)


def beta(
    encoder: Layers = (64, "64/2", 128, "128/2", 256, "256/2", 512, 256, 128),
    extra_layers: int = 3,
    decoder: Layers = ("up", 64, "up", 32, "head", "up"),
    init: str = "torch",
    head: str = "ab",
) -> EncoderDecoder:
    """The report's beta; 5,957,474 parameters as the report leaves it, 3,892,194 with ``extra_layers=0``.

    ``extra_layers`` repeats the last so many layers of the encoder (512, 256, 128) before the first upsampling.
    ``head="classes"`` puts colour classes in the place of ab.
    """
    if not 0 <= extra_layers <= len(encoder):
        raise ValueError(f"model.extra_layers={extra_layers} is not in 0..{len(encoder)}")
    return EncoderDecoder(encoder, decoder, tuple(encoder)[len(encoder) - extra_layers :], init, head)
