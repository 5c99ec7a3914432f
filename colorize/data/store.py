"""Where a set's pixels are: in memory, in a file that is mapped into it, or nowhere until they are asked for."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from colorize import memory
from colorize.data.folder import decode_pictures, load_pictures, none_readable, report_skipped, some
from colorize.files import atomic
from colorize.media import MediaError, resize
from colorize.progress import track

log = logging.getLogger(__name__)

CACHES = ("auto", "ram", "disk", "none")
_SHARE = 0.25  # of the available memory that a set may fill before `auto` puts it on disk
_SHARE_OF_DEVICE = 0.1  # of its free memory that a resident set may fill: dataset.batch_size=auto leaves two tenths
_NEAR_GREY = 6.0  # mean of max(R, G, B) - min(R, G, B), 0..255, below which a picture teaches grey
_FORMAT = 1  # of the cache files


class Pictures(Dataset):
    """uint8 RGB pictures (N, 3, S, S), wherever they are; an index, a slice or a list of indices gives a Tensor.

    Args:
        read: rows (int64 (B,)) -> uint8 (B, 3, S, S). It can be pickled, so that loader processes can have it.
        rows: which of them these pictures are.
    """

    def __init__(self, read: Callable[[np.ndarray], Tensor], rows: np.ndarray):
        self.read, self.rows = read, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Tensor:
        return self.read(self.rows[[index]])[0] if isinstance(index, int) else self.read(self.rows[index])

    def __getitems__(self, indices: list[int]) -> Tensor:
        """What a DataLoader asks for: a batch by one call, without Python for each picture."""
        return self[indices]

    def split(self, size: int) -> Iterator[Tensor]:
        """All of them in order, ``size`` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def only(self, which: np.ndarray) -> Pictures:
        """Those that a bool (N,) or int (M,) array names; nothing is copied."""
        return Pictures(self.read, self.rows[which])

    def sample(self, most: int = 4096) -> Pictures:
        """All of up to ``most``, else so many, always the same ones: enough for a mean over a set of any size."""
        return self if len(self) <= most else self.only(np.sort(np.random.default_rng(0).permutation(len(self))[:most]))


class Rows(Dataset):
    """Stands for ``count`` pictures that are on the device: a batch of it is their rows, int64 (B,)."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: list[int]) -> Tensor:
        return torch.tensor(indices)


class InMemory:
    """Reads rows of a tensor: by NumPy, which takes a tenth of the time of PyTorch's indexing."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __call__(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.pixels.numpy()[rows])


class Mapped:
    """Reads rows of a file of raw uint8 (count, 3, size, size).

    It is mapped anew each time, 50 us: no page of it counts as this process' own, and nothing needs to be pickled.
    """

    def __init__(self, path: Path, count: int, size: int):
        self.path, self.shape = path, (count, 3, size, size)

    def __call__(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(np.memmap(self.path, np.uint8, "r", shape=self.shape)[rows]))


class Decoded:
    """Decodes the files of rows, each time. Raises MediaError for one that has been damaged or removed meanwhile."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size

    def __call__(self, rows: np.ndarray) -> Tensor:
        pixels = torch.empty(len(rows), 3, self.size, self.size, dtype=torch.uint8)
        for i, rgb in enumerate(decode_pictures([self.files[row] for row in rows], self.size)):
            if isinstance(rgb, MediaError):
                raise rgb
            pixels[i] = torch.from_numpy(rgb)
        return pixels


def choose_cache(count: int, size: int) -> str:
    """What ``dataset.cache=auto`` is: ram, or disk where so many pictures would fill a quarter of the free memory."""
    if count * 3 * size**2 <= _SHARE * memory.available():
        return "ram"
    log.info("%d pictures at %d px are much for this machine's memory: kept on disk, in %s", count, size, cache_dir())
    return "disk"


def fits_on(device: torch.device, count: int, size: int) -> bool:
    """Whether so many pictures fill less than a tenth of the device's free memory; says so where they do not."""
    need = count * 3 * size**2
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.available()
    if need <= _SHARE_OF_DEVICE * free:
        return True
    size_of = f"{need / 2**30:.1f} GiB of pictures are much for the {free / 2**30:.1f} GiB free on {device}"
    log.info("dataset.resident: %s: each batch is sent there", size_of)
    return False


def in_memory(pixels: Tensor) -> Pictures:
    """uint8 (N, 3, S, S) as `Pictures`."""
    return Pictures(InMemory(pixels), np.arange(len(pixels)))


