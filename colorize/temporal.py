"""Steady colour: what is done with the ab of a clip's frames, one after another, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from colorize.motion import estimate_motion, likeness, warp
from colorize.names import call_by_name

MEMORY = 32.0  # frames that a colour is the mean of, at most


class Temporal(Protocol):
    """The state of one clip. A clip's frames go through it in order; another clip takes another one."""

    def __call__(self, l: Tensor, ab: Tensor) -> Tensor:
        """The next frames, one or more: l (B, 1, H, W) in [0, 1] and ab (B, 2, H, W) -> ab (B, 2, H, W)."""
        ...

    def reset(self) -> None:
        """Forget every frame seen."""
        ...


class Independent:
    """Every frame by itself."""

    def __call__(self, l: Tensor, ab: Tensor) -> Tensor:
        return ab

    def reset(self) -> None:
        pass


class Smooth:
    """Each pixel's ab becomes the mean over its own past, followed back along the optical flow of l.

    A recursive filter, so one frame of memory: what is kept beside ab is of how many frames it is the mean, at most
    `MEMORY` - beyond that older frames fade. That number moves along with the pixel and is multiplied by the trust in
    its motion, 0 where the pixel was covered, outside or, by its lightness, something else: there colour starts anew
    and nothing is dragged along. After a scene cut, or when the size changes, that is everywhere.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._before: tuple[Tensor, Tensor, Tensor] | None = None  # l, ab and the number of frames in it

    def __call__(self, l: Tensor, ab: Tensor) -> Tensor:
        frames = zip(l.split(1), ab.split(1), strict=True)
        return torch.cat([self._step(*frame) for frame in frames])

    def _step(self, l: Tensor, ab: Tensor) -> Tensor:
        if self._before is None or self._before[0].shape != l.shape:
            count = torch.ones_like(l)
        else:
            old_l, old_ab, old_count = self._before
            flow, visible = estimate_motion(old_l, l)
            trusted = warp(old_count, flow) * likeness(old_l, l, flow) * visible
            # bicubic: bilinear would blur colour a little more with each frame that a thing moves
            ab = (trusted * warp(old_ab, flow, "bicubic") + ab) / (trusted + 1)
            count = (trusted + 1).clamp(max=MEMORY)
        self._before = l.clone(), ab.clone(), count  # not a view that holds the whole batch
        return ab


TEMPORAL: dict[str, Callable[[], Temporal]] = {"none": Independent, "smooth": Smooth}


def create_temporal(name: str) -> Temporal:
    """Fresh state for one clip, by name. Raises ValueError: an unknown name; the error lists the names."""
    return call_by_name("temporal", TEMPORAL, name)
