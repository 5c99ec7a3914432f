"""What checkpointing and malloc do to a step's time and memory: python -m benchmarks.memory --recipe best --size 128

Each variant runs in a process of its own, for an allocator that was told something cannot be untold; rounds take the
variants in turn. Printed are medians over the rounds: seconds of a step, and the most memory held while steps ran
beyond what was held before the first.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "checkpointing": ["trainer.checkpointing=true"],
    "malloc": ["trainer.malloc=true"],
    "both": ["trainer.checkpointing=true", "trainer.malloc=true"],
}


def measure(name: str, size: int, steps: int, overrides: list[str]) -> tuple[float, float]:
    """(seconds of a step, MiB), in this process."""
    from benchmarks.train import recipe
    from colorize import memory
    from colorize.malloc import keep_freed_memory

    if "trainer.malloc=true" in overrides:
        keep_freed_memory()
    batch, step, _ = recipe(name, size, *overrides)
    content = batch()
    held = 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
    seconds = []

    def work() -> None:
        for _ in range(steps + 1):
            start = time.process_time()  # of the processor: other programs do not count
            step(content)
            seconds.append(time.process_time() - start)

    top = memory.peak(work)
    return median(seconds[1:]), (top - held) / 2**20  # the first step warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="baseline", help="a name in conf/experiment")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(measure(args.recipe, args.size, args.steps, args.one)))
        return
    from colorize import report

    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    command = [sys.executable, "-m", "benchmarks.memory", "--recipe", args.recipe, "--size", str(args.size)]
    for _ in range(args.rounds):
        for name, overrides in VARIANTS.items():
            one = [*command, "--steps", str(args.steps), "--one", *overrides]
            found[name].append(json.loads(subprocess.run(one, capture_output=True, text=True, check=True).stdout))
            print(f"{name}: {found[name][-1]}", file=sys.stderr)
    rows = []
    for name, measured in found.items():
        seconds, mib = (median(values) for values in zip(*measured, strict=True))
        rows.append({"variant": name, "processor s a step": round(seconds, 2), "MiB": round(mib)})
    report.print_table(rows, title=f"experiment={args.recipe} at {args.size} px, {args.rounds} rounds")


if __name__ == "__main__":
    main()
