"""Still lifes: banana (bananas on plain grounds) and maduixes (strawberries among their leaves)."""

import numpy as np

from .light import Light, rgb
from .noise import TILE, Array, blur, fractal, mix, sample, single, smoothstep
from .shapes import fill

Window = tuple[tuple[slice, slice], Array, Array]


def studio(rng: np.random.Generator, soft: float) -> Light:
    """Window light or daylight on a still life seen from above: `soft` 0 sunny .. 1 diffuse."""
    angle = rng.uniform(0.2, np.pi - 0.2)
    slope = rng.uniform(0.55, 0.85)
    sun = np.array([np.cos(angle) * slope, np.sin(angle) * slope, -np.sqrt(1 - slope**2)], np.float32)
    warm = single([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.72, 1.0)])
    grey = rgb(200, 205, 210)
    return Light(
        sun,
        warm * single(1.5 - 0.9 * soft),
        single([0.42, 0.44, 0.47]) * single(0.8 + 0.8 * soft),
        grey,
        grey,
        grey,
        0.0,
        False,
        False,
    )


def shade(
    light: Light, albedo: Array, normal: tuple[Array, Array, Array], gloss: float = 0.0, sharp: float = 40.0
) -> Array:
    """Wrapped diffuse light plus a Blinn highlight (Blinn 1977), looking along +z at `normal` (right, up, away)."""
    facing = normal[0] * light.sun[0] + normal[1] * light.sun[1] + normal[2] * light.sun[2]
    diffuse = np.clip((facing + 0.25) / 1.25, 0.0, 1.0)
    open_sky = 0.45 + 0.35 * -normal[2] + 0.2 * normal[1]
    lit = albedo * (diffuse[..., None] * light.sunlight + open_sky[..., None] * light.ambient)
    half = light.sun + single([0, 0, -1])
    half /= np.linalg.norm(half)
    shine = np.clip(normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2], 0.0, 1.0) ** sharp
    return np.asarray(lit + gloss * shine[..., None] * (light.sunlight + 0.5 * light.ambient), np.float32)


def window(shape: tuple[int, int], x: float, y: float, reach: float) -> Window | None:
    """The part of a picture within `reach` pixels of (x, y): its slices, and offsets right and down of its pixels."""
    left, right = max(int(x - reach), 0), min(int(x + reach) + 2, shape[1])
    top, bottom = max(int(y - reach), 0), min(int(y + reach) + 2, shape[0])
    if left >= right or top >= bottom:
        return None
    u = np.arange(left, right, dtype=np.float32)[None, :] + single(0.5 - x)
    v = np.arange(top, bottom, dtype=np.float32)[:, None] + single(0.5 - y)
    return (slice(top, bottom), slice(left, right)), u, v


GROUNDS = {
    "paper": (rgb(236, 232, 226), rgb(222, 226, 230), rgb(242, 240, 238), rgb(198, 200, 204)),
    "wood": (rgb(158, 112, 72), rgb(188, 146, 100), rgb(110, 74, 48), rgb(206, 174, 134)),
    "cloth": (rgb(120, 146, 168), rgb(186, 176, 160), rgb(150, 162, 140), rgb(196, 150, 140), rgb(84, 92, 106)),
    "stone": (rgb(120, 118, 116), rgb(70, 72, 76), rgb(168, 164, 158)),
}


