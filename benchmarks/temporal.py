"""How steady colour is and what that costs: every temporal mode on clips, as ratios to frame by frame.

python -m benchmarks.temporal --ckpt BEST.ckpt --photos data/beach/test --videos waves.mp4 --out docs/temporal

Each folder of --photos makes eight clips of exactly known motion (benchmarks/clips.py). Videos must be in colour.
Flicker counts where a tenth of the clip or more is still. The last row is of the means over clips, so a clip that does
not flicker to begin with counts little. Figures are of uint8 pictures: rounding alone flickers by up to 0.2 of ab where
lightness changes, and no mode takes that away.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean, median
from typing import Any

import av
import numpy as np

import colorize
from benchmarks.clips import Clip, make_clips
from colorize import report
from colorize.clip_evaluation import REAL, Curves, judge_clip, plot_mean_ab
from colorize.media import PICTURE_SUFFIXES, read_picture
from colorize.pipeline import Colorizer
from colorize.progress import track
from colorize.temporal import temporal_modes

BASE = "none"
BATCH = 4  # frames
ROWS = 480  # of the clip that time is measured on
MEAN = "mean"
LEAST_STILL = 0.1  # share of a clip's pixels
FIGURES = ("psnr", "ciede2000", "colourfulness", "flicker", "warp_error", "ghosts")


def photographs(folder: Path) -> list[np.ndarray]:
    """uint8 RGB of every picture. Raises ValueError: none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise ValueError(f"no pictures in --photos {folder}")
    return [read_picture(path).rgb for path in paths]


def decode(path: Path, limit: int | None, rows: int | None = None) -> Iterator[np.ndarray]:
    """The first frames of a video, uint8 (H, W, 3); resized to ``rows``, aspect kept, where that is given."""
    with av.open(str(path)) as container:
        for frame in itertools.islice(container.decode(video=0), limit):
            width = None if rows is None else round(frame.width * rows / frame.height / 2) * 2
            yield frame.to_ndarray(format="rgb24", height=rows, width=width)


def batches(frames: Iterator[np.ndarray] | np.ndarray) -> Iterator[np.ndarray]:
    frames = iter(frames)
    while stack := list(itertools.islice(frames, BATCH)):
        yield np.stack(stack)


