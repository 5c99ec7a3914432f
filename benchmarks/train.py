"""Training throughput on a CPU: recipes against each other, and against the same network and recipe in Keras.

    python -m benchmarks train --recipes baseline best --size 256
    python -m benchmarks train --recipes baseline best --peer .venv-peer/bin/python     # or: make bench-peer

Each contender is a process of its own; they are asked in turn, so that whatever else the machine does hits all alike.
Data alone: a batch augmented and converted. Step alone: forward, backward and optimizer. Whole: Lightning's Trainer and
Keras' fit. It is all noise: times do not depend on what is shown. Medians over the rounds, ratios within each round.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from benchmarks.machine import Limits, Worker, count, publish, seconds, serve
from colorize import cli
from colorize.build import instantiate
from colorize.data.store import in_memory
from colorize.malloc import keep_freed_memory
from colorize.module import ColorizeModule

PARTS = ("data", "step", "whole")
KERAS = "Keras"
# What colorize.malloc tells glibc, for a program that cannot be told from inside.
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_TOP_PAD_": str(256 * 2**20)}


def settings(name: str, size: int, *overrides: str) -> DictConfig:
    """conf/experiment/NAME as `colorize.train` composes it."""
    cli.register_resolvers()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        return compose("train", overrides=[f"experiment={name}", f"dataset.size={size}", "run_dir=unused", *overrides])


def recipe(
    name: str, size: int, *overrides: str
) -> tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], None], Callable[[], float]]:
    """How ``experiment=name`` makes a batch, how it learns from it, and seconds of a step in Lightning's own loop."""
    cfg = settings(name, size, *overrides)
    parts: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    module = ColorizeModule(
        **{part: parts[part] for part in ("model", "loss", "optimizer")}, scheduler=None, data={"size": size}
    ).train()
    module.model.checkpointing = cfg.trainer.checkpointing
    module.model.use_fast_convolutions(cfg.trainer.fast_convolutions)
    optimizer = module.create_optimizer()
    data = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=0)
    pictures = torch.randint(256, (cfg.dataset.batch_size, 3, size, size), dtype=torch.uint8)
    data._pictures, data.prepare_data = {"train": in_memory(pictures)}, lambda: None

    steps = itertools.count()  # draws are made for some steps at once: the same step again would be for nothing

    def batch() -> dict[str, Any]:
        when = (0, next(steps), 0)
        l, ab = data.augmented_l_ab(pictures, *when)
        return {"l": data.degraded(l, *when), "ab": ab}

    def step(batch: dict[str, Any]) -> None:
        optimizer.zero_grad()
        module.loss(module.model, module.model.output(batch["l"]).float(), batch["ab"]).backward()
        optimizer.step()

    def whole() -> float:
        clock = _Clock()
        off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        trainer = L.Trainer(
            max_epochs=1, limit_val_batches=0, accelerator="cpu", callbacks=[clock], **dict.fromkeys(off, False)
        )
        trainer.fit(module, data)
        return clock.seconds / cfg.dataset.steps_per_epoch

    return batch, step, whole


class _Clock(L.Callback):
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self._start


def work(name: str, size: int, overrides: list[str]) -> None:
    """A recipe as a worker."""
    logging.disable(logging.WARNING)
    if "trainer.malloc=true" in overrides:
        keep_freed_memory()
    plain_batch, plain_step, _ = recipe(name, size, *overrides, "trainer.fast_convolutions=false")
    content = plain_batch()  # what the network asks for is counted, not what a faster algorithm does with less
    about = {"data": count(plain_batch), "step": count(lambda: plain_step(content))}
    batch, step, whole = recipe(name, size, *overrides)
    serve(
        about,
        {"data": lambda: seconds(batch, 3), "step": lambda: seconds(lambda: step(content)), "whole": whole},
    )


