"""Antialiased polygons, and the solid things made of them: farm buildings, animals, fences, bales."""

import numpy as np
from PIL import Image, ImageDraw

from .light import Light, lambert, rgb
from .noise import Array, mix, single
from .plants import Standing, dabs, shade_ellipse
from .terrain import Camera

_FINE = 4  # sub-pixels per pixel along each axis
Point = tuple[float, float]


def coverage(points: list[Point], shape: tuple[int, int]) -> tuple[tuple[slice, slice], Array] | None:
    """How much of each pixel a polygon covers: the rows and columns it touches, and the share (0..1) there.

    `points` are pixels (column, row); None where the polygon lies wholly outside the picture's (h, w) `shape`.
    """
    columns, rows = zip(*points, strict=True)
    left, right = max(int(min(columns)) - 1, 0), min(int(max(columns)) + 2, shape[1])
    top, bottom = max(int(min(rows)) - 1, 0), min(int(max(rows)) + 2, shape[0])
    if left >= right or top >= bottom:
        return None
    canvas = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE))
    ImageDraw.Draw(canvas).polygon([((c - left) * _FINE, (r - top) * _FINE) for c, r in points], fill=255)
    share = np.asarray(canvas.reduce(_FINE), np.float32) / 255.0
    return (slice(top, bottom), slice(left, right)), share


def fill(
    image: Array, points: list[Point], colour: Array, rough: float = 0.0, rng: np.random.Generator | None = None
) -> None:
    """Paint a polygon on `image` (h, w, 3) in `colour` (3,), with multiplicative noise of deviation `rough`."""
    covered = coverage(points, image.shape[:2])
    if covered is None:
        return
    where, share = covered
    paint = np.broadcast_to(colour, (*share.shape, 3))
    if rng is not None and rough:
        paint = paint * (1.0 + rough * rng.standard_normal((*share.shape, 1))).astype(np.float32).clip(0.2, 2.0)
    image[where] = mix(image[where], paint, share)


def post(image: Array, column: float, row: float, half: float, tall: float, colour: Array) -> None:
    """An upright bar on the pixel (column, row), `tall` pixels high and `half` to each side."""
    left, right = column - half, column + half
    fill(image, [(left, row), (right, row), (right, row - tall), (left, row - tall)], colour)


WALLS = (rgb(222, 214, 198), rgb(196, 172, 140), rgb(150, 62, 50), rgb(170, 150, 130), rgb(122, 96, 72))
ROOFS = (rgb(158, 84, 58), rgb(134, 70, 52), rgb(96, 92, 92), rgb(112, 84, 66))


def building(
    rng: np.random.Generator, image: Array, light: Light, camera: Camera, x: float, y: float, z: float
) -> None:
    """A gabled farmhouse or barn at world (x, y, z), seen slightly from one side, lit face by face."""
    wide, deep, wall = rng.uniform(6, 10), rng.uniform(9, 18), rng.uniform(3.2, 6.0)
    peak = wall + wide * rng.uniform(0.35, 0.5)
    turn = rng.uniform(0.35, 1.2) * (1 if x < 0 else -1)
    cos, sin = np.cos(turn), np.sin(turn)
    veil = float(1 - np.exp(-z / 3000.0))
    paint, roof = WALLS[int(rng.integers(len(WALLS)))], ROOFS[int(rng.integers(len(ROOFS)))]

    def at(u: float, h: float, v: float) -> Point:
        return camera.project(x + u * cos - v * sin, y + h, z + u * sin + v * cos)

    def face(
        corners: list[tuple[float, float, float]], albedo: Array, normal: tuple[float, float, float], rough: float
    ) -> None:
        u, h, v = normal
        world = (single([u * cos - v * sin]), single([h]), single([u * sin + v * cos]))
        colour = mix(lambert(light, albedo, world)[0], light.horizon, veil)
        fill(image, [at(*corner) for corner in corners], colour, rough, rng)

    w, d = wide / 2, deep / 2
    shade_ellipse(image, *at(0.0, 0.0, -d), camera.pixels(deep * 0.7, z), max(camera.pixels(0.8, z), 1.0), 0.5)
    side = -1.0 if sin > 0 else 1.0
    slope = (peak - wall) / w
    up = 1 / np.hypot(1, slope)
    face([(side * w, 0, -d), (side * w, 0, d), (side * w, wall, d), (side * w, wall, -d)], paint, (side, 0, 0), 0.05)
    face([(-w, 0, -d), (w, 0, -d), (w, wall, -d), (0, peak, -d), (-w, wall, -d)], paint, (0, 0, -1), 0.05)
    dark = single([0.03, 0.028, 0.026])
    for u in (-0.5, 0.5):
        face(
            [
                (u * w - 0.5, 0.3 * wall, -d),
                (u * w + 0.5, 0.3 * wall, -d),
                (u * w + 0.5, 0.65 * wall, -d),
                (u * w - 0.5, 0.65 * wall, -d),
            ],
            dark,
            (0, 0, -1),
            0.0,
        )
    face([(-0.7, 0, -d), (0.7, 0, -d), (0.7, 0.55 * wall, -d), (-0.7, 0.55 * wall, -d)], paint * 0.25, (0, 0, -1), 0.0)
    for v in np.linspace(-0.55, 0.55, 3) * d:
        face(
            [
                (side * w, 0.35 * wall, v - 0.5),
                (side * w, 0.35 * wall, v + 0.5),
                (side * w, 0.7 * wall, v + 0.5),
                (side * w, 0.7 * wall, v - 0.5),
            ],
            dark,
            (side, 0, 0),
            0.0,
        )
    for s in (-side, side):  # the eaves overhang a little
        face(
            [
                (s * w * 1.08, wall - 0.2, -d * 1.05),
                (s * w * 1.08, wall - 0.2, d * 1.05),
                (0, peak, d * 1.05),
                (0, peak, -d * 1.05),
            ],
            roof,
            (s * slope * up, up, 0),
            0.12,
        )


