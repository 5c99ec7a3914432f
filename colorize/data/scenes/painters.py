"""The two ways to draw: one picture of a kind, or the frames of the wave loop."""

import zlib

import numpy as np
from numpy.typing import NDArray

from .coast import balenes, beach, rolling_waves
from .fruit import banana, maduixes
from .land import paisatge, pradera, rural
from .light import develop

PAINTERS = {
    "pradera": pradera,
    "rural": rural,
    "banana": banana,
    "beach": beach,
    "maduixes": maduixes,
    "paisatge": paisatge,
    "balenes": balenes,
}


def check_kind(kind: str) -> None:
    """Raise ValueError, listing the kinds there are, unless `kind` is one of them."""
    if kind not in PAINTERS:
        raise ValueError(f"unknown kind of scene {kind!r}; choose one of: {', '.join(PAINTERS)}")


def render(kind: str, seed: int, size: int = 256) -> NDArray[np.uint8]:
    """A scene of `kind` as uint8 sRGB, shape (size, size, 3); the same arguments give the same bytes.

    `seed` is any whole number from 0. Raises ValueError for an unknown kind (listing those there are), a
    negative seed, or a size below 16.
    """
    check_kind(kind)
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    return develop(rng, PAINTERS[kind](rng, size, size))


def render_waves(frames: int = 30, size: tuple[int, int] = (320, 180), seed: int = 0) -> NDArray[np.uint8]:
    """Sea waves rolling onto a beach, uint8 sRGB, shape (frames, height, width, 3); `size` is (width, height).

    One wave period long, so that the last frame leads back to the first. Raises ValueError for fewer than one
    frame, a side below 16, or a negative seed.
    """
    width, height = size
    if frames < 1 or min(size) < 16:
        raise ValueError(f"need at least one frame of at least 16 x 16 pixels, not {frames} of {width} x {height}")
    key = [zlib.crc32(b"waves"), seed]
    pictures = rolling_waves(np.random.default_rng(key), width, height, frames)
    # One finish for all: exposure, balance and grain are drawn from the same seed for every frame.
    return np.stack([develop(np.random.default_rng([*key, 1]), picture) for picture in pictures])
