"""Clips to judge temporal colour on: made of still photographs, so that every pixel's motion is known exactly.

A camera is an affine map from the pixels of a frame to those of the photograph; a clip is the photograph seen by a
moving one. What else moving pictures have comes one at a time: a subject in front, exposure that drifts, grain, a cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.motion import Motion, pixel_grid

MARGIN = 0.7  # of the photograph's side is seen at once; the rest is room to move
SUBJECT = 0.5  # diameter of what moves in front, in frame heights
GRAIN = 4.0  # standard deviation, of 255
DRIFT = 0.15  # exposure swings by this share either way

Camera = Callable[[float], Tensor]  # time 0..1 -> (2, 3), frame pixel (x, y, 1) -> photograph pixel (x, y)


class Clip(NamedTuple):
    """Frames with their true motion.

    Attributes:
        name: what is hard about it.
        frames: uint8 (T, H, W, 3).
        motion: of each frame since the one before; of the first frame, and of the first after a cut, nothing is seen.
        uncovered: bool (T, H, W), background that the subject hid one frame before.
        cuts: the frames that follow a cut.
    """

    name: str
    frames: np.ndarray
    motion: list[Motion]
    uncovered: np.ndarray
    cuts: tuple[int, ...] = ()


def make_clips(
    photographs: Sequence[np.ndarray], *, frames: int = 48, size: tuple[int, int] = (192, 288), seed: int = 0
) -> list[Clip]:
    """Eight clips: pan, zoom, hand-held, subject, subject and pan, exposure drift, grain, and a cut between two pans.

    Args:
        photographs: uint8 (H, W, 3); clip i uses the i-th and, where it needs two, the next one, around and around.
        frames: of each clip.
        size: (height, width) of the frames.
        seed: of the grain and of the hand's shaking.
    """
    around = itertools.cycle(range(len(photographs)))
    rng = np.random.default_rng(seed)

    def first() -> np.ndarray:
        return photographs[next(around)]

    def second(offset: int = 1) -> np.ndarray:
        return photographs[(next(around) + offset) % len(photographs)]

    def shot(name: str, path: Callable[[float], tuple[float, float, float, float]], subject: bool = False) -> Clip:
        photograph = first()
        camera = _camera(photograph, size, path)
        return _shot(name, photograph, camera, second() if subject else None, frames, size)

    still = (0.0, 0.0, 1.0, 0.0)
    shake = _shaking(rng)
    clips = [
        shot("pan", lambda t: (math.cos(math.pi * t), 0.3 * math.sin(math.pi * t), 1.0, 0.0)),
        shot("zoom", lambda t: (0.2 * t, 0.0, 1.0 - 0.35 * t, 0.0)),
        shot("hand-held", lambda t: (*shake(t)[:2], 1.0, 0.1 * shake(t)[2])),
        shot("subject", lambda t: still, subject=True),
        shot("subject and pan", lambda t: (0.8 * math.cos(math.pi * t), 0.0, 1.0, 0.0), subject=True),
        _expose(shot("exposure drift", lambda t: still)),
        _add_grain(shot("grain", lambda t: still), rng),
    ]
    halves = [
        _shot("cut", p, _camera(p, size, path), None, n, size)
        for p, path, n in (
            (first(), lambda t: (0.5 - 0.5 * t, 0.0, 1.0, 0.0), frames // 2),
            (second(), lambda t: (0.0, 0.5 * t - 0.5, 1.0, 0.0), frames - frames // 2),
        )
    ]
    return [*clips, join("cut", halves)]


def join(name: str, shots: Sequence[Clip]) -> Clip:
    """Shots of one size, one after another with a hard cut between."""
    starts = list(itertools.accumulate(len(shot.frames) for shot in shots))[:-1]
    return Clip(
        name,
        np.concatenate([shot.frames for shot in shots]),
        [motion for shot in shots for motion in shot.motion],
        np.concatenate([shot.uncovered for shot in shots]),
        tuple(starts),
    )


def _camera(
    photograph: np.ndarray, size: tuple[int, int], path: Callable[[float], tuple[float, float, float, float]]
) -> Camera:
    """A camera whose path gives x and y in -1..1, of the room there is, zoom (1: `MARGIN` is seen) and radians."""
    (height, width), (rows, columns) = photograph.shape[:2], size
    scale = MARGIN * min(height / rows, width / columns)
    room = (width - scale * columns) / 2, (height - scale * rows) / 2

    def camera(time: float) -> Tensor:
        x, y, zoom, angle = path(time)
        cos, sin = scale * zoom * math.cos(angle), scale * zoom * math.sin(angle)
        turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        middle = torch.tensor([(columns - 1) / 2, (rows - 1) / 2], dtype=torch.float64)
        target = torch.tensor([(width - 1) / 2 + x * room[0], (height - 1) / 2 + y * room[1]], dtype=torch.float64)
        return torch.cat([turn, (target - turn @ middle)[:, None]], dim=1)

    return camera


def _shaking(rng: np.random.Generator) -> Callable[[float], tuple[float, float, float]]:
    """Three smooth random curves around 0, of a few slow sines."""
    phases, speeds = rng.uniform(0, 2 * math.pi, (3, 4)), rng.uniform(0.5, 4.0, (3, 4))

    def shake(time: float) -> tuple[float, float, float]:
        return tuple(0.3 * np.sin(phases + 2 * math.pi * speeds * time).mean(axis=1))  # type: ignore[return-value]

    return shake


def _shot(
    name: str,
    photograph: np.ndarray,
    camera: Camera,
    subject: np.ndarray | None,
    count: int,
    size: tuple[int, int],
) -> Clip:
    """A photograph seen by a moving camera, a round piece of another one, if given, crossing in front of it."""
    grid = pixel_grid(*size, dtype=torch.float64)
    frames, motions, uncovered = [], [], []
    before: tuple[Tensor, Tensor, Tensor] | None = None  # camera, subject's place and cover of the frame before
    for i in range(count):
        time = i / max(1, count - 1)
        view = camera(time)
        picture = _sample(photograph, _apply(view, grid))
        place, cover = _subject_at(time, size) if subject is not None else (torch.zeros(2), torch.zeros(size))
        if subject is not None:
            picture = torch.lerp(
                picture, _sample(subject, _centre(subject, grid - place[:, None, None])), cover.float()
            )
        frames.append((picture * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
        if before is None:
            motions.append(Motion(torch.zeros(1, 2, *size), torch.zeros(1, 1, *size, dtype=torch.bool)))
            uncovered.append(np.zeros(size, dtype=bool))
        else:
            was = torch.where(cover > 0.5, grid - place[:, None, None] + before[1][:, None, None], grid)
            background = _apply(_inverse(before[0]), _apply(view, grid))
            was = torch.where(cover > 0.5, was, background)
            inside = (was >= 0).all(0) & (was[0] <= size[1] - 1) & (was[1] <= size[0] - 1)
            covered = _at(before[2], was)
            # An edge of the subject is a mixture of both: neither was anywhere.
            seen = inside & torch.where(cover > 0.5, (cover == 1) & (covered > 0.99), (cover == 0) & (covered < 0.01))
            motions.append(Motion((was - grid).float()[None], seen[None, None]))
            uncovered.append(((cover == 0) & inside & (covered > 0.5)).numpy())
        before = view, place, cover
    return Clip(name, np.stack(frames), motions, np.stack(uncovered))


def _subject_at(time: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centre (x, y) of the subject and how much of each pixel (H, W) it covers; it crosses from left to right."""
    height, width = size
    radius = SUBJECT * height / 2
    x = -radius / 2 + time * (width + radius)
    place = torch.tensor([x, height * (0.55 + 0.12 * math.sin(2 * math.pi * time))], dtype=torch.float64)
    distance = (pixel_grid(height, width, dtype=torch.float64) - place[:, None, None]).norm(dim=0)
    return place, (radius - distance + 0.5).clamp(0, 1)


