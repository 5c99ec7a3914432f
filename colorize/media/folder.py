"""A clip as a folder of pictures, one a frame, and a single picture as a clip of one frame."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from colorize.media.animation import Flipbook, rgba
from colorize.media.common import MediaError, StrPath
from colorize.media.pictures import PICTURE_SUFFIXES, Picture, picture_size, read_picture, write_picture

FRAME_RATE = 25  # a folder has no timing of its own


@dataclass
class Pictures(Flipbook):
    """A folder of pictures of one size, in the order of the numbers in their names; or one picture.

    Attributes:
        paths: a file for each frame.
        metadata: of a single picture, for `write_picture`.
    """

    kind = "picture"
    paths: list[Path]
    max_pixels: int
    metadata: dict[str, Any] = field(default_factory=dict)

    def _play(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            picture = read_picture(path, max_pixels=self.max_pixels)
            height, width = picture.rgb.shape[:2]
            if (width, height) != self.size:
                raise _another_size(path, (width, height), self.size)
            yield rgba(picture.rgb) if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])


def read_frames(path: StrPath, *, max_pixels: int) -> Pictures:
    """Open a folder of frames: the pictures in it (not below it), hidden files aside.

    Raises:
        MediaError: no pictures in it, or the first cannot be read.
    """
    folder = Path(path)
    paths = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.name[0] != "."]
    if not paths:
        raise MediaError(f"{folder}: no pictures in this folder ({' '.join(PICTURE_SUFFIXES)})")
    paths.sort(key=_by_number)
    height, width = read_picture(paths[0], max_pixels=max_pixels).rgb.shape[:2]
    for file in paths:
        if sorted(size := picture_size(file)) != sorted((width, height)):  # EXIF may lay it on its side
            raise _another_size(file, size, (width, height))
    durations = [Fraction(1000, FRAME_RATE)] * len(paths)
    return Pictures(folder, (width, height), 0, "", durations, paths, max_pixels)


def read_single(path: StrPath, *, max_pixels: int) -> Pictures:
    """Open a picture as a clip of one frame. Raises MediaError."""
    picture = read_picture(path, max_pixels=max_pixels)
    height, width = picture.rgb.shape[:2]
    durations = [Fraction(1000, FRAME_RATE)]
    return Pictures(Path(path), (width, height), None, "", durations, [Path(path)], max_pixels, picture.metadata)


def write_frames(path: StrPath, frames: Iterable[np.ndarray], names: Iterable[str]) -> None:
    """Write each frame (uint8 (H, W, 3 or 4)) as a picture, at once or not at all: a folder appears when all are there.

    A folder that exists keeps its other files; those of the same name are replaced, at the end.

    Raises:
        MediaError: not writable, disk full, no frames.
    """
    target = Path(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}")
    written = []
    try:
        temporary.mkdir()
        for frame, name in zip(frames, names, strict=False):  # names may be endless
            write_single(temporary / name, frame)
            written.append(name)
        if not written:
            raise MediaError(f"{target}: there are no frames to write")
        if target.is_dir():
            for name in written:
                os.replace(temporary / name, target / name)
        else:
            os.replace(temporary, target)
    except MediaError as error:
        raise MediaError(str(error).replace(str(temporary), str(target))) from error
    except OSError as error:
        reason = error.strerror or error
        raise MediaError(
            f"{target}: cannot be written ({reason}); check its folder and the space on the disk"
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary)


def write_single(path: Path, frame: np.ndarray, metadata: dict[str, Any] | None = None) -> None:
    """Write one frame as a picture; alpha only where something is transparent."""
    see_through = frame.shape[2] == 4 and bool((frame[..., 3] < 255).any())
    alpha = np.ascontiguousarray(frame[..., 3]) if see_through else None
    write_picture(path, Picture(np.ascontiguousarray(frame[..., :3]), alpha, metadata or {}))


def numbered() -> Iterator[str]:
    return (f"{number:06d}.png" for number in itertools.count(1))


def _another_size(path: Path, size: tuple[int, int], others: tuple[int, int]) -> MediaError:
    return MediaError(
        f"{path}: {size[0]}x{size[1]}, and the frames before it are {others[0]}x{others[1]}; "
        "colorize.predict takes pictures of several sizes"
    )


def _by_number(path: Path) -> list[tuple[int, int, str]]:
    """frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