def contenders(args: argparse.Namespace) -> dict[str, Worker]:
    """What is compared: the recipes, with trainer.malloc=true too, and Keras, also with the allocator told the same."""
    common = [f"dataset.steps_per_epoch={args.steps}", f"dataset.batch_size={args.batch}", *args.overrides]
    command = [sys.executable, "-m", "benchmarks.train", "--size", str(args.size), "--serve"]
    found = {}
    for name in args.recipes:
        found[name] = Worker([*command, name, *common])
        if sys.platform == "linux":
            found[f"{name}, trainer.malloc=true"] = Worker([*command, name, *common, "trainer.malloc=true"])
    if args.peer:
        model = settings(args.recipes[0], args.size, *args.overrides).model
        if "encoder" not in model:
            raise SystemExit(f"{args.recipes[0]} is not the report's network: name baseline or reference first")
        extra = model.encoder[len(model.encoder) - model.extra_layers :]
        layers = ",".join(map(str, (*model.encoder, *extra, *model.decoder)))
        script = str(Path(__file__).parent / "peer/keras_train.py")
        peer = [args.peer, script, "--size", str(args.size), "--batch", str(args.batch), "--steps", str(args.steps)]
        found[KERAS] = Worker([*peer, "--layers", layers])
        found[f"{KERAS}, allocator tuned"] = Worker([*peer, "--layers", layers], TUNED)
    return found


def compare(
    workers: dict[str, Worker], parts: list[str], batch: int, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A row a contender, and the machine's limits; ratios are to Keras, or to the first where it is not there."""
    limits = Limits()
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    rates: list[dict[str, float]] = []
    for turn in range(rounds + 1):  # the first warms up
        rate = limits.measure()
        for name, worker in workers.items():
            spent = {part: worker.ask(part)["seconds"] for part in parts}
            if turn:
                taken[name].append(spent)
        after = limits.measure()
        if turn:
            rates.append({key: (rate[key] + after[key]) / 2 for key in rate})
    first = KERAS if KERAS in workers else next(iter(workers))
    asked = next(iter(workers.values())).about  # Keras does the same as the first recipe
    rows = []
    for name, worker in workers.items():
        counts = worker.about if "step" in worker.about else asked
        row: dict[str, Any] = {"what": name}
        for part in parts:
            row[f"{part}, pictures/s"] = round(batch / median(spent[part] for spent in taken[name]), 2)
        for part in parts:
            ratios = [a[part] / b[part] for a, b in zip(taken[first], taken[name], strict=True)]
            row[f"{part}, ratio"] = round(median(ratios), 2)
        row["GFLOP a step"] = round(counts["step"]["flops"] / 1e9, 1)
        if "step" in parts:
            row["share of sgemm"] = _share(counts["step"]["flops"] / 1e9, "sgemm GFLOP/s", "step", taken[name], rates)
        if counts is worker.about:  # what Keras reads and writes is not counted
            for part in sorted({"step", "data"} & set(parts)):
                row[f"GB a {part}"] = round(counts[part]["bytes"] / 1e9, 2)
                row[f"share of copy, {part}"] = _share(
                    counts[part]["bytes"] / 1e9, "copy GB/s", part, taken[name], rates
                )
        rows.append(row)
    return rows, {key: round(median(rate[key] for rate in rates), 1) for key in rates[0]}


def _share(amount: float, limit: str, part: str, taken: list[dict[str, float]], rates: list[dict[str, float]]) -> float:
    shares = (amount / spent[part] / rate[limit] for spent, rate in zip(taken, rates, strict=True))
    return round(median(shares), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["baseline", "best"], help="names in conf/experiment")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="in each measurement of the whole")
    parser.add_argument("--peer", help="Python of an environment with benchmarks/peer/requirements.txt")
    parser.add_argument("--overrides", nargs="*", default=[], help="further settings of the recipes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        work(args.serve[0], args.size, args.serve[1:])
        return
    workers = contenders(args)
    rows, limits = compare(workers, args.parts, args.batch, args.rounds)
    versions = [worker.about["versions"] for worker in workers.values() if "versions" in worker.about][:1]
    for worker in workers.values():
        worker.close()
    title = (
        f"training at {args.size} px, batch {args.batch}, float32, {torch.get_num_threads()} threads; limits {limits}"
    )
    publish(rows, title, args.out, size=args.size, batch=args.batch, rounds=args.rounds, limits=limits, peer=versions)


if __name__ == "__main__":
    main()
