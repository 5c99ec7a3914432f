"""How fast the commands colour, and what of it is not the network: python -m benchmarks infer

Pictures by colorize.predict and the frames of a GIF by colorize.gif, reading and writing included, in turn; of
smoothed noise, by the network that ships unless --overrides names another. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from PIL import Image, ImageFilter

from benchmarks.machine import Limits, publish
from colorize import cli, memory, pipeline, temporal
from colorize.gif import gif
from colorize.models.base import Network
from colorize.predict import predict

SIZES = {"256": (256, 256), "480p": (854, 480), "1080p": (1920, 1080)}
# What a stage's name is measured by: the functions that do it.
STAGES: dict[str, list[tuple[Any, str]]] = {
    "network": [(Network, "forward")],
    "steadying": [(temporal.Smooth, "__call__")],
    "conversion": [(pipeline, name) for name in ("rgb_to_l", "l_ab_to_rgb", "to_uint8")],
}


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Seconds spent in each of STAGES while the context lasts."""
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[stage] += time.perf_counter() - start

        return call

    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), stage)))
        yield spent


def pictures(size: tuple[int, int], count: int) -> list[Image.Image]:
    """Smoothed grey noise that drifts: as many as asked for."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(4)), dtype=float)
    smooth = ((smooth - smooth.min()) * 255 / max(1, np.ptp(smooth))).astype(np.uint8)
    return [Image.fromarray(np.roll(smooth, 2 * i, axis=1)) for i in range(count)]


def jobs(folder: Path, sizes: list[str], frames: int, extra: list[str]) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is measured, by name: a call that colours, and how many pictures or frames that is."""
    made: dict[str, tuple[Callable[[], Any], int]] = {}
    cli.register_resolvers()
    for name in sizes:
        stills = pictures(SIZES[name], frames)
        (folder / name).mkdir()
        for i, still in enumerate(stills):
            still.save(folder / name / f"{i}.png")
        stills[0].save(folder / f"{name}.gif", save_all=True, append_images=stills[1:], duration=100, loop=0)
        settings = ["overwrite=true", *extra]
        with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
            still_cfg = compose("predict", [f"input={folder / name}", f"output={folder / name}_color", *settings])
            moving = {
                way: compose(
                    "gif",
                    [f"input={folder / name}.gif", f"output={folder / name}_color.gif", f"temporal={way}", *settings],
                )
                for way in ("none", "smooth")
            }
        made[f"pictures, {name}"] = (lambda cfg=still_cfg: predict(cfg)), frames
        for way, cfg in moving.items():
            made[f"GIF, {name}, temporal={way}"] = (lambda cfg=cfg: gif(cfg)), frames
    return made


def measure(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds in all and in each stage, and MiB at most beyond what was held before."""
    with stages() as spent:
        start = time.perf_counter()
        found: dict[str, float] = {}
        try:
            before = _resident()
            found["MiB"] = (memory.peak(work) - before) / 2**20
        except OSError:  # no Linux
            work()
        found["total"] = time.perf_counter() - start
    return found | spent


def _resident() -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match
    return 1024 * int(match[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overrides", nargs="*", default=[], help="settings of both commands, such as ckpt_path=FILE")
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    args = parser.parse_args()
    limits = Limits()
    rates = []
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        work = jobs(Path(place), args.sizes, args.frames, args.overrides)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in work}
        for turn in range(args.rounds + 1):  # the first warms up
            rates.append(limits.measure())
            for name, (call, _) in work.items():
                measured = measure(call)
                if turn:
                    found[name].append(measured)
    for name, (_, count) in work.items():
        middle = {key: median(each[key] for each in found[name]) for key in found[name][0]}
        other = [1 - (each["network"] + each["steadying"]) / each["total"] for each in found[name]]
        row: dict[str, Any] = {"what": name, "a second": round(count / middle["total"], 2)}
        row |= {f"{stage}, ms": round(1000 * middle[stage] / count, 2) for stage in STAGES}
        row["not the network, share"] = round(median(other), 3)
        if "MiB" in middle:
            row["MiB at most"] = round(middle["MiB"])
        rows.append(row)
    title = f"colouring {args.frames} pictures or frames, {torch.get_num_threads()} threads"
    rate = {key: round(median(each[key] for each in rates), 1) for key in rates[0]}
    publish(rows, title, args.out, frames=args.frames, rounds=args.rounds, limits=rate)


if __name__ == "__main__":
    main()
