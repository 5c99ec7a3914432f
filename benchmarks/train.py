"""Training throughput of recipes against each other: python -m benchmarks.train --recipes baseline best --size 256

Each recipe's batch is augmented, converted and learnt from, in turn with the others', on noise (a step's time does not
depend on what is shown). Printed are medians and, since machines differ, the ratio to the first recipe.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from colorize import cli, report
from colorize.build import instantiate
from colorize.color import rgb_to_l_ab, to_float
from colorize.module import ColorizeModule


def recipe(
    name: str, size: int, *overrides: str
) -> tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], None], int]:
    """How ``experiment=name`` makes a batch and learns from it, and how many pictures that is."""
    cli.register_resolvers()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[f"experiment={name}", f"dataset.size={size}", "run_dir=unused", *overrides])
    parts: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    settings = {part: parts[part] for part in ("model", "loss", "optimizer")}
    module = ColorizeModule(**settings, scheduler=None, data={"size": size}).train()
    module.model.checkpointing = cfg.trainer.checkpointing
    optimizer = module.create_optimizer()
    data = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=0)
    pictures = torch.randint(256, (cfg.dataset.batch_size, 3, size, size), dtype=torch.uint8)

    def batch() -> dict[str, Any]:
        l, ab = rgb_to_l_ab(data.augmented(to_float(pictures), 0, 0, 0))
        return {"l": data.degraded(l, 0, 0, 0), "ab": ab}

    def step(batch: dict[str, Any]) -> None:
        optimizer.zero_grad()
        module.loss(module.model, module.model.output(batch["l"]).float(), batch["ab"]).backward()
        optimizer.step()

    return batch, step, cfg.dataset.batch_size


def throughput(recipes: list[str], size: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each recipe: seconds for a batch's data and step, pictures a second, and ratios to the first."""
    made = {name: recipe(name, size) for name in recipes}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in recipes}
    for _ in range(repeats + 1):
        for name, (batch, step, _) in made.items():
            start = time.perf_counter()
            content = batch()
            middle = time.perf_counter()
            step(content)
            seconds[name].append((middle - start, time.perf_counter() - middle))
    rows: list[dict[str, Any]] = []
    for name, (_, _, pictures) in made.items():
        data, step = (median(times) for times in zip(*seconds[name][1:], strict=True))  # the first warms up
        rate, step_rate = pictures / (data + step), pictures / step
        row = {"recipe": name, "data, s": round(data, 3), "step, s": round(step, 3), "pictures/s": round(rate, 2)}
        first = rows[0] if rows else {"pictures/s": rate, "_step": step_rate}
        row["ratio"] = round(rate / first["pictures/s"], 2)
        row["ratio, step alone"] = round(step_rate / first["_step"], 2)
        rows.append({**row, "_step": step_rate})
    return [{key: value for key, value in row.items() if key != "_step"} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["baseline", "best"], help="names in conf/experiment")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the rows there as JSON")
    args = parser.parse_args()
    rows = throughput(args.recipes, args.size, args.repeats)
    report.print_table(rows, title=f"training at {args.size} px, float32, {torch.get_num_threads()} threads")
    if args.out:
        args.out.write_text(json.dumps({"size": args.size, "threads": torch.get_num_threads(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