def tabletop(rng: np.random.Generator, light: Light, width: int, height: int) -> Array:
    """A plain lit ground of paper, wood, cloth or stone, shape (h, w, 3)."""
    kind = str(rng.choice(list(GROUNDS), p=[0.34, 0.30, 0.2, 0.16]))
    colour = GROUNDS[kind][int(rng.integers(len(GROUNDS[kind])))]
    texture = fractal(rng, (height, width), beta=2.4)
    albedo = np.broadcast_to(colour, (height, width, 3))
    if kind == "wood":
        turned = rng.random() < 0.5
        grain = fractal(rng, beta=2.0, stretch=(1.0, 14.0))
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) * (256 / height)
        if turned:
            rows, columns = columns, rows
        figure = sample(grain, columns + 0.0, rows + 5.0 * sample(grain, columns * 0.4, rows * 0.2))
        plank = np.abs((rows / 64.0 + 0.37) % 1.0 - 0.5) * 64.0
        albedo = albedo * (1.0 + 0.14 * figure)[..., None] * (1.0 - 0.45 * smoothstep(1.6, 0.4, plank))[..., None]
    elif kind == "cloth":
        weave = fractal(rng, (height, width), beta=0.6)
        albedo = albedo * (1.0 + 0.06 * weave + 0.05 * texture)[..., None]
    elif kind == "stone":
        albedo = (
            albedo * (1.0 + 0.07 * texture + 0.04 * rng.standard_normal((height, width), dtype=np.float32))[..., None]
        )
    else:
        albedo = albedo * (1.0 + 0.012 * texture)[..., None]
    y, x = np.linspace(1, -1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    fall = 1.0 + 0.16 * (light.sun[0] * x + light.sun[1] * y)
    flat = (
        np.zeros((height, width), np.float32),
        np.zeros((height, width), np.float32),
        -np.ones((height, width), np.float32),
    )
    return shade(light, albedo * fall[..., None], flat)


def banana(rng: np.random.Generator, width: int, height: int) -> Array:
    """One banana, a pair, or a hand of bananas, green to spotted, on a plain ground."""
    light = studio(rng, float(rng.uniform(0.0, 0.9)))
    image = tabletop(rng, light, width, height)
    ripeness = float(
        rng.choice([rng.uniform(0.0, 0.35), rng.uniform(0.45, 0.75), rng.uniform(0.75, 1.0)], p=[0.2, 0.5, 0.3])
    )
    skin = fractal(rng, beta=1.6, stretch=(1.0, 1.0))
    turn, curve = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.9, 1.7))
    side = float(rng.choice([-1, 1]))
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.42, 0.16, 0.16, 0.14, 0.12]))
    long = height * float(rng.uniform(0.62, 0.9) if count > 1 else rng.uniform(0.5, 0.95))
    centre = np.array([width, height]) * (0.5 + rng.uniform(-0.08, 0.08, 2))
    # Stems meet at one point; the hand fans out from it, the middle of the fruit near the picture's middle.
    stem = centre - 0.45 * long * np.array([np.cos(turn), np.sin(turn)])
    for k in (np.arange(count) - (count - 1) / 2).tolist():
        lean = turn + side * k * 0.24
        ripe = float(np.clip(ripeness + rng.normal(0, 0.05), 0, 1))
        _one_banana(
            rng,
            image,
            light,
            stem + rng.normal(0, 0.01, 2) * height,
            lean,
            long * rng.uniform(0.93, 1.05),
            curve + 0.06 * k,
            side,
            ripe,
            skin,
        )
    return image


def _one_banana(
    rng: np.random.Generator,
    image: Array,
    light: Light,
    stem: Array,
    turn: float,
    long: float,
    curve: float,
    side: float,
    ripe: float,
    skin: Array,
) -> None:
    """A banana from `stem` along direction `turn`: a bent tube of `curve` radians, five soft ridges, tapered ends."""
    middle = stem + 0.5 * long * np.array([np.cos(turn), np.sin(turn)])
    view = window(image.shape[:2], float(middle[0]), float(middle[1]), 0.72 * long)
    if view is None:
        return
    where, columns, rows = view
    radius = long / (2 * float(np.sin(curve / 2)))
    start = turn - side * curve / 2  # heading at the stem
    hub = (stem - middle + side * radius * np.array([-np.sin(start), np.cos(start)])).tolist()
    thick = long * 0.115

    def tube(shift: float = 0.0) -> tuple[Array, Array, Array, Array]:
        """Position along (0 stem .. 1 tip), across (-1 .. 1 at the skin), half width, and outward angle."""
        dx, dy = columns - hub[0] - shift * -light.sun[0], rows - hub[1] - shift * light.sun[1]
        angle = np.arctan2(dy, dx)
        swept = side * (angle - (start - side * np.pi / 2))
        t = ((swept + np.pi) % (2 * np.pi) - np.pi) / curve
        inner = np.clip(t, 0.0, 1.0)
        body = smoothstep(0.03, 0.34, inner) * (1.0 - 0.78 * smoothstep(0.70, 1.0, inner) ** 1.4)
        half = thick * (0.20 + 0.80 * body) * (1.0 - 0.25 * smoothstep(0.985, 1.0, inner))
        beyond = np.maximum(np.maximum(-t, t - 1.0), 0.0) * curve * radius
        across = np.hypot(np.hypot(dx, dy) - radius, beyond * 1.6) / half * np.sign(np.hypot(dx, dy) - radius)
        return inner, across.astype(np.float32), half, angle

    _, across, half, _ = tube(0.55 * thick)
    cast = smoothstep(1.55, 0.6, np.abs(across)) * smoothstep(0.0, 0.35 * thick, half)
    image[where] *= (1.0 - 0.58 * cast)[..., None]
    t, across, half, angle = tube()
    cover = smoothstep(0.5, -0.5, (np.abs(across) - 1.0) * half)
    on = cover > 0.0  # the rest of the window needs no colour
    t, inside, angle = t[on], np.clip(across[on], -0.999, 0.999), angle[on]
    phi = np.arcsin(inside)
    facet = (phi + 0.35) / 0.85
    ridge = facet - np.round(facet)  # -0.5 .. 0.5 across a flat side
    smooth = phi - 0.45 * ridge * 0.85
    normal = (np.sin(smooth) * np.cos(angle), -np.sin(smooth) * np.sin(angle), -np.cos(smooth))
    albedo = _peel(t, np.abs(ridge), phi, ripe, skin, rng)
    lit = shade(light, albedo, normal, gloss=0.09, sharp=14.0)
    lit = lit * (0.62 + 0.38 * smoothstep(1.0, 0.7, np.abs(inside)))[..., None]
    image[where][on] = mix(image[where][on], lit, cover[on])


