"""Grass, flowers, trees and woods, painted leaf by leaf with small dabs."""

from dataclasses import dataclass

import numpy as np

from .light import Light, lambert, rgb
from .noise import Array, mix


def dabs(image: Array, x: Array, y: Array, radius: Array, colour: Array) -> None:
    """Paint small discs in order onto `image` (h, w, 3): centres and radii (n,) in pixels, colours (n, 3).

    Discs of one size are one scatter; later dabs cover earlier ones of the same size, larger sizes go first.
    """
    height, width = image.shape[:2]
    size = np.clip(np.round(radius * 2), 1, 9).astype(int)
    for diameter in np.unique(size)[::-1]:
        chosen = size == diameter
        dx, dy = _disc(int(diameter))
        columns = (np.floor(x[chosen, None]) + dx).astype(int)
        rows = (np.floor(y[chosen, None]) + dy).astype(int)
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        colours = np.repeat(colour[chosen], dx.size, axis=0)[inside.ravel()]
        image[rows[inside], columns[inside]] = colours


def _disc(diameter: int) -> tuple[Array, Array]:
    reach = np.arange(diameter) - (diameter - 1) // 2
    dy, dx = np.meshgrid(reach, reach, indexing="ij")
    centre = 0.0 if diameter % 2 else 0.5
    inside = (dx - centre) ** 2 + (dy - centre) ** 2 <= (diameter / 2) ** 2
    return dx[inside], dy[inside]


def strokes(image: Array, x: Array, y: Array, length: Array, lean: Array, colour: Array, parts: int = 10) -> None:
    """Paint upright tapering strokes (grass blades, stalks): feet (n,) in pixels, tips leaning `lean` pixels aside.

    Colours (n, 3) darken towards the foot, where blades shade one another. Order: as given, later in front.
    """
    t = np.linspace(0.0, 1.0, parts, dtype=np.float32)[None, :]
    columns = (x[:, None] + lean[:, None] * t**2).astype(int)
    rows = (y[:, None] - length[:, None] * t * (1 - 0.15 * t)).astype(int)
    colours = colour[:, None, :] * (0.55 + 0.55 * t[..., None])
    inside = (columns >= 0) & (columns < image.shape[1]) & (rows >= 0) & (rows < image.shape[0])
    image[rows[inside], columns[inside]] = colours[inside]


Leaves = tuple[Array, Array, tuple[Array, Array, Array], Array]  # right, down (pixels), normals, shade 0..1


@dataclass(frozen=True)
class Season:
    """Colours (linear RGB) of a time of year: two grasses to vary between, and leaves to choose from."""

    grass: tuple[Array, Array]
    leaves: tuple[Array, ...]
    flowers: float  # how many, 0..1


_OAK, _LIME, _DARK = rgb(62, 88, 38), rgb(96, 122, 48), rgb(44, 68, 36)
SEASONS = {
    "spring": Season((rgb(88, 124, 54), rgb(128, 150, 72)), (_LIME, rgb(112, 138, 60), _OAK), 1.0),
    "summer": Season((rgb(92, 122, 46), rgb(140, 146, 70)), (_OAK, _DARK, _LIME), 0.5),
    "late summer": Season((rgb(112, 122, 56), rgb(166, 154, 88)), (_OAK, _DARK, rgb(90, 100, 44)), 0.25),
    "autumn": Season(
        (rgb(100, 120, 52), rgb(142, 138, 72)), (rgb(176, 112, 40), rgb(160, 84, 38), rgb(184, 146, 58), _OAK), 0.1
    ),
}


def season(rng: np.random.Generator, odds: tuple[float, float, float, float] = (0.4, 0.35, 0.12, 0.13)) -> Season:
    """A random season; `odds` of spring, summer, late summer and autumn."""
    return SEASONS[str(rng.choice(list(SEASONS), p=odds))]


@dataclass(frozen=True)
class Standing:
    """Where a thing stands: pixel of its foot, pixels per metre there, and the haze that veils it (0..1)."""

    column: float
    row: float
    scale: float
    veil: float


def tree(
    rng: np.random.Generator, image: Array, light: Light, at: Standing, leaf: Array, tall: float, shape: str
) -> None:
    """A tree of `tall` metres: 'round', 'poplar' or 'fir'; a trunk, and a crown of leaves lit as on a rough ball."""
    size = tall * at.scale
    if size < 2:
        return
    _ground_shade(image, light, at, size)
    _trunk(rng, image, light, at, size, shape)
    x, y, normal, hollow = _fir(rng, size) if shape == "fir" else _crown(rng, size, 0.32 if shape == "poplar" else 1.0)
    lit = lambert(light, np.ones(3, np.float32) * leaf, normal, 1.0)
    colour = lit * (hollow * rng.uniform(0.6, 1.25, x.size).astype(np.float32))[:, None]
    colour = mix(colour, light.horizon, at.veil)
    radius = np.full(x.size, np.clip(size / 55, 0.5, 2.2)) * rng.uniform(0.7, 1.3, x.size)
    dabs(image, at.column + x, at.row + y, radius, colour)


