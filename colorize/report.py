"""What a run leaves behind for people: contact sheets, loss curves and tables.

Every file is written whole or not at all.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from colorize.files import atomic

Row = Mapping[str, Any]  # str, int and float values

_CELL_HEIGHT = 256
_CELL_WIDTH = 3 * _CELL_HEIGHT  # a wider panorama is fitted into this instead
_GAP = 6
_MARGIN = 16
_INK, _FAINT = "#1f2328", "#57606a"
# DejaVu Sans comes with Matplotlib and, unlike Pillow's own font, has accents and other scripts.
_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
_TITLE = ImageFont.truetype(str(_FONTS / "DejaVuSans-Bold.ttf"), 24)
_HEADING = ImageFont.truetype(str(_FONTS / "DejaVuSans-Bold.ttf"), 18)
_CAPTION = ImageFont.truetype(str(_FONTS / "DejaVuSans.ttf"), 14)

_TRAIN_COLOUR, _VAL_COLOUR = "#8b949e", "#0550ae"

_DECIMALS = {
    "psnr": 2,
    "ssim": 3,
    "ciede2000": 2,
    "ab_mse": 5,
    "colourfulness": 1,
    "colourfulness_real": 1,
    "colourfulness_ratio": 2,
    "red_kept": 2,
    "flicker": 3,
    "warp_error": 3,
    "cdc": 4,
    "ghosts": 2,
    "still": 2,
}


_HEADINGS = {  # short, for a terminal
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ciede2000": "CIEDE2000",
    "ab_mse": "ab MSE",
    "colourfulness": "colour",
    "colourfulness_real": "real",
    "colourfulness_ratio": "colour ratio",
    "red_kept": "red kept",
    "warp_error": "warp error",
    "cdc": "CDC",
}


def kind(rendered: bool) -> str:
    """What the pictures of a set are, in a word for tables and titles."""
    return "rendered scenes" if rendered else "photographs"


# Pictures


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    path: str | Path,
    *,
    columns: Sequence[str] = ("real", "grey", "predicted"),
    title: str | None = None,
    captions: Sequence[str] | None = None,
) -> None:
    """Write a contact sheet, PNG or JPEG by suffix: a heading a column, a row a picture, a caption under each row.

    Args:
        rows: for each row one uint8 RGB array (H, W, 3) a column, of any sizes; shown 256 pixels high.
        captions: one line a row, such as a file name and its figures.

    Raises:
        ValueError: no rows, or not one picture a column and one caption a row.
    """
    if not rows or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"expected at least one row of {len(columns)} pictures, got {[len(row) for row in rows]}")
    if captions is not None and len(captions) != len(rows):
        raise ValueError(f"{len(rows)} rows but {len(captions)} captions")
    cells = [[_cell(picture) for picture in row] for row in rows]
    # A column is as wide as its widest picture or heading; when a line of text needs more, all columns share the rest.
    widths = [max(_text_width(column, _HEADING), *(row[i].width for row in cells)) for i, column in enumerate(columns)]
    gaps = _GAP * (len(columns) - 1)
    text_width = max(_text_width(title or "", _TITLE), *(_text_width(line, _CAPTION) for line in captions or [""]))
    spare = max(0, text_width - sum(widths) - gaps)
    widths = [width + math.ceil(spare / len(columns)) for width in widths]
    total = sum(widths) + gaps

    bands = [_text(title, _TITLE, total)] if title else []
    bands.append(_beside([_text(column, _HEADING, w) for column, w in zip(columns, widths, strict=True)], widths))
    for i, row in enumerate(cells):
        bands.append(_beside(row, widths))
        if captions is not None:
            bands.append(_text(captions[i], _CAPTION, total))

    height = sum(band.height for band in bands) + _GAP * (len(bands) - 1)
    canvas = Image.new("RGB", (total + 2 * _MARGIN, height + 2 * _MARGIN), "white")
    top = _MARGIN
    for band in bands:
        canvas.paste(band, (_MARGIN, top))
        top += band.height + _GAP
    with atomic(path) as temporary:
        canvas.save(temporary, quality=92, subsampling=0)  # full chroma: colour is what the sheet is for


def _cell(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    scale = min(_CELL_HEIGHT / image.height, _CELL_WIDTH / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _beside(images: Sequence[Image.Image], widths: Sequence[int]) -> Image.Image:
    """Images side by side, each in the middle of a column of its width."""
    height = max(image.height for image in images)
    band = Image.new("RGB", (sum(widths) + _GAP * (len(widths) - 1), height), "white")
    left = 0
    for image, width in zip(images, widths, strict=True):
        band.paste(image, (left + (width - image.width) // 2, (height - image.height) // 2))
        left += width + _GAP
    return band


def _text(text: str, font: ImageFont.FreeTypeFont, width: int) -> Image.Image:
    """A band of `width` with one line of text in its middle, nearer to what stands above."""
    band = Image.new("RGB", (width, round(1.8 * font.size)), "white")
    ImageDraw.Draw(band).text((width / 2, 0.65 * font.size), _one_line(text), _INK, font, anchor="mm")
    return band


def _text_width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return math.ceil(font.getlength(_one_line(text)))


def _one_line(text: str) -> str:
    """Text that can be drawn, whatever a file name holds."""
    return "".join(char if char.isprintable() else " " for char in text)


# Curves


def loss_curve(history: Mapping[str, Sequence[tuple[int, float]]], path: str | Path, *, title: str) -> None:
    """Write a PNG of training and validation loss over epochs, with the lowest validation loss marked.

    Args:
        history: ``{"train": [(epoch, loss), ...], "val": [...]}``; either may be empty or
            missing, and losses that are not finite leave a gap. The loss axis is logarithmic when positive losses
            span more than a factor of 10.
    """
    curves = {name: _points(history.get(name, ())) for name in ("train", "val")}
    losses = np.concatenate([curve[1] for curve in curves.values()])
    losses = losses[np.isfinite(losses)]
    figure = Figure(figsize=(8, 4.5), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    if losses.size:
        _plot(axes, curves)
        axes.legend(frameon=False, labelcolor=_INK)
        if losses.min() > 0 and losses.max() > 10 * losses.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if losses.max() < 1000 * losses.min() else (1,)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.text(0.5, 0.5, "no finite loss", transform=axes.transAxes, ha="center", va="center", color=_FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch", color=_INK)
    axes.set_ylabel("loss", color=_INK)
    axes.set_title(title, loc="left", fontweight="bold", color=_INK, parse_math=False)  # a $ in a name is a $
    axes.grid(axis="y", color="#d8dee4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_FAINT)
    with atomic(path) as temporary:
        figure.savefig(temporary)


def _plot(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw the curves that hold a finite loss, and mark the best validation epoch."""
    for name, label, colour in (("train", "training", _TRAIN_COLOUR), ("val", "validation", _VAL_COLOUR)):
        epochs, losses = curves[name]
        if np.isfinite(losses).any():
            marker = "o" if len(epochs) <= 30 else ""  # a single epoch draws no line
            axes.plot(epochs, losses, color=colour, linewidth=2, marker=marker, markersize=4, label=label)
    epochs, losses = curves["val"]
    if np.isfinite(losses).any():
        best = np.nanargmin(losses)
        label = f"best validation: {losses[best]:.4g} at epoch {epochs[best]}"
        axes.axvline(epochs[best], color=_VAL_COLOUR, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.plot(
            epochs[best],
            losses[best],
            "o",
            color=_VAL_COLOUR,
            markerfacecolor="white",
            markersize=9,
            markeredgewidth=2,
            label=label,
        )


def _points(curve: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and losses as arrays, NaN for a loss that is not finite."""
    losses = np.array([loss for _, loss in curve], dtype=float)
    losses[~np.isfinite(losses)] = np.nan
    return np.array([epoch for epoch, _ in curve], dtype=int), losses


# Tables


def print_table(rows: Sequence[Row], columns: Sequence[str] | None = None, title: str | None = None) -> None:
    """Print the named columns of `rows`, or all, to the terminal; a row without a column leaves its cell empty.

    In a narrow terminal names fold onto more lines, numbers stay whole.
    """
    table = Table(title=title and escape(title), title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True)
    columns = _columns(rows) if columns is None else columns
    for column in columns:
        numeric = _is_numeric(rows, column)
        digits = max((len(_format(column, row.get(column, ""))) for row in rows), default=0) if numeric else None
        table.add_column(
            escape(_heading(column)),
            justify="right" if numeric else "left",
            min_width=digits,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(escape(_format(column, row.get(column, ""))) for column in columns))
    Console().print(table)


def write_table(rows: Sequence[Row], stem: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write `rows` as stem.json and stem.csv, in full precision, and stem.md, rounded for reading.

    The columns are all keys of all rows, in order of first appearance. What there is to say about the whole table
    stands beside "rows" in stem.json, and those of its values that are text above the table in stem.md.
    """
    columns = _columns(rows)
    listed = [dict(row) for row in rows]
    write_json(f"{stem}.json", listed if about is None else {**about, "rows": listed})
    with atomic(f"{stem}.csv") as temporary, _open(temporary) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic(f"{stem}.md") as temporary, _open(temporary) as file:
        said = [f"- {key}: `{value}`\n" for key, value in (about or {}).items() if isinstance(value, str)]
        file.write("".join([*said, "\n"] if said else []) + _markdown(rows, columns))


def write_json(path: str | Path, obj: Any) -> None:
    """Write `obj` as strictly valid JSON: NaN and infinities, which JSON lacks, become null.

    Raises:
        TypeError: `obj` holds something besides dict, list, tuple, str, int, float, bool and None.
    """
    text = json.dumps(_without_nan(obj), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic(path) as temporary, _open(temporary) as file:
        file.write(text + "\n")


def _open(path: Path) -> Any:
    # A file name that is not UTF-8 reaches Python as lone surrogates, which UTF-8 cannot write.
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="")


def _without_nan(obj: Any) -> Any:
    if isinstance(obj, Mapping):
        return {key: _without_nan(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_without_nan(value) for value in obj]
    return None if isinstance(obj, float) and not math.isfinite(obj) else obj


def _markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A GitHub table whose source is aligned too; numbers to the right."""

    def cell(text: str) -> str:
        return " ".join(text.replace("|", "\\|").splitlines())

    rule: list[str] = []
    table = [[cell(column) for column in columns]]
    table += [[cell(_format(column, row.get(column, ""))) for column in columns] for row in rows]
    for i, column in enumerate(columns):
        right = _is_numeric(rows, column)
        width = max(3, *(len(line[i]) for line in table))
        for line in table:
            line[i] = line[i].rjust(width) if right else line[i].ljust(width)
        rule.append("-" * (width - 1) + (":" if right else "-"))
    return "".join(f"| {' | '.join(line)} |\n" for line in [table[0], rule, *table[1:]])


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _heading(column: str) -> str:
    stage, slash, name = column.rpartition("/")  # "val/psnr" is a PSNR too
    return stage + slash.replace("/", " ") + _HEADINGS.get(name, name)


def _is_numeric(rows: Sequence[Row], column: str) -> bool:
    return any(column in row for row in rows) and not any(isinstance(row.get(column), str) for row in rows)


def _format(column: str, value: str | int | float) -> str:
    """A value for reading: a known measure with its usual decimals, any other float with four digits."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "n/a"
    decimals = _DECIMALS.get(column.rsplit("/", 1)[-1])  # "val/psnr" is a PSNR too
    return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"
