"""python -m colorize.gif input=waves.gif          colour a GIF or video: same size, timing and loop -> waves_color.gif
python -m colorize.gif input=film.mp4 output=film.gif                from one kind into another, by the ending
python -m colorize.gif input=waves.gif weights=last                  by the network you trained last
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from colorize import cli

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


def gif(cfg: DictConfig) -> Path:
    """Colour an animated GIF, PNG or WebP, a video, a folder of frames or a picture.

    Returns:
        The file (or folder) written.

    Raises:
        ValueError: nothing to read, an output that exists or cannot be written, no weights; or a clip that is damaged,
            after what can be read of it has been written.
    """
    for name, lowest, highest in (("batch_size", 1, 10**6), ("quality", 0, 100), ("max_pixels", 1, 10**12)):
        if not (isinstance(cfg[name], int) and lowest <= cfg[name] <= highest):
            raise ValueError(f"{name}={cfg[name]} must be a whole number from {lowest} to {highest}")
    from colorize.choice import check_there, choose_checkpoint
    from colorize.media import batches, check_target, choose_target, read_animation, write_animation
    from colorize.progress import track

    source = Path(str(cfg.input))
    target, folder = choose_target(source, cfg.output and str(cfg.output), cfg.overwrite)
    animation = read_animation(source, max_pixels=cfg.max_pixels)
    check_target(target, animation, folder)
    checkpoint = choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    check_there(checkpoint)

    # PyTorch takes seconds: what can be refused without it has been.
    import numpy as np

    from colorize.pipeline import Colorizer
    from colorize.scene_palettes import scene_palettes

    colorizer = Colorizer.from_checkpoint(checkpoint, size=cfg.size, device=cfg.device, saturation=cfg.saturation)
    colorizer.new_clip(cfg.temporal)  # refused before anything is written

    def coloured(frames: Iterator[np.ndarray], temporal: str) -> Iterator[np.ndarray]:
        state = colorizer.new_clip(temporal)
        for batch in batches(frames, cfg.batch_size):
            alpha = batch[..., 3:]  # nothing, of a video
            yield from np.concatenate([colorizer(batch[..., :3], state), alpha], axis=-1)

    palette = None
    if target.suffix.lower() == ".gif" and not folder:
        palette = scene_palettes(animation, lambda frame: next(coloured(iter([frame]), "none")))
    count = 0

    def counted(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal count
        for frame in track(frames, "Colouring", total=len(animation), unit="frames"):
            count += 1
            yield frame

    target.parent.mkdir(parents=True, exist_ok=True)
    timed = animation.through(lambda frames: counted(coloured(frames, cfg.temporal)))
    write_animation(target, timed, animation, folder=folder, palette=palette, quality=cfg.quality)
    if animation.lost:
        raise ValueError(f"{source}: {animation.lost}; {count} frames were coloured: {target}")
    log.info("coloured %d frames of %d x %d: %s", count, *animation.size, target)
    return target


def main() -> None:
    cli.run(gif, "gif")


if __name__ == "__main__":
    main()
