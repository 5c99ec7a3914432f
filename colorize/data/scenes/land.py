"""Scenes on land: pradera (meadows), rural (farmland), paisatge (mountains and coasts)."""

from dataclasses import dataclass

import numpy as np

from .light import Light, daylight, haze, lambert, rgb, sky
from .noise import Array, band, fractal, mix, octaves, sample, single, smoothstep
from .plants import Season, Standing, dabs, season, strokes, tree
from .shapes import bale, building, cow, fence
from .terrain import Camera, Ground, Height, cast
from .water import DEEP, Waves, foam_colour, mirror, sea, whitecaps


def grass(rng: np.random.Generator, light: Light, ground: Ground, year: Season, texture: Array) -> Array:
    """Lit grass over a ground, shape (h, w, 3): drifts of two greens, tufts finer and stronger towards the camera."""
    drift = octaves(texture, ground.x, ground.z, ground.footprint, 60.0, 3)
    tufts = octaves(texture, ground.x * 1.6, ground.z, ground.footprint, 1.6, 5, 0.75)
    albedo = mix(year.grass[0], year.grass[1], smoothstep(-1.3, 1.6, drift + 0.4 * tufts))
    albedo = albedo * np.clip(1.0 + 0.16 * tufts + 0.08 * drift, 0.35, 1.8)[..., None]
    return lambert(light, albedo, ground.normal, cloud_shadow(rng, light, ground))


def cloud_shadow(rng: np.random.Generator, light: Light, ground: Ground) -> Array:
    """Sunlit share, 0.35..1, of a ground under drifting clouds."""
    if light.overcast or light.cover < 0.2:
        return np.ones_like(ground.x)
    tile = fractal(rng, beta=4.0)
    patches = sample(tile, ground.x * 0.12 + 40.0, ground.z * 0.12)
    return 1.0 - 0.62 * smoothstep(0.1, 0.9, patches)


def blades(rng: np.random.Generator, image: Array, light: Light, camera: Camera, year: Season, rise: float) -> None:
    """Grass blades in the foreground, back to front, `rise` metres tall."""
    size = camera.height
    count = int(9000 * (size / 256) ** 1.2)
    depth = np.sort(rng.uniform(0.0, 1.0, count).astype(np.float32)) ** 1.3  # 0 far .. 1 at the bottom edge
    row = (camera.horizon + (1.06 - camera.horizon) * (0.25 + 0.8 * depth)) * size
    z = camera.focal * camera.eye * size / (row - camera.horizon * size)
    length = camera.focal * rise / z * size * rng.uniform(0.4, 1.2, count)
    x = rng.uniform(-4, camera.width + 4, count).astype(np.float32)
    row0 = np.clip(row.astype(int), 0, size - 1)
    under = image[row0, np.clip(x.astype(int), 0, camera.width - 1)]
    tint = mix(year.grass[0], year.grass[1], rng.uniform(-0.2, 1.2, count).astype(np.float32))
    tint = tint * (light.ambient + 0.6 * light.sunlight * max(float(light.sun[1]), 0.3))
    colour = (0.55 * under + 0.45 * tint) * rng.uniform(0.65, 1.4, (count, 1)).astype(np.float32)
    lean = length * rng.normal(0.15, 0.4, count).astype(np.float32)
    strokes(image, x, row, length.astype(np.float32), lean, colour)


FLOWERS = (rgb(236, 234, 226), rgb(240, 200, 40), rgb(206, 48, 38), rgb(150, 110, 190), rgb(226, 150, 180))


