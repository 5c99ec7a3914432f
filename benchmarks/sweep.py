"""python -m benchmarks.sweep                  12 jobs side by side (hydra/launcher=joblib) against one after the other
python -m benchmarks.sweep overhead         a quick run with and without logs, checkpoints and pictures

Both are measured interleaved, as whole commands with imports and all; what is written goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = [
    *("model.encoder=[8/2,8/2,16/2,16,16,8]", "model.decoder=[up,8,up,8,head,up]", "trainer.accelerator=cpu"),
    *("dataset=beach", "dataset.scene_counts=[12,4]", "dataset.size=64", "dataset.batch_size=4"),
    *("dataset.steps_per_epoch=20", "dataset.epochs=2"),
]
GRID = ["optimizer.lr=1e-2,3e-3,1e-3,3e-4", "seed=0,1,2"]
QUICK = ["dataset=beach", "dataset.scene_counts=[44,10]", "experiment=quick", "trainer.accelerator=cpu"]
# Lightning still validates, and the run is still judged; nothing is logged, kept or drawn while it trains.
BARE = ["~logger.tensorboard", "~logger.csv", "~callbacks.picture_grid", "~callbacks.learning_rate", "~callbacks.best"]


def train(folder: Path, *arguments: str, threads: int | None = None) -> float:
    """Seconds of the command."""
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if threads:
        env["OMP_NUM_THREADS"] = str(threads)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "colorize.train", *arguments], cwd=folder, env=env, check=True, capture_output=True
    )
    return time.perf_counter() - start


def figures(sweep: Path) -> dict[str, list[float]]:
    """Every job's losses, epoch by epoch."""
    return {
        run.parent.name: [row[key] for row in json.loads(run.read_text()) for key in ("train/loss", "val/loss")]
        for run in sweep.glob("*/history.json")
    }


def sweep(rounds: int, jobs: int) -> None:
    """Print the seconds of each and the ratio; the numbers of the jobs must be identical."""
    took: dict[str, list[float]] = {"sequential": [], "joblib": []}
    kinds = {"sequential": [], "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder, *TINY, "dataset.epochs=1")  # renders the pictures
        for i in range(rounds):
            found = []
            for kind, launcher in kinds.items() if i % 2 == 0 else reversed(kinds.items()):
                place = folder / f"{kind}{i}"
                took[kind].append(train(folder, "-m", *TINY, *GRID, *launcher, f"hydra.sweep.dir={place}", threads=1))
                found.append(figures(place))
            assert found[0] == found[1] and len(found[0]) == 12, "the numbers differ"
            print(f"round {i}: " + ", ".join(f"{k} {v[-1]:.1f} s" for k, v in took.items()), flush=True)
    ratio = [s / j for s, j in zip(took["sequential"], took["joblib"], strict=True)]
    print(
        f"12 jobs, {jobs} at once, a thread each: {statistics.median(ratio):.2f} x (rounds {min(ratio):.2f} to "
        f"{max(ratio):.2f}); losses identical"
    )


def overhead(rounds: int, further: list[str]) -> None:
    """Print the share of a quick run that logs, checkpoints and pictures take: whole commands, medians."""
    took: dict[str, list[float]] = {"all": [], "bare": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quick = [*QUICK, *further]
        train(folder, *quick, "dataset.steps_per_epoch=1", "dataset.epochs=1")
        for i in range(rounds):
            for kind, arguments in (("all", []), ("bare", BARE)) if i % 2 == 0 else (("bare", BARE), ("all", [])):
                took[kind].append(train(folder, *quick, *arguments, f"hydra.run.dir={folder}/{kind}{i}"))
            print(f"round {i}: " + ", ".join(f"{k} {v[-1]:.1f} s" for k, v in took.items()), flush=True)
    share = [a / b - 1 for a, b in zip(took["all"], took["bare"], strict=True)]
    print(f"logs, checkpoints and pictures: {100 * statistics.median(share):+.1f} % of a quick run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["sweep", "overhead"], default="sweep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="at once")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of the quick run")
    given = parser.parse_args()
    sweep(given.rounds, given.jobs) if given.what == "sweep" else overhead(given.rounds, given.set)


if __name__ == "__main__":
    main()
