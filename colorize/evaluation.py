"""Judging: every method on the same test pictures, always beside grey and the training set's mean colour."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colorize import report
from colorize.checkpoint import Checkpoint
from colorize.media import MediaError, read_picture
from colorize.metrics import PictureMetrics
from colorize.models.base import Network
from colorize.pipeline import Colorizer
from colorize.progress import track

log = logging.getLogger(__name__)

SHEET_ROWS = 6
COLUMNS = ("psnr", "ssim", "ciede2000", "ab_mse", "colourfulness", "colourfulness_real", "colourfulness_ratio")

Scores = dict[str, dict[str, float]]  # by file name, then by measure


class ConstantColour(Network):
    """A 'network' that gives every pixel the same ab: the two baselines, grey and mean colour."""

    stride = 1

    def __init__(self, ab: Sequence[float]):
        super().__init__()
        self.register_buffer("ab", torch.tensor(ab).view(1, 2, 1, 1))

    def forward(self, l: Tensor) -> Tensor:
        return self.ab.expand(len(l), 2, *l.shape[-2:])  # type: ignore[operator]


def kind(rendered: bool) -> str:
    """What the pictures of a set are, in a word for tables and titles."""
    return "rendered scenes" if rendered else "photographs"


def labels(paths: Sequence[Path]) -> list[str]:
    """A short label for each checkpoint: its run's set, network and date, or the path where that is not its place."""
    return ["/".join(path.resolve().parts[-5:-2]) if path.parent.name == "checkpoints" else str(path) for path in paths]


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
    means = {f"mean colour of {c.data['name']}": c.data["mean_ab"] for c in checkpoints.values()}
    methods = {"grey": [0.0, 0.0], **means}
    result = {label: Colorizer(ConstantColour(ab), 8, device) for label, ab in methods.items()}
    return result | {label: Colorizer(c.model, c.data["size"], device) for label, c in checkpoints.items()}


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
    metrics = {label: PictureMetrics().to(colorizer.device) for label, colorizer in methods.items()}
    for file in track(files, "Judging", total=len(files)):
        try:
            real = read_resized(file, size)
        except MediaError as error:
            log.warning("skipped: %s", error)
            continue
        for label, colorizer in methods.items():
            pair = [_to_batch(rgb).to(colorizer.device) for rgb in (colorizer(real), real)]
            # called, a Metric adds the batch to its state and returns the batch's own values: here one picture's
            scores[label][file.name] = {name: float(value) for name, value in metrics[label](*pair).items()}
    if not any(scores.values()):
        raise ValueError(f"none of the {len(files)} test pictures could be read")
    rows = [{"method": label} | {k: float(v) for k, v in metric.compute().items()} for label, metric in metrics.items()]
    return [{**row, "pictures": int(row["pictures"])} for row in rows], scores


def write_sheets(colorizer: Colorizer, files: Sequence[Path], scores: Scores, folder: Path, title: str) -> list[Path]:
    """Sheets real | grey | predicted of the best, the worst and the first test pictures, by CIEDE2000."""
    by_name = {file.name: file for file in files if file.name in scores}
    order = sorted(by_name, key=lambda name: scores[name]["ciede2000"])
    chosen = {"sheet": list(by_name), "best": order, "worst": order[::-1]}
    grey = Colorizer(ConstantColour([0.0, 0.0]), 8, "cpu")
    paths = []
    for kind, names in chosen.items():
        names = names[:SHEET_ROWS]
        real = [read_resized(by_name[name], None) for name in names]
        captions = [f"{n}  {scores[n]['psnr']:.1f} dB  CIEDE2000 {scores[n]['ciede2000']:.1f}" for n in names]
        paths.append(folder / f"{kind}.png")
        rows = [(rgb, grey(rgb), colorizer(rgb)) for rgb in real]
        report.sheet(rows, paths[-1], title=f"{title}: {kind}" if kind != "sheet" else title, captions=captions)
    return paths


def read_resized(file: Path, size: int | None) -> np.ndarray:
    """uint8 RGB (H, W, 3); both sides resized to ``size`` where it is given. Raises MediaError."""
    rgb = read_picture(file).rgb
    return rgb if size is None else np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC))


def _to_batch(rgb: np.ndarray) -> Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None]