def _peel(t: Array, edge: Array, phi: Array, ripe: float, skin: Array, rng: np.random.Generator) -> Array:
    """Skin colour by ripeness: green to yellow to brown-specked, greener ends, dark tips. Shape (h, w, 3)."""
    green, yellow, old = rgb(126, 152, 60), rgb(242, 204, 66), rgb(220, 168, 62)
    along, round_ = t * 230.0 + float(rng.uniform(0, TILE)), phi * 34.0
    mottle = sample(skin, along * 0.5, round_ * 0.6)
    ends = smoothstep(0.25, 0.02, t) + 0.7 * smoothstep(0.85, 1.0, t)
    yellowness = np.clip(smoothstep(0.1, 0.5, single(ripe) + 0.04 * mottle) - 0.7 * ends * (1.0 - ripe), 0.0, 1.0)
    albedo = mix(green * np.ones((*t.shape, 3), np.float32), yellow, yellowness)
    albedo = mix(albedo, old, smoothstep(0.75, 1.1, single(ripe) + 0.05 * mottle))
    albedo = albedo * (1.0 + 0.035 * mottle)[..., None] * (1.0 - 0.16 * smoothstep(0.36, 0.5, edge))[..., None]
    brown = rgb(92, 58, 30)
    speck = sample(skin, along * 1.3 + 90.0, round_ * 1.8)
    amount = smoothstep(0.55, 1.0, single(ripe) + 0.0 * t)
    specks = smoothstep(2.5 - 1.35 * amount, 3.0 - 1.35 * amount, speck + 0.5 * mottle) * smoothstep(
        0.5, 0.6, single(ripe)
    )
    bruise = smoothstep(2.1, 2.6, sample(skin, along * 0.22 + 31.0, round_ * 0.3)) * smoothstep(0.4, 0.9, single(ripe))
    albedo = mix(albedo, brown, np.clip(0.75 * specks + 0.6 * bruise, 0, 0.9))
    tip = np.maximum(smoothstep(0.965, 0.985, t + 0.004 * mottle), smoothstep(0.022, 0.008, t))
    return mix(albedo, rgb(58, 42, 30), 0.92 * tip)


