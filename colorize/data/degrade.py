"""What the network sees while it trains: lightness as cameras, prints and scanned film deliver it.

A degradation takes ``l`` (B, 1, H, W) in [0, 1], float32, and gives the same shape, range and type on the same device;
every picture gets its own. ``ab`` stays as it is: the target is the colour of the clean picture, for what is coloured
later is scanned film, not the L of a perfect photograph. Whatever is drawn, random fields too, comes from PyTorch's
global CPU generator, as Kornia's own draws do: who seeds it gets the same on every device.

By hand is what Kornia has not or not in time (15 pictures of 128 x 128, one thread of a CPU): noise of another strength
for each picture; JPEG of one channel (its codec takes RGB, 21 ms; this one 3); fields that multiply (its illuminations
add, its plasma takes 13 ms); grain, fading and marks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from kornia.augmentation import RandomBrightness, RandomContrast, RandomGamma, RandomGaussianBlur
from torch import Tensor, nn

# ITU-T T.81 (1992), table K.1: how coarsely JPEG rounds each frequency of lightness at quality 50.
_QUANTIZATION = """
16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
_SPECKS, _SCRATCHES = 12, 2  # of a picture, at most

_TONE = nn.Sequential(  # brightness shifts, contrast multiplies; both cut at 0 and 1, as exposure does
    RandomGamma((0.75, 1.35), p=1.0), RandomContrast((0.8, 1.15), p=1.0), RandomBrightness((0.9, 1.1), p=1.0)
)
_SLIGHT_BLUR = RandomGaussianBlur(5, (0.3, 1.0), p=0.3)
_LENS = RandomGaussianBlur(7, (0.3, 1.3), p=1.0)
_GRAIN_SIZE = RandomGaussianBlur(5, (0.3, 0.9), p=1.0)


def light(l: Tensor) -> Tensor:
    """Ordinary variation: exposure and contrast, a little noise, at times slight blur and JPEG; half stay as they are.

    Where every picture has another exposure, white paper can no longer be told from grey, and gets some colour.
    """
    varied = _jpeg(_noise(_SLIGHT_BLUR(_TONE(l)))).clamp(0.0, 1.0)
    return torch.where(_uniform(l, 0.0, 1.0) < 0.5, varied, l)


def film(l: Tensor) -> Tensor:
    """Scanned old film: an old lens, uneven exposure, grain, fading, dust and scratches; then what `light` does."""
    return light(_mark(_fade(_grain(_expose(_LENS(l))))).clamp(0.0, 1.0))


DEGRADATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda l: l, "light": light, "film": film}


def _uniform(like: Tensor, low: float, high: float, *shape: int) -> Tensor:
    """One number for each picture of ``like`` (B, 1, H, W), or (B, *shape) of them, drawn on the CPU."""
    return torch.empty(len(like), *(shape or (1, 1, 1))).uniform_(low, high).to(like.device)


def _normal(like: Tensor, *size: int) -> Tensor:
    return torch.randn(len(like), 1, *size).to(like.device)


def _noise(l: Tensor) -> Tensor:
    return l + _uniform(l, 0.0, 0.02) * _normal(l, *l.shape[-2:])


def _jpeg(l: Tensor) -> Tensor:
    """JPEG's loss at qualities 30 to 95 (the table scaled as libjpeg does, but unrounded), for half of the pictures."""
    quality, chosen = _uniform(l, 30.0, 95.0), _uniform(l, 0.0, 1.0) < 0.5
    scale = torch.where(quality < 50.0, 50.0 / quality, 2.0 - quality / 50.0)
    dct, table = (x.to(l.device) for x in _dct_of_blocks())
    step = (table * scale).clamp(min=1.0) / 255.0  # (B, 1, 1, 64)
    h, w = l.shape[-2:]
    padded = F.pad(l, (0, -w % 8, 0, -h % 8), mode="replicate")
    rows, columns = padded.shape[-2] // 8, padded.shape[-1] // 8
    blocks = padded.view(-1, rows, 8, columns, 8).transpose(2, 3).reshape(-1, rows, columns, 64)
    coded = ((blocks - 0.5) @ dct.T / step).round() * step @ dct + 0.5
    coded = coded.view(-1, rows, columns, 8, 8).transpose(2, 3).reshape(padded.shape)[..., :h, :w]
    return torch.where(chosen, coded, l)


