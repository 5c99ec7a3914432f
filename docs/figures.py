"""The figures of docs/explanation, from rendered scenes: python docs/figures.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch

from colorize.choice import choose_checkpoint
from colorize.color import l_ab_to_rgb, rgb_to_l_ab, to_float, to_uint8
from colorize.data.scenes import render
from colorize.pipeline import Colorizer

matplotlib.use("Agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent / "img"


def lab() -> None:
    """A scene and its three planes; a and b shown with the colours they stand for, at one lightness."""
    rgb = render("maduixes", seed=5, size=224)
    l, ab = rgb_to_l_ab(to_float(torch.as_tensor(rgb).permute(2, 0, 1)[None]))
    planes = [rgb]
    for only in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        light = l if only[0] else torch.full_like(l, 0.65)
        colour = ab * torch.tensor(only[1:], dtype=torch.float32)[None, :, None, None]
        planes.append(to_uint8(l_ab_to_rgb(light, colour))[0].permute(1, 2, 0).numpy())
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.4))
    for axis, plane, name in zip(axes, planes, ("picture", "L", "a", "b"), strict=True):
        axis.imshow(plane)
        axis.set_title(name)
        axis.axis("off")
    save(figure, "lab")


def pale() -> None:
    """Expected squared and absolute error of a guess between red and green, for a thing that is red 6 times of 10."""
    guesses = np.linspace(0, 1, 201)  # 0 green, 1 red
    losses = {"squared error": np.square, "absolute error": np.abs}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.8), width_ratios=[1, 1.3])
    ab = torch.tensor([[-45.0, 45.0], [60.0, 40.0]]) / 128
    line = torch.stack([(1 - t) * ab[0] + t * ab[1] for t in torch.linspace(0, 1, 201)]).T[None, :, None]
    strip = to_uint8(l_ab_to_rgb(torch.full((1, 1, 1, 201), 0.55), line))[0].permute(1, 2, 0).numpy()
    left.imshow(strip, aspect="auto", extent=(0, 1, 0, 0.25))
    left.bar([0, 1], [0.4, 0.6], width=0.04, bottom=0.25, color=["#5d8f2c", "#c4513c"])
    left.set(xlim=(-0.05, 1.05), xticks=[0, 1], xticklabels=["green, 4 of 10", "red, 6 of 10"], yticks=[])
    for name, function in losses.items():
        loss = 0.4 * function(guesses) + 0.6 * function(1 - guesses)
        best = guesses[loss.argmin()]
        (curve,) = right.plot(guesses, loss, label=f"{name}: best guess {best:.1f}")
        right.plot(best, loss.min(), "o", color=curve.get_color())
    right.set(xlabel="guess: 0 green, 1 red", ylabel="expected loss")
    right.legend()
    save(figure, "pale")


def coherence() -> None:
    """a of one spot of a still clip with grain, coloured by the network that ships, with each way to keep it steady."""
    random = np.random.default_rng(0)
    still = render("beach", seed=3, size=160).astype(np.float64)
    grain = [still + random.normal(0, 8, still.shape[:2])[..., None] for _ in range(40)]
    frames = np.stack(grain).clip(0, 255).round().astype(np.uint8)
    colorizer = Colorizer.from_checkpoint(choose_checkpoint(None, "auto", "outputs"), device="cpu")
    figure, axis = plt.subplots(figsize=(11, 2.6))
    for name in ("none", "smooth"):
        coloured = np.concatenate(list(colorizer.colour_clip(iter([frames]), name)))
        ab = rgb_to_l_ab(to_float(torch.as_tensor(coloured).permute(0, 3, 1, 2)))[1]
        axis.plot(128 * ab[:, 1, 20:28, 60:68].mean((1, 2)), label=f"temporal={name}")
    axis.set(xlabel="frame", ylabel="b")
    axis.legend()
    save(figure, "coherence")


def save(figure: plt.Figure, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / f"{name}.png", dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    lab()
    pale()
    coherence()
