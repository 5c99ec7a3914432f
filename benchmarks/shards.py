"""Memory and waiting of training from shards: python -m benchmarks.shards --pictures 10000 100000

Generated pictures in shards are trained on for one epoch, each count in a process of its own. Printed are
the most private memory (RssAnon of /proc, of the process and of its loader workers together, looked at 20 times a
second), its ratio to that of the first count, and the share of the training time that was spent waiting for batches.
Linux alone.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 64
PER_SHARD = 2500
# of every part that beta has, and small: a step is short, and the loader has to keep up
TINY = ["model.encoder=[4/2,4/2,8/2,8,8,4]", "model.decoder=[up,4,up,4,head,up]"]


def write_shard(folder: Path, part: str, number: int, first: int, count: int) -> dict[str, Any]:
    """A shard of smooth colours, drawn from the pictures' numbers; its entry in the manifest."""
    from colorize.data.packing import Packed, ShardWriter

    writer = ShardWriter(folder, part, number)
    for picture in range(first, first + count):
        rng = np.random.default_rng(picture)
        colours = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        encoded = io.BytesIO()
        colours.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=90)
        writer.add(f"{picture:09}", Packed(".jpg", encoded.getvalue()))
    return writer.finish()


def generate(folder: Path, count: int) -> None:
    """What colorize.pack would make of so many pictures, and 100 to validate on."""
    from colorize import report
    from colorize.data.shards import FORMAT, MANIFEST

    folder.mkdir(parents=True)
    jobs = [("val", 0, 10**8, 100)]
    jobs += [("train", i, first, min(PER_SHARD, count - first)) for i, first in enumerate(range(0, count, PER_SHARD))]
    with ProcessPoolExecutor() as pool:
        shards = list(pool.map(write_shard, itertools.repeat(folder), *zip(*jobs, strict=True)))
    report.write_json(folder / MANIFEST, {"format": FORMAT, "rendered": True, "shards": shards})


class Memory:
    """The most RssAnon of this process and of those below it, in bytes, while the block runs."""

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        self.peak, stop = 0, threading.Event()

        def watch() -> None:
            while not stop.wait(0.05):
                self.peak = max(self.peak, sum(map(_private, _family())))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        yield self
        stop.set()
        thread.join()


def _family() -> list[int]:
    found = [int(Path("/proc/self").resolve().name)]
    for process in found:  # it grows
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has ended meanwhile
                continue
    return found


def _private(process: int) -> int:
    try:
        return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1])  # type: ignore[index]
    except (OSError, TypeError):
        return 0


def measure(root: Path, overrides: list[str]) -> dict[str, Any]:
    """One epoch on shards, in this process."""
    import torch
    from hydra import compose, initialize_config_dir
    from lightning.pytorch import Trainer
    from lightning.pytorch.profilers import SimpleProfiler
    from omegaconf import OmegaConf

    from colorize import cli
    from colorize.build import instantiate
    from colorize.module import ColorizeModule

    cli.register_resolvers()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        cfg = compose("train", ["dataset=shards", f"dataset.root={root}", "run_dir=unused", *overrides])
    parts: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    data = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=cfg.seed)
    module = ColorizeModule(
        **{part: parts[part] for part in ("model", "loss", "optimizer")}, scheduler=None, data={"size": data.size}
    )
    profiler = SimpleProfiler()
    profiler.summary = str  # type: ignore[method-assign,assignment]  # its table is long
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        profiler=profiler,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
    )
    data.trainer = trainer
    data.prepare_data()
    data.setup("fit")
    with Memory().watched() as memory:
        start = time.perf_counter()
        trainer.fit(module, data)
        seconds = time.perf_counter() - start
    waited = profiler.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]
    return {
        "pictures": data.count("train"),
        "steps": trainer.global_step,
        "MiB": round(memory.peak / 2**20, 1),
        "pictures/s": round(data.count("train") / seconds, 1),
        "waiting, %": round(100 * sum(waited) / seconds, 2),
        "first batch, s": round(waited[0], 2),
        "waiting without it, %": round(100 * sum(waited[1:]) / (seconds - waited[0]), 2),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the sets are kept; default: a temporary folder")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="settings of colorize.train; default: a tiny network")
    args = parser.parse_args()
    settings = [f"dataset.size={SIZE}", "dataset.batch_size=128", f"dataset.num_workers={args.workers}"]
    settings += args.overrides or TINY
    if args.one is not None:
        print(json.dumps(measure(args.one, settings)))
        return
    from colorize import report

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in args.pictures:
            folder = (args.folder or Path(temporary)) / str(count)
            if not folder.is_dir():
                generate(folder, count)
            one = [sys.executable, "-m", "benchmarks.shards", "--one", str(folder)]
            one += ["--workers", str(args.workers), *args.overrides]
            done = subprocess.run(one, stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append({**row, "memory ratio": round(row["MiB"] / (rows[0]["MiB"] if rows else row["MiB"]), 3)})
            print(rows[-1], file=sys.stderr)
    report.print_table(rows, title=f"one epoch at {SIZE} px, {args.workers} loader workers")


if __name__ == "__main__":
    main()
