"""Scenes at sea: beach (and its rolling waves) and balenes (whales)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .light import Light, daylight, haze, lambert, rgb, sky
from .noise import TILE, Array, band, blur, fractal, mix, octaves, profile, sample, single, smoothstep
from .plants import dabs, shade_ellipse
from .shapes import Point, coverage, fill, post
from .terrain import Camera
from .water import DEEP, Waves, foam_colour, sea, whitecaps

SANDS = (rgb(204, 180, 142), rgb(196, 166, 124), rgb(214, 196, 164), rgb(172, 146, 116), rgb(146, 128, 110))
SHALLOWS = (rgb(70, 160, 160), rgb(92, 150, 140), rgb(60, 140, 150), rgb(110, 136, 118))


@dataclass(frozen=True)
class Shore:
    """A strand with waves running in; `seaward` distances are metres out from the mean waterline."""

    light: Light
    camera: Camera
    x: Array
    z: Array
    seaward: Array
    along: Array
    waves: Waves
    texture: Array
    lace: Array
    sand: Array
    body: Array
    spacing: float
    surf: float  # how strongly waves break, 0.3 .. 1

    @classmethod
    def make(cls, rng: np.random.Generator, light: Light, camera: Camera, turn: float, away: float) -> "Shore":
        """A shore `away` metres ahead, turned by `turn` radians from lying straight across the view."""
        x, z = camera.plane(6000.0)
        texture = band(rng)
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        along = x * cos - z * sin
        bays = profile(rng, TILE, 3.0)
        bend = np.interp(along * 0.8, np.arange(TILE), bays, period=TILE).astype(np.float32)
        seaward = z * cos + x * sin - away - 1.6 * bend
        deep = DEEP[str(rng.choice(list(DEEP)))]
        shallow = SHALLOWS[int(rng.integers(len(SHALLOWS)))]
        body = mix(shallow * 0.75, deep, smoothstep(4.0, float(rng.uniform(40, 120)), seaward))
        return cls(
            light, camera, x, z, seaward, along, Waves.make(rng, 2.4), texture,
            fractal(rng, beta=2.6, lowest=6.0), SANDS[int(rng.integers(len(SANDS)))], body,
            float(rng.uniform(9.0, 16.0)), float(rng.uniform(0.35, 1.0)),
        )  # fmt: skip

    def paint(self, time: float = 0.0) -> Array:
        """The ground and the sea at `time` (in wave periods; whole numbers look alike), shape (rows below
        the horizon, w, 3)."""
        turn = 2 * np.pi * time
        noise = sample(self.lace, self.along * 1.3, 0.0 * self.along + 20.0)
        run = 1.3 * np.sin(turn + 0.8 * noise) + 0.7 * noise  # the swash runs up and down
        edge = self.seaward + run + 0.3 * sample(self.lace, self.along * 4.0, self.seaward * 4.0)
        image = mix(self._sand(), self._sea(time), smoothstep(-0.15, 0.15, edge))
        return haze(self.light, self._foam(image, edge, time), self.z, 9000.0)

    def _sand(self) -> Array:
        footprint = self.z / (self.camera.focal * self.camera.height)
        dunes = octaves(self.texture, self.x, self.z, footprint, 9.0, 3, 0.7)
        grain = octaves(self.texture, self.x * 1.3, self.z, footprint, 0.7, 4, 0.85)
        wet = smoothstep(-3.6, -1.4, self.seaward + 0.5 * dunes)
        up = np.ones_like(self.x)
        normal = (0.10 * dunes + 0.12 * grain * (1 - wet), up, 0.12 * grain * (1 - wet))
        albedo = self.sand * (1.0 + (0.05 * dunes + 0.07 * grain) * (1 - 0.6 * wet))[..., None]
        lit = lambert(self.light, albedo * (1.0 - 0.55 * wet)[..., None], normal)
        shine = wet * (0.12 + 0.30 * smoothstep(3.0, 30.0, self.z))
        return mix(lit, self.light.middle * 0.85, shine)

    def _sea(self, time: float) -> Array:
        """Open water whose texture drifts shorewards: two half-period fades keep the loop seamless."""
        image = np.zeros((*self.x.shape, 3), np.float32)
        near = smoothstep(0.0, 6.0, self.seaward)[..., None]
        phases = (time % 1.0, (time + 0.5) % 1.0) if time else (0.5,)
        for phase in phases:
            weight = (1.0 - abs(2.0 * phase - 1.0)) if time else 1.0
            colour, height = sea(
                self.light, self.camera, self.x, self.z, self.waves, body=self.body * (0.6 + 0.4 * near),
                length=9.0, chop=0.13, drift=(phase - 0.5) * 14.0,
            )  # fmt: skip
            image += weight * whitecaps(self.light, colour, height, self.z, 3.2 - 0.6 * self.surf)
        film = smoothstep(5.0, 0.0, self.seaward)
        sheet = mix(self.sand * 0.45 * (self.light.ambient + 0.4 * self.light.sunlight), self.light.middle, 0.35)
        return mix(image, sheet, 0.75 * film)

    def _foam(self, image: Array, edge: Array, time: float) -> Array:
        """The swash's rim, the lace it leaves, and breakers: a shaded face with foam on its crest and behind it."""
        light = self.light
        white = foam_colour(light)
        crest_noise = sample(self.lace, self.along * 1.1, self.seaward * 0.5)
        phase = (self.seaward + 1.6 * crest_noise) / self.spacing + time
        wave = np.floor(phase)
        p = phase - wave
        distance = smoothstep(1.0, 6.0, self.seaward) * np.exp(-np.maximum(self.seaward, 0.0) / 45.0)
        face = smoothstep(0.0, 0.16, p) * smoothstep(0.34, 0.20, p) * distance
        image = mix(image, self.body * (0.9 * light.ambient + 0.25 * light.sunlight), 0.75 * face)
        fine = sample(self.lace, self.along * 7.0, self.seaward * 6.0) + 0.6 * sample(
            self.lace, self.along * 23.0, self.seaward * 17.0
        )
        where = sample(self.lace, self.along * 0.6, self.seaward * 0.3 + 60.0)
        breaking = smoothstep(1.2 - 2.2 * self.surf, 2.0 - 2.2 * self.surf, where + 1.4 * np.exp(-self.seaward / 14.0))
        crest = smoothstep(0.17, 0.24, p) * smoothstep(0.75, 0.22, p) * distance * breaking
        crest = np.clip(crest * 1.5 * (0.75 + 0.35 * fine), 0.0, 1.0)
        lace = smoothstep(0.55, 0.15, np.abs(fine)) * smoothstep(8.0, 1.0, self.seaward) * smoothstep(-0.1, 0.4, edge)
        rim = smoothstep(-0.12, 0.1, edge) * smoothstep(0.9 + 0.4 * fine, 0.1, edge)
        foam = np.maximum(np.maximum(crest, 0.6 * lace), 0.95 * np.clip(rim, 0.0, 1.0))
        return mix(image, white * (0.92 + 0.06 * fine)[..., None], foam)


