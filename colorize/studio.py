"""What stands behind the page of `colorize.app`: one uploaded file in, its coloured file out, within limits."""

from __future__ import annotations

import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from colorize import cli
from colorize.checkpoint import Checkpoint, load_checkpoint
from colorize.choice import choose_checkpoint, shipped
from colorize.data import scenes
from colorize.gif import colour_animation
from colorize.hints import Hint, colour_picture
from colorize.media import (
    CLIP_SUFFIXES,
    PICTURE_SUFFIXES,
    MediaError,
    Picture,
    gif_palette,
    is_single,
    on_white,
    read_animation,
    read_picture,
    write_animation,
    write_gif,
    write_picture,
)
from colorize.pipeline import Colorizer
from colorize.temporal import temporal_modes

PREVIEW = 1600  # longest side in pixels of what the page shows; the file to download is whole
_PLAYABLE = (".mp4", ".webm", ".m4v", ".gif", ".webp", ".png", ".apng")  # by browsers

Progress = Callable[[float, str], Any]  # share done, what is being done


class Done(NamedTuple):
    """A file that has been coloured."""

    path: Path  # the same kind and size
    before: Path  # what the page shows, for pictures no larger than PREVIEW
    after: Path
    kind: str  # "picture", "animation" (shown as a picture that moves) or "video"
    size: tuple[int, int]
    lost: str  # what could not be read of a clip, "" if nothing