def flowers(rng: np.random.Generator, image: Array, light: Light, camera: Camera, share: float, texture: Array) -> None:
    """Drifts of wild flowers of one or two kinds, smaller and denser with distance."""
    size = camera.height
    for kind in rng.choice(len(FLOWERS), int(rng.integers(1, 3)), replace=False):
        count = int(rng.uniform(150, 1300) * share * size / 256)
        drop = (1.0 - camera.horizon) * rng.uniform(0.06, 1.0, count).astype(np.float32) ** 1.2
        drop.sort()
        z = camera.focal * camera.eye / drop
        x = rng.uniform(-0.5, 0.5, count).astype(np.float32) * camera.width / size
        clump = sample(texture, x * z / camera.focal * 2.2 + 11.0 * kind, z * 1.2)
        keep = clump > rng.normal(0.4, 0.5, count)
        radius = np.clip(camera.focal * 0.022 / z * size, 0.45, 3.0)[keep]
        shade = rng.uniform(0.6, 1.1, (count, 1)).astype(np.float32)[keep]
        lit = (light.ambient * 0.8 + 0.55 * light.sunlight * max(float(light.sun[1]), 0.35)) * FLOWERS[kind] * shade
        dabs(image, (x[keep] + camera.width / size / 2) * size, (camera.horizon + drop[keep]) * size, radius, lit)


def scatter_trees(
    rng: np.random.Generator,
    image: Array,
    light: Light,
    camera: Camera,
    ground: Ground,
    year: Season,
    spots: Array,
    visibility: float,
    tall: tuple[float, float] = (6.0, 13.0),
    shapes: tuple[str, ...] = ("round",),
) -> None:
    """Trees at visible `spots` (n, 3: world x, height, z), far ones first."""
    for x, y, z in spots[np.argsort(-spots[:, 2])]:
        column, row = camera.project(x, y, z)
        if not ground.visible(column, row, z):
            continue
        at = Standing(column, row, camera.pixels(1.0, z), float(1 - np.exp(-z / visibility)))
        leaf = year.leaves[int(rng.integers(len(year.leaves)))] * single(rng.uniform(0.8, 1.15))
        tree(rng, image, light, at, leaf, float(rng.uniform(*tall)), str(rng.choice(shapes)))


def pradera(rng: np.random.Generator, width: int, height: int) -> Array:
    """A green meadow under the sky: rolling hills, woods on them, grass and flowers near by."""
    light, year = daylight(rng), season(rng, (0.5, 0.38, 0.05, 0.07))
    camera = Camera(
        width, height, float(rng.uniform(0.28, 0.55)), float(rng.uniform(1.5, 5.0)), float(rng.uniform(0.8, 1.3))
    )
    hills, texture = fractal(rng, beta=4.2), band(rng)
    relief, wooded = rng.uniform(8, 45), rng.uniform(-0.1, 1.5)
    far = float(rng.uniform(600, 2500))
    offset = rng.uniform(0, 256, 2).tolist()

    def woods(x: Array, z: Array) -> Array:
        patches = sample(hills, x * 0.45 + offset[1], z * 0.45 + offset[0])
        return smoothstep(wooded, wooded + 0.15, patches) * smoothstep(90, 160, z)

    def surface(x: Array, z: Array) -> Array:
        rise = smoothstep(25.0, 350.0, z)
        land = relief * rise * (0.35 + sample(hills, x * 0.11 + offset[0], z * 0.11 + offset[1]))
        canopy = woods(x, z) * (7.0 + 1.3 * octaves(texture, x, z, 1.5 * z / height, 9.0, 2))
        return np.asarray(land + canopy, np.float32)

    ground = cast(camera, surface, far)
    image = grass(rng, light, ground, year, texture)
    image = mix(image, _canopy(light, ground, year, texture), woods(ground.x, ground.z))
    visibility = float(rng.uniform(900, 4000))
    image = haze(light, image, ground.z, visibility)
    image = ground.under(sky(rng, light, (height, width), camera.horizon, camera.focal), image)
    count = int(rng.choice([0, 1, 3, 8]))
    z = rng.uniform(25, 240, count)
    x = rng.uniform(-0.5, 0.5, count) * z / camera.focal
    spots = np.stack([x, surface(single(x), single(z)), z], 1)
    scatter_trees(rng, image, light, camera, ground, year, spots, visibility)
    blades(rng, image, light, camera, year, float(rng.uniform(0.08, 0.25)))
    if rng.random() < 0.3 + 0.5 * year.flowers:
        flowers(rng, image, light, camera, year.flowers, texture)
    return image