def beach(rng: np.random.Generator, width: int, height: int) -> Array:
    """A beach: sand, surf, sea and sky, sometimes a headland, palms, a parasol or a sail."""
    light = daylight(rng, evenings=True)
    camera = Camera(
        width, height, float(rng.uniform(0.25, 0.5)), float(rng.uniform(2.0, 7.0)), float(rng.uniform(0.8, 1.2))
    )
    turn = float(rng.choice([rng.normal(0.0, 0.12), rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)]))
    away = float(rng.uniform(1.3, 3.5)) * camera.eye * camera.focal / (1 - camera.horizon)
    shore = Shore.make(rng, light, camera, turn, away)
    image = sky(rng, light, (height, width), camera.horizon, camera.focal)
    image[camera.top :] = shore.paint()
    if rng.random() < 0.5:
        _headland(rng, image, light, camera)
    if rng.random() < 0.3:
        _sail(rng, image, light, camera)
    side = -1.0 if turn > 0 else 1.0  # the side where the sand reaches furthest
    if rng.random() < 0.3:
        _parasols(rng, image, light, camera, away, turn, side)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            _palm(rng, image, light, camera, side)
    return image


def _headland(rng: np.random.Generator, image: Array, light: Light, camera: Camera) -> None:
    """A distant, hazy point of land on the horizon, wooded or bare."""
    width, height = camera.width, camera.height
    x = np.arange(width) / width
    side = x if rng.random() < 0.5 else 1 - x
    reach = rng.uniform(0.3, 0.9)
    ridge = np.clip(1.0 - side / reach, 0.0, 1.0) ** 0.7 * rng.uniform(0.04, 0.16)
    ridge = ridge * np.clip(1.0 + 0.35 * np.interp(x * 0.4, np.linspace(0, 1, 512), profile(rng, 512, 2.2)), 0.3, 2.0)
    rows = camera.rows()
    land = smoothstep(0.0, 1.5 / height, rows - camera.horizon + ridge[None, :].astype(np.float32)) * (
        rows < camera.horizon + 0.004
    )
    relief = sample(
        fractal(rng, beta=2.8), np.arange(width, dtype=np.float32)[None, :] * 1.5 + 0 * rows, rows * height * 2.5
    )
    green, rock = rgb(70, 88, 52), rgb(140, 122, 102)
    albedo = mix(green, rock, smoothstep(0.2, 1.0, relief + rng.uniform(-1.0, 0.8)))
    colour = (
        albedo
        * (1.0 + 0.3 * relief)[..., None]
        * (light.ambient + 0.5 * light.sunlight * max(float(-light.sun[2]), 0.15))
    )
    image[:] = mix(image, mix(colour, light.horizon, float(rng.uniform(0.3, 0.65))), land)


