"""Augmentation and Lab in one go on a CPU: a few pictures at a time, so that what lies between stays in its cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color import rgb_to_l_ab, to_float

_CACHED_PIXELS = 2**17  # warped and converted at once; at 256 px one picture for each of two threads


def warped_l_ab(pictures: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """What `colorize.data.on_device.warp_to_l_ab` does, with the same arguments and result, on a CPU."""
    count, _, height, width = pictures.shape
    l, ab = torch.empty(count, 1, height, width), torch.empty(count, 2, height, width)
    wholes = (pictures, maps, l, ab)
    for part, where, *out in zip(*(x.split(max(1, _CACHED_PIXELS // (height * width))) for x in wholes), strict=True):
        rgb = F.grid_sample(to_float(part), _grid(where, height, width), padding_mode="border", align_corners=False)
        rgb_to_l_ab(rgb.clamp_(0.0, 1.0), out=(out[0], out[1]))
    return l, ab


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """`F.affine_grid` of maps (B, 2, 3), as (B, H, W, 2): an outer sum of complex x + iy, much faster than products."""
    x, y = ((torch.arange(n) + 0.5) * (2 / n) - 1 for n in (width, height))
    step_x, step_y, origin = (torch.complex(maps[:, 0, k, None], maps[:, 1, k, None]) for k in range(3))
    return torch.view_as_real((step_y * y + origin)[:, :, None] + (step_x * x)[:, None])