def open_pictures(paths: Sequence[Path], size: int, cache: str) -> tuple[Pictures, list[Path]]:
    """Pictures resized to ``size`` on both sides; the same bytes whatever the cache is.

    Files that are no picture are named in one warning and left out.

    Args:
        paths: picture files.
        size: side of the result in pixels.
        cache: "ram"; "disk": a file in `cache_dir`, built once and used again while the files' names, sizes and times
            of change stay, by all processes; or "none": decoded whenever they are read. For that, too, every file is
            decoded once, to know which can be, and the outcome is kept in `cache_dir`.

    Returns:
        The pictures and the N files that they are.

    Raises:
        ValueError: none of the files can be read, or the disk has not the room.
    """
    if cache == "ram":
        pixels, files = load_pictures(paths, size)
        return in_memory(pixels), files
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"pictures_{size}_{_fingerprint(paths, size)}"
    # Of processes that want the same set at once one builds; the others wait for it.
    with FileLock(base.with_suffix(".lock")):
        found = _lookup(base, size, pixels=cache == "disk") or _build(base, paths, size, pixels=cache == "disk")
    errors = dict(found)
    report_skipped(list(errors.values()), len(paths))
    files = [path for i, path in enumerate(paths) if i not in errors]
    if not files:
        raise none_readable(paths, next(iter(errors.values())))
    read = Mapped(base.with_suffix(".rgb"), len(files), size) if cache == "disk" else Decoded(files, size)
    return Pictures(read, np.arange(len(files))), files


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/colorize``, by default ``~/.cache/colorize``. What is in it may be removed at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "colorize"


def _fingerprint(paths: Sequence[Path], size: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {size} {PIL.__version__}\n".encode())  # another Pillow may decode differently
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # a link to nowhere is a file that cannot be read
            continue
        digest.update(f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()[:20]


Errors = list[tuple[int, str]]  # (position in paths, what is wrong)


def _lookup(base: Path, size: int, pixels: bool) -> Errors | None:
    """What an earlier run found, or None where there was none or its file is not whole."""
    try:
        found = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
        if pixels and base.with_suffix(".rgb").stat().st_size != found["pictures"] * 3 * size**2:
            return None
        return [(position, error) for position, error in found["errors"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(base: Path, paths: Sequence[Path], size: int, pixels: bool) -> Errors:
    need, free = len(paths) * 3 * size**2, shutil.disk_usage(base.parent).free
    if pixels and need > free:
        raise ValueError(
            f"dataset.cache=disk needs {need / 1e9:.1f} GB in {base.parent}, which has {free / 1e9:.1f} GB left: make "
            "room, name another folder in the environment variable XDG_CACHE_HOME, or give dataset.cache=none"
        )
    what = f"Keeping pictures in {base.parent}" if pixels else "Checking pictures"
    decoded = track(decode_pictures(paths, size), what, total=len(paths))
    errors: Errors = []
    part = base.with_suffix(".part")  # under the lock nobody else writes it, and a run that was killed leaves but one
    try:
        with open(part if pixels else os.devnull, "wb") as file:
            for position, rgb in enumerate(decoded):
                if isinstance(rgb, MediaError):
                    errors.append((position, str(rgb)))
                else:
                    file.write(rgb.data)
        if pixels:
            os.replace(part, base.with_suffix(".rgb"))
    finally:
        part.unlink(missing_ok=True)
    with atomic(base.with_suffix(".json")) as temporary:  # last: it says that the pixels are whole
        content = {"pictures": len(paths) - len(errors), "errors": errors}
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return errors


def report_grey(pictures: Pictures, files: Sequence[Path]) -> None:
    """Warn about training pictures that are nearly grey, for they teach grey; of a large set a sample is looked at."""
    sample = pictures.sample()
    spread = torch.empty(len(sample))  # small results, each made by itself, would hold the heap open between large ones
    for mean, rgb in zip(spread.split(32), sample.split(32), strict=True):
        mean.copy_((rgb.amax(1) - rgb.amin(1)).float().mean((1, 2)))
    grey = [files[row].name for row, s in zip(sample.rows.tolist(), spread.tolist(), strict=True) if s < _NEAR_GREY]
    if grey:
        which = "training pictures" if len(sample) == len(pictures) else "training pictures looked at"
        log.warning("%d of %d %s are nearly grey and teach grey: %s", len(grey), len(sample), which, some(grey))


def is_nearly_grey(rgb: np.ndarray) -> bool:
    """Whether a picture, uint8 (H, W, 3), has so little colour that it teaches grey."""
    small = resize(rgb, 64).astype(int)
    return float((small.max(2) - small.min(2)).mean()) < _NEAR_GREY