def _sail(rng: np.random.Generator, image: Array, light: Light, camera: Camera) -> None:
    """A small sailing boat far out."""
    size = camera.height * rng.uniform(0.02, 0.05)
    x, y = camera.width * rng.uniform(0.15, 0.85), camera.horizon * camera.height + size * 0.15
    white = np.minimum(light.ambient * 0.9 + light.sunlight * 0.3, 1.0)
    fill(image, [(x, y - 0.2 * size), (x, y - 2 * size), (x + 0.8 * size, y - 0.25 * size)], white)
    fill(
        image,
        [(x - 0.1 * size, y - 0.2 * size), (x - 0.1 * size, y - 1.8 * size), (x - 0.55 * size, y - 0.25 * size)],
        white * 0.85,
    )
    fill(
        image,
        [
            (x - 0.7 * size, y - 0.15 * size),
            (x + 0.9 * size, y - 0.15 * size),
            (x + 0.6 * size, y + 0.1 * size),
            (x - 0.5 * size, y + 0.1 * size),
        ],
        white * 0.35,
    )


CLOTHS = (
    rgb(196, 52, 44),
    rgb(40, 92, 158),
    rgb(232, 186, 60),
    rgb(236, 232, 224),
    rgb(48, 130, 120),
    rgb(222, 120, 60),
)


def _parasols(
    rng: np.random.Generator, image: Array, light: Light, camera: Camera, away: float, turn: float, side: float
) -> None:
    """One to three beach umbrellas in two colours, with a towel's shade under each."""
    for z in sorted(rng.uniform(0.55, 0.9, int(rng.integers(1, 4))) * away + 2.0, reverse=True):
        x = side * float(rng.uniform(-0.05, 0.38)) * z / camera.focal
        if z * np.cos(turn) + x * np.sin(turn) > away - 2.5:
            continue  # in the water
        column, row = camera.project(x, 0.0, z)
        _parasol(rng, image, light, column, row, camera.pixels(2.0, z))


