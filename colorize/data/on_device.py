"""Batches of a set that is on the device: augmentation and Lab as one function, and its random draws sent along."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color import rgb_to_l_ab, to_float


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


def send(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on the device, without waiting for what it is still at."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
