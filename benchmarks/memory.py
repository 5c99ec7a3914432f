"""Memory of training: python -m benchmarks memory --recipe best --size 128

Three tables in one: what checkpointing and malloc do to a step's time and memory; a step's memory against batch and
size; and the private memory that the loader of a set holds against the number of its pictures (`--pictures`), which
should be flat where they are kept on disk. Each row is a process of its own, for an allocator that was told something
cannot be untold; rounds take the rows in turn. Medians over the rounds: seconds of a step, and the most memory held
while steps ran beyond what was held before the first; ratios are to the first row of each kind. Linux alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import publish

VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "checkpointing": ["trainer.checkpointing=true"],
    "malloc": ["trainer.malloc=true"],
    "both": ["trainer.checkpointing=true", "trainer.malloc=true"],
}


def measure_step(name: str, size: int, steps: int, overrides: list[str]) -> tuple[float, float]:
    """(processor seconds of a step, MiB), in this process."""
    from benchmarks.train import recipe
    from colorize import memory
    from colorize.malloc import keep_freed_memory

    if "trainer.malloc=true" in overrides:
        keep_freed_memory()
    batch, step, _ = recipe(name, size, *overrides)
    content = batch()
    held = _status("VmRSS")
    seconds = []

    def work() -> None:
        for _ in range(steps + 1):
            start = time.process_time()  # of the processor: other programs do not count
            step(content)
            seconds.append(time.process_time() - start)

    top = memory.peak(work)
    return median(seconds[1:]), (top - held) / 2**20  # the first step warms up


def measure_set(count: int, size: int, cache: str) -> tuple[float, float]:
    """(seconds of an epoch of the loader alone, MiB of private memory beyond what was held before), in this process."""
    import os

    from PIL import Image

    from colorize.data.datamodule import PhotoDataModule

    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = f"{place}/cache"
        for part, number in {"train": count, "test": 1}.items():
            (Path(place) / "set" / part).mkdir(parents=True)
            for i in range(number):
                noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(noise).save(Path(place) / "set" / part / f"{i}.png")
        held = _status("RssAnon")
        data = PhotoDataModule("set", f"{place}/set", size=size, cache=cache, steps_per_epoch=max(1, count // 15))
        data.prepare_data()
        data.setup("fit")
        start, most = time.perf_counter(), 0
        for _ in data.train_dataloader():
            most = max(most, _status("RssAnon"))
        return time.perf_counter() - start, (most - held) / 2**20


def _status(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match
    return 1024 * int(match[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="baseline", help="a name in conf/experiment")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--batches", nargs="*", type=int, default=[5, 10, 15, 30], help="at --size")
    parser.add_argument("--sizes", nargs="*", type=int, default=[64, 128, 256], help="of a batch of 5")
    parser.add_argument(
        "--pictures", nargs="*", type=int, default=[500, 2000], help="in a set; with cache=ram and disk"
    )
    parser.add_argument("--overrides", nargs="*", default=[], help="further settings of the recipe")
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        job = json.loads(args.one)
        print(json.dumps({"set": measure_set, "step": measure_step}[job.pop("what")](**job)))
        return

    def step(size: int, *overrides: str) -> dict[str, Any]:
        wanted = {"name": args.recipe, "size": size, "steps": args.steps}
        return {"what": "step", **wanted, "overrides": [*args.overrides, *overrides]}

    # Each kind of row by its name, and in it each row by what it is.
    kinds: dict[str, dict[str, dict[str, Any]]] = {
        "variant": {name: step(args.size, *VARIANTS[name]) for name in args.variants},
        "batch": {str(n): step(args.size, f"dataset.batch_size={n}") for n in args.batches},
        "size, batch of 5": {str(n): step(n, "dataset.batch_size=5") for n in args.sizes},
    }
    for cache in ("ram", "disk"):
        wanted = {"what": "set", "size": args.size, "cache": cache}
        kinds[f"pictures, cache={cache}"] = {str(n): {**wanted, "count": n} for n in args.pictures}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {(k, n): [] for k, v in kinds.items() for n in v}
    for _ in range(args.rounds):
        for kind, name in found:
            one = [sys.executable, "-m", "benchmarks.memory", "--one", json.dumps(kinds[kind][name])]
            lines = subprocess.run(one, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
            found[kind, name].append(json.loads(lines[-1]))
            print(f"{kind} {name}: {found[kind, name][-1]}", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    firsts: dict[str, tuple[float, float]] = {}
    for (kind, name), measured in found.items():
        seconds, mib = (median(values) for values in zip(*measured, strict=True))
        first = firsts.setdefault(kind, (seconds, mib))
        row = {"what": f"{kind}: {name}", "seconds": round(seconds, 3), "MiB": round(mib, 1)}
        rows.append({**row, "seconds, ratio": _ratio(seconds, first[0]), "MiB, ratio": _ratio(mib, first[1])})
    title = f"experiment={args.recipe} at {args.size} px, {args.rounds} rounds"
    publish(rows, title, args.out, recipe=args.recipe, size=args.size, rounds=args.rounds)


def _ratio(value: float, first: float) -> float | None:
    return round(value / first, 2) if first > 0 else None


if __name__ == "__main__":
    main()