def _crown(rng: np.random.Generator, size: float, slim: float) -> Leaves:
    """Leaves of a broad crown, back to front: offsets in pixels, normals, and the shade between boughs."""
    boughs = int(rng.integers(14, 26))
    angle = rng.uniform(0, 2 * np.pi, boughs)
    reach = np.sqrt(rng.uniform(0, 1, boughs)) * 0.29
    bx, by, bz = (
        reach * np.cos(angle) * slim,
        -0.60 + 0.9 * reach * np.sin(angle) / slim**0.25,
        rng.uniform(-1, 1, boughs) * 0.2,
    )
    radius = rng.uniform(0.09, 0.17, boughs) * (0.4 + 0.6 * slim) * (1.0 - 0.6 * reach)
    count = int(np.clip(size * size * 0.5, 30, 5000))
    bough = rng.integers(0, boughs, count)
    n = rng.standard_normal((count, 3)).astype(np.float32)
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    n[:, 2] = -np.abs(n[:, 2])  # towards the camera
    rough = rng.uniform(0.75, 1.12, count)
    x, y = bx[bough] + n[:, 0] * radius[bough] * rough, by[bough] - n[:, 1] * radius[bough] * rough
    depth = bz[bough] + n[:, 2] * radius[bough]
    whole = np.stack([x / max(slim, 0.5), -(y + 0.60), depth], 1) / 0.36  # the crown as one ball, for broad shading
    normal = 0.55 * n + 0.6 * whole
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    hollow = np.clip(0.72 + 0.40 * n[:, 1] + 0.5 * (-(y + 0.60)), 0.35, 1.2)
    order = np.argsort(-depth)
    return _sorted(order, x * size, y * size, normal, hollow)


def _fir(rng: np.random.Generator, size: float) -> Leaves:
    """Needles of a conifer in drooping tiers; as `_crown`."""
    count = int(np.clip(size * size * 0.35, 30, 4000))
    t = np.sqrt(rng.uniform(0, 1, count))  # 0 at the tip
    tier = (t * 9) % 1.0
    turn = rng.uniform(-np.pi / 2, np.pi / 2, count)
    reach = (0.03 + 0.22 * t) * (0.55 + 0.45 * tier) * rng.uniform(0.5, 1.0, count) ** 0.5
    x, y = reach * np.sin(turn), -0.97 + 0.86 * t + 0.03 * reach * rng.standard_normal(count)
    normal = np.stack([np.sin(turn), np.full(count, 0.45), -np.cos(turn)], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    hollow = 0.45 + 0.5 * (1 - tier) * np.clip(reach / (0.03 + 0.22 * t), 0, 1) + 0.15 * np.cos(turn)
    order = np.argsort(-normal[:, 2] - t)
    return _sorted(order, x * size, y * size, normal, hollow)


def _sorted(order: Array, x: Array, y: Array, normal: Array, hollow: Array) -> Leaves:
    n = normal[order].astype(np.float32)
    return x[order], y[order], (n[:, 0], n[:, 1], n[:, 2]), hollow[order].astype(np.float32)


def _trunk(rng: np.random.Generator, image: Array, light: Light, at: Standing, size: float, shape: str) -> None:
    thick = size * (0.025 if shape == "fir" else 0.04)
    count = int(np.clip(thick * size * 2, 6, 600))
    up = rng.uniform(0, 0.5, count).astype(np.float32)
    side = rng.uniform(-1, 1, count).astype(np.float32)
    normal = (side, 0.0 * side, -np.sqrt(1 - side * side))
    colour = lambert(light, rgb(92, 76, 60) * np.ones(3, np.float32), normal) * rng.uniform(0.6, 1.1, (count, 1))
    x = at.column + side * thick * (0.6 - 0.4 * up)
    dabs(image, x, at.row - up * size, np.full(count, max(size / 90, 0.5)), mix(colour, light.horizon, at.veil))


def _ground_shade(image: Array, light: Light, at: Standing, size: float) -> None:
    """The soft shadow under a tree, thrown away from the sun (darker and longer under a strong, low sun)."""
    strength = 0.32 if light.overcast else 0.6
    away = 0.0 if light.overcast else -0.35 * light.sun[0] / max(float(light.sun[1]), 0.25)
    shade_ellipse(image, at.column + away * size, at.row, size * (0.33 + abs(away) * 0.8), size * 0.075, strength)


def shade_ellipse(image: Array, column: float, row: float, half_width: float, half_height: float, depth: float) -> None:
    """Darken a soft ellipse of `image` by up to `depth`, as a shadow or where things touch the ground."""
    top, bottom = max(int(row - 2 * half_height), 0), min(int(row + 2 * half_height) + 2, image.shape[0])
    left, right = max(int(column - 2 * half_width), 0), min(int(column + 2 * half_width) + 2, image.shape[1])
    if top >= bottom or left >= right:
        return
    y = (np.arange(top, bottom, dtype=np.float32)[:, None] - row) / max(half_height, 0.5)
    x = (np.arange(left, right, dtype=np.float32)[None, :] - column) / max(half_width, 0.5)
    image[top:bottom, left:right] *= (1.0 - depth * np.exp(-1.2 * (x * x + y * y) ** 1.5))[..., None]
