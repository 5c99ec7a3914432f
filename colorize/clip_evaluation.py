"""Judging moving pictures: a clip in colour is greyed, coloured in every temporal mode and compared with itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from colorize.color import rgb_to_lab, to_float
from colorize.files import atomic
from colorize.motion import Motion, estimate_motion
from colorize.pipeline import Colorizer
from colorize.temporal import TEMPORAL, create_temporal
from colorize.video_metrics import ClipMetrics

REAL = "real"  # the row of the clip itself: what flicker, warp error and CDC there is in it
COLUMNS = ("temporal", "psnr", "ciede2000", "colourfulness_ratio", "flicker", "warp_error", "cdc")  # fit a terminal

Curves = dict[str, list[tuple[float, float]]]  # by mode and "real": mean a and b of each frame, unscaled


def judge_clip(
    colorizer: Colorizer,
    batches: Iterable[np.ndarray],
    modes: Sequence[str] = tuple(TEMPORAL),
    *,
    motion: Iterable[Motion] | None = None,
    uncovered: Iterable[np.ndarray] | None = None,
    show: Callable[[int, Mapping[str, np.ndarray]], None] | None = None,
) -> tuple[list[dict[str, Any]], Curves]:
    """Colour a clip from its lightness in every mode and compare with the clip, after rounding to uint8.

    Memory does not grow with the clip, but for two numbers a frame and mode.

    Args:
        colorizer: what colours.
        batches: the clip in colour, uint8 (B, H, W, 3), in order.
        modes: names of `colorize.temporal.TEMPORAL`.
        motion: of each frame since the one before, where it is known (the first frame's is not looked at); None:
            optical flow of the clip's lightness.
        uncovered: bool (H, W) for each frame, for ``ghosts`` (`ClipMetrics.update`).
        show: called with each frame's number and its pictures (H, W, 3) by mode and "real", to keep some.

    Returns:
        A row for the clip itself and one a mode (`ClipMetrics.compute`), and the curves of mean ab.

    Raises:
        ValueError: no frames, frames of several sizes, or an unknown mode.
    """
    states = {mode: create_temporal(mode) for mode in modes}
    metrics = {name: ClipMetrics(sync_on_compute=False).to(colorizer.device) for name in (REAL, *modes)}
    curves: Curves = {name: [] for name in metrics}
    known_motion = iter(() if motion is None else motion)
    known_uncovered = iter(() if uncovered is None else uncovered)
    before: Tensor | None = None
    for frame, pictures in enumerate(_coloured(colorizer, batches, states)):
        tensors = {name: _to_batch(rgb, colorizer.device) for name, rgb in pictures.items()}
        l = rgb_to_lab(to_float(tensors[REAL]))[:, :1] / 100
        if before is not None and before.shape != l.shape:
            raise ValueError(f"frame {frame} is {tuple(l.shape[-2:])}, those before {tuple(before.shape[-2:])} pixels")
        moved = next(known_motion, None)
        if moved is None and before is not None:
            moved = estimate_motion(before, l)  # once for all modes
        uncovered = next(known_uncovered, None)
        mask = None if uncovered is None else torch.tensor(uncovered, device=colorizer.device)[None, None]
        for name, rgb in tensors.items():
            metrics[name].update(rgb, tensors[REAL], moved, mask)
            a, b = rgb_to_lab(to_float(rgb))[0, 1:].mean((1, 2)).tolist()
            curves[name].append((a, b))
        before = l
        if show is not None:
            show(frame, pictures)
    if before is None:
        raise ValueError("the clip has no frames")
    rows = [{"temporal": name} | {k: float(v) for k, v in m.compute().items()} for name, m in metrics.items()]
    return [{**row, "frames": int(row["frames"])} for row in rows], curves


def plot_mean_ab(curves: Curves, path: str | Path, *, title: str) -> None:
    """Write a PNG of mean a and mean b over the frames, a line for the real clip and for each mode."""
    figure = Figure(figsize=(8, 5), dpi=160, layout="constrained")
    for axes, i in zip(figure.subplots(2, 1, sharex=True), (0, 1), strict=True):
        for name, values in curves.items():
            style: dict[str, Any] = {"color": "#8b949e", "linestyle": "--"} if name == REAL else {}
            axes.plot([value[i] for value in values], label=name, linewidth=1.5, **style)
        axes.set_ylabel(f"mean {'ab'[i]}*")
        axes.grid(axis="y", color="#d8dee4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if i == 0:
            axes.set_title(title, loc="left", fontweight="bold", parse_math=False)
            axes.legend(frameon=False, ncols=len(curves))
        else:
            axes.set_xlabel("frame")
    with atomic(path) as temporary:
        figure.savefig(temporary)


def _coloured(
    colorizer: Colorizer, batches: Iterable[np.ndarray], states: Mapping[str, Any]
) -> Iterator[dict[str, np.ndarray]]:
    """Each frame's pictures: the real one and the one of each mode."""
    for batch in batches:
        columns = {REAL: batch} | {mode: colorizer(batch, state) for mode, state in states.items()}
        for i in range(len(batch)):
            yield {name: column[i] for name, column in columns.items()}


def _to_batch(rgb: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(rgb, device=device).permute(2, 0, 1)[None]