def _parasol(rng: np.random.Generator, image: Array, light: Light, column: float, row: float, s: float) -> None:
    """One umbrella `s` pixels tall: a pole, and a dome of eight gores in two colours, each lit as it faces."""
    shade_ellipse(image, column - 0.5 * s * float(light.sun[0]), row, 0.55 * s, 0.10 * s, 0.5)
    post(image, column, row, 0.015 * s, s, rgb(220, 214, 204) * (light.ambient + 0.3 * light.sunlight))
    pair = rng.choice(len(CLOTHS), 2, replace=False)
    angles = np.linspace(np.pi, 0, 9)
    for k, (a0, a1) in enumerate(pairwise(angles)):
        rim = [(column + 0.62 * s * np.cos(a), row - 0.66 * s - 0.07 * s * np.sin(a)) for a in (a0, a1)]
        lift = [(column + 0.42 * s * np.cos(a), row - 0.90 * s - 0.03 * s * np.sin(a)) for a in (a1, a0)]
        normal = (single([np.cos((a0 + a1) / 2)]), single([0.7]), single([-0.4]))
        lit = lambert(light, CLOTHS[pair[k % 2]], normal)[0]
        fill(image, [rim[0], rim[1], lift[0], (column, row - 1.0 * s), lift[1]], lit * 0.8)


def _palm(rng: np.random.Generator, image: Array, light: Light, camera: Camera, side: float) -> None:
    """A coconut palm leaning over the beach: ringed trunk, drooping feathered fronds."""
    h = camera.height * rng.uniform(0.5, 0.85)
    foot_x, foot_y = camera.width * (0.5 + side * rng.uniform(0.25, 0.5)), camera.height * rng.uniform(0.72, 1.02)
    lean = -side * rng.uniform(-0.05, 0.35)
    shade_ellipse(image, foot_x, foot_y, 0.09 * h, 0.02 * h, 0.5)
    t = np.repeat(np.linspace(0, 1, int(h)), 7).astype(np.float32)
    across = np.tile(np.linspace(-1, 1, 7, dtype=np.float32), int(h))
    thick = h * (0.028 - 0.012 * t)
    normal = (across, 0.0 * across, -np.sqrt(1 - across * across))
    rings = 0.85 + 0.15 * np.sin(t * 90.0)
    colour = lambert(light, rgb(132, 112, 88) * np.ones(3, np.float32), normal) * rings[:, None]
    dabs(
        image,
        foot_x + lean * h * t**1.6 + across * thick,
        foot_y - h * t * 0.95,
        np.full(t.size, max(h / 180, 0.6)),
        colour,
    )
    top_x, top_y = foot_x + lean * h, foot_y - h * 0.95
    for angle in rng.permutation(np.linspace(-0.4, np.pi + 0.4, 15)) + rng.normal(0, 0.1, 15):
        _frond(rng, image, light, top_x, top_y, h * rng.uniform(0.32, 0.44), float(angle))


def _frond(
    rng: np.random.Generator, image: Array, light: Light, x: float, y: float, reach: float, angle: float
) -> None:
    """A palm leaf from pixel (x, y): a drooping rib with two rows of leaflets, the lower row in shade."""
    s, blade = np.linspace(0.04, 1, 60), np.linspace(0, 1, 12)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    rib_x = (x + reach * cos * s)[:, None]
    rib_y = (y - reach * (sin * s * 0.75 - (0.35 + 0.45 * cos**2) * s**2))[:, None]
    long = (0.16 * reach * np.sin(np.pi * (0.15 + 0.8 * s)))[:, None]
    lit = rgb(98, 118, 62) * (0.8 * light.ambient + 0.45 * light.sunlight)
    for way, droop, bright in ((-1, 0.25, 1.15), (1, 0.9, 0.75)):
        tip_x = rib_x + long * blade * 0.5 * (way * abs(sin) + cos)
        tip_y = rib_y + long * blade * droop
        shade = rng.uniform(0.5, 1.15, (60, 1)) * (1.0 - 0.4 * blade) * bright
        dabs(image, tip_x.ravel(), tip_y.ravel(), np.full(tip_x.size, 0.6), single(shade.ravel()[:, None] * lit))


