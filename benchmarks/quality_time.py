"""Seconds of training until the colours are as good as the baseline's: python -m benchmarks quality_time --root SET

`experiment=baseline` is trained first; its CIEDE2000 on the validation pictures after --steps steps is what the others
have to reach: `experiment=best` from the shipped weights and from scratch. Each is validated every --every steps by
Lightning's own validation, whose time is not counted, and stops when it is there.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

from benchmarks.machine import publish
from colorize import cli
from colorize.train import train

Curve = list[tuple[int, float, float]]  # steps, seconds, CIEDE2000
METRIC = "val/ciede2000"
BASELINE = ["experiment=baseline"]
RECIPES = {
    "best, from shipped weights": ["experiment=best"],
    "best, from scratch": ["experiment=best", "finetune=null"],
}
BEST_STEPS = 500  # of `best` itself: its learning rate runs to the end of them
_curves: list[Clock] = []  # of each run; Hydra makes the callback


class Clock(L.Callback):
    """Seconds of training alone, beside the metric at each validation; ends a run that has reached ``target``."""

    def __init__(self, target: float | None):
        self.target, self.spent, self.curve = target, 0.0, Curve()
        _curves.append(self)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.spent += time.perf_counter() - self._start

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.curve.append((trainer.global_step, self.spent, float(trainer.callback_metrics[METRIC])))
        if self.target is not None and self.curve[-1][2] <= self.target:
            trainer.should_stop = True


def run(
    place: str, overrides: list[str], epochs: int, every: int, target: float | None
) -> list[tuple[int, float, float]]:
    """(steps, seconds, CIEDE2000) at each validation of one training run."""
    cli.register_resolvers()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        cfg: DictConfig = compose(
            "train",
            [*overrides, f"run_dir={place}", f"dataset.epochs={epochs}", f"dataset.steps_per_epoch={every}"],
        )
    with open_dict(cfg):
        for name in ("picture_grid", "time_estimate"):
            cfg.callbacks.pop(name, None)
        cfg.callbacks.clock = {"_target_": "benchmarks.quality_time.Clock", "target": target}
    train(cfg)
    return _curves[-1].curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of photographs")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=300, help="of the baseline")
    parser.add_argument("--every", type=int, default=10, help="steps from one validation to the next")
    parser.add_argument("--overrides", nargs="*", default=[], help="further settings of colorize.train, for all")
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    # The same pictures are held out from each.
    common = ["dataset=folder", f"dataset.root={args.root}", f"dataset.size={args.size}", "dataset.val_fraction=0.15"]
    common += ["trainer.accelerator=cpu", *args.overrides]
    curves: dict[str, Curve] = {}
    with tempfile.TemporaryDirectory() as place:
        steps = max(1, args.steps // args.every)
        curves["baseline"] = run(f"{place}/0", [*BASELINE, *common], steps, args.every, None)
        target = curves["baseline"][-1][2]
        for number, (name, recipe) in enumerate(RECIPES.items(), 1):
            epochs = max(1, BEST_STEPS // args.every)
            curves[name] = run(f"{place}/{number}", [*recipe, *common], epochs, args.every, target)
    whole = curves["baseline"][-1][1]
    rows: list[dict[str, Any]] = []
    for name, curve in curves.items():
        reached = next(((done, spent) for done, spent, value in curve if value <= target), None)
        if name == "baseline":
            reached = curve[-1][:2]
        row: dict[str, Any] = {"what": name, "CIEDE2000": round(curve[-1][2], 2)}
        if reached:
            row |= {"steps": reached[0], "seconds": round(reached[1], 1), "ratio": round(whole / reached[1], 1)}
        else:
            row["not reached in, steps"] = curve[-1][0]
        rows.append(row)
    title = f"training until CIEDE2000 {target:.2f}, at {args.size} px, {torch.get_num_threads()} threads"
    publish(rows, title, args.out, size=args.size, target=target, curves=curves)


if __name__ == "__main__":
    main()
