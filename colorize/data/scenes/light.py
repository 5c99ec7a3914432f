"""Daylight: the moods of the sky, clouds, haze, and the camera's finish (all colours in linear RGB)."""

from dataclasses import dataclass

import numpy as np

from .noise import TILE, Array, fractal, mix, sample, single, smoothstep


def rgb(red: float, green: float, blue: float) -> Array:
    """Linear-light colour, shape (3,), of an sRGB triple in 0..255 (2.2 power law)."""
    return (np.array([red, green, blue], np.float32) / 255.0) ** single(2.2)


@dataclass(frozen=True)
class Light:
    """Daylight of one picture: colours are linear RGB (3,), `sun` a unit vector (right, up, away)."""

    sun: Array
    sunlight: Array
    ambient: Array
    zenith: Array
    middle: Array
    horizon: Array
    cover: float  # share of the sky under cloud, 0..1
    low_sun: bool
    overcast: bool


# name: zenith, middle, horizon (sRGB), sunlight, ambient (linear), lowest and highest sun elevation, cloud cover
_Mood = tuple[
    tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...], float, float, float
]
_MOODS: dict[str, _Mood] = {
    "clear": ((52, 104, 178), (108, 158, 212), (190, 214, 232), (2.0, 1.9, 1.72), (0.42, 0.52, 0.68), 35, 65, 0.38),
    "fair": ((70, 120, 186), (128, 170, 214), (205, 220, 230), (1.9, 1.78, 1.58), (0.45, 0.53, 0.66), 30, 60, 0.6),
    "hazy": ((130, 160, 192), (172, 194, 212), (214, 220, 222), (1.5, 1.4, 1.2), (0.6, 0.64, 0.7), 30, 55, 0.2),
    "overcast": ((158, 165, 174), (180, 186, 192), (208, 211, 213), (0.4, 0.4, 0.4), (0.86, 0.9, 0.95), 40, 60, 0.95),
    "golden": ((84, 122, 176), (160, 176, 190), (240, 208, 160), (2.1, 1.5, 0.85), (0.42, 0.46, 0.58), 10, 20, 0.35),
    "sunset": ((72, 86, 138), (186, 132, 138), (250, 172, 96), (1.7, 0.95, 0.45), (0.36, 0.34, 0.42), 3, 8, 0.5),
    "dusk": ((62, 78, 128), (142, 128, 160), (232, 178, 158), (0.9, 0.62, 0.52), (0.42, 0.44, 0.58), 3, 7, 0.4),
}
_DAYTIME = {"clear": 0.3, "fair": 0.28, "hazy": 0.12, "overcast": 0.15, "golden": 0.15}
_ALL_DAY = {"clear": 0.24, "fair": 0.2, "hazy": 0.1, "overcast": 0.14, "golden": 0.12, "sunset": 0.13, "dusk": 0.07}


def daylight(rng: np.random.Generator, evenings: bool = False) -> Light:
    """A random daylight; `evenings` also allows sunset and dusk."""
    odds = _ALL_DAY if evenings else _DAYTIME
    name = str(rng.choice(list(odds), p=list(odds.values())))
    zenith, middle, horizon, sunlight, ambient, low, high, cover = _MOODS[name]
    elevation = np.radians(rng.uniform(low, high))
    # Low suns may stand in front of the camera; high suns light the scene from the side or from behind.
    front = name in ("sunset", "dusk")
    azimuth = rng.normal(0.0, 0.35) if front else rng.choice([-1, 1]) * rng.uniform(0.7, 2.4)
    sun = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    tint = single(rng.normal(1.0, 0.04, 3))
    return Light(
        sun=sun.astype(np.float32),
        sunlight=single(sunlight) * single(rng.uniform(0.85, 1.1)),
        ambient=single(ambient),
        zenith=rgb(*zenith) * tint,
        middle=rgb(*middle) * tint,
        horizon=rgb(*horizon) * tint,
        cover=float(np.clip(cover + rng.normal(0.0, 0.18), 0.0, 1.0)),
        low_sun=name in ("golden", "sunset", "dusk"),
        overcast=name == "overcast",
    )


def sky_colour(light: Light, elevation: Array) -> Array:
    """Clear sky colour, shape elevation.shape + (3,), at `elevation` (0 horizon .. 1 zenith)."""
    e = np.clip(elevation, 0.0, 1.0)[..., None]
    low = np.clip(e / 0.28, 0.0, 1.0) ** 0.8
    high = np.clip((e - 0.28) / 0.72, 0.0, 1.0) ** 0.8
    return np.asarray(light.horizon + low * (light.middle - light.horizon) + high * (light.zenith - light.middle))


def sky(rng: np.random.Generator, light: Light, shape: tuple[int, int], horizon: float, focal: float = 1.0) -> Array:
    """The sky above the row `horizon` (fraction of the height), shape (h, w, 3), with sun glow and clouds."""
    height, width = shape
    seen = min(int(horizon * height) + 1, height)  # below the horizon there is nothing to draw
    y = ((np.arange(seen, dtype=np.float32) + 0.5) / height)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height)[None, :]
    elevation = np.maximum(horizon - y, 0.0) / focal + 0.0 * x
    image = sky_colour(light, elevation * 1.25)
    image = image + _glow(light, x / focal, elevation)
    image = _clouds(rng, light, image, x / focal, elevation)
    below = np.broadcast_to(light.horizon, (height - seen, width, 3))
    return np.concatenate([image, below]).astype(np.float32)


