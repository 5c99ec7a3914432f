"""Water: open sea with waves, foam and glitter, and still lakes that mirror what stands behind them."""

from dataclasses import dataclass

import numpy as np

from .light import Light, rgb, sky_colour
from .noise import TILE, Array, fractal, mix, sample, single, smoothstep
from .terrain import Camera

DEEP = {"blue": rgb(20, 62, 96), "green": rgb(26, 78, 84), "slate": rgb(40, 58, 70), "teal": rgb(14, 84, 104)}


@dataclass(frozen=True)
class Waves:
    """Tiles (TILE, TILE) of a sea surface: its height and its slopes across and ahead, all of deviation 1."""

    height: Array
    across: Array
    ahead: Array

    @classmethod
    def make(cls, rng: np.random.Generator, long_crests: float = 1.8) -> "Waves":
        """A wind sea with steep falling spectrum (after Phillips 1958), crests `long_crests` times wider than deep."""
        height = fractal(rng, beta=4.4, stretch=(1.0, long_crests), lowest=5.0)
        across = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) / 2
        ahead = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) / 2
        return cls(height, across / ahead.std(), ahead / ahead.std())


def sea(
    light: Light,
    camera: Camera,
    x: Array,
    z: Array,
    waves: Waves,
    *,
    body: Array,
    length: float,
    chop: float,
    drift: float = 0.0,
) -> tuple[Array, Array]:
    """Open water over world points (x, z): lit colour (h, w, 3), and how high the crests stand (h, w) for foam.

    `length` is the longest waves' (metres), `chop` their steepness (0.05 calm .. 0.3 rough), `body` the colour
    of the water itself (3,) or (h, w, 3). Reflection by Fresnel's law (Schlick 1994) off the noise's slopes;
    `drift` moves the waves, in tile pixels, whole tiles being the identity.
    """
    pitch = z * z / (camera.focal * camera.eye * camera.height)
    footprint = np.sqrt(pitch * z / (camera.focal * camera.height))
    height = crest = across = ahead = np.zeros_like(z)
    for octave, gain in enumerate((1.0, 0.8, 0.7)):
        wavelength = length / 3.7**octave
        weight = gain * np.clip(1.5 - 1.5 * footprint / wavelength, 0.0, 1.0)
        scale = TILE / 8.0 / wavelength
        u, v = x * scale + 67.0 * octave, z * scale + 29.0 * octave + drift
        across = across + weight * sample(waves.across, u, v)
        ahead = ahead + weight * sample(waves.ahead, u, v)
        swell = weight * sample(waves.height, u, v)
        height = height + 0.5**octave * swell
        crest = crest + (0.6, 1.0, 1.0)[octave] * swell
    nx, nz = -chop * across, -chop * ahead
    length_n = np.sqrt(nx * nx + nz * nz + 1.0)
    nx, ny, nz = nx / length_n, 1.0 / length_n, nz / length_n
    distance = np.sqrt(x * x + z * z + camera.eye**2)
    vx, vy, vz = -x / distance, camera.eye / distance, -z / distance
    facing = np.clip(nx * vx + ny * vy + nz * vz, 0.0, 1.0)
    fresnel = 0.02 + 0.98 * (1.0 - np.maximum(facing, 0.12 + 0.5 * chop)) ** 5
    up = 2 * facing * ny - vy
    mirrored = sky_colour(light, np.abs(up) + 0.10 + 0.5 * chop)
    if light.overcast:
        mirrored = mirrored * single(0.85)
    glow = light.ambient + 0.3 * light.sunlight * max(float(light.sun[1]), 0.15)
    lit_body = body * glow * np.clip(1.0 + 0.35 * height, 0.4, 2.0)[..., None]
    colour = mix(lit_body, mirrored, fresnel)
    return colour + _glitter(light, (nx, ny, nz), (vx, vy, vz), chop), crest


def _glitter(light: Light, n: tuple[Array, Array, Array], v: tuple[Array, Array, Array], chop: float) -> Array:
    """The sun's broken reflection (Blinn 1977), shape (h, w, 3)."""
    if light.overcast:
        return np.zeros(3, np.float32)
    hx, hy, hz = (v[i] + light.sun[i] for i in range(3))
    shine = np.clip((n[0] * hx + n[1] * hy + n[2] * hz) / np.sqrt(hx * hx + hy * hy + hz * hz), 0.0, 1.0)
    return np.asarray((1.3 * shine ** (30.0 / chop))[..., None] * light.sunlight, np.float32)


def mirror(rng: np.random.Generator, image: Array, water: Array, horizon: float, tint: Array) -> Array:
    """Still water: where `water` (h, w, 0..1), the picture above the row `horizon` upside down, slightly rippled."""
    height, width = image.shape[:2]
    rows = np.arange(height, dtype=np.float32)[:, None]
    ripple = fractal(rng, beta=2.2, stretch=(1.0, 6.0), lowest=4.0)
    near = np.clip((rows / height - horizon) / 0.4, 0.02, 1.0)
    wobble = sample(
        ripple, np.arange(width, dtype=np.float32)[None, :] / near * 0.3 + 0.0 * rows, 60.0 / near + 0.0 * rows[..., :1]
    )
    line = 2 * horizon * height - rows + wobble * near * 0.05 * height
    source = np.clip(line, 0, height - 1).astype(int)
    seen = image[source, np.arange(width)[None, :]]
    facing = 0.30 + 0.4 * near  # steeper looks see more of the water itself
    surface = mix(seen, tint * seen.mean(axis=(0, 1)) * 2.0, facing * 0.6) * 0.9
    surface = surface * (1.0 + 0.06 * wobble[..., None])
    return mix(image, surface, water)


def whitecaps(light: Light, image: Array, height: Array, z: Array, level: float) -> Array:
    """Foam where the wave height passes `level` deviations."""
    foam = smoothstep(level, level + 0.5, height) * np.exp(-z / 400.0)
    return mix(image, foam_colour(light), foam * 0.8)


def foam_colour(light: Light) -> Array:
    """Sunlit foam, linear RGB (3,)."""
    return np.asarray(0.82 * light.ambient + 0.30 * light.sunlight * max(float(light.sun[1]), 0.25) + 0.04, np.float32)