def maduixes(rng: np.random.Generator, width: int, height: int) -> Array:
    """Strawberries ripening among their leaves, or a heap of picked ones with a few leaves."""
    light = studio(rng, float(rng.uniform(0.2, 1.0)))
    image = _undergrowth(rng, light, width, height)
    heap = rng.random() < 0.28
    for _ in range(int(rng.integers(5, 9))):
        _leaf(rng, image, light, rng.uniform(0, width), rng.uniform(0, height), height * rng.uniform(0.16, 0.3), 0.55)
    image = blur(image, float(rng.choice([1, 2, 3])) * height / 256)
    for _ in range(int(rng.integers(2, 5) if heap else rng.integers(6, 12))):
        _leaf(rng, image, light, rng.uniform(0, width), rng.uniform(0, height), height * rng.uniform(0.15, 0.32), 1.0)
    count = int(rng.integers(14, 26)) if heap else int(rng.integers(2, 8))
    size = height * (rng.uniform(0.2, 0.28) if heap else rng.uniform(0.2, 0.42) * (1.25 - 0.07 * count))
    for k, (x, y) in enumerate(_spread(rng, count, width, height, size, heap)):
        unripe = not heap and k > 0 and rng.random() < 0.22  # the first is always red
        berry_size = size * rng.uniform(0.85, 1.12) * (0.7 if unripe else 1.0)
        hang = float(rng.uniform(0, 2 * np.pi) if heap else rng.normal(0, 0.35))
        _berry(
            rng,
            image,
            light,
            x,
            y,
            berry_size,
            hang,
            float(rng.uniform(0.0, 0.35) if unripe else rng.uniform(0.75, 1.0)),
        )
    for _ in range(0 if heap else int(rng.integers(0, 3))):
        edge = rng.choice([0.02, 0.98])
        _leaf(rng, image, light, width * edge, rng.uniform(0, height), height * rng.uniform(0.2, 0.3), 1.1)
    return image


def _spread(
    rng: np.random.Generator, count: int, width: int, height: int, size: float, heap: bool
) -> list[tuple[float, float]]:
    """Centres for `count` berries, upper ones first, kept apart by best-candidate sampling (Mitchell 1991)."""
    margin = 0.0 if heap else 0.2
    chosen: list[tuple[float, float]] = []
    for _ in range(count):
        options = rng.uniform(margin, 1 - margin, (12, 2)) * (width, height)
        if chosen:
            gaps = np.min(np.linalg.norm(options[:, None] - np.array(chosen)[None], axis=2), axis=1)
            options = options[np.argsort(-gaps)]
        chosen.append((float(options[0, 0]), float(options[0, 1])))
    return sorted(chosen, key=lambda place: place[1])


def _undergrowth(rng: np.random.Generator, light: Light, width: int, height: int) -> Array:
    """Dim soil, straw and foliage behind the plants, shape (h, w, 3)."""
    noise = fractal(rng, (height, width), beta=2.6)
    base = (rgb(44, 62, 34), rgb(84, 68, 50), rgb(150, 126, 82))[int(rng.choice(3, p=[0.55, 0.25, 0.2]))]
    other = rgb(34, 50, 28) * np.ones((height, width, 3), np.float32)
    image = mix(other, base, smoothstep(-1.2, 1.2, noise)) * (light.ambient + 0.3 * light.sunlight)
    return image * np.clip(1.0 + 0.3 * fractal(rng, (height, width), beta=1.6), 0.3, 2.0)[..., None]


def _leaf(rng: np.random.Generator, image: Array, light: Light, x: float, y: float, size: float, bright: float) -> None:
    """A strawberry leaf: three toothed leaflets with ribbed veins, and its shadow."""
    turn = rng.uniform(0, 2 * np.pi)
    green = mix(rgb(60, 104, 44), rgb(104, 140, 62), single(rng.random())) * single(bright)
    tilt = rng.normal(0, 0.25, 2).tolist()
    stalk = [
        (x, y),
        (x - size * 0.9 * np.cos(turn) + 2, y - size * 0.9 * np.sin(turn)),
        (x - size * 0.9 * np.cos(turn), y - size * 0.9 * np.sin(turn) + 2),
    ]
    fill(image, stalk, green * 0.8)
    for spread in (-1.25, 1.25, 0.0):
        _leaflet(
            rng, image, light, (x, y), size * rng.uniform(0.9, 1.05), turn + spread + rng.normal(0, 0.08), green, tilt
        )