def _glow(light: Light, x: Array, elevation: Array) -> Array:
    """Forward scattering around a sun in front of the camera, shape (h, w, 3)."""
    if light.sun[2] <= 0.2 or not light.low_sun:
        return np.zeros(3, np.float32)
    distance = np.hypot(x - light.sun[0] / light.sun[2], elevation - light.sun[1] / light.sun[2])[..., None]
    halo = 0.35 * np.exp(-distance * 5.0) + 2.5 * np.exp(-((distance / 0.035) ** 2))
    return np.asarray(halo * light.sunlight, np.float32)


def _clouds(rng: np.random.Generator, light: Light, image: Array, x: Array, elevation: Array) -> Array:
    """Clouds on a high flat layer seen in perspective, lit from the side the sun is on."""
    flat = float(rng.uniform(0.10, 0.22))
    wide = float(rng.uniform(9.0, 22.0)) if not light.overcast else 12.0
    tile = fractal(rng, beta=float(rng.uniform(2.9, 3.5)), stretch=(1.0, float(rng.uniform(1.0, 1.8))))
    u, v = x / (elevation + flat) * wide, 40.0 * np.log(elevation + flat) + 0.0 * x
    u = u + float(rng.uniform(0, TILE))
    density = sample(tile, u, v) + 0.28 * sample(tile, u * 4.1, v * 4.1)
    toward = sample(tile, u + 5.0 * float(np.sign(light.sun[0] or 1.0)), v + 4.0)
    threshold = float(np.interp(light.cover, [0.0, 0.3, 0.6, 1.0], [2.2, 0.9, 0.1, -1.6]))
    soft = 0.9 if light.overcast else float(rng.uniform(0.5, 1.1))
    alpha = smoothstep(threshold, threshold + soft, density) * smoothstep(-0.01, 0.10, elevation)
    lit = smoothstep(-0.7, 0.6, density - toward - 0.25 * np.maximum(density - threshold - 0.8, 0.0))
    bright = np.minimum(0.28 * light.sunlight + 0.52 * light.ambient, 1.0)
    dark = 0.45 * light.ambient + 0.35 * light.horizon + 0.04 * light.sunlight
    if light.overcast:
        bright, dark = light.horizon * 1.05, light.zenith * 0.72
    cloud = mix(dark, bright, lit)
    return mix(image, mix(cloud, light.horizon, np.exp(-elevation * 7.0)), alpha * 0.93)


def lambert(light: Light, albedo: Array, normal: tuple[Array, Array, Array], shadow: Array | float = 1.0) -> Array:
    """Sun and sky on a matt surface (Lambert): `normal` as (right, up, away) fields, `shadow` 0..1 lets sun in."""
    sun = np.maximum(normal[0] * light.sun[0] + normal[1] * light.sun[1] + normal[2] * light.sun[2], 0.0) * shadow
    sky_part = 0.6 + 0.4 * normal[1]
    return np.asarray(albedo * (sun[..., None] * light.sunlight + sky_part[..., None] * light.ambient), np.float32)


def haze(light: Light, image: Array, depth: Array, visibility: float) -> Array:
    """Atmospheric perspective: colours go to the horizon's as exp(-depth / visibility) falls."""
    veil = 1.0 - np.exp(-depth / visibility)
    return mix(image, light.horizon * 0.92 + light.middle * 0.08, veil)


def develop(rng: np.random.Generator, image: Array) -> Array:
    """A camera's finish: exposure, film curve, saturation, lens softness, vignette, grain. To uint8 sRGB."""
    height, width = image.shape[:2]
    target = rng.uniform(0.20, 0.30)
    exposure = (target / (float(np.median(image.mean(axis=2))) + 1e-3)) ** 0.45
    image = np.maximum(image * single(exposure * rng.uniform(0.92, 1.08)), 0.0)
    image = image * (1.0 + 0.16 * image) / (1.0 + 0.62 * image) * 1.28  # soft shoulder (extended Reinhard 2002)
    grey = image @ single([0.2126, 0.7152, 0.0722])
    image = grey[..., None] + single(rng.uniform(0.82, 1.02)) * (image - grey[..., None])
    image *= single(rng.normal(1.0, 0.02, 3))  # white balance
    image = np.clip(image, 0.0, 1.0) ** single(1 / 2.2)
    softness = rng.uniform(0.10, 0.22) * height / 256
    image = _soften(image, min(softness, 0.25))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    image *= (1.0 - single(rng.uniform(0.0, 0.10)) * (x * x + y * y))[..., None]
    image += rng.uniform(0.002, 0.011) * rng.standard_normal((height, width, 1), dtype=np.float32)
    return np.asarray(np.clip(image, 0.0, 1.0) * 255.0 + 0.5, np.uint8)


def _soften(image: Array, weight: float) -> Array:
    """A three-tap lens the neighbours weighing `weight` each."""
    for axis in (0, 1):
        padded = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis)
        size = image.shape[axis]
        before = padded.take(range(size), axis)
        after = padded.take(range(2, size + 2), axis)
        image = (1 - 2 * weight) * image + weight * (before + after)
    return image
