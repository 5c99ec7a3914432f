"""Judging moving pictures: a clip in colour is greyed, coloured in every temporal mode and compared with itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from colorize import report
from colorize.checkpoint import Checkpoint
from colorize.color import rgb_to_lab, to_float
from colorize.evaluation import SHEET_ROWS, ConstantColour
from colorize.files import atomic
from colorize.media import Animation, batches, on_white, resize
from colorize.motion import Motion, estimate_motion
from colorize.pipeline import Colorizer
from colorize.progress import track
from colorize.temporal import temporal_modes
from colorize.video_metrics import ClipMetrics

log = logging.getLogger(__name__)

REAL = "real"  # the row of the clip itself: what flicker, warp error and CDC there is in it
COLUMNS = ("temporal", "psnr", "ciede2000", "colourfulness_ratio", "flicker", "warp_error", "cdc")  # fit a terminal

_BATCH = 4  # frames
_SHOWN = (768, 256)  # pixels of a kept frame, at most: no more is seen of it
_SAMPLED = 16  # frames that are asked whether the clip has colour
_GREY = 2.0  # mean of max(R, G, B) - min(R, G, B), 0..255, up to which a frame has none

Curves = dict[str, list[tuple[float, float]]]  # by mode and "real": mean a and b of each frame, unscaled


def judge_animation(
    clip: Animation,
    checkpoints: Mapping[str, Checkpoint],
    folders: Mapping[str, Path],
    run_dir: Path,
    said: Mapping[str, str],
    *,
    size: int | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Judge networks on a clip in colour (`judge_clip`), print the table and write it; memory as there.

    Beside the table, for each network: mean ab over the frames as a plot, and some frames, real | grey | each mode, as
    a sheet and in TensorBoard.

    Args:
        clip: of any kind; what is transparent is white.
        checkpoints: networks by label.
        folders: of each label, for its plot and sheet.
        run_dir: for the table and TensorBoard.
        said: columns of the written table that are the same in all rows.
        size: resize both sides of each frame to this many pixels first; None: as they are.

    Returns:
        The table's rows; the clip's own comes first.

    Raises:
        ValueError: the clip cannot be read.
    """
    name = clip.path.resolve().name
    grey = Colorizer(ConstantColour([0.0, 0.0]), 8, "cpu")
    rows: list[dict[str, Any]] = []
    results: dict[str, tuple[Curves, dict[int, list[np.ndarray]]]] = {}  # curves by mode; pictures by frame
    for label, checkpoint in checkpoints.items():
        kept: dict[int, list[np.ndarray]] = {}  # by number of the frame: real, grey, each mode
        wanted = {round(i * (len(clip) - 1) / (SHEET_ROWS - 1)) for i in range(SHEET_ROWS)}

        def show(frame: int, pictures: Mapping[str, np.ndarray], kept: Any = kept, wanted: Any = wanted) -> None:
            if frame in wanted:
                real, *coloured = map(_shrunk, pictures.values())
                kept[frame] = [real, grey(real), *coloured]

        frames = (on_white(frame) for frame in track(clip.frames(), "Judging", total=len(clip), unit="frames"))
        resized = frames if size is None else (resize(frame, size) for frame in frames)
        judged, curves = judge_clip(Colorizer.of(checkpoint, device=device), batches(resized, _BATCH), show=show)
        # the clip itself is the same to all of them
        rows += [{"method": "" if row["temporal"] == REAL else label, **row} for row in judged[bool(rows) :]]
        results[label] = curves, kept
    if clip.lost:
        log.warning("%s: %s; judged are the %d frames before", clip.path, clip.lost, rows[0]["frames"])

    several = len(checkpoints) > 1
    title = f"{name}, {rows[0]['frames']} frames; " + "; ".join(f"{key}: {value}" for key, value in said.items())
    report.print_table(rows, ("method", *COLUMNS) if several else COLUMNS, title=title)
    rows = [{"method": row["method"], "tested on": name, **said, **row} for row in rows]

    run_dir.mkdir(parents=True, exist_ok=True)
    report.write_table(rows, run_dir / "table")
    with SummaryWriter(str(run_dir)) as board:
        for label, (curves, kept) in results.items():
            real, *modes = curves
            columns = (real, "grey", *modes)
            folders[label].mkdir(exist_ok=True)
            plot_mean_ab(curves, folders[label] / "mean_ab.png", title=f"{label} on {name}")
            captions = [f"frame {frame}" for frame in kept]
            path = folders[label] / "sheet.png"
            report.sheet(list(kept.values()), path, columns=columns, title=f"{label} on {name}", captions=captions)
            for frame, pictures in kept.items():  # a slider there goes through them
                tag = f"{label}: {', '.join(columns)}"
                board.add_image(tag, np.concatenate(pictures, axis=1), frame, dataformats="HWC")
    print(f"table, plots and sheets: {run_dir.resolve()}")
    return rows


def refuse_grey(clip: Animation) -> None:
    """Raises ValueError: the clip is grey already, as far as some frames tell."""
    if all(_is_grey(on_white(frame)) for frame in clip.some(_SAMPLED)):
        raise ValueError(f"{clip.path} is grey: there is no colour to compare with; give the coloured original")


def judge_clip(
    colorizer: Colorizer,
    batches: Iterable[np.ndarray],
    modes: Sequence[str] | None = None,
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
        modes: names of `colorize.temporal.TEMPORAL`; None: all that the network can be used with.
        motion: of each frame since the one before, where it is known (the first frame's is not looked at); None:
            optical flow of the clip's lightness.
        uncovered: bool (H, W) for each frame, for ``ghosts`` (`ClipMetrics.update`).
        show: called with each frame's number and its pictures (H, W, 3) by mode and "real", to keep some.

    Returns:
        A row for the clip itself and one a mode (`ClipMetrics.compute`), and the curves of mean ab.

    Raises:
        ValueError: no frames, frames of several sizes, or a mode that is unknown or not for this network.
    """
    modes = temporal_modes(colorizer.model) if modes is None else modes
    states = {mode: colorizer.new_clip(mode) for mode in modes}
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


def _is_grey(rgb: np.ndarray) -> bool:
    return float((rgb.max(-1) - rgb.min(-1)).mean()) <= _GREY


def _shrunk(rgb: np.ndarray) -> np.ndarray:
    image = Image.fromarray(rgb)
    image.thumbnail(_SHOWN, Image.Resampling.LANCZOS)
    return np.asarray(image)


def _to_batch(rgb: np.ndarray, device: torch.device) -> Tensor:
    return torch.tensor(rgb, device=device).permute(2, 0, 1)[None]
