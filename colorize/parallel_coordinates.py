"""Parallel coordinates: what many runs were given, and what came of it, in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from colorize.files import atomic

_INK, _FAINT = "#1f2328", "#57606a"
_TICKS = 5


def parallel_coordinates(rows: Sequence[Mapping[str, str | float]], path: str | Path, *, title: str) -> None:
    """Write a PNG with an upright axis a column and a line a row, coloured by the last column: dark is low.

    Args:
        rows: at least one, all with the same columns. A column whose values are all numbers above 0 and span more than
            a factor of 20 is logarithmic; one of other words than numbers has a tick for each of them.
    """
    columns = list(rows[0])
    axes = [_axis([row[column] for row in rows]) for column in columns]
    figure = Figure(figsize=(max(6.0, 2.4 * len(columns)), 4.5), dpi=160, layout="constrained")
    plane = figure.add_subplot()
    shade = axes[-1][0]
    order = np.argsort(-shade)  # the best on top
    for i in order:
        heights = [heights[i] for heights, _ in axes]
        points, codes = [(0.0, heights[0])], [Curve.MOVETO]
        for x, (before, here) in enumerate(pairwise(heights)):
            points += [(x + 0.5, before), (x + 0.5, here), (x + 1.0, here)]
            codes += [Curve.CURVE4] * 3
        colour = colormaps["viridis"](0.9 * shade[i])
        plane.add_patch(PathPatch(Curve(points, codes), facecolor="none", edgecolor=colour, linewidth=1.8, alpha=0.85))
    for x, (_, ticks) in enumerate(axes):
        plane.axvline(x, color=_FAINT, linewidth=1)
        for height, label in ticks:
            plane.plot([x - 0.015, x + 0.015], [height, height], color=_FAINT, linewidth=1)
            plane.annotate(
                label,
                (x, height),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=_INK,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
                parse_math=False,
            )
    plane.set_xlim(-0.1, len(columns) - 1 + 0.35)
    plane.set_ylim(-0.06, 1.06)
    plane.set_xticks(range(len(columns)), columns, color=_INK, fontsize=9)
    plane.xaxis.tick_top()
    plane.tick_params(length=0)
    plane.set_yticks([])
    plane.spines[:].set_visible(False)
    plane.set_title(title, loc="left", fontweight="bold", color=_INK, parse_math=False)
    with atomic(path) as temporary:
        figure.savefig(temporary)


def _axis(values: Sequence[str | float]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights in [0, 1] of the values, and the ticks (height, label)."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        words = sorted({str(value) for value in values})
        place = {word: i / max(1, len(words) - 1) if len(words) > 1 else 0.5 for i, word in enumerate(words)}
        return np.array([place[str(value)] for value in values]), [(place[w], w if w else "not given") for w in words]
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return np.full(len(numbers), 0.5), [(0.5, f"{low:.4g}")]
    log = low > 0 and high > 20 * low
    scaled, first, last = (np.log(numbers), math.log(low), math.log(high)) if log else (numbers, low, high)
    shown = sorted(set(numbers.tolist()))
    if len(shown) > _TICKS:
        shown = (np.geomspace if log else np.linspace)(low, high, _TICKS).tolist()
    heights = [((math.log(v) if log else v) - first) / (last - first) for v in shown]
    ticks: list[tuple[float, str]] = []
    for height, value in zip(heights, shown, strict=True):
        if not ticks or height - ticks[-1][0] > 0.06:  # or labels would lie on each other
            ticks.append((height, f"{value:.4g}"))
    return (scaled - first) / (last - first), ticks
