"""Palettes for GIFs, ours beside other people's: how near to true colour, how steady, how large.

python -m benchmarks.palette data/video/beach_waves_color.mp4 data/video/kite_surf_color.mp4

Of each clip every fifth frame, 180 pixels high, and of several also all of them joined by hard cuts, where "one
palette" is ours without palettes for scenes. gifsicle is no Python package and is not measured.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np

import colorize
from benchmarks.temporal import decode
from colorize import report
from colorize.media import Flipbook, Palettes, read_animation, write_animation
from colorize.scene_palettes import scene_palettes

ROWS, DELAY = 180, 200  # pixels; milliseconds
EVERY = 5  # of 25 frames a second
STILL = 2.0  # of 255: standard deviation over time up to which a pixel of the true frames is still

Frames = list[np.ndarray]  # uint8 (H, W, 3)


class Shot(Flipbook):
    """Frames in memory as an animation."""

    kind = "frames"

    def __init__(self, frames: Frames):
        height, width = frames[0].shape[:2]
        super().__init__(Path("frames"), (width, height), 0, "", [DELAY] * len(frames))
        self._frames = frames

    def _play(self) -> Any:
        return iter(self._frames)


def write_ours(frames: Frames, path: Path) -> None:
    clip = Shot(frames)
    write_animation(path, clip.timed(), clip, palette=scene_palettes(clip, lambda frame: frame))


def write_one_palette(frames: Frames, path: Path) -> None:
    clip = Shot(frames)
    shared = scene_palettes(clip, lambda frame: frame).shared
    write_animation(path, clip.timed(), clip, palette=Palettes(shared))


def write_imageio(frames: Frames, path: Path) -> None:
    iio.imwrite(path, frames, plugin="pillow", duration=DELAY, loop=0)


def write_ffmpeg(frames: Frames, path: Path) -> None:
    """FFmpeg's palettegen and paletteuse, as they are by default (dithered)."""
    height, width = frames[0].shape[:2]
    graph = av.filter.Graph()
    time_base = Fraction(DELAY, 1000)
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=time_base)
    split, generate, use = graph.add("split"), graph.add("palettegen"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(generate, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for number, rgb in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
        frame.pts, frame.time_base = number, time_base
        source.push(frame)
    source.push(None)
    with av.open(str(path), "w", format="gif") as file:
        stream = file.add_stream("gif", rate=1 / time_base)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for _ in frames:
            file.mux(stream.encode(sink.pull()))
        file.mux(stream.encode())


METHODS: dict[str, Callable[[Frames, Path], None]] = {
    "ours": write_ours,
    "one palette": write_one_palette,
    "imageio": write_imageio,
    "palettegen": write_ffmpeg,
}


def noise(frames: Frames, shown: Frames, cuts: Sequence[int]) -> float:
    """Mean standard deviation over time, between cuts, of what is shown where the true frames are still."""
    deviations = []
    for start, stop in zip([0, *cuts], [*cuts, len(frames)], strict=True):
        true, seen = (np.stack(clip[start:stop]).astype(np.float32) for clip in (frames, shown))
        still = (true.std(axis=0) <= STILL).all(axis=-1)
        deviations.append(seen.std(axis=0)[still].mean(axis=-1))
    found = np.concatenate(deviations)
    return float(found.mean()) if len(found) else float("nan")


def measure(name: str, frames: Frames, cuts: Sequence[int], methods: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for method in methods:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clip.gif")
            METHODS[method](frames, path)
            shown = [np.ascontiguousarray(frame[..., :3]) for frame in read_animation(path).frames()]
            error = np.mean([(a.astype(float) - b) ** 2 for a, b in zip(frames, shown, strict=True)])
            row = {"clip": name, "method": method, "psnr": float(10 * np.log10(255**2 / error))}
            rows.append({**row, "noise": noise(frames, shown, cuts), "bytes": path.stat().st_size})
    return rows


def palette(args: argparse.Namespace, command: str) -> list[dict[str, Any]]:
    clips = {path.stem: list(islice(decode(path, args.limit, ROWS), 0, None, EVERY)) for path in args.videos}
    single = [method for method in METHODS if method != "one palette"]  # within one scene it is ours
    table = [row for name, frames in clips.items() for row in measure(name, frames, [], single)]
    if len(clips) > 1:
        width = min(frames[0].shape[1] for frames in clips.values())
        joined = [np.ascontiguousarray(frame[:, :width]) for frames in clips.values() for frame in frames]
        cuts = np.cumsum([len(frames) for frames in clips.values()])[:-1].tolist()
        table += measure("joined", joined, cuts, list(METHODS))
    about = {
        "command": command,
        "date": str(date.today()),
        "colorize": colorize.__version__,
        "noise": f"standard deviation over time, of 255, where the true frames' is up to {STILL:g}",
    }
    report.print_table(table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report.write_table(table, args.out, about)
    return table


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", help="clips in colour")
    parser.add_argument("--limit", type=int, help="of each clip's frames; all by default")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/palette/table"), help="table as OUT.md, OUT.csv and OUT.json"
    )
    args = parser.parse_args(arguments)
    try:
        return palette(args, f"python -m benchmarks.palette {shlex.join(arguments)}")
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