def _leaflet(
    rng: np.random.Generator,
    image: Array,
    light: Light,
    foot: tuple[float, float],
    size: float,
    turn: float,
    green: Array,
    tilt: list[float],
) -> None:
    reach = 0.62 * size
    view = window(
        image.shape[:2], foot[0] + 0.5 * size * np.cos(turn), foot[1] + 0.5 * size * np.sin(turn), reach * 1.15
    )
    if view is None:
        return
    where, u, v = view
    cos, sin = float(np.cos(turn)), float(np.sin(turn))

    def blade(shift: float) -> tuple[Array, Array, Array]:
        du, dv = u + shift * light.sun[0], v - shift * light.sun[1]
        a = (du * cos + dv * sin) / size + 0.5
        b = (dv * cos - du * sin) / size
        t = np.clip(a, 0.0, 1.0)
        width = 0.40 * np.sqrt(np.maximum(np.sin(np.pi * t**0.85), 0.0)) + 1e-3
        return a, b, width

    a, b, width = blade(0.10 * size)
    fall = smoothstep(1.35, 0.6, np.abs(b) / width) * smoothstep(-0.1, 0.05, a) * smoothstep(1.1, 0.95, a)
    a, b, width = blade(0.0)
    teeth = np.abs((a * 9.0 + 0.25) % 1.0 - 0.5) * 2.0
    edge = width * (0.90 + 0.12 * teeth)
    cover = smoothstep(0.7, -0.7, (np.abs(b) - edge) * size) * smoothstep(-0.01, 0.02, a) * smoothstep(1.01, 0.98, a)
    on = cover > 0.0  # the rest of the window needs no colour
    a, b = a[on], b[on]
    rib = (a - 0.75 * np.abs(b)) * 9.0
    fold = np.sin(2 * np.pi * rib)
    vein = smoothstep(0.86, 1.0, np.cos(2 * np.pi * (rib + 0.25))) * 0.4 + smoothstep(0.022, 0.006, np.abs(b)) * 0.7
    nb = np.sign(b) * 0.28 + 0.16 * fold * np.sign(b) + tilt[1]
    na = -0.20 * fold + tilt[0] + 0.35 * (a - 0.5)
    length = np.sqrt(na * na + nb * nb + 1.0)
    normal = ((na * cos - nb * sin) / length, -(na * sin + nb * cos) / length, -1.0 / length)
    grain = 1.0 + 0.06 * rng.standard_normal(a.size, dtype=np.float32)
    albedo = mix(green * grain[..., None], green * 1.5 + 0.03, vein)
    lit = shade(light, albedo, normal, gloss=0.10, sharp=10.0)
    image[where] *= (1.0 - 0.5 * fall)[..., None]
    image[where][on] = mix(image[where][on], lit, cover[on])


def _berry(
    rng: np.random.Generator, image: Array, light: Light, x: float, y: float, size: float, hang: float, ripe: float
) -> None:
    """A strawberry `size` pixels long with its point down (turned by `hang`): flesh, seeds in dimples, calyx."""
    view = window(image.shape[:2], x, y, 0.95 * size)
    if view is None:
        return
    where, u, v = view
    cos, sin = float(np.cos(hang)), float(np.sin(hang))
    plump, pointed = float(rng.uniform(0.42, 0.5)), float(rng.uniform(1.5, 2.2))

    def flesh(shift: float) -> tuple[Array, Array, Array]:
        """Across (pixels / size), down from the shoulders (0 .. 1), and half width there."""
        du, dv = u + shift * light.sun[0], v - shift * light.sun[1]
        across, down = (du * cos - dv * sin) / size, (du * sin + dv * cos) / size + 0.5
        top = np.sqrt(np.clip(1.0 - ((0.34 - down) / 0.34) ** 2, 0.0, 1.0))
        point = np.clip(1.0 - np.clip((down - 0.34) / 0.66, 0.0, 1.0) ** pointed, 0.0, 1.0) ** 0.72
        half = plump * np.where(down < 0.34, top**0.8, point) * ((down > 0) & (down < 1))
        return across, down, half

    across, down, half = flesh(0.12 * size)
    fall = smoothstep(0.10, -0.08, np.abs(across) - half) * (half > 0)
    across, down, half = flesh(0.0)
    cover = smoothstep(0.6, -0.6, (np.abs(across) - half) * size)
    on = cover > 0.0  # the rest of the window needs no colour
    across, down, half = across[on], down[on], half[on]
    s = np.clip(across / np.maximum(half, 1e-3), -0.98, 0.98)
    phi = np.arcsin(s)
    lift = np.clip((0.45 - down) / 0.62, -0.92, 0.75)
    dent, seed, lower = _seeds(phi, down, half / plump)
    na, nd = s * np.sqrt(1 - 0.6 * lift**2), lift * 0.8 + 0.35 * lower
    toward = np.sqrt(np.clip(1.0 - na**2 - (lift * 0.8) ** 2, 0.05, 1.0))
    length = np.sqrt(na**2 + nd**2 + toward**2)
    na, nd, toward = na / length, nd / length, toward / length
    normal = (na * cos + -nd * sin, nd * cos + na * sin, -toward)
    albedo = _flesh_colour(rng, down, ripe)
    albedo = albedo * (1.0 - 0.38 * dent)[..., None]
    albedo = mix(albedo, mix(rgb(186, 168, 84), rgb(206, 158, 70), single(ripe)), 0.85 * seed)
    lit = shade(light, albedo, normal, gloss=0.30, sharp=26.0)
    lit = lit * (0.55 + 0.45 * smoothstep(1.0, 0.72, np.abs(s)))[..., None]
    image[where] *= (1.0 - 0.55 * fall)[..., None]
    image[where][on] = mix(image[where][on], lit, cover[on])
    _calyx(rng, image, light, x - 0.47 * size * sin, y - 0.47 * size * cos, size, hang)


