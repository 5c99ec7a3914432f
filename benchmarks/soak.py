"""python -m benchmarks.soak [--minutes 60]     train, evaluate, predict and gif in a loop: does anything grow?

One process, small sizes. After every round: memory (resident), open files, threads, and what is left in the temporary
folder. The first rounds fill caches; after them each figure is to stay flat: the slope of a straight line through the
later half of the rounds is told; exit code 1 where files or threads grew, or memory by more than 1 MiB a round.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from PIL import Image

from colorize import cli, report
from colorize.data import scenes

SIZE = [
    *("dataset.size=32", "dataset.batch_size=2", "dataset.steps_per_epoch=2", "dataset.epochs=1"),
    *("model.encoder=[4/2,4/2,8/2,8,8,4]", "model.decoder=[up,4,up,4,head,up]", "trainer.accelerator=cpu"),
]
FLAT = 2**20  # bytes a round


def one_round(folder: Path, photographs: Path, clip: Path) -> None:
    """Everything once, into fresh folders that are removed again."""
    from colorize.evaluate import evaluate
    from colorize.gif import gif
    from colorize.predict import predict
    from colorize.train import train

    run = folder / "run"
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        train(compose("train", [f"dataset.root={photographs}", f"run_dir={run}", f"output_dir={folder}", *SIZE]))
        weights = [f"ckpt_path={run / 'checkpoints/best.ckpt'}", "device=cpu"]
        evaluate(compose("evaluate", [f"run_dir={folder / 'evaluated'}", *weights]))
        predict(compose("predict", [f"input={photographs / 'test'}", f"output={folder / 'coloured'}", *weights]))
        gif(compose("gif", [f"input={clip}", f"output={folder / 'clip.gif'}", *weights]))
    shutil.rmtree(folder)
    folder.mkdir()


def figures(folder: Path, process: str | int = "self", older: float = 0.0) -> dict[str, float]:
    """What a process holds: bytes resident, open files, threads; and what is in ``folder`` for so many seconds."""
    proc, now = Path(f"/proc/{process}"), time.time()
    paths = (Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files))
    below = [path for path in paths if now - _changed(path, now) >= older]
    pages = int((proc / "statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir(proc / "fd")),
        "threads": len(os.listdir(proc / "task")),
        "left on disk": len(below),
    }


def _changed(path: Path, gone: float) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # it was removed meanwhile
        return gone + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("outputs/soak"), help="soak.csv and soak.png")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    cli.register_resolvers()
    rows: list[dict[str, float]] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        photographs, clip, folder = (Path(temporary) / name for name in ("beach", "waves.gif", "work"))
        scenes.render_set("beach", photographs, size=48, counts=(6, 2))
        frames = [Image.effect_noise((40, 30), 40) for _ in range(6)]
        frames[0].save(clip, save_all=True, append_images=frames[1:], duration=50)
        folder.mkdir()
        terminal = os.dup(1)
        while time.monotonic() - begun < 60 * args.minutes:
            with open(os.devnull, "w") as nowhere:  # tables of evaluate
                os.dup2(nowhere.fileno(), 1)
            try:
                one_round(folder, photographs, clip)
                sys.stdout.flush()
            finally:
                os.dup2(terminal, 1)
            gc.collect()
            rows.append({"round": len(rows) + 1, "seconds": round(time.monotonic() - begun), **figures(folder.parent)})
            print(rows[-1], flush=True)
    sys.exit(judge(rows, args.out))


def judge(rows: list[dict[str, float]], out: Path) -> bool:
    """Write table and plot, print each figure's slope in the later half of the rounds; whether any has grown."""
    out.mkdir(parents=True, exist_ok=True)
    report.write_table(rows, out / "soak")
    _plot(rows, out / "soak.png")
    later = rows[len(rows) // 2 :]
    grown = {}
    for name in [key for key in rows[0] if key not in ("round", "seconds")]:
        values = [row[name] for row in later]
        slope = float(np.polyfit(range(len(values)), values, 1)[0]) if len(values) > 1 else 0.0
        grown[name] = slope
        print(f"{name:26} first {rows[0][name]:.0f}, last {rows[-1][name]:.0f}, {slope:+.2f} a round in the later half")
    print(f"{len(rows)} rounds, {rows[-1]['seconds'] / 60:.1f} minutes")
    return grown.pop("memory") > FLAT or any(slope > 0.5 for slope in grown.values())


def _plot(rows: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name for name in rows[0] if name not in ("round", "seconds")]
    figure = Figure(figsize=(7, 2 * len(names)), layout="constrained")
    for name, axes in zip(names, figure.subplots(len(names), 1, sharex=True), strict=True):
        axes.plot([row["round"] for row in rows], [row[name] for row in rows])
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
    axes.set_xlabel("round")
    figure.savefig(path)


if __name__ == "__main__":
    main()