@cache
def _dct_of_blocks() -> tuple[Tensor, Tensor]:
    """The orthonormal DCT-II of a flattened 8 x 8 block as one matrix (64, 64), and the quantization table (64)."""
    k = torch.arange(8.0)
    dct = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    dct[0] /= math.sqrt(2)
    return torch.kron(dct, dct), torch.tensor([float(x) for x in _QUANTIZATION.split()])


def _axes(l: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres from 0 to 1 down and across: (H,) and (W,)."""
    h, w = l.shape[-2:]
    return tuple((torch.arange(n, device=l.device) + 0.5) / n for n in (h, w))  # type: ignore[return-value]


def _expose(l: Tensor) -> Tensor:
    """Vignette about a point near the middle, and light in broad soft patches."""
    y, x = _axes(l)
    r2 = (y[:, None] - _uniform(l, 0.35, 0.65)) ** 2 + (x - _uniform(l, 0.35, 0.65)) ** 2
    vignette = 1 - _uniform(l, 0.0, 0.8) * r2  # r2 is 0.5 in a corner
    patches = F.interpolate(_normal(l, 3, 3), size=l.shape[-2:], mode="bicubic", align_corners=True)
    return l * vignette * (1 + _uniform(l, 0.0, 0.12) * patches)


def _grain(l: Tensor) -> Tensor:
    """Clumped noise, strongest in middle tones and nearly gone in black and white."""
    grain = _GRAIN_SIZE(_normal(l, *l.shape[-2:]))
    grain = grain / grain.std((1, 2, 3), keepdim=True)
    l = l.clamp(0.0, 1.0)
    return l + _uniform(l, 0.0, 0.045) * grain * (0.3 + 2.8 * l * (1 - l))


def _fade(l: Tensor) -> Tensor:
    """Blacks lifted, whites lowered."""
    return torch.lerp(_uniform(l, 0.0, 0.2), _uniform(l, 0.8, 1.0), l.clamp(0.0, 1.0))


def _mark(l: Tensor) -> Tensor:
    """Dust specks and vertical scratches, light (of a negative) or dark (of a print), few or many a picture.

    A mark is a bump down times a bump across, so all marks of a picture are one matrix product.
    """
    n = _SPECKS + _SCRATCHES
    half = _uniform(l, 0.004, 0.012, n, 2)  # height and width, of the picture's side
    half[:, _SPECKS:, 0] = _uniform(l, 0.05, 0.7, _SCRATCHES)
    half[:, _SPECKS:, 1] = _uniform(l, 0.002, 0.004, _SCRATCHES)
    there = _uniform(l, 0.0, 1.0, n) < _uniform(l, 0.0, 0.6, 1)
    sign = 1 - 2 * (_uniform(l, 0.0, 1.0, n) < 0.3).float()
    strength = there * sign * _uniform(l, 0.1, 0.5, n)
    centre = _uniform(l, 0.0, 1.0, n, 2)
    # Specks are round (Gaussian), scratches end sharply; both at least 0.4 of a pixel, or they would fall between two.
    power = torch.tensor([2.0] * _SPECKS + [4.0] * _SCRATCHES, device=l.device)[:, None]
    down, across = (
        torch.exp(-(((axis - centre[..., i, None]) / half[..., i, None].clamp(min=0.4 / len(axis))).abs() ** power))
        for i, axis in enumerate(_axes(l))
    )
    return l + (strength[:, None, :] * down.transpose(1, 2) @ across)[:, None]