def _canopy(light: Light, ground: Ground, year: Season, texture: Array) -> Array:
    """A wood seen from outside, shape (h, w, 3): crowns as bumps, dark between them."""
    crowns = octaves(texture, ground.x, ground.z, ground.footprint, 7.0, 3, 0.7)
    kinds = octaves(texture, ground.x, ground.z, ground.footprint, 23.0, 1)
    albedo = mix(year.leaves[0], year.leaves[1], smoothstep(-1.0, 1.0, kinds))
    albedo = albedo * np.clip(0.75 + 0.3 * crowns, 0.25, 1.4)[..., None]
    return lambert(light, albedo, ground.normal)


def paisatge(rng: np.random.Generator, width: int, height: int) -> Array:
    """Mountains, woods and lakes, or a coast with headlands, at any time of the day."""
    return (_coast if rng.random() < 0.4 else _mountains)(rng, width, height)


def _mountains(rng: np.random.Generator, width: int, height: int) -> Array:
    light, year = daylight(rng, evenings=True), season(rng)
    camera = Camera(
        width, height, float(rng.uniform(0.45, 0.68)), float(rng.uniform(20, 90)), float(rng.uniform(0.9, 1.6))
    )
    broad, texture = fractal(rng, beta=3.6), band(rng)
    relief, offset = float(rng.uniform(900, 2300)), rng.uniform(0, 256, 2).tolist()
    lake = float(rng.choice([-1e6, rng.uniform(2500, 5000)], p=[0.4, 0.6]))

    def surface(x: Array, z: Array) -> Array:
        u, v = x * 0.006 + offset[0], z * 0.006 + offset[1]
        ridge = 1.0 - np.abs(sample(broad, u, v)) * 0.8  # sharp crests (Musgrave 1993)
        detail = 0.16 * (1.0 - np.abs(sample(broad, u * 4.3, v * 4.3))) + 0.05 * sample(broad, u * 15.0, v * 15.0)
        rise = smoothstep(max(lake, 300.0), 6500.0, z + 900.0 * sample(broad, u * 1.7, v * 1.7 + 50.0))
        valley = smoothstep(0.0, 1500.0, np.abs(x) - 0.10 * z)
        land = relief * rise * (ridge + detail) * (0.55 + 0.45 * valley)
        shore = 12.0 * sample(broad, u * 6.0, v * 6.0) + 8.0 if lake < 0 else (z - lake) * 0.02
        return np.asarray(np.maximum(land + np.minimum(shore, 25.0), 0.0), np.float32)

    ground = cast(camera, surface, 16000.0)
    water = smoothstep(1.0, 0.3, ground.y) * ~ground.sky
    image = _alpine(rng, light, ground, year, texture, relief)
    visibility = float(rng.uniform(11000, 30000))
    image = haze(light, image, ground.z, visibility)
    image = ground.under(sky(rng, light, (height, width), camera.horizon, camera.focal), image)
    image = mirror(rng, image, np.pad(water, ((ground.top, 0), (0, 0))), camera.horizon, rgb(60, 100, 110))
    _shore_trees(rng, image, light, camera, year)
    return image


def _alpine(
    rng: np.random.Generator, light: Light, ground: Ground, year: Season, texture: Array, relief: float
) -> Array:
    """Mountain sides by height and steepness: meadow, wood, rock, snow. Shape (h, w, 3)."""
    rough = octaves(texture, ground.x, ground.z + ground.y, ground.footprint, 900.0, 5, 0.75)
    fine = octaves(texture, ground.x, ground.z + ground.y, ground.footprint, 60.0, 4, 0.8)
    level = ground.y / relief + 0.05 * rough
    upright = ground.normal[1]
    wood = year.leaves[-1] if rng.random() < 0.5 else rgb(40, 62, 40)
    rock = mix(rgb(112, 104, 98), rgb(140, 126, 110), single(rng.random()))
    meadow = mix(year.grass[0], year.grass[1], smoothstep(-1, 1, rough))
    near = octaves(texture, ground.x * 1.5, ground.z, ground.footprint, 12.0, 4, 0.8)
    albedo = meadow * (1.0 + 0.1 * fine + 0.15 * near)[..., None]
    trees = smoothstep(-0.5, 0.3, rough + 0.3 * fine + 1.5 * (0.3 - level)) * smoothstep(10.0, 60.0, ground.y)
    albedo = mix(albedo, wood * (0.75 + 0.28 * fine)[..., None], trees)
    bare = np.maximum(smoothstep(0.42, 0.58, level), smoothstep(0.78, 0.62, upright))
    albedo = mix(albedo, rock * (0.85 + 0.14 * fine + 0.08 * rough)[..., None], bare)
    line = float(
        rng.choice([rng.uniform(0.45, 0.75), rng.uniform(0.75, 1.1), rng.uniform(0.2, 0.4)], p=[0.55, 0.3, 0.15])
    )
    snow = smoothstep(line, line + 0.12, level) * smoothstep(0.45, 0.62, upright + 0.06 * fine)
    albedo = mix(albedo, rgb(236, 240, 246) * np.ones_like(albedo), snow)
    return lambert(light, np.maximum(albedo, 0.004), ground.normal, cloud_shadow(rng, light, ground))