def _centre(photograph: np.ndarray, offsets: Tensor) -> Tensor:
    height, width = photograph.shape[:2]
    return offsets + torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=offsets.dtype)[:, None, None]


def _apply(matrix: Tensor, points: Tensor) -> Tensor:
    return torch.einsum("ij,jhw->ihw", matrix[:, :2], points) + matrix[:, 2, None, None]


def _inverse(matrix: Tensor) -> Tensor:
    turn = torch.linalg.inv(matrix[:, :2])
    return torch.cat([turn, -turn @ matrix[:, 2:]], dim=1)


def _sample(photograph: np.ndarray, points: Tensor) -> Tensor:
    """Float RGB (3, H, W) of a uint8 photograph at points (2, H, W) in its pixels, mirrored beyond its borders."""
    picture = torch.tensor(photograph, dtype=torch.float32).permute(2, 0, 1) / 255
    return _grid_sample(picture, points, "bicubic", "reflection").clamp(0, 1)


def _at(mask: Tensor, points: Tensor) -> Tensor:
    return _grid_sample(mask.float()[None], points, "bilinear", "border")[0]


def _grid_sample(picture: Tensor, points: Tensor, mode: str, padding: str) -> Tensor:
    last = torch.tensor([picture.shape[2] - 1, picture.shape[1] - 1], dtype=points.dtype)[:, None, None]
    grid = (2 * points / last - 1).permute(1, 2, 0)[None].float()
    return F.grid_sample(picture[None], grid, mode=mode, padding_mode=padding, align_corners=True)[0]


def _expose(clip: Clip) -> Clip:
    """A slow swing of the exposure: what an automatic camera does under clouds."""
    times = np.arange(len(clip.frames)) / max(1, len(clip.frames) - 1)
    gain = 1 + DRIFT * np.sin(2 * np.pi * times)[:, None, None, None]
    return clip._replace(frames=np.rint(clip.frames * gain).clip(0, 255).astype(np.uint8))


def _add_grain(clip: Clip, rng: np.random.Generator) -> Clip:
    """Grey grain, another one in each frame."""
    grain = rng.normal(0, GRAIN, (*clip.frames.shape[:3], 1))
    return clip._replace(frames=np.rint(clip.frames + grain).clip(0, 255).astype(np.uint8))
