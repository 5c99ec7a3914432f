"""python -m colorize.compare outputs/multirun/DATE       rebuild what a sweep ends with
python -m colorize.compare RUN RUN outputs/rural       any runs, or folders of runs, in one table

A table (Markdown, CSV, JSON), a plot of parallel coordinates, a sheet with a row of predictions a run, and all of it
for TensorBoard: in the sweep's own folder, else in outputs/compare/<date>_<time>/.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from colorize.cli import FAILED, FINISHED, PROVENANCE, one_line

if TYPE_CHECKING:
    import numpy as np

SORT_BY = "val/ciede2000"  # never by the test pictures: that would be choosing on them
_MARKS = (FINISHED, FAILED, PROVENANCE)  # one of these is in every run's folder
_SHOWN = 5  # pictures a row of the sheet
_NOT_SHOWN = ("val/loss", "val/colourfulness_ratio", "test/psnr", "best_epoch", "minutes", "tested on", "failed")
_NOT_A_SETTING = ("hparams_search", "output_dir", "run_dir", "repeat")  # what a command can go without


@dataclass(frozen=True)
class Run:
    """One training run as its folder tells it."""

    folder: Path
    label: str
    overrides: dict[str, str]
    result: dict[str, Any] | None  # metrics.json; None: not finished
    failed: str | None  # why

    @property
    def score(self) -> float:
        """What runs are ordered by, least first; infinite where there is none."""
        value = None if self.result is None else self.result["val"].get(SORT_BY.partition("/")[2])
        return math.inf if value is None else value

    @property
    def checkpoint(self) -> Path | None:
        """The best weights, where there are some."""
        paths = (self.folder / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
        return next((path for path in paths if path.exists()), None)


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs that the folders are or hold, best first, those that failed or are not done yet last.

    Raises:
        ValueError: a path that is not there, or holds no run.
    """
    folders: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path} is not a folder: give runs, or folders of runs")
        inside = {file.parent for name in _MARKS for file in path.rglob(name)}
        found = [path] if any((path / name).exists() for name in _MARKS) else sorted(inside)
        if not found:
            raise ValueError(f"{path} holds no run: give outputs/multirun/DATE, or folders with a {FINISHED}")
        folders += [folder for folder in found if folder not in folders]
    if len(paths) == 1 and folders != list(paths):
        labels = [str(folder.relative_to(paths[0])) for folder in folders]
    else:
        labels = ["/".join(folder.resolve().parts[-3:]) for folder in folders]
    runs = [_read(folder, label) for folder, label in zip(folders, labels, strict=True)]
    return sorted(runs, key=lambda run: (run.score, run.result is None, int(run.label) if run.label.isdigit() else 0))


def _read(folder: Path, label: str) -> Run:
    result = json.loads((folder / FINISHED).read_text(encoding="utf-8")) if (folder / FINISHED).exists() else None
    if (folder / ".hydra/overrides.yaml").exists():
        overrides = [str(item) for item in OmegaConf.load(folder / ".hydra/overrides.yaml")]
    else:
        overrides = result["overrides"] if result else []
    failed = None
    if result is None and (folder / FAILED).exists():
        failed = (folder / FAILED).read_text(encoding="utf-8").partition("\n")[0].strip()
    return Run(folder, label, dict(item.partition("=")[::2] for item in overrides), result, failed)


def varied(runs: Sequence[Run]) -> list[str]:
    """The settings that differ between the runs, in the order in which they were given; of one run, all."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides if key not in _NOT_A_SETTING)
    return [key for key in keys if len(runs) == 1 or len({run.overrides.get(key) for run in runs}) > 1]


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a run: its job, the settings that differ, its figures or why it failed."""
    settings = varied(runs)
    rows = []
    for run in runs:
        row: dict[str, Any] = {"job": run.label, **{key: run.overrides.get(key, "") for key in settings}}
        if run.result is not None:
            test = run.result["test"].get(run.result["network"], {})
            for part, values, names in (
                ("val", run.result["val"], ("loss", "psnr", "ciede2000", "colourfulness_ratio")),
                ("test", test, ("psnr", "ciede2000", "colourfulness_ratio")),
            ):
                row |= {f"{part}/{name}": values[name] for name in names if values.get(name) is not None}
            row |= {name: run.result[name] for name in ("best_epoch", "epochs", "minutes") if name in run.result}
            row |= {"tested on": test["tested on"]} if "tested on" in test else {}
        elif run.failed:
            row["failed"] = run.failed
        rows.append(row)
    return rows


