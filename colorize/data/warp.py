"""Augmentation and Lab as one function of pictures and what was drawn for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color import rgb_to_l_ab, to_float

_CACHED_PIXELS = 2**17  # warped and converted at once on a CPU; at 256 px one picture for each of two threads


def warp_to_l_ab(pictures: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Warp pictures, edge pixels repeated outside the frame, and convert them: what torch.compile makes one kernel of.

    Args:
        pictures: uint8 RGB (B, 3, H, W).
        maps: (B, 2, 3), float32, same device: where in the picture each point (x, y, 1) of the result is read, both
            in [-1, 1] from edge to edge.

    Returns:
        l (B, 1, H, W) and ab (B, 2, H, W), as `rgb_to_l_ab` scales them.
    """
    grid = F.affine_grid(maps, list(pictures.shape), align_corners=False)
    rgb = F.grid_sample(to_float(pictures), grid, padding_mode="border", align_corners=False)
    return rgb_to_l_ab(rgb.clamp(0.0, 1.0))


def warp_to_l_ab_on_cpu(pictures: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The same, a few pictures at a time, so that what lies between stays in the processor's cache."""
    count, _, height, width = pictures.shape
    l, ab = torch.empty(count, 1, height, width), torch.empty(count, 2, height, width)
    wholes = (pictures, maps, l, ab)
    for part, where, *out in zip(*(x.split(max(1, _CACHED_PIXELS // (height * width))) for x in wholes), strict=True):
        rgb = F.grid_sample(to_float(part), _grid(where, height, width), padding_mode="border", align_corners=False)
        rgb_to_l_ab(rgb.clamp_(0.0, 1.0), out=(out[0], out[1]))
    return l, ab


def send(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on the device, without waiting for what it is still at."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """`F.affine_grid` of maps (B, 2, 3), as (B, H, W, 2): an outer sum of complex x + iy, much faster than products."""
    x, y = ((torch.arange(n) + 0.5) * (2 / n) - 1 for n in (width, height))
    step_x, step_y, origin = (torch.complex(maps[:, 0, k, None], maps[:, 1, k, None]) for k in range(3))
    return torch.view_as_real((step_y * y + origin)[:, :, None] + (step_x * x)[:, None])
