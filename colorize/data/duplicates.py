"""Pictures that are the same picture: in another folder, under another name, at another resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.data.store import Pictures

# Among the real sets (3,318 training against 378 held-out pictures) the copies lie above 0.9999, and the likest pair of
# different pictures, two mountains, at 0.965.
_SAME = 0.99
_SIDE = 16


def near_duplicates(pictures: Tensor | Pictures, held_out: Tensor | Pictures) -> Tensor:
    """Which pictures are also in ``held_out``.

    Compared is the correlation of 16 x 16 grey thumbnails: resizing, recompressing and a change of brightness or
    contrast leave it near 1. Cropped, turned and mirrored copies are not found, nor pictures of one flat colour.

    Args:
        pictures: uint8 RGB (N, 3, H, W).
        held_out: uint8 RGB (M, 3, H', W'), best of the same size: below 32 pixels another size hides copies.

    Returns:
        bool (N,), True where a picture correlates by more than 0.99 with one that is held out.
    """
    known = torch.cat([_thumbnails(part) for part in held_out.split(64)])  # 1 KiB each
    return torch.cat([(_thumbnails(part) @ known.T).amax(1) > _SAME for part in pictures.split(64)])


def _thumbnails(pictures: Tensor) -> Tensor:
    """(N, 256) of mean 0 and length 1, so that products are correlations."""
    thumbnails = F.adaptive_avg_pool2d(pictures.float().mean(1), _SIDE).flatten(1)
    return F.normalize(thumbnails - thumbnails.mean(1, keepdim=True), dim=1)