class Studio:
    """Colours files of people, each in a folder of its own under ``folder``.

    Args:
        folder: for what is made.
        weights: names and files people can choose from; the first is the usual one.
        time_limit: seconds that one file may take; of a clip this is looked at with each frame.
    """

    def __init__(self, folder: Path, weights: dict[str, Path], device: str, max_pixels: int, time_limit: float):
        self.folder, self.weights, self.device = folder, weights, device
        self.max_pixels, self.time_limit = max_pixels, time_limit
        self._loaded: dict[str, Checkpoint] = {}
        self._lock = threading.Lock()

    def colorizer(self, weights: str | None = None, strength: float = 1.0, size: int | None = None) -> Colorizer:
        """``strength`` 1 is the saturation that suits the network. Raises ValueError."""
        name = next(iter(self.weights)) if weights is None else weights
        if name not in self.weights:
            raise ValueError(f"weights {name} are not among: {', '.join(self.weights)}")
        with self._lock:
            checkpoint = self._loaded.get(name)
            if checkpoint is None:
                checkpoint = self._loaded[name] = load_checkpoint(self.weights[name])
        saturation = strength * checkpoint.data.get("saturation", 1.0)
        return Colorizer.of(checkpoint, size=size, device=self.device, saturation=saturation)

    def new_folder(self) -> Path:
        """A fresh one, for one file."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def colour(
        self,
        source: Path,
        colorizer: Colorizer,
        *,
        temporal: str = "smooth",
        hints: Sequence[Hint] = (),
        progress: Progress = lambda share, what: None,
        preview: bool = True,
    ) -> Done:
        """Colour one file. Raises ValueError or OSError, with what a person should know of it."""
        if source.suffix.lower() not in {*PICTURE_SUFFIXES, *CLIP_SUFFIXES}:
            raise ValueError(f"{source.name} is no picture or clip; these are: {kinds()}")
        progress(0.02, "Reading")
        try:
            animation = read_animation(source, max_pixels=self.max_pixels)
        except MediaError:
            if source.suffix.lower() in PICTURE_SUFFIXES:
                read_picture(source, max_pixels=self.max_pixels)  # what is wrong with it as a picture says more
            raise
        folder = self.new_folder()
        target = folder / f"{source.stem}_color{source.suffix}"
        if is_single(animation):
            picture = read_picture(source, max_pixels=self.max_pixels)
            progress(0.2, "Colouring")
            coloured = replace(picture, rgb=colour_picture(colorizer, picture.rgb, hints))
            progress(0.7, "Writing")
            write_picture(target, coloured)
            before, after = folder / "before.jpg", folder / "after.jpg"
            if preview:
                _show(before, picture)
                _show(after, coloured)
            return Done(target, before, after, "picture", animation.size, "")
        if hints:
            raise ValueError("hints are for pictures; take them away to colour a clip")
        end, count, done = time.monotonic() + self.time_limit, len(animation), 0

        def watch(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal done
            for frame in frames:
                if time.monotonic() > end:
                    raise ValueError(
                        f"{source.name} takes longer than {self.time_limit:g} seconds: take a shorter or smaller clip, "
                        "or colour it with colorize.gif"
                    )
                done += 1
                progress(min(0.95, done / max(count, 1)), f"Frame {done} of {max(done, count)}")
                yield frame

        colour_animation(colorizer, animation, target, temporal=temporal, watch=watch)
        before, after = source, target
        if source.suffix.lower() not in _PLAYABLE and preview:
            before, after = folder / "before.mp4", folder / "after.mp4"
            for shown, path in ((source, before), (target, after)):
                clip = read_animation(shown, max_pixels=self.max_pixels)
                write_animation(path, clip.timed(), clip)
        moving = before.suffix.lower() in (".gif", ".webp", ".png", ".apng")
        return Done(target, before, after, "animation" if moving else "video", animation.size, animation.lost)

    def colour_all(
        self, sources: Sequence[Path], colorizer: Colorizer, temporal: str, progress: Progress
    ) -> tuple[Path, list[str]]:
        """Colour many files into one zip. Returns it, and a line for each that failed. Raises ValueError for none."""
        archive = self.new_folder() / "coloured.zip"
        taken: set[str] = set()
        failed = []
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # pictures are packed already
            for number, source in enumerate(sources):
                progress(number / len(sources), f"{number + 1} of {len(sources)}: {source.name}")
                try:
                    done = self.colour(source, colorizer, temporal=temporal, preview=False)
                except Exception as error:
                    failed.append(say(error, source))
                    continue
                name, again = done.path.name, 2
                while name in taken:
                    name, again = f"{done.path.stem}_{again}{done.path.suffix}", again + 1
                taken.add(name)
                file.write(done.path, name)
                done.path.unlink()
        if not taken:
            raise ValueError("none of these files could be coloured: " + "; ".join(failed))
        return archive, failed


def available_weights(ckpt_path: str | None, weights: str, output_dir: str) -> dict[str, Path]:
    """What to choose from: what the settings name first, then what ships, then the newest finished run.

    Raises:
        ValueError: the settings name none that can be read.
    """
    first = choose_checkpoint(ckpt_path, weights, output_dir)
    load_checkpoint(first)  # now, not when the first visitor comes
    name = next((name for name, path in shipped().items() if path == first), first.stem)
    there = {name: first, **{name: path for name, path in shipped().items() if path != first}}
    try:
        last = choose_checkpoint(None, "last", output_dir)
    except ValueError:
        return there
    return there if last in there.values() else {**there, "last": last}


def modes(weights: dict[str, Path]) -> list[str]:
    """Every way to keep colour steady that one of these networks knows."""
    return list(
        dict.fromkeys(mode for path in weights.values() for mode in temporal_modes(load_checkpoint(path).model))
    )


def say(error: Exception, source: Path) -> str:
    """An error in one line, without the folders of this machine. A fault of the program says only that."""
    line = cli.one_line(error)
    if line is None:
        return f"{source.name}: something went wrong ({type(error).__name__}); the terminal says more"
    line = line.replace(str(source), source.name)
    return line if source.name in line else f"{source.name}: {line}"


def kinds() -> str:
    """The endings of the files that can be coloured."""
    return " ".join(dict.fromkeys((*PICTURE_SUFFIXES, *CLIP_SUFFIXES)))


def render_examples(folder: Path) -> list[Path]:
    """Three grey pictures and a grey GIF to try, made by `colorize.data.scenes`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, kind, seed in (("meadow", "pradera", 5), ("country", "rural", 2), ("beach", "beach", 3)):
        grey = np.asarray(Image.fromarray(scenes.render(kind, seed=seed, size=512)).convert("L").convert("RGB"))
        paths.append(folder / f"{name}.jpg")
        write_picture(paths[-1], Picture(grey, None, {}))
    frames = [np.asarray(Image.fromarray(f).convert("L").convert("RGBA")) for f in scenes.render_waves(16)]
    paths.append(folder / "waves.gif")
    write_gif(paths[-1], iter(frames), palette=gif_palette(frames), durations=[80] * len(frames), loop=0)
    return paths


def mark(path: Path, hints: Sequence[Hint], size: tuple[int, int]) -> Image.Image:
    """The picture at ``path`` with a dot in each hint's colour; ``size`` is the (width, height) that hints count in."""
    from PIL import ImageDraw

    image = Image.open(path).convert("RGB")
    draw = ImageDraw.Draw(image)
    radius = max(4, min(image.size) // 50)
    for x, y, rgb in hints:
        place = (x + 0.5) * image.width / size[0], (y + 0.5) * image.height / size[1]
        draw.circle(place, radius + 2, fill="black")
        draw.circle(place, radius + 1, fill="white")
        draw.circle(place, radius - 1, fill=rgb)
    return image


def _show(path: Path, picture: Picture) -> None:
    rgb = picture.rgb if picture.alpha is None else on_white(np.dstack([picture.rgb, picture.alpha]))
    image = Image.fromarray(rgb)
    image.thumbnail((PREVIEW, PREVIEW), reducing_gap=2)
    image.save(path, quality=88)
