"""One palette for a whole GIF, and the nearest of its colours for every pixel: what stands still does not flicker."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from colorize.media.animation import rgba

MAX_COLORS = 254
OPAQUE = 128  # GIF knows no half-transparency: alpha below this is transparent
_FRAME_SAMPLE, _PALETTE_SAMPLE = 1 << 16, 1 << 15  # pixels a frame, pixels in all: more brings < 0.1 dB


def gif_palette(frames: Iterable[np.ndarray]) -> np.ndarray:
    """One palette for a whole clip: median cut refined by k-means over a fixed-seed sample of pixels.

    Args:
        frames: some frames of the clip (16 spread over it do), uint8 (H, W, 3 or 4); the transparent does not count.

    Returns:
        uint8 (N, 3), 1 <= N <= 254. Up to 254 colours in the frames come back exactly.
    """
    generator = np.random.default_rng(0)
    samples = [np.empty(0, np.uint32)]
    for frame in map(rgba, frames):
        codes = _color_codes(frame)[frame[..., 3] >= OPAQUE]
        samples.append(codes if len(codes) <= _FRAME_SAMPLE else generator.choice(codes, _FRAME_SAMPLE))
    codes = np.concatenate(samples)
    colors = np.unique(codes)
    if len(colors) <= MAX_COLORS:
        return _code_colors(colors) if len(colors) else np.zeros((1, 3), np.uint8)
    mosaic = Image.fromarray(_code_colors(generator.choice(codes, _PALETTE_SAMPLE))[None])
    quantized = mosaic.quantize(MAX_COLORS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)


def _color_codes(frame: np.ndarray) -> np.ndarray:
    """uint8 RGBA (H, W, 4) -> uint32 (H, W): R + 256 G + 65536 B."""
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 4, f"{frame.dtype} {frame.shape}"
    return np.ascontiguousarray(frame).view("<u4")[..., 0] & np.uint32(0xFFFFFF)


def _code_colors(codes: np.ndarray) -> np.ndarray:
    """`_color_codes` undone: (N,) -> uint8 (N, 3)."""
    return codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].copy()


class PaletteMap:
    """RGBA frame (H, W, 4) -> palette indices uint8 (H, W), len(palette) where transparent.

    Exact nearest colours in RGB. Each is worked out once and kept in a table over all 2^24 colours (32 MiB); a coarser
    table, or Pillow's own, costs 0.1 to 4 dB and moves colours that the palette holds exactly.
    """

    def __init__(self, palette: np.ndarray) -> None:
        self._palette = palette.astype(np.float32)
        self._known = np.full(1 << 24, -1, np.int16)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        codes = _color_codes(frame)
        new = np.unique(codes[self._known[codes] < 0])
        for start in range(0, len(new), 1 << 14):  # in chunks, or distances would fill the memory
            chunk = new[start : start + (1 << 14)]
            self._known[chunk] = self._nearest(_code_colors(chunk).astype(np.float32))
        return np.where(frame[..., 3] < OPAQUE, len(self._palette), self._known[codes]).astype(np.uint8)

    def _nearest(self, colors: np.ndarray) -> np.ndarray:
        # |c - p|^2 = |c|^2 - 2 c.p + |p|^2, and |c|^2 is the same for every p; whole numbers below 2^24, so no rounding
        return ((self._palette**2).sum(1) - 2 * colors @ self._palette.T).argmin(1)
