"""One palette for a whole GIF or scene, and the nearest of its colours for every pixel: what rests does not flicker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorize.media.animation import rgba

MAX_COLORS = 254
OPAQUE = 128  # GIF knows no half-transparency: alpha below this is transparent
_FRAME_SAMPLE, _PALETTE_SAMPLE = 1 << 16, 1 << 15  # pixels a frame, pixels in all: more brings < 0.1 dB


class Palettes(NamedTuple):
    """The palettes of a clip.

    Attributes:
        shared: uint8 (N, 3), of the whole clip.
        scenes: when each scene begins, in seconds, in order, and its own palette or None: it takes the shared one.
    """

    shared: np.ndarray
    scenes: Sequence[tuple[Fraction, np.ndarray | None]] = ()


def gif_palette(frames: Iterable[np.ndarray]) -> np.ndarray:
    """One palette for a whole clip: median cut refined by k-means over a fixed-seed sample of pixels.

    Args:
        frames: some frames of the clip (16 spread over it do), uint8 (H, W, 3 or 4); the transparent does not count.

    Returns:
        uint8 (N, 3), 1 <= N <= 254. Up to 254 colours in the frames come back exactly.
    """
    codes = np.concatenate([np.empty(0, np.uint32), *(_sample(frame, _FRAME_SAMPLE) for frame in frames)])
    colors = _distinct(codes)
    if len(colors) <= MAX_COLORS:
        return _code_colors(colors) if len(colors) else np.zeros((1, 3), np.uint8)
    mosaic = Image.fromarray(_code_colors(np.random.default_rng(0).choice(codes, _PALETTE_SAMPLE))[None])
    quantized = mosaic.quantize(MAX_COLORS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)


def sample_pixels(frame: np.ndarray, count: int = _FRAME_SAMPLE) -> np.ndarray:
    """So many of the opaque pixels of a frame, uint8 (H, W, 3 or 4), as a smaller frame: uint8 (1, N, 3), N <= count.

    All that `gif_palette` looks at, by default. Which ones they are is fixed.
    """
    return _code_colors(_sample(frame, count))[None]


def palette_error(palette: np.ndarray, pixels: np.ndarray) -> float:
    """Mean square error of pixels, uint8 (1, N, 3), in a palette, uint8 (M, 3); of 255^2. No pixels: 0."""
    colors = pixels[0].astype(np.float32)
    if not len(colors):
        return 0.0
    return float(((palette[_nearest(palette.astype(np.float32), colors)] - colors) ** 2).mean())


def _sample(frame: np.ndarray, count: int) -> np.ndarray:
    """Codes (N,) of the opaque pixels, or of so many of them."""
    frame = rgba(frame)
    codes = _color_codes(frame)[frame[..., 3] >= OPAQUE]
    return codes if len(codes) <= count else np.random.default_rng(0).choice(codes, count)


def _distinct(codes: np.ndarray) -> np.ndarray:
    """Each code once, in order. As `numpy.unique`, which hashes: 8 times as long of a frame, 28 times of 16."""
    codes = np.sort(codes)
    return codes[np.diff(codes, prepend=~codes[:1]) != 0]


def _color_codes(frame: np.ndarray) -> np.ndarray:
    """uint8 RGBA (H, W, 4) -> uint32 (H, W): R + 256 G + 65536 B."""
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 4, f"{frame.dtype} {frame.shape}"
    return np.ascontiguousarray(frame).view("<u4")[..., 0] & np.uint32(0xFFFFFF)


def _code_colors(codes: np.ndarray) -> np.ndarray:
    """`_color_codes` undone: (N,) -> uint8 (N, 3)."""
    return codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].copy()


class PaletteMap:
    """RGBA frame (H, W, 4) -> palette indices uint8 (H, W); ``transparent`` or else len(palette) where it is that.

    Exact nearest colours in RGB. Each is worked out once and kept in a table over all 2^24 colours (32 MiB); a coarser
    table, or Pillow's own, costs 0.1 to 4 dB and moves colours that the palette holds exactly.
    """

    def __init__(self, palette: np.ndarray, transparent: int | None = None) -> None:
        self._palette = palette.astype(np.float32)
        self._transparent = len(palette) if transparent is None else transparent
        self._known = np.zeros(1 << 24, np.int16)  # the index + 1; memory is taken where it is written to alone

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        codes = _color_codes(frame)
        new = _distinct(codes[self._known[codes] == 0])
        for start in range(0, len(new), 1 << 14):  # in chunks, or distances would fill the memory
            chunk = new[start : start + (1 << 14)]
            self._known[chunk] = 1 + _nearest(self._palette, _code_colors(chunk).astype(np.float32))
        return np.where(frame[..., 3] < OPAQUE, self._transparent, self._known[codes] - 1).astype(np.uint8)


def _nearest(palette: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Index of the nearest palette colour, float32 (N, 3), of each colour, float32 (M, 3)."""
    # |c - p|^2 = |c|^2 - 2 c.p + |p|^2, and |c|^2 is the same for every p; whole numbers below 2^24, so no rounding
    return ((palette**2).sum(1) - 2 * colors @ palette.T).argmin(1)