def _shore_trees(rng: np.random.Generator, image: Array, light: Light, camera: Camera, year: Season) -> None:
    """Now and then, a few near trees frame the view at one side, their feet below the picture or on the bank."""
    if rng.random() < 0.5:
        return
    side = float(rng.choice([-1, 1]))
    shape = str(rng.choice(["fir", "fir", "round"]))
    for _ in range(int(rng.integers(2, 6))):
        column = camera.width * (0.5 + side * rng.uniform(0.25, 0.52))
        at = Standing(column, camera.height * rng.uniform(1.0, 1.12), camera.height / 22.0, 0.02)
        leaf = year.leaves[int(rng.integers(len(year.leaves)))] if shape == "round" else rgb(40, 60, 38)
        tree(rng, image, light, at, leaf, float(rng.uniform(6, 13)), shape)


def _coast(rng: np.random.Generator, width: int, height: int) -> Array:
    light, year = daylight(rng, evenings=True), season(rng)
    camera = Camera(
        width, height, float(rng.uniform(0.3, 0.6)), float(rng.uniform(25, 80)), float(rng.uniform(0.8, 1.3))
    )
    broad, texture = fractal(rng, beta=3.4), band(rng)
    side, offset = float(rng.choice([-1, 1])), rng.uniform(0, 256, 2).tolist()
    cliff, slant, away = rng.uniform(20, 140), rng.uniform(0.05, 0.5), rng.uniform(60, 350)

    def surface(x: Array, z: Array) -> Array:
        bays = sample(broad, x * 0.03 + offset[0], z * 0.03 + offset[1])
        inland = side * x + slant * z - away - 30.0 + 150.0 * bays * smoothstep(50, 900, z)
        step = cliff * smoothstep(0.0, 45.0 + 0.3 * cliff, inland + 12.0 * sample(broad, x * 0.25, z * 0.25))
        hills = np.maximum(inland, 0.0) * 0.22 * (1.0 + 0.7 * sample(broad, x * 0.05 + offset[1], z * 0.05))
        bumps = 0.12 * cliff * sample(broad, x * 0.5, z * 0.5) * (step > 0.1 * cliff)
        return np.asarray(
            np.where(inland > -10, np.maximum(step + np.minimum(hills, 500.0) + bumps, 0.0), 0.0), np.float32
        )

    ground = cast(camera, surface, 9000.0)
    image = _cliffs(rng, light, ground, year, texture)
    foot = smoothstep(4.0, 0.4, ground.y + 1.2 * octaves(texture, ground.x, ground.z, ground.footprint, 14.0, 2))
    image = mix(image, foam_colour(light), 0.8 * foot)  # the surf at the cliffs' feet
    visibility = float(rng.uniform(3500, 14000))
    image = haze(light, image, ground.z, visibility)
    image = ground.under(sky(rng, light, (height, width), camera.horizon, camera.focal), image)
    x, z = camera.plane()
    body = DEEP[str(rng.choice(list(DEEP)))]
    chop = float(rng.uniform(0.06, 0.16))
    water, crest = sea(light, camera, x, z, Waves.make(rng), body=body, length=45.0, chop=chop)
    water = haze(light, whitecaps(light, water, crest, z, 2.4), z, visibility)
    dry = np.pad(~ground.sky & (ground.y >= 0.6), ((ground.top, 0), (0, 0)))[camera.top :]
    image[camera.top :] = np.where(dry[..., None], image[camera.top :], water)
    return image


