"""python -m colorize.gif input=waves.gif          colour a GIF: same size, same timing, same loop -> waves_color.gif
python -m colorize.gif input=waves.gif weights=last                  by the network you trained last
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from colorize import cli

log = logging.getLogger(__name__)

PALETTE_FRAMES = 16  # coloured ahead of the rest to find one palette for the clip


def gif(cfg: DictConfig) -> Path:
    """Colour an animated GIF.

    Returns:
        The file written.

    Raises:
        ValueError: no such GIF, an output that exists, no weights.
    """
    source = Path(str(cfg.input))
    target = Path(str(cfg.output)) if cfg.output else source.with_name(f"{source.stem}_color.gif")
    if target.suffix.lower() != ".gif":
        raise ValueError(f"output={target} must end in .gif")
    if target.resolve() == source.resolve():
        raise ValueError(f"output={target} is the input: choose another")
    if cfg.batch_size < 1:
        raise ValueError(f"batch_size={cfg.batch_size} must be at least 1")
    if target.exists() and not cfg.overwrite:
        raise ValueError(f"{target} exists: overwrite=true replaces it, output= writes elsewhere")

    from colorize.checkpoint import choose_checkpoint
    from colorize.media import gif_palette, read_gif, write_gif
    from colorize.pipeline import Colorizer
    from colorize.progress import track

    animation = read_gif(source)
    checkpoint = choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    colorizer = Colorizer.from_checkpoint(checkpoint, size=cfg.size, device=cfg.device, saturation=cfg.saturation)

    def coloured(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for batch in batches(frames, cfg.batch_size):
            alpha = batch[..., 3:]
            yield from np.concatenate([colorizer(batch[..., :3]), alpha], axis=-1)

    every = max(1, len(animation) // PALETTE_FRAMES)
    sample = (frame for i, frame in enumerate(animation.frames()) if i % every == 0)
    palette = gif_palette(coloured(sample))
    frames = track(coloured(animation.frames()), "Colouring", total=len(animation), unit="frames")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_gif(target, frames, palette=palette, durations=animation.durations, loop=animation.loop)
    log.info("coloured %d frames of %d x %d: %s", len(animation), *animation.size, target)
    return target


def batches(frames: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Frames (H, W, C) -> stacks (up to ``size``, H, W, C), in order, one stack in memory at a time."""
    stack: list[np.ndarray] = []
    for frame in frames:
        stack.append(frame)
        if len(stack) == size:
            yield np.stack(stack)
            stack = []
    if stack:
        yield np.stack(stack)


def main() -> None:
    cli.run(gif, "gif")


if __name__ == "__main__":
    main()
