"""How fast onnxruntime computes a network beside PyTorch.

python -m benchmarks.export --ckpt colorize/weights/general.safetensors

Both on the CPU, with as many threads as PyTorch takes, on the same pictures and in turn; medians over the rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from colorize.checkpoint import load_checkpoint
from colorize.onnx_network import as_onnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    network = load_checkpoint(args.ckpt).model
    networks = {"torch": network, "onnxruntime": as_onnx(network)}
    print("| size | torch, ms | onnxruntime, ms | times as fast | difference in ab / 128 |\n|---:|---:|---:|---:|---:|")
    for size in args.sizes:
        l = torch.rand(args.batch, 1, size, size, generator=torch.Generator().manual_seed(0))
        l = l.contiguous(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        made = {}
        for _ in range(args.rounds + 2):
            for name, one in networks.items():
                with torch.inference_mode():
                    start = time.perf_counter()
                    made[name] = one(l)
                    seconds[name].append(time.perf_counter() - start)
        ours, theirs = (1000 * median(seconds[name][2:]) for name in networks)  # the first two warm up
        difference = float((made["torch"] - made["onnxruntime"]).abs().max())
        print(f"| {size} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    main()
