"""python -m colorize.gif input=waves.gif          colour a GIF or video: same size, timing and loop -> waves_color.gif
python -m colorize.gif input=film.mp4 output=film.gif                from one kind into another, by the ending
python -m colorize.gif input=waves.gif weights=last                  by the network you trained last
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from colorize import cli

if TYPE_CHECKING:
    import numpy as np

    from colorize.media import Animation
    from colorize.pipeline import Colorizer

log = logging.getLogger(__name__)


def gif(cfg: DictConfig) -> Path:
    """Colour an animated GIF, PNG or WebP, a video, a folder of frames or a picture.

    Returns:
        The file (or folder) written.

    Raises:
        ValueError: nothing to read, an output that exists or cannot be written, no weights; or a clip that is damaged,
            after what can be read of it has been written.
    """
    cli.check_files(cfg)
    for name, lowest, highest in (("batch_size", 1, 10**6), ("quality", 0, 100), ("max_pixels", 1, 10**12)):
        if not (isinstance(cfg[name], int) and lowest <= cfg[name] <= highest):
            raise ValueError(f"{name}={cfg[name]} must be a whole number from {lowest} to {highest}")
    from colorize.choice import check_there, choose_checkpoint
    from colorize.media import check_target, choose_target, read_animation
    from colorize.progress import track

    source = Path(str(cfg.input))
    target, folder = choose_target(source, cfg.output and str(cfg.output), cfg.overwrite or cfg.skip_existing)
    if cfg.skip_existing and target.exists():
        log.info("%s is there already", target)
        return target
    animation = read_animation(source, max_pixels=cfg.max_pixels)
    check_target(target, animation, folder)
    checkpoint = choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    check_there(checkpoint)

    from colorize.pipeline import Colorizer  # PyTorch takes seconds: what can be refused without it has been

    colorizer = Colorizer.from_checkpoint(checkpoint, size=cfg.size, device=cfg.device, saturation=cfg.saturation)
    colorizer.new_clip(cfg.temporal)  # refused before anything is written

    target.parent.mkdir(parents=True, exist_ok=True)
    count = colour_animation(
        colorizer,
        animation,
        target,
        temporal=cfg.temporal,
        folder=folder,
        batch_size=cfg.batch_size,
        quality=cfg.quality,
        watch=lambda frames: track(frames, "Colouring", total=len(animation), unit="frames"),
    )
    if animation.lost:
        raise ValueError(f"{source}: {animation.lost}; {count} frames were coloured: {target}")
    log.info("coloured %d frames of %d x %d: %s", count, *animation.size, target)
    return target


def colour_animation(
    colorizer: Colorizer,
    animation: Animation,
    target: Path,
    *,
    temporal: str = "smooth",
    folder: bool = False,
    batch_size: int = 8,
    quality: int = 90,
    watch: Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]] = iter,
) -> int:
    """Colour a clip that is open for reading into a file or folder, whose parent must be there.

    Args:
        colorizer, temporal: see `Colorizer.new_clip`.
        folder, quality: see `colorize.media.write_animation`.
        batch_size: frames coloured at once.
        watch: is led every coloured frame, to give it on: for progress; what it raises stops the work.

    Returns:
        The number of frames. ``animation.lost`` says what could not be read.

    Raises:
        ValueError: a temporal that is unknown or that the network has not what it takes for, or see `write_animation`.
    """
    from colorize.media import batches, write_animation
    from colorize.scene_palettes import scene_palettes

    palette = None
    if target.suffix.lower() == ".gif" and not folder:
        palette = scene_palettes(animation, colorizer)
    count = 0

    def coloured(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal count
        clip = colorizer.colour_clip(batches(frames, batch_size), temporal)
        for frame in watch(itertools.chain.from_iterable(clip)):
            count += 1
            yield frame

    timed = animation.through(coloured)
    write_animation(target, timed, animation, folder=folder, palette=palette, quality=quality)
    return count


def main() -> None:
    cli.run(gif, "gif")


if __name__ == "__main__":
    main()
