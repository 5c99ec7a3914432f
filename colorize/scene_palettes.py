"""Palettes for a GIF: one for the clip, and one for each scene that gains clearly by one of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colorize.color import rgb_to_l
from colorize.media import Animation, Palettes, gif_palette, on_white, palette_error, sample_pixels
from colorize.motion import is_cut

GAIN = 0.5  # dB by which a scene must look better with a palette of its own, which costs bytes
_FRAMES = 16  # coloured ahead of the rest
_SIDE = 100  # pixels: cuts are found in frames as small as this
_PIXELS = 2048  # of each scene, that palettes are compared on


def scene_palettes(clip: Animation, colour: Callable[[np.ndarray], np.ndarray]) -> Palettes:
    """Go through a clip once, colour about 16 frames spread over it and the first of each scene, and choose palettes.

    Within a scene the palette stays the same, so what stands still does not flicker. What is held are 64 K pixels
    of each of these frames, and of each scene its palette and 2 K pixels.

    Args:
        clip: what is to become a GIF.
        colour: one frame as the clip has it, uint8 (H, W, 3 or 4), to the same shape.
    """
    every = max(1, len(clip) // _FRAMES)
    spread: list[np.ndarray] = []  # pixels of frames over the clip
    scene: list[np.ndarray] = []  # of the scene that is going on
    ended: list[tuple[Fraction, np.ndarray, np.ndarray]] = []  # when a scene began, its palette, pixels
    start, before = Fraction(0), None

    def end() -> None:
        ended.append((start, gif_palette(scene), sample_pixels(np.concatenate(scene, axis=1), _PIXELS)))

    for number, (frame, timing) in enumerate(clip.timed()):
        l = _small_lightness(frame)
        if before is not None and is_cut(before, l):
            end()
            scene, start = [], timing.start
        before = l
        if not scene or number % every == 0:
            scene.append(sample_pixels(colour(frame)))
        if number % every == 0:
            spread.append(scene[-1])
    shared = gif_palette(spread)
    if not ended:
        return Palettes(shared)
    end()
    return Palettes(shared, [(start, own if _gain(shared, own, some) >= GAIN else None) for start, own, some in ended])


def _gain(shared: np.ndarray, own: np.ndarray, pixels: np.ndarray) -> float:
    """dB."""
    errors = [max(palette_error(palette, pixels), 1e-3) for palette in (shared, own)]
    return 10 * math.log10(errors[0] / errors[1])


def _small_lightness(frame: np.ndarray) -> Tensor:
    """(1, 1, H, W) in [0, 1], no side above `_SIDE`."""
    image = Image.fromarray(on_white(frame))
    image.thumbnail((_SIDE, _SIDE))
    return rgb_to_l(torch.tensor(np.asarray(image)).permute(2, 0, 1)[None])
