"""Steady colour: what is done with the ab of a clip's frames, one after another, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.models.base import Network
from colorize.models.convlstm import ConvLSTM, State
from colorize.motion import estimate_motion, likeness, warp
from colorize.names import call_by_name

MEMORY = 32.0  # frames that a colour is the mean of, at most
PATIENCE = 1.5  # what a frame counts once it is past, to 1 of a new one: of 1, flicker before rounding is a fifth more
MARGIN = 3  # pixels around what was hidden, at the size the network works at, where motion is trusted less


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
    and nothing is dragged along. After a scene cut, or when the size changes, that is everywhere. Trust grows from
    there over a few pixels: next to spray a hard border would leave specks of old colour, and next to a subject some of
    the colour that it wore.
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
            count = torch.full_like(l, PATIENCE)
        else:
            old_l, old_ab, old_count = self._before
            flow, visible = estimate_motion(old_l, l)
            near = F.avg_pool2d(visible.float(), 2 * MARGIN + 1, stride=1, padding=MARGIN, count_include_pad=False)
            trusted = warp(old_count, flow) * likeness(old_l, l, flow) * visible * near**2
            # bicubic: bilinear would blur colour a little more with each frame that a thing moves
            ab = (trusted * warp(old_ab, flow, "bicubic") + ab) / (trusted + 1)
            count = (trusted + PATIENCE).clamp(max=MEMORY)
        self._before = l.clone(), ab.clone(), count  # not a view that holds the whole batch
        return ab


class Recurrent(Independent):
    """A network with a memory keeps colour steady by itself: here is what it remembers, and ab stays as it makes it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._state: State | None = None

    def run(self, network: Network, l: Tensor) -> Tensor:
        """The next frames, one or more, by a ConvLSTM: l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W)."""
        assert isinstance(network, ConvLSTM), "see temporal_modes"
        ab, self._state = network.step(l, self._state)
        return ab


TEMPORAL: dict[str, Callable[[], Temporal]] = {"none": Independent, "smooth": Smooth, "convlstm": Recurrent}


def create_temporal(name: str) -> Temporal:
    """Fresh state for one clip, by name. Raises ValueError: an unknown name; the error lists the names."""
    return call_by_name("temporal", TEMPORAL, name)


def temporal_modes(network: Network) -> list[str]:
    """The names of `TEMPORAL` that a network can be used with: all but convlstm, where it has no memory."""
    return [name for name in TEMPORAL if name != "convlstm" or isinstance(network, ConvLSTM)]