def write(runs: Sequence[Run], stem: Path, tensorboard: Path) -> list[dict[str, Any]]:
    """Write stem.{md,csv,json}, stem.png (parallel coordinates), stem_pictures.png, and all of it for TensorBoard.

    Returns:
        The table's rows.
    """
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    from colorize import report
    from colorize.parallel_coordinates import parallel_coordinates

    rows = table(runs)
    report.write_table(rows, stem)
    settings = varied(runs)
    done = [row for row in rows if SORT_BY in row]
    plot, sheet = stem.with_suffix(".png"), stem.with_name(f"{stem.name}_pictures.png")
    if done:
        axes = [*settings, *(name for name in ("val/psnr", SORT_BY) if all(name in row for row in done))]
        parallel_coordinates([{axis: row[axis] for axis in axes} for row in done], plot, title=f"{len(done)} runs")
        _sheet(runs, settings, sheet)
    shutil.rmtree(tensorboard, ignore_errors=True)  # of an earlier call
    with SummaryWriter(str(tensorboard)) as writer:
        writer.add_text("runs", stem.with_suffix(".md").read_text(encoding="utf-8"))
        for path in (plot, sheet):
            if path.exists():
                with Image.open(path) as picture:
                    writer.add_image(path.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")
        for row in done:
            figures = {f"hparams/{k}": v for k, v in row.items() if k.startswith(("val/", "test/"))}
            hparams = {key: _number(row[key]) for key in settings}
            writer.add_hparams(hparams, figures, run_name=row["job"].replace("/", "_"))
    return rows


def _number(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value


def _sheet(runs: Sequence[Run], settings: Sequence[str], path: Path) -> None:
    """A row of predictions a run, under the real pictures: the first test pictures of the best run's set."""
    from colorize import report
    from colorize.checkpoint import load_checkpoint
    from colorize.data.datamodule import PhotoDataModule
    from colorize.evaluation import read_resized
    from colorize.pipeline import Colorizer

    shown = [run for run in runs if run.result is not None and run.checkpoint is not None]
    files: list[Path] = []
    pictures: list[np.ndarray] = []
    rows: list[list[np.ndarray]] = []
    captions = []
    for run in shown:
        assert run.checkpoint is not None and run.result is not None
        checkpoint = load_checkpoint(run.checkpoint)
        if not rows:
            datamodule = PhotoDataModule(checkpoint.data["name"], checkpoint.data["root"])
            if gone := [str(folder) for folder in datamodule.folders if not folder.exists()]:
                print(f"no sheet of pictures: {gone[0]} is not here", file=sys.stderr)
                return
            files = datamodule.files.test[:_SHOWN]
            if not files:
                return
            pictures = [read_resized(file, None) for file in files]
            rows, captions = [pictures], ["real"]
        colorizer = Colorizer.of(checkpoint)
        rows.append([colorizer(picture) for picture in pictures])
        differing = "  ".join(f"{key}={run.overrides.get(key, '')}" for key in settings)
        captions.append(f"{run.label}: {differing}  {SORT_BY} {run.score:.2f}")
    if rows:
        report.sheet(rows, path, columns=[file.name for file in files], captions=captions)


def say(runs: Sequence[Run], rows: Sequence[dict[str, Any]], stem: Path) -> None:
    """Print the table, which run is best and how to train it again, and where everything is."""
    from colorize import report

    short = [{k.rpartition(".")[2]: v for k, v in row.items() if k not in _NOT_SHOWN} for row in rows]
    report.print_table(short, title=f"{len(rows)} runs, best {SORT_BY} first")
    if runs[0].score < math.inf:
        items = [f"{key}={value}" for key, value in runs[0].overrides.items() if key not in _NOT_A_SETTING]
        command = shlex.join(["python", "-m", "colorize.train", *items])
        print(f"best {SORT_BY}: {runs[0].score:.4g}, job {runs[0].label}:\n  {command}")
    print(f"table, plot and pictures: {stem.resolve()}.md, .csv, .png, _pictures.png")
    print(f"in the browser: tensorboard --logdir {stem.resolve().parent / 'tensorboard'}")


def main() -> None:
    """Exit code 2 and one line where there is nothing to compare."""
    parser = argparse.ArgumentParser(
        prog="python -m colorize.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="runs, or folders of runs, a sweep's among them")
    paths = parser.parse_args().runs
    try:
        runs = find_runs(paths)
        if len(paths) == 1 and (paths[0] / "sweep.json").exists():
            folder, name = paths[0], "sweep"
        else:
            folder, name = Path("outputs/compare") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), "runs"
            folder.mkdir(parents=True, exist_ok=True)
        rows = write(runs, folder / name, folder / "tensorboard")
        say(runs, rows, folder / name)
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