_COATS = (rgb(232, 228, 220), rgb(120, 76, 48), rgb(36, 32, 30), rgb(168, 120, 80))


def cow(rng: np.random.Generator, image: Array, light: Light, at: Standing) -> None:
    """A grazing cow about 1.4 m tall: barrel, legs, lowered head, patches."""
    s, facing = at.scale * 1.4, float(rng.choice([-1, 1]))
    if s < 4:
        return
    shade_ellipse(image, at.column, at.row, s * 0.8, s * 0.12, 0.5)
    count = int(np.clip(s * s * 3.0, 60, 3000))
    part = rng.choice(4, count, p=[0.66, 0.16, 0.06, 0.12])
    a, r = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    leg = np.array([-0.5, -0.38, 0.36, 0.48])[rng.integers(0, 4, count)]
    cx = np.choose(part, [0.0 * a, leg, 0.66 + 0.0 * a, 0.84 + 0.0 * a])
    cy = np.choose(part, [-0.72, -0.25, -0.72, -0.50])
    rx, ry = np.choose(part, [0.62, 0.07, 0.16, 0.11]), np.choose(part, [0.29, 0.27, 0.2, 0.2])
    px, py = cx + rx * r * np.cos(a), cy + ry * r * np.sin(a)
    base, patch = _COATS[int(rng.integers(2))], _COATS[int(rng.integers(1, 4))]
    spots = rng.uniform(-0.6, 0.6, (4, 2)) * np.array([1.0, 0.3]) + np.array([0.0, -0.75])
    near = np.min(np.hypot(px[:, None] - spots[:, 0], py[:, None] - spots[:, 1]), axis=1)
    albedo = np.where((near < 0.2)[:, None], patch, base)
    up = np.where(part == 0, -np.sin(a) * r, 0.1).astype(np.float32)
    normal = (single(facing * np.cos(a) * r * 0.6), up, single(-np.sqrt(np.clip(1 - r * r, 0.05, 1))))
    colour = lambert(light, single(albedo), normal) * np.clip(0.75 + 0.4 * up, 0.4, 1.1)[:, None]
    order = np.argsort(part == 0, kind="stable")
    colour = mix(colour, light.horizon, at.veil)
    dabs(
        image,
        (at.column + facing * px * s)[order],
        (at.row + py * s)[order],
        np.full(count, max(s / 30, 0.8)),
        colour[order],
    )


def bale(rng: np.random.Generator, image: Array, light: Light, at: Standing) -> None:
    """A round straw bale 1.5 m tall, its spiral end towards the camera."""
    s = at.scale * 1.5
    if s < 3:
        return
    shade_ellipse(image, at.column + 0.2 * s, at.row, s * 0.9, s * 0.12, 0.5)
    count = int(np.clip(s * s * 3.0, 50, 3000))
    a, r = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    end = rng.random(count) < 0.55
    x = np.where(end, 0.42 * r * np.cos(a), rng.uniform(0, 0.7, count) + 0.42 * np.cos(a))
    y = np.where(end, -0.5 + 0.5 * r * np.sin(a), -0.5 + 0.5 * np.sin(a))
    ring = 0.8 + 0.2 * np.sin(r * 28.0)
    normal = (
        np.where(end, -0.3, 0.2).astype(np.float32),
        np.where(end, 0.1, -np.sin(a)).astype(np.float32),
        np.full(count, -0.8, np.float32),
    )
    shade = np.where(end, ring, 0.9) * rng.uniform(0.8, 1.15, count)
    colour = lambert(light, rgb(206, 172, 98) * np.ones(3, np.float32), normal) * shade[:, None].astype(np.float32)
    order = np.argsort(end, kind="stable")
    dabs(
        image,
        (at.column + x * s)[order],
        (at.row + y * s)[order],
        np.full(count, max(s / 40, 0.5)),
        mix(colour, light.horizon, at.veil)[order],
    )


def fence(
    image: Array, light: Light, camera: Camera, ends: tuple[tuple[float, float], tuple[float, float]], ground: float
) -> None:
    """Posts and two rails between two world points (x, z) on ground of height `ground`."""
    (x0, z0), (x1, z1) = ends
    colour = rgb(128, 112, 94) * (light.ambient + 0.4 * light.sunlight)
    for h in (0.6, 1.05):
        rail = [camera.project(x0, ground + h, z0), camera.project(x1, ground + h, z1)]
        rail += [camera.project(x1, ground + h - 0.12, z1), camera.project(x0, ground + h - 0.12, z0)]
        fill(image, rail, colour * single(0.9))
    for t in np.linspace(0, 1, int(np.hypot(x1 - x0, z1 - z0) / 3.0) + 2):
        x, z = x0 + t * (x1 - x0), z0 + t * (z1 - z0)
        column, row = camera.project(x, ground, z)
        post(image, column, row, max(camera.pixels(0.08, z), 0.3), camera.pixels(1.25, z), colour)
