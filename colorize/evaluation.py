"""Judging: every method on the same test pictures, always beside grey and the training set's mean colour."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colorize import report
from colorize.checkpoint import Checkpoint
from colorize.choice import shipped
from colorize.data.folder import some
from colorize.media import MediaError, read_picture, resize
from colorize.metrics import PictureMetrics, red_kept
from colorize.models.base import Network
from colorize.pipeline import Colorizer
from colorize.progress import track

log = logging.getLogger(__name__)

SHEET_ROWS = 6
COLUMNS = ("method", "psnr", "ssim", "ciede2000", "ab_mse", "colourfulness_ratio")  # that fit a terminal

Scores = dict[Path, dict[str, float]]  # by file, then by measure


class ConstantColour(Network):
    """A 'network' that gives every pixel the same ab: the two baselines, grey and mean colour."""

    stride = 1

    def __init__(self, ab: Sequence[float]):
        super().__init__()
        self.register_buffer("ab", torch.tensor(ab).view(1, 2, 1, 1))

    def output(self, l: Tensor) -> Tensor:
        return self.ab.expand(len(l), 2, *l.shape[-2:])  # type: ignore[operator]


def labels(paths: Sequence[Path]) -> list[str]:
    """A label for each checkpoint: its run's set, network and date, or the path where that is not its place.

    Of weights that ship it is their name.

    Raises:
        ValueError: one checkpoint is named twice.
    """
    known = {path: name for name, path in shipped().items()}
    places = ["/".join(p.resolve().parts[-5:-2]) if p.parent.name == "checkpoints" else str(p) for p in paths]
    names = [known.get(p.resolve(), place) for p, place in zip(paths, places, strict=True)]
    names = [f"{n} {p.stem}" if names.count(n) > 1 else n for n, p in zip(names, paths, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f"a checkpoint is named twice: {', '.join(map(str, paths))}")
    return names


def refuse_mixture(checkpoints: Mapping[str, Checkpoint]) -> None:
    """Figures of networks trained on rendered scenes and on photographs never share a table. Raises ValueError."""
    rendered = [label for label, checkpoint in checkpoints.items() if checkpoint.data["rendered"]]
    if rendered and len(rendered) < len(checkpoints):
        raise ValueError(
            f"on rendered scenes: {', '.join(rendered)}; the others on photographs. They do not go in one table: "
            "evaluate them apart"
        )


def contestants(checkpoints: Mapping[str, Checkpoint], device: str) -> dict[str, Colorizer]:
    """The networks, by label, after the baselines: grey, and the mean colour of each training set among them."""
    methods = {"grey": [0.0, 0.0]}
    for label, checkpoint in checkpoints.items():
        name, ab = f"mean colour of {checkpoint.data['name']}", checkpoint.data["mean_ab"]
        methods[name if methods.get(name, ab) == ab else f"{name} ({label})"] = ab
    result = {label: Colorizer(ConstantColour(ab), 8, device) for label, ab in methods.items()}
    return result | {label: Colorizer.of(c, device=device) for label, c in checkpoints.items()}


def judge(
    methods: Mapping[str, Colorizer], files: Sequence[Path], *, size: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, Scores]]:
    """Colour the lightness of each picture by each method and compare with the picture, after rounding to uint8.

    Args:
        methods: colorizers by label.
        files: real pictures in colour; files that are no picture are named in a warning and left out.
        size: resize both sides to this many pixels first; None: each picture at its own size.

    Returns:
        One row a method (means over pictures, see `colorize.metrics`), and the scores of each picture by method.

    Raises:
        ValueError: none of the files could be read.
    """
    scores: dict[str, Scores] = {label: {} for label in methods}
    metrics = {
        label: PictureMetrics(sync_on_compute=False).to(colorizer.device) for label, colorizer in methods.items()
    }
    errors: list[str] = []
    for file in track(files, "Judging", total=len(files)):
        try:
            real = read_resized(file, size)
        except MediaError as error:
            errors.append(str(error))
            continue
        for label, colorizer in methods.items():
            pair = [_to_batch(rgb).to(colorizer.device) for rgb in (colorizer(real), real)]
            # called, a Metric adds the batch to its state and returns the batch's own values: here one picture's
            scores[label][file] = {name: float(value) for name, value in metrics[label](*pair).items()}
    if errors:
        log.warning("skipped %d of %d test files: %s", len(errors), len(files), some(errors, "; "))
    if not any(scores.values()):
        raise ValueError(f"none of the {len(files)} test pictures could be read")
    rows = [{"method": label} | {k: float(v) for k, v in metric.compute().items()} for label, metric in metrics.items()]
    return [{**row, "pictures": int(row["pictures"])} for row in rows], scores


def judge_red(colorizer: Colorizer, files: Sequence[Path], *, size: int | None = None) -> float:
    """Share of the red kept (`colorize.metrics.red_kept`), pooled over all pixels of all pictures; NaN without red.

    Args:
        colorizer: what colours them.
        files: real pictures in colour. Raises MediaError for one that is none: give those that `judge` has scored.
        size: as for `judge`.
    """
    total = torch.zeros(2, dtype=torch.float64)
    for file in track(files, "Judging red", total=len(files)):
        real = read_resized(file, size)
        total += torch.cat(red_kept(_to_batch(colorizer(real)), _to_batch(real)))
    return float(total[0] / total[1])


def picture_rows(scores: Mapping[str, Scores], tested_on: str) -> list[dict[str, Any]]:
    """The scores of `judge` as a table: a row for each picture and method."""
    return [
        {
            "picture": file.name,
            "method": method,
            "tested on": tested_on,
            **{k: v for k, v in values.items() if k != "pictures"},
        }
        for method, by_file in scores.items()
        for file, values in by_file.items()
    ]


def write_sheets(colorizer: Colorizer, files: Sequence[Path], scores: Scores, folder: Path, title: str) -> list[Path]:
    """Sheets real | grey | predicted of the best, the worst and the first test pictures, by CIEDE2000."""
    judged = [file for file in files if file in scores]
    order = sorted(judged, key=lambda file: scores[file]["ciede2000"])
    chosen = {"sheet": judged, "best": order, "worst": order[::-1]}
    grey = Colorizer(ConstantColour([0.0, 0.0]), 8, "cpu")
    paths = []
    for which, shown in chosen.items():
        shown = shown[:SHEET_ROWS]
        pictures = [read_resized(file, None) for file in shown]
        captions = [f"{f.name}  {scores[f]['psnr']:.1f} dB  CIEDE2000 {scores[f]['ciede2000']:.1f}" for f in shown]
        paths.append(folder / f"{which}.png")
        rows = [(real, grey(real), colorizer(real)) for real in pictures]
        report.sheet(rows, paths[-1], title=title if which == "sheet" else f"{title}: {which}", captions=captions)
    return paths


def compare(methods: Mapping[str, Colorizer], scores: Mapping[str, Scores], path: Path, title: str) -> None:
    """A sheet real | each method: the two best, median and worst pictures by the last method's CIEDE2000, own size."""
    by = scores[list(methods)[-1]]
    order = sorted(by, key=lambda file: by[file]["ciede2000"])
    last, middle = len(order) - 1, len(order) // 2
    rows, captions = [], []
    for i in sorted({min(max(i, 0), last) for i in (0, 1, middle - 1, middle, last - 1, last)}):
        real = read_resized(order[i], None)
        rows.append([real, *(colorizer(real) for colorizer in methods.values())])
        values = ", ".join(f"{label} {scores[label][order[i]]['ciede2000']:.1f}" for label in methods)
        captions.append(f"{i + 1} of {len(order)}: {order[i].name}  CIEDE2000 {values}")
    report.sheet(rows, path, columns=["real", *methods], title=title, captions=captions)


def read_resized(file: Path, size: int | None) -> np.ndarray:
    """uint8 RGB (H, W, 3); both sides resized to ``size`` where it is given. Raises MediaError."""
    rgb = read_picture(file).rgb
    return rgb if size is None else resize(rgb, size)


def _to_batch(rgb: np.ndarray) -> Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None]
