"""Seconds until a command answers: python -m benchmarks startup

`--help` of each command, and the first coloured picture and frame, each by a fresh process, in turn; beside them a bare
Python and `import torch`. Medians over the rounds; ratios are to `import torch`, within each round.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.infer import pictures
from benchmarks.machine import publish, seconds

COMMANDS = ("train", "predict", "gif", "evaluate")
TORCH, PIPELINE = "import torch", "import colorize.pipeline"


def jobs(folder: Path, side: int, extra: list[str]) -> dict[str, list[str]]:
    """Arguments of Python, by what they do."""
    still = pictures((side, side), 1)[0]
    still.save(folder / "still.png")
    still.save(folder / "moving.gif")
    made = {
        "python": ["-c", "pass"],
        TORCH: ["-c", TORCH],
        "import colorize.pipeline": ["-c", "import colorize.pipeline"],
    }
    made |= {f"{name} --help": ["-m", f"colorize.{name}", "--help"] for name in COMMANDS}
    for command, file in {"predict": "still.png", "gif": "moving.gif"}.items():
        made[f"{command}: first coloured"] = [
            "-m",
            f"colorize.{command}",
            f"input={folder / file}",
            "overwrite=true",
            *extra,
        ]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=256, help="of the picture and the frame")
    parser.add_argument("--overrides", nargs="*", default=[], help="settings of predict and gif: ckpt_path=FILE")
    parser.add_argument("--only", nargs="+", help="what to measure beside 'import torch', by the first column")
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = jobs(Path(place), args.side, args.overrides)
        if args.only:
            work = {name: work[name] for name in (TORCH, *args.only)}
        taken: dict[str, list[float]] = {name: [] for name in work}
        for turn in range(args.rounds + 1):  # the first fills the file cache
            for name, arguments in work.items():
                command = [sys.executable, *arguments]
                took = seconds(lambda command=command: subprocess.run(command, capture_output=True, check=True))
                if turn:
                    taken[name].append(took)
    rows = []
    for name, times in taken.items():
        ratio = median(a / b for a, b in zip(times, taken[TORCH], strict=True))
        rows.append({"what": name, "seconds": round(median(times), 2), "ratio to import torch": round(ratio, 2)})
    publish(rows, f"start-up, {args.rounds} rounds", args.out, rounds=args.rounds, side=args.side)


if __name__ == "__main__":
    main()
