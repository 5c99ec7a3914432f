"""The report's training on one GPU, from launch to final checkpoint: python -m benchmarks.gpu --out gpu.json

Runs what a user would type, `python -m colorize.train dataset=pradera experiment=baseline trainer=gpu` (350 epochs of
50 steps of 15 pictures at 256 px, validation each epoch, a checkpoint every 25), in a process of its own: with an empty
compile cache (cold), then with what that left there (warm). Printed are, by the wall clock, seconds from launch to the
last checkpoint and to the end (the best network judged on the test pictures).

Before that, for each variant, a step without Lightning: milliseconds of the batch alone and of batch and step, its
share of them, how long the host takes to ask for both (near the whole: the host is the limit), the share of the GPU's
peak, and how often a step waits for the GPU (0 is right).

To try it: `--epochs 4`; without a GPU: `--device cpu --epochs 2 --steps 2 --set dataset.size=64 --variants gpu`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from colorize import cli, report
from colorize.build import instantiate
from colorize.data.warp import send
from colorize.module import ColorizeModule

VARIANTS: dict[str, tuple[str, ...]] = {
    "gpu": (),
    "CUDA graphs": ("trainer.compile=reduce-overhead",),
    "not compiled": ("trainer.compile=false",),
    "plain loader": ("trainer.compile=false", "trainer.fused=false", "dataset.resident=false"),
    "float32, plain loader": (
        *("trainer.compile=false", "trainer.fused=false", "dataset.resident=false", "trainer.precision=32-true"),
    ),
}
STEP_GFLOP = 874.0  # of beta with its three extra layers, 15 pictures at 256 px, forward and backward
PEAK_TFLOPS = 989.0  # H100 and H200 in bf16, by their data sheet


def settings(args: argparse.Namespace, *overrides: str) -> list[str]:
    every = (f"++callbacks.{name}.every_n_epochs={min(25, args.epochs)}" for name in ("best", "last"))
    return [
        *(f"dataset={args.dataset}", "experiment=baseline", "trainer=gpu", *every),
        *(("trainer.accelerator=cpu",) if args.device == "cpu" else ()),
        *(f"dataset.epochs={args.epochs}", f"dataset.steps_per_epoch={args.steps}", *overrides, *args.set),
    ]


def launch(args: argparse.Namespace, name: str, cache: Path) -> dict[str, Any]:
    """Train in a process of its own."""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache), "TRITON_CACHE_DIR": str(cache / "triton")}
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "colorize.train", *settings(args, *VARIANTS[name]), f"run_dir={folder}"]
        start = time.time()
        subprocess.run(words, env=environment, check=True, stdout=sys.stderr)
        end = time.time()
        last = max(path.stat().st_mtime for path in Path(folder, "checkpoints").glob("*.ckpt"))
        result = json.loads(Path(folder, "metrics.json").read_text())
    return {
        "to the last checkpoint, s": round(last - start, 1),
        "to the end, s": round(end - start, 1),
        "training and validation, s": round(60 * result["minutes"], 1),
        "val/loss": result["val"]["loss"],
        "hardware": result["hardware"],
    }


def parts(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Batch and step in this process, without Lightning."""
    cli.register_resolvers()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[*settings(args, *VARIANTS[name]), "run_dir=unused"])
    device = torch.device("cuda" if args.device == "gpu" else "cpu")
    torch.backends.cudnn.benchmark = bool(cfg.trainer.get("benchmark"))
    recipe: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    of_module = {part: recipe[part] for part in ("model", "loss", "optimizer")}
    module = ColorizeModule(**of_module, scheduler=None, data={"size": cfg.dataset.size}).train().to(device)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    data = instantiate({key: value for key, value in cfg.dataset.items() if key != "epochs"}, seed=0)
    data.prepare_data()
    data.setup("fit")
    if cfg.trainer.compile:
        module.compile_training(cfg.trainer.compile)
        data.compile()
    module.fused = cfg.trainer.fused
    optimizer = module.create_optimizer()
    pictures, size = data.pictures("train"), cfg.dataset.batch_size
    resident = pictures[:].to(device) if cfg.dataset.resident else None
    generator = torch.Generator().manual_seed(0)

    def batch(step: int) -> dict[str, Any]:
        rows = torch.randint(len(pictures), (size,), generator=generator)
        if resident is None:
            rgb = send(pictures[rows.tolist()], device)
        else:
            rgb = resident.index_select(0, send(rows, device))
        l, ab = data.augmented_l_ab(rgb, 0, step, 0)
        return {"l": l, "ab": ab}

    def whole(step: int) -> None:
        made = batch(step)
        with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in str(cfg.trainer.precision)):
            loss = module.training_step(made, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def clock(work: Callable[[int], Any]) -> tuple[float, float]:
        """Milliseconds a step, and those of the host alone."""
        for step in range(args.warm_up):
            work(step)
        wait(device)
        start = time.perf_counter()
        for step in range(args.measured):
            work(step)
        asked = time.perf_counter()
        wait(device)
        return tuple(1e3 * (t - start) / args.measured for t in (time.perf_counter(), asked))  # type: ignore[return-value]

    both, host = clock(whole)
    alone, _ = clock(batch)
    row = {"variant": name, "batch, ms": round(alone, 3), "batch and step, ms": round(both, 3)}
    row |= {"data share": f"{alone / both:.1%}", "host, ms": round(host, 3)}
    if device.type == "cuda":
        gflop = STEP_GFLOP * size / 15 * (cfg.dataset.size / 256) ** 2
        row |= {"of bf16 peak": f"{gflop / both / PEAK_TFLOPS:.0%}", "waits": waits(whole)}
    torch._dynamo.reset()
    return row


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def waits(work: Callable[[int], Any]) -> float:
    """How often a step waits for the GPU; says on stderr where."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        for step in range(10):
            work(step)
        torch.cuda.set_sync_debug_mode("default")
    places = [f"{w.filename}:{w.lineno}" for w in seen if "synchron" in str(w.message)]
    for place in sorted(set(places)):
        print(f"waits at {place}", file=sys.stderr)
    return len(places) / 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="pradera")
    parser.add_argument("--epochs", type=int, default=350)
    parser.add_argument("--steps", type=int, default=50, help="of an epoch")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--launch", nargs="*", default=["gpu"], choices=VARIANTS, help="which to train in full")
    parser.add_argument("--device", default="gpu", choices=["gpu", "cpu"])
    parser.add_argument("--set", nargs="*", default=[], help="further settings of colorize.train")
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--measured", type=int, default=100)
    parser.add_argument("--out", type=Path, help="write all there as JSON")
    args = parser.parse_args()
    if args.device == "gpu" and not torch.cuda.is_available():
        sys.exit("error: no GPU here; --device cpu tries the commands out")
    hardware = torch.cuda.get_device_name() if args.device == "gpu" else "CPU"
    steps = [parts(args, name) for name in args.variants]
    report.print_table(steps, title=f"a step of {args.dataset}, experiment=baseline, on {hardware}")
    runs = []
    for name in args.launch:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                runs.append({"variant": name, "compile cache": state, **launch(args, name, Path(cache))})
                print(runs[-1], file=sys.stderr)
    report.print_table(runs, title=f"{args.epochs} epochs of {args.steps} steps on {hardware}")
    if args.out:
        args.out.write_text(json.dumps({"hardware": hardware, "steps": steps, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
