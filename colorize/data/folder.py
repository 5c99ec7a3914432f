"""A folder of photographs -> file lists for train, val and test, and their pixels as one uint8 tensor."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colorize.media import PICTURE_SUFFIXES, MediaError, read_picture, resize
from colorize.progress import track

log = logging.getLogger(__name__)

TEST_FRACTION = 0.15  # of a folder that has no test/ of its own
_NEAR_GREY = 6.0  # mean of max(R, G, B) - min(R, G, B), 0..255, below which a picture teaches grey
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
    files = _picture_files(folder)
    if not files:
        raise ValueError(f"no pictures in {folder}: {_SEARCHED}")
    return files


def _picture_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    seen = set()  # a link may lead back up
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        found += [Path(place, n) for n in names if real not in seen and not n.startswith(".")]
        seen.add(real)
    return sorted(path for path in found if path.suffix.lower() in PICTURE_SUFFIXES)


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

    own = {part: _picture_files(root / part) for part in ("val", "test")}  # an empty one is as good as none
    pool = find_pictures(root / "train" if (root / "train").is_dir() else root)
    taken = {path for paths in own.values() for path in paths}  # where there is no train/, they are in the pool too
    train = _in_hash_order([path for path in pool if path not in taken], root)
    if len(train) == 1 and not taken:
        log.warning("%s holds one picture: it is trained, validated and tested on itself", root)
        return Split(train, train, train)
    for part, fraction in (("test", TEST_FRACTION), ("val", val_fraction)):
        if not own[part]:
            train, own[part] = _cut(train, fraction, root)
    if not train:
        raise ValueError(f"no picture of {root} is left to train on: at least 3 are needed to train, validate and test")
    return Split(sorted(train), sorted(own["val"]), sorted(own["test"]))


def _in_hash_order(paths: list[Path], root: Path) -> list[Path]:
    return sorted(paths, key=lambda path: hashlib.sha1(path.relative_to(root).as_posix().encode()).hexdigest())


def _cut(paths: list[Path], fraction: float, root: Path) -> tuple[list[Path], list[Path]]:
    if len(paths) < 2:
        raise ValueError(f"{root} has too few pictures: at least 3 are needed to train, validate and test")
    tail = min(max(1, round(len(paths) * fraction)), len(paths) - 1)
    return paths[:-tail], paths[-tail:]


def load_pictures(paths: Sequence[Path], size: int, *, report_grey: bool = False) -> tuple[Tensor, list[Path]]:
    """Decode pictures once, resized to ``size`` on both sides as the reference does.

    Files that are no picture are named in one warning and left out.

    Args:
        paths: picture files.
        size: side of the result in pixels.
        report_grey: warn about near-grey pictures (for training sets: they teach grey).

    Returns:
        uint8 RGB (N, 3, size, size), contiguous, and the N files it came from.

    Raises:
        ValueError: not one of them could be read.
    """

    def decode(path: Path) -> np.ndarray | MediaError:
        try:
            return resize(read_picture(path).rgb, size)
        except MediaError as error:
            return error

    pool = ThreadPoolExecutor(os.cpu_count())  # Pillow decodes and resizes outside the GIL
    try:
        decoded = list(track(pool.map(decode, paths), "Reading pictures", total=len(paths)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest

    good = [(path, rgb) for path, rgb in zip(paths, decoded, strict=True) if isinstance(rgb, np.ndarray)]
    errors = [error for error in decoded if isinstance(error, MediaError)]
    if errors:
        log.warning("skipped %d of %d files: %s", len(errors), len(paths), some([str(error) for error in errors], "; "))
    if not good:
        raise ValueError(
            f"none of the {len(paths)} picture files in {paths[0].parent} could be read ({_SEARCHED}): {errors[0]}"
        )

    pictures = torch.empty(len(good), 3, size, size, dtype=torch.uint8)
    for i, (_, rgb) in enumerate(good):
        pictures[i] = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    files = [path for path, _ in good]
    if report_grey:
        _report_grey(pictures, files)
    return pictures, files


def _report_grey(pictures: Tensor, files: list[Path]) -> None:
    spread = torch.stack([(p.amax(0) - p.amin(0)).float().mean() for p in pictures])
    grey = [file.name for file, s in zip(files, spread.tolist(), strict=True) if s < _NEAR_GREY]
    if grey:
        log.warning("%d of %d training pictures are nearly grey and teach grey: %s", len(grey), len(files), some(grey))


def some(names: list[str], separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMES_IN_WARNING
    return separator.join(names[:_NAMES_IN_WARNING]) + (f" and {more} more" if more > 0 else "")
