"""A pinhole camera over a height field: where every pixel's ground lies, how steep it is, how far."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import Array

Height = Callable[[Array, Array], Array]  # world (x, z) in metres -> height in metres


@dataclass(frozen=True)
class Camera:
    """Looks along +z from (0, eye, 0). `horizon` is its row as a fraction of the height; `focal` in heights."""

    width: int
    height: int
    horizon: float
    eye: float
    focal: float = 1.0

    def columns(self) -> Array:
        """Screen x of the pixel columns, in picture heights, 0 at the centre; shape (1, width)."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.height)[None, :]

    def rows(self) -> Array:
        """Screen y of the pixel rows, 0 at the top, 1 at the bottom; shape (height, 1)."""
        return ((np.arange(self.height, dtype=np.float32) + 0.5) / self.height)[:, None]

    @property
    def top(self) -> int:
        """The first pixel row that lies wholly below the horizon."""
        return int(np.ceil(self.horizon * self.height))

    def plane(self, far: float = 2e4) -> tuple[Array, Array]:
        """World (x, z) of the flat ground in the rows from `top` down, (height - top, width); at most `far` away."""
        drop = np.maximum(self.rows()[self.top :] - self.horizon, self.focal * self.eye / far)
        z = (self.focal * self.eye / drop + 0.0 * self.columns()).astype(np.float32)
        return self.columns() * z / self.focal, z

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Pixel (column, row) of a world point."""
        column = self.width / 2 + self.focal * x / z * self.height
        return column, (self.horizon + self.focal * (self.eye - y) / z) * self.height

    def pixels(self, metres: float, z: float) -> float:
        """Size in pixels of an upright length of `metres` at depth `z`."""
        return self.focal * metres / z * self.height


@dataclass(frozen=True)
class Ground:
    """What each pixel sees in the rows from `top` down; above there is only sky. All (height - top, width)."""

    top: int
    x: Array  # metres right of the camera
    y: Array  # metres above level 0
    z: Array  # metres ahead
    normal: tuple[Array, Array, Array]
    sky: NDArray[np.bool_]
    footprint: Array  # metres of ground per pixel

    def under(self, sky: Array, land: Array) -> Array:
        """`land` (height - top, width, 3) in front of the picture `sky` (height, width, 3)."""
        return np.concatenate([sky[: self.top], np.where(self.sky[..., None], sky[self.top :], land)])

    def visible(self, column: float, row: float, z: float) -> bool:
        """Whether a point standing at depth `z` on pixel (column, row) is in the picture and not behind a hill."""
        height, width = self.z.shape
        i, j = round(row) - self.top, round(column)
        return 0 <= j < width and 0 <= i < height and bool(self.z[i, j] > 0.85 * z) and not self.sky[i, j]


def cast(camera: Camera, surface: Height, far: float) -> Ground:
    """See the height field `surface` through `camera`, out to `far` metres.

    Floating horizon (Wright 1973, "A two-space solution to the hidden line problem"; the "Voxel Space" of
    Comanche, 1992): along each column heights are sampled near to far, and a sample shows only where it rises
    above everything nearer. All columns and depths at once: counting, for each pixel, how many samples of the
    running horizon lie below it gives the depth index with one bincount and one cumulative sum.
    """
    height, width = camera.height, camera.width
    near = 0.8 * camera.focal * camera.eye / max(1.0 - camera.horizon, 0.05)
    count = int(height * 1.25)
    depths = np.geomspace(near, far, count, dtype=np.float32)[:, None]
    x = camera.columns() * depths / camera.focal
    heights = surface(x, depths + 0.0 * x)
    screen = (camera.horizon + camera.focal * (camera.eye - heights) / depths) * height
    skyline = np.minimum.accumulate(screen, axis=0)

    row = np.clip(np.ceil(skyline - 0.5), 0, height).astype(np.int64)  # first pixel row whose centre is below
    counts = np.bincount((row * width + np.arange(width)).ravel(), minlength=(height + 1) * width)
    # Samples at or above the pixel's centre; the first of them (front to back) is the one seen.
    above = np.cumsum(counts.reshape(height + 1, width), axis=0)[:height]
    is_sky = above == 0
    top = int(np.argmin(is_sky.all(axis=1)))  # the ground begins here: rows above need no more work
    above, is_sky = above[top:], is_sky[top:]
    hit = count - above
    after = np.clip(hit, 1, count - 1)
    flat_after = after * width + np.arange(width)
    flat_before = flat_after - width
    centre = np.arange(top, height, dtype=np.float32)[:, None] + 0.5
    low, high = skyline.ravel()[flat_before], screen.ravel()[flat_after]
    part = np.clip((low - centre) / np.maximum(low - high, 1e-4), 0.0, 1.0).astype(np.float32)

    def at_pixels(field: Array) -> Array:
        flat = np.ascontiguousarray(field).ravel()
        before = flat[flat_before]
        return np.asarray(before + part * (flat[flat_after] - before), dtype=np.float32)

    z = at_pixels(depths + 0.0 * x)
    normal = _normals(camera, depths, heights, at_pixels)
    return Ground(
        top, camera.columns() * z / camera.focal, at_pixels(heights), z, normal, is_sky, z / (camera.focal * height)
    )


def _normals(
    camera: Camera, depths: Array, heights: Array, at_pixels: Callable[[Array], Array]
) -> tuple[Array, Array, Array]:
    """Unit normals at the pixels from the slopes of the sampled heights (chain rule along the slanted rays)."""
    step = depths / (camera.focal * camera.height)
    slope_x = np.gradient(heights, axis=1) / step
    along = np.gradient(heights, axis=0) / np.gradient(depths, axis=0)
    slope_z = along - slope_x * camera.columns() / camera.focal
    across, ahead = at_pixels(slope_x), at_pixels(slope_z)
    length = np.sqrt(across * across + ahead * ahead + 1.0)
    return -across / length, 1.0 / length, -ahead / length