def _cliffs(rng: np.random.Generator, light: Light, ground: Ground, year: Season, texture: Array) -> Array:
    """Coastal land: scrub and grass where it is flat, layered rock where it is steep. Shape (h, w, 3)."""
    rough = octaves(texture, ground.x, ground.z, ground.footprint, 80.0, 4, 0.75)
    strata = octaves(texture, ground.x * 0.3 + ground.z * 0.3, ground.y * 2.0, ground.footprint, 40.0, 4, 0.8)
    faces = octaves(texture, ground.x - ground.z, ground.y + 0.3 * ground.z, ground.footprint, 18.0, 4, 0.85)
    rocks = (rgb(150, 132, 108), rgb(176, 164, 148), rgb(120, 112, 106), rgb(160, 112, 82))
    rock = rocks[int(rng.integers(len(rocks)))] * (0.85 + 0.10 * strata + 0.15 * faces)[..., None]
    scrub = mix(year.grass[int(rng.integers(2))], year.leaves[0], smoothstep(-0.4, 0.8, rough))
    scrub = scrub * (0.9 + 0.18 * rough)[..., None]
    albedo = mix(scrub, rock, smoothstep(0.86, 0.68, ground.normal[1] + 0.05 * rough))
    return lambert(light, np.maximum(albedo, 0.004), ground.normal, cloud_shadow(rng, light, ground))


_CROPS = (
    rgb(198, 168, 92),  # ripe wheat
    rgb(104, 136, 58),  # young corn
    rgb(120, 88, 62),  # ploughed earth
    rgb(128, 146, 72),  # pasture
    rgb(196, 182, 50),  # rape in flower
    rgb(164, 148, 96),  # stubble
    rgb(88, 118, 54),  # beet
)


def rural(rng: np.random.Generator, width: int, height: int) -> Array:
    """Farmland: fields with crop rows between hedges, a lane or a river, buildings, trees, animals or bales."""
    light, year = daylight(rng), season(rng)
    eye = float(rng.choice([rng.uniform(2.5, 5.0), rng.uniform(6.0, 18.0)]))
    camera = Camera(width, height, float(rng.uniform(0.25, 0.48)), eye, float(rng.uniform(0.85, 1.3)))
    hills, texture = fractal(rng, beta=4.4), band(rng)
    relief, offset, angle = rng.uniform(8, 50), rng.uniform(0, 256, 2).tolist(), rng.uniform(-0.5, 0.5)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    field = (float(rng.uniform(35, 80)), float(rng.uniform(60, 160)))

    def plots(x: Array, z: Array) -> tuple[Array, Array]:
        """Field coordinates (across, along), whole numbers at the boundaries."""
        bend = 5.0 * sample(hills, x * 0.3, z * 0.3)
        u = (x * cos + z * sin + bend) / field[0] + 0.37
        v = (z * cos - x * sin + bend) / field[1] + 0.2
        return u, v + 0.31 * np.floor(u)

    def hedge(x: Array, z: Array) -> Array:
        u, v = plots(x, z)
        across, along = np.abs(u - np.round(u)) * field[0], np.abs(v - np.round(v)) * field[1]
        line = np.minimum(across, np.where(np.round(v) % 3 == 0, 9.0, along))
        gaps = sample(hills, np.round(u) * 17.0 + z * 0.1, np.round(v) * 31.0 + x * 0.1) > -0.4
        return smoothstep(2.2, 1.2, line) * gaps * smoothstep(20.0, 45.0, z)

    def surface(x: Array, z: Array) -> Array:
        rise = smoothstep(40.0, 500.0, z)
        land = relief * rise * (0.3 + sample(hills, x * 0.09 + offset[0], z * 0.09 + offset[1]))
        return np.asarray(land + hedge(x, z) * (2.2 + 0.7 * octaves(texture, x, z, z / height, 5.0, 2)), np.float32)

    ground = cast(camera, surface, 2200.0)
    u, v = plots(ground.x, ground.z)
    image = _fields(rng, light, ground, u, v, field[0], texture)
    image = mix(image, _canopy(light, ground, year, texture), hedge(ground.x, ground.z))
    lane = Lane.make(rng) if rng.random() < 0.7 else None
    if lane:
        image = _lane(light, image, ground, year, texture, lane)
    visibility = float(rng.uniform(1200, 5000))
    image = haze(light, image, ground.z, visibility)
    image = ground.under(sky(rng, light, (height, width), camera.horizon, camera.focal), image)
    _furnish(rng, image, light, camera, ground, year, surface, visibility, lane)
    if lane is None and eye < 6 and rng.random() < 0.7:
        blades(rng, image, light, camera, year, 0.12)
    return image