def rolling_waves(rng: np.random.Generator, width: int, height: int, frames: int) -> list[Array]:
    """Linear-light frames, each (h, w, 3), of one wave period on a fair day's shore."""
    light = daylight(rng)
    while light.overcast:
        light = daylight(rng)
    camera = Camera(width, height, 0.30, 3.6, 0.95)
    shore = Shore.make(rng, light, camera, 0.12, 1.9 * camera.eye * camera.focal / (1 - camera.horizon))
    backdrop = sky(rng, light, (height, width), camera.horizon, camera.focal)
    return [np.concatenate([backdrop[: camera.top], shore.paint(1.0 + k / frames)]) for k in range(frames)]


def balenes(rng: np.random.Generator, width: int, height: int) -> Array:
    """Whales at the surface of the open sea: a raised fluke, rolling backs, a blow, or a breach."""
    light = daylight(rng, evenings=True)
    camera = Camera(
        width, height, float(rng.uniform(0.12, 0.5)), float(rng.uniform(2.5, 12.0)), float(rng.uniform(1.0, 1.6))
    )
    x, z = camera.plane()
    chop = float(rng.uniform(0.07, 0.24))
    body = DEEP[str(rng.choice(list(DEEP)))] * single(rng.uniform(0.7, 1.2))
    water, crest = sea(light, camera, x, z, Waves.make(rng), body=body, length=float(rng.uniform(7, 18)), chop=chop)
    water = whitecaps(light, water, crest, z, 3.4 - 5.0 * chop)
    image = sky(rng, light, (height, width), camera.horizon, camera.focal)
    image[camera.top :] = haze(light, water, z, float(rng.uniform(3000, 9000)))
    if rng.random() < 0.25:
        _headland(rng, image, light, camera)
    subject = (_fluke, _backs, _breach)[int(rng.choice(3, p=[0.42, 0.36, 0.22]))]
    row = height * float(rng.uniform(max(camera.horizon + 0.12, 0.52), 0.85))
    subject(rng, image, light, width * float(rng.uniform(0.3, 0.7)), row, height * float(rng.uniform(0.27, 0.5)))
    return image


