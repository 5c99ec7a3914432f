"""A folder of photographs -> file lists for train, val and test, and their pixels as one uint8 tensor."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from colorize import memory
from colorize.media import PICTURE_SUFFIXES, MediaError, picture_size, read_picture, resize
from colorize.progress import track

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

TEST_FRACTION = 0.15  # of a folder that has no test/ of its own
_AT_ONCE = 64  # files that are decoded before the next are begun
_BYTES_A_PIXEL = 16  # of a picture while it is decoded
_NAMES_IN_WARNING = 5
_SEARCHED = f"searched it and the folders below for {' '.join(PICTURE_SUFFIXES)}"


@dataclass(frozen=True)
class Split:
    """The files of a set; no file is in two lists, except where one picture is all there is."""

    train: list[Path]
    val: list[Path]
    test: list[Path]


def find_pictures(folder: Path) -> list[Path]:
    """Every picture file below ``folder``, sorted; links are followed, hidden files and folders passed over.

    Raises:
        ValueError: the folder does not exist, or holds no file with a picture's ending.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: put photographs there or point dataset.root= at a folder that has some")
    files = files_below(folder)
    if not files:
        raise ValueError(f"no pictures in {folder}: {_SEARCHED}")
    return files


def files_below(folder: Path, suffixes: Sequence[str] = PICTURE_SUFFIXES) -> list[Path]:
    """Every file below ``folder`` with one of these endings, as `find_pictures` looks for them; there may be none."""
    found: list[Path] = []
    seen = set()  # a link may lead back up
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        found += [Path(place, n) for n in names if real not in seen and not n.startswith(".")]
        seen.add(real)
    return sorted(path for path in found if path.suffix.lower() in suffixes and not _endless(path))


def _endless(path: Path) -> bool:
    """Whether it is a pipe or a device; a link to nowhere is a file that cannot be read."""
    return path.exists() and not path.is_file()


def split_set(root: Path, val_fraction: float) -> Split:
    """Sort the pictures of ``root`` into train, val and test.

    ``root/{train,val,test}`` are used where they are. What is missing is taken from the training pictures (all of
    ``root`` where there is no ``train/``), at the end of an order fixed by the files' names alone, so the split is the
    same on every machine, for every seed, and moves little when pictures are added.

    Args:
        root: a folder, or one picture, which is then trained, validated and tested on itself.
        val_fraction: share of the training pictures kept for validation, in [0, 1); at least one picture.

    Raises:
        ValueError: nothing there, no pictures, or too few to split.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"dataset.val_fraction={val_fraction} is not in [0, 1)")
    if root.is_file():
        return Split([root], [root], [root])
    if not root.is_dir():
        raise ValueError(f"dataset.root={root} does not exist")

    own = {part: files_below(root / part) for part in ("val", "test")}  # an empty one is as good as none
    pool = find_pictures(root / "train" if (root / "train").is_dir() else root)
    taken = {path for paths in own.values() for path in paths}  # where there is no train/, they are in the pool too
    train = in_hash_order([path for path in pool if path not in taken], root)
    if len(train) == 1 and not taken:
        log.warning("%s holds one picture: it is trained, validated and tested on itself", root)
        return Split(train, train, train)
    for part, fraction in (("test", TEST_FRACTION), ("val", val_fraction)):
        if not own[part]:
            train, own[part] = _cut(train, fraction, root)
    if not train:
        raise ValueError(f"no picture of {root} is left to train on: at least 3 are needed to train, validate and test")
    return Split(sorted(train), sorted(own["val"]), sorted(own["test"]))


def in_hash_order(paths: list[Path], root: Path) -> list[Path]:
    """An order fixed by the files' names below ``root`` alone."""
    return sorted(paths, key=lambda path: hashlib.sha1(path.relative_to(root).as_posix().encode()).hexdigest())


def _cut(paths: list[Path], fraction: float, root: Path) -> tuple[list[Path], list[Path]]:
    if len(paths) < 2:
        raise ValueError(f"{root} has too few pictures: at least 3 are needed to train, validate and test")
    tail = min(max(1, round(len(paths) * fraction)), len(paths) - 1)
    return paths[:-tail], paths[-tail:]


def load_pictures(paths: Sequence[Path], size: int) -> tuple[Tensor, list[Path]]:
    """Decode pictures once, resized to ``size`` on both sides as the reference does.

    Files that are no picture are named in one warning and left out.

    Args:
        paths: picture files.
        size: side of the result in pixels.

    Returns:
        uint8 RGB (N, 3, size, size), contiguous, and the N files it came from.

    Raises:
        ValueError: not one of them could be read.
    """
    import torch  # here, since predict looks for its pictures before it needs it

    pictures = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    files: list[Path] = []
    errors: list[str] = []
    for path, rgb in zip(paths, track(decode_pictures(paths, size), "Reading pictures", len(paths)), strict=True):
        if isinstance(rgb, MediaError):
            errors.append(str(rgb))
        else:
            pictures[len(files)] = torch.from_numpy(rgb)
            files.append(path)
    report_skipped(errors, len(paths))
    if not files:
        raise none_readable(paths, errors[0])
    return pictures[: len(files)], files


def decode_pictures(paths: Sequence[Path], size: int) -> Iterator[np.ndarray | MediaError]:
    """Each file as uint8 RGB (3, size, size), contiguous, or what is wrong with it; in order, some of them at once."""

    def decode(path: Path) -> np.ndarray | MediaError:
        try:
            return np.ascontiguousarray(resize(read_picture(path).rgb, size).transpose(2, 0, 1))
        except MediaError as error:
            return error

    for start in range(0, len(paths), _AT_ONCE):  # a pool takes all it is given at once: a large set would pile up
        part = paths[start : start + _AT_ONCE]
        pool = ThreadPoolExecutor(_threads(part))  # Pillow decodes and resizes outside the GIL
        try:
            yield from pool.map(decode, part)
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest


def _threads(paths: Sequence[Path]) -> int:
    """One for each core, fewer where so many of the largest picture at once would fill a quarter of the free memory."""
    pixels = 1
    for path in paths:
        with suppress(MediaError):
            width, height = picture_size(path)
            pixels = max(pixels, width * height)
    fit = memory.available() // (4 * _BYTES_A_PIXEL * pixels)
    return max(1, min(os.cpu_count() or 1, len(paths), fit))


def report_skipped(errors: list[str], total: int) -> None:
    """One warning for all files that are no picture."""
    if errors:
        log.warning("skipped %d of %d files: %s", len(errors), total, some(errors, "; "))


def none_readable(paths: Sequence[Path], error: str) -> ValueError:
    """That a set has no picture at all."""
    return ValueError(
        f"none of the {len(paths)} picture files in {paths[0].parent} could be read ({_SEARCHED}): {error}"
    )


def some(names: list[str], separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMES_IN_WARNING
    return separator.join(names[:_NAMES_IN_WARNING]) + (f" and {more} more" if more > 0 else "")