def _seeds(phi: Array, down: Array, girth: Array) -> tuple[Array, Array, Array]:
    """Dimples, seeds (0..1) and the dimples' slope, on a staggered grid wrapped round the flesh."""
    row = down * 9.5
    line = np.floor(row)
    column = phi * 2.3 * np.clip(girth, 0.55, 1.0) + 0.5 * (line % 2)
    du, dv = column - np.floor(column) - 0.5, row - line - 0.5
    dent = np.exp(-((du / 0.30) ** 2) - (dv / 0.36) ** 2)
    seed = smoothstep(1.0, 0.5, (du / 0.13) ** 2 + (dv / 0.24) ** 2)
    return dent, seed, -dent * dv * 2.5


def _flesh_colour(rng: np.random.Generator, down: Array, ripe: float) -> Array:
    """Green-white to red; ripening starts at the point, the shoulders stay pale longest. Shape (h, w, 3)."""
    raw = mix(rgb(206, 210, 150), rgb(170, 190, 110), single(rng.random()))
    red = mix(rgb(204, 30, 30), rgb(160, 14, 24), single(rng.random()))
    redness = smoothstep(0.0, 0.45, ripe * 1.25 - 0.42 + 0.5 * (down - 0.3))
    return mix(raw * np.ones((*down.shape, 3), np.float32), red, redness)


def _calyx(rng: np.random.Generator, image: Array, light: Light, x: float, y: float, size: float, hang: float) -> None:
    """The star of green sepals and the stalk on a berry's shoulders."""
    green = mix(rgb(84, 130, 54), rgb(120, 158, 76), single(rng.random()))
    glow = light.ambient + 0.45 * light.sunlight

    def at(across: float, up: float) -> tuple[float, float]:
        cos, sin = float(np.cos(hang)), float(np.sin(hang))
        return x + size * (across * cos - up * sin), y - size * (up * cos + across * sin)

    bend = rng.normal(0, 0.12)
    fill(image, [at(-0.018, 0), at(0.018, 0), at(bend + 0.015, 0.4), at(bend - 0.015, 0.4)], green * glow * 0.85)
    for angle in rng.permutation(np.linspace(-0.15, np.pi + 0.15, 8)) + rng.normal(0, 0.12, 8):
        long, wide = rng.uniform(0.24, 0.36), rng.uniform(0.05, 0.075)
        c, s = np.cos(angle), -0.55 * np.sin(angle) + 0.08  # folded down over the shoulders
        tip, left, right = (
            (long * c, long * s),
            (0.5 * long * c - wide * s, 0.5 * long * s + wide * c),
            (0.5 * long * c + wide * s, 0.5 * long * s - wide * c),
        )
        colour = green * glow * single(rng.uniform(0.6, 1.1))
        fill(image, [at(0, 0.02), at(*left), at(*tip), at(*right)], colour, 0.06, rng)
        fill(image, [at(0, 0.02), at(0.9 * tip[0], 0.9 * tip[1]), at(*right)], colour * single(0.82))
