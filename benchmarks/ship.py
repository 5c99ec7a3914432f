"""python benchmarks/ship.py RUN/checkpoints/best.ckpt colorize/weights/general.safetensors card.md

Make of a training checkpoint a weights file that ships: half precision, the card in it and beside it as NAME.md.
Refuses one that is above 10 MB or that colours visibly otherwise than the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from colorize.checkpoint import load_checkpoint, save_weights
from colorize.color import AB_SCALE, rgb_to_l_ab, to_float
from colorize.data.scenes import render
from colorize.files import atomic
from colorize.models.base import Network
from colorize.pipeline import Colorizer

MEGABYTES = 10
VISIBLE = 2.3  # a just noticeable difference in Lab units (Mahy et al., Color Research & Application, 1994)


def ship(source: Path, target: Path, card: str) -> str:
    """Write ``target`` and, beside it, the card.

    Returns:
        What was written, and what half precision changes: the distance of ab, in Lab units, on a rendered picture.

    Raises:
        ValueError: the checkpoint cannot be read, or the weights file would be too big or too different.
    """
    checkpoint = load_checkpoint(source)
    with atomic(target) as temporary:
        save_weights(checkpoint, temporary, card)
        size = temporary.stat().st_size / 1e6
        if size > MEGABYTES:
            raise ValueError(f"{size:.1f} MB is more than {MEGABYTES}: ship a narrower network")
        whole, half = (predict_ab(c.model, c.data["size"]) for c in (checkpoint, load_checkpoint(temporary)))
        distance = AB_SCALE * (whole - half).norm(dim=1)
        if not distance.max() < VISIBLE:
            raise ValueError(f"half precision changes ab by {float(distance.max()):.2f} at most: that is visible")
    with atomic(target.with_suffix(".md")) as temporary:
        temporary.write_text(card, encoding="utf-8")
    mean, most = float(distance.mean()), float(distance.max())
    return f"{target}: {size:.2f} MB; half precision changes ab by {mean:.3f} on average and {most:.3f} at most"


def predict_ab(model: Network, size: int) -> Tensor:
    """ab (1, 2, 256, 256) of a rendered scene, always the same one."""
    l, _ = rgb_to_l_ab(to_float(torch.tensor(render("rural", seed=0)).permute(2, 0, 1)[None]))
    return Colorizer(model, size, "cpu").predict_ab(l)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt_path", type=Path, help="a run's checkpoint")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument("card", type=Path, help="Markdown: what it was trained on, what it is for, what it cannot do")
    arguments = parser.parse_args()
    try:
        print(ship(arguments.ckpt_path, arguments.output, arguments.card.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