def ratios(name: str, by: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """The columns of the table for each mode but frame by frame, from the figures of one clip by mode."""
    base = by[BASE]
    return [
        {
            "clip": name,
            "temporal": mode,
            "flicker": row["flicker"] / base["flicker"],
            "warp error": row["warp_error"] / base["warp_error"],
            "PSNR, dB": row["psnr"] - base["psnr"],
            "CIEDE2000, %": 100 * (row["ciede2000"] / base["ciede2000"] - 1),
            "colour": row["colourfulness"] / base["colourfulness"],
            "ghosts": row["ghosts"] / base["ghosts"],
        }
        for mode, row in by.items()
        if mode not in (REAL, BASE)
    ]


def means(clips: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over clips by mode, each over the clips that have the figure."""
    by: dict[str, dict[str, list[float]]] = {}
    for clip in clips:
        for mode, row in clip.items():
            for key in FIGURES:
                values = by.setdefault(mode, {}).setdefault(key, [])
                values.extend([row[key]] if math.isfinite(row[key]) else [])
    return {mode: {k: fmean(v) if v else math.nan for k, v in row.items()} for mode, row in by.items()}


def cut_difference(colorizer: Colorizer, clip: Clip, mode: str) -> int:
    """The largest difference, in uint8 steps, of the first frames after a cut from frame by frame; 0 is right."""
    modes = {name: np.concatenate(list(colorizer.colour_clip(batches(clip.frames), name))) for name in (BASE, mode)}
    return max(int(np.abs(modes[mode][i].astype(int) - modes[BASE][i]).max()) for i in clip.cuts)


def seconds(colorizer: Colorizer, path: Path, mode: str, limit: int | None) -> float:
    """Processor time, over all threads, from a video to a coloured one of 480 rows, reading and writing included."""
    start = time.process_time()
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        stream = None
        for batch in colorizer.colour_clip(batches(decode(path, limit, ROWS)), mode):
            for rgb in batch:
                if stream is None:
                    stream = container.add_stream("libx264", rate=25)
                    stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        if stream is not None:
            container.mux(stream.encode())
    return time.process_time() - start


def temporal(args: argparse.Namespace, command: str) -> list[dict[str, Any]]:
    """Judge everything, print and write the tables. Raises ValueError."""
    colorizer = Colorizer.from_checkpoint(args.ckpt, device=args.device)
    modes = [BASE, *(mode for mode in temporal_modes(colorizer.model) if mode != BASE)]  # convlstm where it can be
    args.out.parent.mkdir(parents=True, exist_ok=True)
    clips: dict[str, dict[str, dict[str, Any]]] = {}  # figures by clip and mode
    cuts: dict[str, int] = {}

    def add(name: str, rows: list[dict[str, Any]], curves: Curves) -> None:
        clips[name] = {row.pop("temporal"): row for row in rows}
        for row in rows:
            row["flicker"] = row["flicker"] if row["still"] >= LEAST_STILL else math.nan
        plot_mean_ab(curves, args.out.with_name(f"{args.out.name}_{name.replace(' ', '_')}.png"), title=name)

    for folder in args.photos:
        label = folder.parent.name if folder.name == "test" else folder.name
        for clip in track(make_clips(photographs(folder), frames=args.frames), f"Clips of {label}", 8, "clips"):
            known = {"motion": clip.motion, "uncovered": clip.uncovered}
            add(f"{label} {clip.name}", *judge_clip(colorizer, batches(clip.frames), modes, **known))
            for mode in modes[1:] if clip.cuts else ():
                cuts[mode] = max(cuts.get(mode, 0), cut_difference(colorizer, clip, mode))
    for path in args.videos:
        add(path.stem, *judge_clip(colorizer, batches(decode(path, args.limit)), modes))

    table = [row for name, by in clips.items() for row in ratios(name, by)]
    for row in ratios(MEAN, means(clips.values())):
        mode = row["temporal"]
        if mode in cuts:
            row["after a cut"] = cuts[mode]
        if args.videos:
            times = [
                [seconds(colorizer, args.videos[0], m, args.limit) for m in (BASE, mode)] for _ in range(args.repeat)
            ]
            row["time"] = median(own / base for base, own in times)
        table.append(row)
    about = {
        "command": command,
        "date": str(date.today()),
        "colorize": colorize.__version__,
        "time": f"processor time of a {ROWS}p clip, reading and writing included, to that of temporal={BASE}",
        "after a cut": "largest uint8 difference from frame by frame",
    }
    report.print_table(table, title="ratios to frame by frame; PSNR and CIEDE2000: differences")
    report.write_table(table, args.out, {**about, "figures": clips})
    print(f"table: {args.out}.md, .csv and .json")
    return table


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, help="the network to colour with")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--photos", type=Path, nargs="*", default=[], metavar="FOLDER", help="photographs to make clips of")
    add("--videos", type=Path, nargs="*", default=[], help="clips in colour; time is measured on the first")
    add("--frames", type=int, default=48, help="of each clip made (48)")
    add("--limit", type=int, help="frames of each video; all by default")
    add("--repeat", type=int, default=3, help="of the time measured (3); the median counts")
    add("--out", type=Path, default=Path("outputs/temporal/table"), help="table as OUT.md, OUT.csv and OUT.json")
    args = parser.parse_args(arguments)
    if not args.photos and not args.videos:
        parser.error("nothing to judge: give --photos or --videos")
    try:
        return temporal(args, f"python -m benchmarks.temporal {shlex.join(arguments)}")
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