def _hide(
    rng: np.random.Generator, image: Array, light: Light, outline: list[Point], waterline: float, pale: float = 0.0
) -> None:
    """Paint a silhouette as wet dark skin, rounded: normals from the slope of its blurred mask ("inflation").

    Nothing shows below the row `waterline`. `pale` is the share of whitish patches (a humpback's underside).
    """
    covered = coverage(outline, image.shape[:2])
    if covered is None:
        return
    where, share = covered
    depth = np.arange(where[0].start, where[0].stop)[:, None] - waterline
    lap = 1.5 * np.interp(np.arange(share.shape[1]) / 3.0, np.arange(128), profile(rng, 128), period=128)
    share = share * smoothstep(1.0, -1.0, single(depth + lap))
    size = max(share.shape)
    puffed = np.sqrt(np.maximum(blur(np.pad(share, size // 6), max(size / 14, 1.0)), 0.0))
    dy, dx = (
        np.gradient(puffed, axis=a)[size // 6 : size // 6 + share.shape[0], size // 6 : size // 6 + share.shape[1]]
        for a in (0, 1)
    )
    steep = size / 7.0
    length = np.sqrt((dx * steep) ** 2 + (dy * steep) ** 2 + 1.0)
    normal = (-dx * steep / length, dy * steep / length, -1.0 / length)
    mottle = fractal(rng, (64, 64), beta=2.4)[np.ix_(*(np.arange(n) * 64 // size % 64 for n in share.shape))]
    skin = rgb(72, 80, 90) * (1.0 + 0.16 * mottle)[..., None]
    skin = mix(
        skin,
        rgb(196, 200, 200) * np.ones_like(skin),
        0.75 * smoothstep(1.6 - 2.6 * pale, 2.2 - 2.6 * pale, mottle) * (pale > 0),
    )
    lit = lambert(light, skin, normal) * 0.9
    gloss = np.clip(normal[1], 0.0, 1.0) ** 2 * 0.4  # the wet back mirrors the sky
    lit = mix(lit, light.middle, gloss.astype(np.float32))
    image[where] = mix(image[where], lit, share)


def _spray(
    rng: np.random.Generator, image: Array, light: Light, x: float, y: float, wide: float, tall: float, much: float
) -> None:
    """Foam and drops thrown up about a waterline at pixel (x, y): `much` scales the number of drops."""
    height, width = image.shape[:2]
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
    noise = fractal(rng, (height, width), beta=2.0, stretch=(1.0, 2.0), lowest=4.0)
    pool = np.exp(-(((columns - x) / wide) ** 2) - ((rows - y) / (0.12 * wide + 1.0)) ** 2)
    white = foam_colour(light)
    image[:] = mix(image, white, 0.9 * smoothstep(0.45, 0.95, pool + 0.22 * noise) * (pool > 0.05))
    mist = np.exp(-(((columns - x) / wide) ** 2) - np.abs(y - rows) / (0.45 * tall + 1.0)) * (rows < y + 0.1 * wide)
    image[:] = mix(image, white, np.clip(0.55 * much**0.5 * mist * (0.7 + 0.4 * noise), 0.0, 0.9))
    count = int(much * wide * 7)
    px = x + wide * rng.normal(0, 0.55, count)
    py = y - tall * rng.exponential(0.35, count) * np.exp(-(((px - x) / wide) ** 2))
    drop = white * rng.uniform(0.45, 0.95, (count, 1)).astype(np.float32)
    dabs(image, px, py, rng.uniform(0.3, 0.8, count) * height / 256, drop)


def _smooth(points: list[Point], samples: int = 8) -> list[Point]:
    """A closed Catmull-Rom spline (Catmull & Rom 1974) through `points`."""
    p = np.array(points)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, samples, endpoint=False)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (before, p, after, beyond))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return [(float(u), float(v)) for u, v in curve.reshape(-1, 2)]


def _placed(points: list[Point], x: float, y: float, size: float, turn: float, squash: float = 1.0) -> list[Point]:
    """Unit outline (right, up) to pixels: squashed in height, turned, scaled, moved."""
    cos, sin = np.cos(turn), np.sin(turn)
    return [(x + size * (u * cos + v * squash * sin), y - size * (v * squash * cos - u * sin)) for u, v in points]


def _fluke(rng: np.random.Generator, image: Array, light: Light, x: float, y: float, size: float) -> None:
    """A tail raised before a dive: the stock, two swept lobes with a notch between, water running off."""
    lobe = [
        (0.13, -0.05),
        (0.085, 0.22),
        (0.07, 0.42),
        (0.20, 0.50),
        (0.45, 0.60),
        (0.72, 0.60 + rng.uniform(-0.12, 0.2)),
    ]
    trailing = [(0.60, 0.74), (0.38, 0.80), (0.16, 0.80)]
    wide = rng.uniform(0.55, 1.0)
    right = [(u * wide if u > 0.14 else u, v) for u, v in lobe + trailing]
    left = [(-u, v) for u, v in reversed(right)]
    outline = _smooth([*right, (0.0, 0.72), *left])
    turn, squash = float(rng.normal(0, 0.18)), float(rng.uniform(0.7, 1.1))
    shade_ellipse(image, x, y + 0.12 * size, 0.5 * size, 0.12 * size, 0.35)
    _hide(rng, image, light, _placed(outline, x, y, size, turn, squash), y, pale=float(rng.choice([0.0, 0.25, 0.5])))
    count = int(size * 1.6)
    u, fall = rng.uniform(-0.6, 0.6, count) * wide, rng.exponential(0.12, count)
    drops = foam_colour(light) * rng.uniform(0.5, 0.95, (count, 1)).astype(np.float32)
    dabs(image, x + u * size, y - (0.62 * squash - fall) * size, np.full(count, 0.5), drops)
    _spray(rng, image, light, x, y, 0.32 * size, 0.12 * size, 1.0)


def _backs(rng: np.random.Generator, image: Array, light: Light, x: float, y: float, size: float) -> None:
    """One to three backs rolling through the surface, the first often with its blow."""
    for k in range(int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
        length = size * rng.uniform(0.9, 1.5) * (1 - 0.2 * k)
        px, py = x + k * rng.uniform(-0.9, 0.9) * size, y - k * 0.12 * size
        way = float(rng.choice([-1, 1]))
        high = rng.uniform(0.14, 0.24)
        arch = [(-0.5, -0.03), (-0.40, 0.35 * high), (-0.2, 0.85 * high), (0.05, high), (0.20, 0.93 * high)]
        fin = [(0.25, 1.22 * high), (0.31, 1.25 * high), (0.31, 0.78 * high)]
        outline = _smooth([*arch, *fin, (0.42, 0.40 * high), (0.5, -0.03), (0.0, -0.05)])
        shade_ellipse(image, px, py + 0.03 * length, 0.5 * length, 0.10 * length, 0.45)
        _hide(rng, image, light, _placed([(way * u, v) for u, v in outline], px, py, length, 0.0), py)
        _spray(rng, image, light, px, py + 0.02 * length, 0.42 * length, 0.05 * length, 0.4)
        if k == 0 and rng.random() < 0.6:
            _blow(rng, image, light, px - way * 0.38 * length, py - 0.1 * high * length, length * rng.uniform(0.4, 0.7))


def _blow(rng: np.random.Generator, image: Array, light: Light, x: float, y: float, tall: float) -> None:
    """A column of vapour, widening upwards, ragged by noise."""
    height, width = image.shape[:2]
    up = (y - np.arange(height, dtype=np.float32)[:, None]) / tall
    drift = float(rng.uniform(-0.2, 0.2))
    across = (np.arange(width, dtype=np.float32)[None, :] - x) / tall - drift * up**2
    noise = fractal(rng, (height, width), beta=2.6, lowest=4.0)
    spread = 0.04 + 0.20 * np.clip(up, 0.0, 1.2) ** 1.1
    cloud = np.exp(-((across / spread) ** 2)) * smoothstep(-0.02, 0.06, up) * smoothstep(1.15, 0.5, up)
    image[:] = mix(image, foam_colour(light), 0.85 * np.clip(cloud * (0.85 + 0.4 * noise), 0.0, 1.0))


def _breach(rng: np.random.Generator, image: Array, light: Light, x: float, y: float, size: float) -> None:
    """A whale leaping: a leaning body with pale grooved throat, one long flipper, a great splash."""
    size *= 1.25
    lean = float(rng.choice([-1, 1])) * float(rng.uniform(0.25, 0.8))
    way = float(np.sign(lean))
    back = [(-0.20, -0.05), (-0.22, 0.25), (-0.19, 0.55), (-0.11, 0.82), (0.0, 0.97)]
    belly = [(0.09, 0.90), (0.17, 0.66), (0.21, 0.40), (0.20, 0.15), (0.19, -0.05)]
    outline = _smooth(back + belly)
    flip = [(-way * u * -1, v) for u, v in outline]
    _hide(rng, image, light, _placed(flip, x, y, size, lean), y)
    throat = _smooth(
        [(0.02, 0.93), (0.09, 0.88), (0.165, 0.66), (0.20, 0.40), (0.18, 0.16), (0.08, 0.2), (0.05, 0.45), (0.03, 0.7)]
    )
    pale = rgb(190, 192, 190) * (0.55 * light.ambient + 0.25 * light.sunlight)
    fill(image, _placed([(way * u, v) for u, v in throat], x, y, size, lean), pale, 0.06, rng)
    for u in np.linspace(0.06, 0.18, 6):
        groove = [
            (u * 0.55, 0.82),
            (u, 0.5),
            (u * 0.95, 0.2),
            (u * 0.95 + 0.006, 0.2),
            (u + 0.006, 0.5),
            (u * 0.55 + 0.006, 0.82),
        ]
        fill(image, _placed([(way * a, b) for a, b in groove], x, y, size, lean), pale * 0.45)
    fin = _smooth([(-0.02, 0.50), (-0.10, 0.42), (-0.34, 0.36), (-0.46, 0.42), (-0.34, 0.46), (-0.12, 0.56)])
    _hide(rng, image, light, _placed([(way * a, b) for a, b in fin], x, y, size, lean), y, pale=0.4)
    _spray(rng, image, light, x, y, 0.48 * size, 0.42 * size, 4.0)
