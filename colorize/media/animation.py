"""What every moving picture has in common, whatever file it comes from: sized, timed frames, one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from colorize.media.common import MediaError, reading

T = TypeVar("T")
U = TypeVar("U")

KEEP, CLEAR, RESTORE = 1, 2, 3  # disposal: what becomes of a patch's area before the next one is drawn


class Timing(NamedTuple):
    """When a frame is shown and for how long, in seconds, exactly."""

    start: Fraction
    duration: Fraction


Timed = Iterator[tuple[np.ndarray, Timing]]


@dataclass
class Animation(ABC):
    """A moving picture opened for reading; its frames stay in the file until they are asked for, any number of times.

    Attributes:
        size: (width, height) in pixels, as shown (a video's rotation is applied).
        loop: None plays once, 0 for ever, n as GIF's looping extension counts (n + 1 times in all).
        lost: what could not be read, in words; "" if nothing. Certain once the frames have been read to the end.
    """

    kind: ClassVar[str]
    path: Path
    size: tuple[int, int]
    loop: int | None
    lost: str

    @abstractmethod
    def __len__(self) -> int:
        """The number of frames; of a video, about."""

    @abstractmethod
    def timed(self) -> Timed:
        """Each frame as shown at its instant, with its timing: uint8 (H, W, 4) RGBA or, of a video, (H, W, 3) RGB.

        Raises:
            MediaError: not even one frame can be read, or the file has gone since it was opened.
        """

    def frames(self) -> Iterator[np.ndarray]:
        """The frames of `timed` alone."""
        return (frame for frame, _ in self.timed())

    def some(self, count: int) -> Iterator[np.ndarray]:
        """About ``count`` frames spread over the clip; nearly twice as many of one that is not much longer."""
        every = max(1, len(self) // count)
        return (frame for number, frame in enumerate(self.frames()) if number % every == 0)

    def through(self, change: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]) -> Timed:
        """`timed`, with its frames led through a generator that gives one frame for each it takes, in order."""
        frames, timing = unzip(self.timed())
        return zip(change(frames), timing, strict=True)


@dataclass
class Flipbook(Animation):
    """An animation whose durations stand in the file: GIF, APNG, WebP, a folder of pictures.

    Attributes:
        durations: milliseconds, one a frame, as the file says (0: as fast as the viewer likes).
    """

    durations: list[int] | list[Fraction]

    @abstractmethod
    def _play(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 4), one for each duration. May raise anything."""

    def __len__(self) -> int:
        return len(self.durations)

    def timed(self) -> Timed:
        start, number = Fraction(0), 0
        with reading(self.path, self.kind):
            try:
                for frame in islice(self._play(), len(self)):
                    duration = Fraction(self.durations[number]) / 1000
                    yield frame, Timing(start, duration)
                    start += duration
                    number += 1
            except Exception as error:  # damage that the first look at the file did not see
                if number == 0:
                    raise
                self.lost = self.lost or lost_after(number, error)


def lost_after(frames: int, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{reason} after {frames} frame{'s' if frames > 1 else ''}"


class Patch(NamedTuple):
    """What an APNG or WebP frame draws on the canvas."""

    x: int
    y: int
    rgba: np.ndarray  # uint8 (H, W, 4)
    blend: bool  # over what is there, by its alpha; otherwise in its place
    disposal: int


def compose(size: tuple[int, int], patches: Iterable[Patch]) -> Iterator[np.ndarray]:
    """The canvas as shown after each patch, uint8 (H, W, 4). It is clear at first; patches lie inside it, which those
    who read them have made sure of."""
    canvas = np.zeros((size[1], size[0], 4), np.uint8)
    for x, y, rgba, blend, disposal in patches:
        height, width = rgba.shape[:2]
        area = canvas[y : y + height, x : x + width]
        before = area.copy() if disposal == RESTORE else None
        if blend:
            rgba = np.asarray(Image.alpha_composite(Image.fromarray(area), Image.fromarray(rgba)))
        area[:] = rgba
        yield canvas.copy()
        if disposal == CLEAR:
            area[:] = 0
        elif before is not None:
            area[:] = before


def changed_box(before: np.ndarray | None, frame: np.ndarray, grid: int = 1) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of what differs between two frames (H, W, C); all of it where there is none before.

    Left and top are multiples of ``grid``. None: nothing differs.
    """
    if before is None:
        return 0, 0, frame.shape[1], frame.shape[0]
    if before.shape != frame.shape:
        raise MediaError(f"a frame of {frame.shape[1]}x{frame.shape[0]} follows others of another size")
    differs = (before != frame).any(-1)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return None
    left, top = int(columns[0]) // grid * grid, int(rows[0]) // grid * grid
    return left, top, int(columns[-1]) + 1, int(rows[-1]) + 1


def batches(frames: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Frames (H, W, C) -> stacks (up to ``size``, H, W, C), in order, one stack in memory at a time."""
    stack: list[np.ndarray] = []
    for frame in frames:
        stack.append(frame)
        if len(stack) == size:
            yield np.stack(stack)
            stack = []
    if stack:
        yield np.stack(stack)


def unzip(pairs: Iterator[tuple[T, U]]) -> tuple[Iterator[T], Iterator[U]]:
    """Firsts and seconds apart. The seconds are there as far as the firsts have been read; that much is held."""
    waiting: deque[U] = deque()

    def firsts() -> Iterator[T]:
        for first, second in pairs:
            waiting.append(second)
            yield first

    def seconds() -> Iterator[U]:
        while waiting:
            yield waiting.popleft()

    return firsts(), seconds()


def whole_durations(timing: Iterable[Timing], unit: int) -> Iterator[int]:
    """Durations in whole units (``unit`` of them a second) whose sum does not drift from the true time."""
    for start, duration in timing:
        yield round((start + duration) * unit) - round(start * unit)


def rgba(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3 or 4) -> (H, W, 4)."""
    return frame if frame.shape[2] == 4 else np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])


def on_white(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3 or 4) -> (H, W, 3): what is transparent shows white."""
    if frame.shape[2] == 3 or (frame[..., 3] == 255).all():
        return np.ascontiguousarray(frame[..., :3])
    image = Image.fromarray(frame)
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