def _fields(
    rng: np.random.Generator, light: Light, ground: Ground, u: Array, v: Array, pitch: float, texture: Array
) -> Array:
    """The patchwork: each field's crop, its rows, and the soil's drift. Shape (h, w, 3)."""
    crops = rng.permutation(len(_CROPS))[: int(rng.integers(3, 6))]
    table = crops[rng.integers(0, len(crops), 256)]
    crop = table[(np.floor(u).astype(int) * 37 + np.floor(v).astype(int) * 101) & 255]
    rough = octaves(texture, ground.x, ground.z, ground.footprint, 30.0, 3)
    tufts = octaves(texture, ground.x * 1.4, ground.z, ground.footprint, 1.4, 4, 0.8)
    spacing = float(rng.choice([0.9, 1.6, 3.0]))
    fade = np.clip(1.3 - 3.0 * ground.footprint / spacing, 0.0, 1.0)
    rows = np.sin(2 * np.pi * u * pitch / spacing + 0.5 * tufts) * fade
    strength = single([0.12, 0.42, 0.32, 0.02, 0.12, 0.22, 0.38])[crop]
    palette = np.stack(_CROPS) * rng.uniform(0.85, 1.1, (len(_CROPS), 1)).astype(np.float32)
    albedo = palette[crop]
    soil = rgb(124, 96, 70)
    between = strength * 0.9 * (0.5 - 0.5 * rows) * np.isin(crop, (1, 6)) * fade * 1.6
    albedo = mix(albedo, soil * np.ones_like(albedo), np.clip(between, 0, 1).astype(np.float32))
    albedo = albedo * np.clip(1.0 + strength * 0.7 * rows + 0.07 * rough + 0.15 * tufts, 0.3, 1.8)[..., None]
    return lambert(light, albedo.astype(np.float32), ground.normal, cloud_shadow(rng, light, ground))


@dataclass(frozen=True)
class Lane:
    """A dirt lane or a small river, `half` metres to each side of a winding middle line."""

    river: bool
    half: float
    start: float
    drift: float
    sway: float
    wind: float
    phase: float

    @classmethod
    def make(cls, rng: np.random.Generator) -> "Lane":
        river = bool(rng.random() < 0.42)
        half = float(rng.uniform(3.0, 6.0) if river else rng.uniform(1.3, 2.0))
        ranges = ((-4, 4), (-0.25, 0.25), (4, 14), (25, 60), (0.0, 6.3))
        return cls(river, half, *(float(rng.uniform(*r)) for r in ranges))

    def middle(self, z: Array) -> Array:
        """World x of the middle line at depth `z`."""
        return self.start + self.drift * z + self.sway * np.sin(z / self.wind + self.phase)


