"""Fractal noise, sampling and smoothing: the raw material of every scene."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]  # single precision throughout: half the memory traffic of NumPy's default
TILE = 256  # side of a noise tile; a power of two, so wrapping is a bit mask


@lru_cache(maxsize=32)
def _amplitude(shape: tuple[int, int], beta: float, stretch: tuple[float, float], lowest: float) -> Array:
    """Spectral amplitude f^(-beta/2), zero below `lowest` cycles per tile. Shape (h, w // 2 + 1)."""
    fy = np.fft.fftfreq(shape[0])[:, None] * shape[0] * stretch[0]
    fx = np.fft.rfftfreq(shape[1])[None, :] * shape[1] * stretch[1]
    f = np.hypot(fy, fx)
    amplitude = np.where(f >= lowest, np.maximum(f, 1e-6) ** (-beta / 2), 0.0)
    amplitude[0, 0] = 0.0
    return amplitude.astype(np.float32)


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int] = (TILE, TILE),
    beta: float = 3.0,
    stretch: tuple[float, float] = (1.0, 1.0),
    lowest: float = 1.0,
) -> Array:
    """Tileable 1/f^beta noise, shape `shape`, mean 0 and standard deviation 1.

    Spectral synthesis (Voss 1985, "Random fractal forgeries"; Saupe 1988, in "The Science of Fractal
    Images"). `stretch` (y, x) above 1 lengthens features along the axis; `lowest` drops broad features.
    """
    amplitude = _amplitude(shape, beta, stretch, lowest)
    parts = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    field = np.fft.irfft2((parts[0] + 1j * parts[1]) * amplitude, s=shape)
    return (field / (field.std() + 1e-9)).astype(np.float32)


def profile(rng: np.random.Generator, length: int, beta: float = 2.0) -> Array:
    """Tileable one-dimensional 1/f^beta noise, shape (length,), mean 0 and standard deviation 1."""
    f = np.maximum(np.arange(length // 2 + 1), 1) ** (-beta / 2)
    f[0] = 0.0
    parts = rng.standard_normal((2, f.size))
    line = np.fft.irfft((parts[0] + 1j * parts[1]) * f, n=length)
    return (line / (line.std() + 1e-9)).astype(np.float32)


def sample(tile: Array, u: Array, v: Array) -> Array:
    """Bilinear lookup in a (TILE, TILE) tile that wraps around; `u` (columns) and `v` (rows) in tile pixels.

    Works strip by strip: temporaries that stay in the processor's cache make it some four times faster.
    """
    u, v = np.broadcast_arrays(u, v)
    if u.size <= _STRIP:
        return _bilinear(tile, u, v)
    found = np.empty(u.shape, np.float32)
    rows = max(_STRIP // max(u[0].size, 1), 1)
    for top in range(0, u.shape[0], rows):
        found[top : top + rows] = _bilinear(tile, u[top : top + rows], v[top : top + rows])
    return found


_STRIP = 8192  # points


def _bilinear(tile: Array, u: Array, v: Array) -> Array:
    left, top = np.floor(u), np.floor(v)
    across, down = (u - left).astype(np.float32), (v - top).astype(np.float32)
    column = left.astype(np.intp) & (TILE - 1)
    row = (top.astype(np.intp) & (TILE - 1)) * TILE
    next_column, next_row = (column + 1) & (TILE - 1), (row + TILE) & (TILE * TILE - 1)
    flat = tile.ravel()
    upper, lower = flat.take(row + column), flat.take(next_row + column)
    upper += across * (flat.take(row + next_column) - upper)
    lower += across * (flat.take(next_row + next_column) - lower)
    return np.asarray(upper + down * (lower - upper), dtype=np.float32)


def octaves(
    tile: Array, x: Array, z: Array, footprint: Array, wavelength: float, count: int, gain: float = 0.6
) -> Array:
    """Sum of `count` octaves of band noise over world points (x, z), from `wavelength` metres downwards.

    Turbulence after Perlin 1985 ("An Image Synthesizer"). An octave fades out where a pixel covers more than
    about half its wavelength (`footprint`, metres per pixel), so the distance never sparkles.
    """
    total = np.zeros(np.broadcast_shapes(x.shape, z.shape), np.float32)
    for octave in range(count):
        length = wavelength / 2**octave
        weight = gain**octave * np.clip(1.4 - 2.2 * footprint / length, 0.0, 1.0)
        if not weight.any():
            break
        scale = BAND_PERIOD / length
        total += weight * sample(tile, x * scale + 37.0 * octave, z * scale + 91.0 * octave)
    return total


BAND_PERIOD = 16.0  # tile pixels per wave of a band tile


def band(rng: np.random.Generator) -> Array:
    """A tile of band-limited noise for `octaves`: waves of about BAND_PERIOD pixels, standard deviation 1."""
    return fractal(rng, beta=5.0, lowest=TILE / BAND_PERIOD * 0.7)


def single(values: ArrayLike) -> Array:
    """`values` as a single-precision array."""
    return np.asarray(values, np.float32)


def smoothstep(low: Array | float, high: Array | float, x: Array | float) -> Array:
    """0 below `low`, 1 above `high`, a smooth cubic ramp between (Hermite)."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def blur(image: Array, radius: float) -> Array:
    """Gaussian-like blur of an (h, w) or (h, w, c) image: three box blurs, edges repeated (Wells 1986)."""
    width = int(radius) * 2 + 1
    if width < 3:
        return image
    for _ in range(3):
        for axis in (0, 1):
            image = _box(image, width, axis)
    return image


def _box(image: Array, width: int, axis: int) -> Array:
    half = width // 2
    pad = [(0, 0)] * image.ndim
    pad[axis] = (half + 1, half)
    total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float32)
    ahead, behind = ([slice(None)] * image.ndim for _ in range(2))
    ahead[axis], behind[axis] = slice(width, None), slice(None, -width)
    return np.asarray((total[tuple(ahead)] - total[tuple(behind)]) / width, dtype=np.float32)


def mix(a: Array, b: Array, t: Array | float) -> Array:
    """Linear blend a + t (b - a) of colours (..., 3); a field `t` (...) is applied to every channel."""
    weight = t[..., None] if isinstance(t, np.ndarray) and t.ndim else t
    return np.asarray(a + weight * (b - a), dtype=np.float32)
