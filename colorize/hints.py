"""Colour hints: a few points with the colour they should have, and the region around each follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from colorize.color import AB_SCALE, L_SCALE, clamp_to_gamut, rgb_to_l_ab

if TYPE_CHECKING:
    from colorize.pipeline import Colorizer

Adjust = Callable[[Tensor, Tensor], Tensor]  # l (1, 1, H, W) and the network's ab (1, 2, h, w) -> ab (1, 2, h', w')

GUIDE = 384  # longest side in pixels of the picture that regions are found in: more is slower, and no better
REACH = 7.0  # what a path from a hint may cost until its colour fades: units of L climbed, and the way itself
WAY = 20.0  # cost of crossing the whole picture where nothing is in the way
UNLIKE = 0.3  # what a unit of L costs by which a place differs from the hint's: some edges are soft
NOISE = 0.7  # units of L between neighbours that are no edge, after smoothing: grain, grass
TINT = 1.0  # units of the network's own ab count so much beside those of L
_PASSES = 12  # sweeps in four directions; few paths bend more often


class Hint(NamedTuple):
    """What colour a place of a picture has."""

    x: int  # pixels from the left, from 0, of the upright picture
    y: int  # pixels from the top
    rgb: tuple[int, int, int]  # 0 to 255; hue and chroma are taken from it, lightness from the picture


def parse_hints(hints: Any) -> list[Hint]:
    """Hints as people write them.

    Args:
        hints: mappings of x, y and color, or strings "x,y,color"; a color is "#rrggbb", "#rgb", a name of CSS ("olive")
            or "rgb(170, 51, 17)".

    Raises:
        ValueError: something else.
    """
    if hints is None:
        return []
    if isinstance(hints, str) or not isinstance(hints, Sequence):
        raise ValueError(f'hints={hints} must be a list, like hints=["10,20,#aa3311"]')
    return [_parse(hint) for hint in hints]


def _parse(hint: Any) -> Hint:
    try:
        if isinstance(hint, Mapping):
            x, y, color = hint["x"], hint["y"], hint["color"]
        else:
            x, y, color = str(hint).split(",", 2)
        place = int(x), int(y)
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f'hint {hint} is not understood: write "x,y,color" or {{x: 10, y: 20, color: "#aa3311"}}, in whole pixels '
            "from the top left"
        ) from None
    try:
        return Hint(*place, ImageColor.getrgb(str(color).strip())[:3])
    except ValueError:
        raise ValueError(f'hint {hint}: {color} is no colour; write "#aa3311", or a name like olive') from None


def check_hints(hints: Sequence[Hint], width: int, height: int) -> None:
    """Raises ValueError for a hint that is outside a picture of this size."""
    for x, y, rgb in hints:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(
                f"hint {x},{y},#{bytes(rgb).hex()} is outside the picture, which is {width} x {height} pixels: x is "
                f"from 0 to {width - 1}, y from 0 to {height - 1}"
            )


def colour_picture(colorizer: Colorizer, rgb: np.ndarray, hints: Sequence[Hint] = ()) -> np.ndarray:
    """Colour a picture uint8 (H, W, 3), as the hints say. Raises ValueError for a hint that is outside it."""
    if not hints:
        return colorizer(rgb)
    check_hints(hints, rgb.shape[1], rgb.shape[0])
    picture = torch.tensor(rgb, device=colorizer.device).permute(2, 0, 1)[None]
    return colorizer.colour(picture, adjust=with_hints(hints))[0].permute(1, 2, 0).cpu().numpy()


def with_hints(hints: Sequence[Hint]) -> Adjust:
    """What `colorize.pipeline.Colorizer.colour` does to the network's ab for the sake of hints.

    A hint's region is what can be reached from it without climbing over edges of lightness: the geodesic distance of
    Criminisi et al., "Geodesic image and video editing", TOG 2010, over smoothed l and the network's own ab, found by
    sweeps in four directions, and more where lightness is another. In it the hint's ab takes the place of the
    network's, and fades out where the distance grows; between two hints each place takes mostly after the nearer one,
    so a hint with the colour that is there already shields its region from another. At the hint itself the colour is
    the hint's, as far as sRGB has it at the picture's lightness.
    """

    def adjust(l: Tensor, ab: Tensor) -> Tensor:
        height, width = l.shape[-2:]
        scale = min(1.0, GUIDE / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        guide_l = F.interpolate(l, size, mode="bilinear", antialias=True)
        ab = F.interpolate(ab, size, mode="bicubic", antialias=True)
        rows = [min(size[0] - 1, int(hint.y * size[0] / height)) for hint in hints]
        columns = [min(size[1] - 1, int(hint.x * size[1] / width)) for hint in hints]
        distance = torch.from_numpy(_distances(guide_l, ab, list(zip(rows, columns, strict=True)))).to(ab)
        colours = torch.tensor([hint.rgb for hint in hints], device=ab.device).float().T[None, :, :, None] / 255
        wanted = rgb_to_l_ab(colours)[1][0, :, :, 0]  # (2, hints)
        share = (distance + 1e-3) ** -2
        mixed = torch.einsum("ck,khw->chw", wanted, share / share.sum(0))[None]
        strength = torch.exp(-((distance.amin(0) / REACH) ** 2))
        return clamp_to_gamut(guide_l, ab.lerp(mixed, strength))

    return adjust


def _distances(l: Tensor, ab: Tensor, points: Sequence[tuple[int, int]]) -> np.ndarray:
    """Geodesic distance of every pixel from each point (row, column): float32 (points, H, W)."""
    lightness = np.ascontiguousarray((l[0, 0] * L_SCALE).cpu().numpy())
    lightness = cv2.bilateralFilter(cv2.medianBlur(lightness, 5), 11, 18.0, 5.0)  # edges without the texture
    tint = (ab[0] * (AB_SCALE * TINT)).cpu().numpy()
    guide = np.concatenate([lightness[None], tint])
    _, height, width = guide.shape
    step = WAY / np.hypot(height, width)

    def cost(dy: int, dx: int) -> np.ndarray:
        """Of the way from each pixel (y, x) to (y + dy, x + dx); ``inf`` where that is outside."""
        there = np.full_like(guide, np.inf)
        ys, xs = slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx))
        yo, xo = slice(max(0, -dy), height + min(0, -dy)), slice(max(0, -dx), width + min(0, -dx))
        there[:, yo, xo] = guide[:, ys, xs]
        climbed = np.sqrt(((there - guide) ** 2).sum(0))
        return np.maximum(0, climbed - NOISE) + step * np.hypot(dy, dx)

    distance = np.full((len(points), height, width), np.inf, np.float32)
    for number, (row, column) in enumerate(points):
        distance[number, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 0  # bicubic reads neighbours
    down = [cost(1, dx).astype(np.float32) for dx in (-1, 0, 1)]
    right = [cost(dy, 1).astype(np.float32) for dy in (-1, 0, 1)]
    # Both ways of an edge cost the same, so `down` serves upward sweeps too: from (y, x) to (y + 1, x + dx) and back.
    for _ in range(_PASSES):
        before = distance.copy()
        _sweep(distance, down)
        _sweep(distance.transpose(0, 2, 1), [part.T for part in right])
        if np.array_equal(before, distance):
            break
    differs = np.stack([np.abs(lightness - lightness[row, column]) for row, column in points])
    return np.where(distance > 0, distance + UNLIKE * differs, 0)


def _sweep(distance: np.ndarray, ahead: Sequence[np.ndarray]) -> None:
    """Hand distances (K, H, W) down row by row, and up, in place; ``ahead`` (H, W): to the next row's dx -1, 0, 1."""
    last = distance.shape[1] - 1
    for y in range(last):
        here, below = distance[:, y], distance[:, y + 1]
        np.minimum(below, here + ahead[1][y], out=below)
        np.minimum(below[:, :-1], here[:, 1:] + ahead[0][y, 1:], out=below[:, :-1])
        np.minimum(below[:, 1:], here[:, :-1] + ahead[2][y, :-1], out=below[:, 1:])
    for y in range(last - 1, -1, -1):
        here, below = distance[:, y], distance[:, y + 1]
        np.minimum(here, below + ahead[1][y], out=here)
        np.minimum(here[:, 1:], below[:, :-1] + ahead[0][y, 1:], out=here[:, 1:])
        np.minimum(here[:, :-1], below[:, 1:] + ahead[2][y, :-1], out=here[:, :-1])