def _lane(light: Light, image: Array, ground: Ground, year: Season, texture: Array, lane: Lane) -> Array:
    """Lay a lane or a river over the fields, with grassy verges. Shape (h, w, 3)."""
    tufts = octaves(texture, ground.x, ground.z, ground.footprint, 1.2, 4, 0.8)
    off = np.abs(ground.x - lane.middle(ground.z)) / lane.half + 0.08 * tufts
    verge = lambert(light, year.grass[0] * (0.9 + 0.15 * tufts)[..., None], ground.normal)
    image = mix(image, verge, smoothstep(1.5, 1.15, off))
    if lane.river:
        ripples = octaves(texture, ground.x, ground.z * 0.35, ground.footprint, 2.5, 3)
        reflected = mix(light.middle * 0.9, light.horizon, smoothstep(5.0, 90.0, ground.z))
        water = mix(reflected, rgb(50, 70, 60) * light.ambient, 0.35 + 0.5 * smoothstep(0.5, 1.0, off))
        return mix(image, water * (1.0 + 0.1 * ripples)[..., None], smoothstep(1.02, 0.96, off))
    dirt = rgb(176, 152, 120) * (1.0 + 0.08 * tufts)[..., None]
    dirt = mix(dirt, year.grass[0], 0.7 * smoothstep(0.35, 0.15, off))  # grass between the wheel tracks
    return mix(image, lambert(light, dirt, ground.normal), smoothstep(1.08, 0.95, off))


def _furnish(
    rng: np.random.Generator,
    image: Array,
    light: Light,
    camera: Camera,
    ground: Ground,
    year: Season,
    surface: Height,
    visibility: float,
    lane: Lane | None,
) -> None:
    """Buildings with trees about them, single trees, and sometimes cows, bales or a fence; far things first."""

    def height_at(x: float, z: float) -> float:
        return float(surface(single([[x]]), single([[z]]))[0, 0])

    def spot(near: float, far: float, side: float = 0.45, margin: float = 2.0) -> tuple[float, float, float]:
        z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
        x = float(rng.uniform(-side, side)) * z / camera.focal
        if lane:  # nothing stands on a road or in a river
            middle, clear = float(lane.middle(single(z))), lane.half + margin
            x = middle + float(np.copysign(clear, x - middle)) if abs(x - middle) < clear else x
        return x, height_at(x, z), z

    def standing(place: tuple[float, float, float]) -> Standing | None:
        column, row = camera.project(*place)
        seen = ground.visible(column, row, place[2])
        return (
            Standing(column, row, camera.pixels(1.0, place[2]), float(1 - np.exp(-place[2] / visibility)))
            if seen
            else None
        )

    shapes = ("round", "round", "poplar") if rng.random() < 0.7 else ("poplar",)
    woods = np.array([spot(60, 400, 0.6) for _ in range(int(rng.integers(3, 16)))])
    scatter_trees(rng, image, light, camera, ground, year, woods, visibility, (6.0, 14.0), shapes)
    home = None
    if rng.random() < 0.75:
        home = spot(35, 120, 0.35, 10.0)
        if standing(home):
            around = np.array([(home[0] + rng.normal(0, 12), home[1], home[2] + rng.uniform(8, 14)) for _ in range(4)])
            scatter_trees(rng, image, light, camera, ground, year, around, visibility, (7.0, 12.0), shapes)
            building(rng, image, light, camera, *home)
    thing = (cow, bale, None)[int(rng.choice(3, p=[0.35, 0.2, 0.45]))]
    if thing is not None:
        herd = spot(14, 45, 0.2, 14.0)
        for x, z in _herd(rng, herd, home):
            if at := standing((x, height_at(x, z), z)):
                thing(rng, image, light, at)
    if rng.random() < 0.35:
        z = float(rng.uniform(7, 14))
        fence(image, light, camera, ((-z, z), (z, z * rng.uniform(1.0, 2.2))), 0.0)


def _herd(
    rng: np.random.Generator, middle: tuple[float, float, float], home: tuple[float, float, float] | None
) -> list[tuple[float, float]]:
    """World (x, z) of two to seven things standing about `middle`, far ones first, none behind the house."""
    count = int(rng.integers(2, 8))
    z = np.sort(np.maximum(middle[2] + rng.normal(0, 8, count), 10.0))[::-1]
    places = zip((middle[0] + rng.normal(0, 9, count)).tolist(), z.tolist(), strict=True)
    if home is None:
        return list(places)
    return [(x, z) for x, z in places if z < home[2] - 12 or abs(x / z - home[0] / home[2]) > 14 / home[2]]
