"""Folders of pictures -> shards: tar files of about one size beside a manifest that says what is in them."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

import colorize
from colorize import report
from colorize.data import scenes
from colorize.data.folder import report_skipped, split_set
from colorize.data.shards import FORMAT, MANIFEST, PARTS
from colorize.data.store import is_nearly_grey
from colorize.media import MediaError, read_picture
from colorize.progress import track

log = logging.getLogger(__name__)

_AT_ONCE = 16  # files that a process is given at a time
GREY = ("skip", "keep")


class Packed(NamedTuple):
    """A picture as it goes into a shard."""

    suffix: str
    content: bytes


def pack(
    roots: Sequence[Path],
    output: Path,
    *,
    size: int | None,
    shard_size: float,
    val_fraction: float,
    grey: str,
    workers: int,
) -> dict[str, Any]:
    """Write the pictures of folders, split as a training would split them, as shards train-00000.tar, ...

    Pictures come in an order fixed by their names alone, in which every shard is a fair sample. The same files and
    settings give the same shards byte for byte, however many processes work. They grow in a temporary folder beside
    ``output`` that is renamed into place at the end: all of it is there, or nothing.

    Args:
        roots: folders, each with or without train/, val/ and test/.
        output: a folder that does not exist or is empty.
        size: short side in pixels to which larger pictures are reduced, as JPEG of quality 95 with full colour
            resolution, upright and in sRGB; None: every file as it is.
        shard_size: MB (10^6 bytes) at which the next shard begins.
        val_fraction: as in `split_set`.
        grey: "skip" or "keep" pictures that are nearly grey: they teach grey, and cannot be judged.
        workers: processes.

    Returns:
        What the manifest holds.

    Raises:
        ValueError: no pictures, an output that exists, a disk that is full.
    """
    if (output.is_dir() and any(output.iterdir())) or output.is_file():
        raise ValueError(f"{output} exists: give another output=, or remove it")
    parts = _in_order(roots, val_fraction)
    files = [(part, path, name) for part in PARTS for path, name in parts[part]]
    output = output.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as draft:
            folder = Path(draft, output.name)
            folder.mkdir()
            manifest = _write(files, folder, size=size, shard_size=shard_size, grey=grey, workers=workers)
            manifest["settings"]["val_fraction"] = val_fraction
            manifest["rendered"] = any(map(_is_rendered, roots))
            report.write_json(folder / MANIFEST, manifest)
            os.rename(folder, output)
    except OSError as error:
        raise ValueError(f"{output} cannot be written ({error.strerror or error}); nothing was") from error
    except BrokenProcessPool as error:
        raise ValueError("a process was killed, most likely for want of memory: lower workers=") from error
    return manifest


def _in_order(roots: Sequence[Path], val_fraction: float) -> dict[str, list[tuple[Path, str]]]:
    """By part: each file and its name below its folder, in an order fixed by these names. Raises ValueError."""
    found: dict[str, list[tuple[Path, str]]] = {part: [] for part in PARTS}
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"input={root} is no folder")
        split = split_set(root, val_fraction)
        for part in PARTS:
            found[part] += [(path, path.relative_to(root).as_posix()) for path in getattr(split, part)]
    for entries in found.values():
        entries.sort(key=lambda entry: (hashlib.sha1(os.fsencode(entry[1])).digest(), entry[0]))
    return found


def _is_rendered(root: Path) -> bool:
    return any((place / scenes.MARKER).exists() for place in (root, root.resolve().parent))


def _write(
    files: list[tuple[str, Path, str]], folder: Path, *, size: int | None, shard_size: float, grey: str, workers: int
) -> dict[str, Any]:
    shards: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    packed = _in_processes(partial(_prepare, size=size, grey=grey), [path for _, path, _ in files], workers)
    writer: ShardWriter | None = None
    try:
        for number, ((part, path, name), picture) in enumerate(
            zip(files, track(packed, "Packing", total=len(files)), strict=True)
        ):
            if isinstance(picture, str):
                skipped.append({"file": name, "reason": picture.removeprefix(f"{path}: ")})
                continue
            if writer is not None and (writer.part != part or writer.bytes + len(picture.content) > shard_size * 1e6):
                shards.append(writer.finish())
                writer = None
            if writer is None:
                writer = ShardWriter(folder, part, sum(shard["part"] == part for shard in shards))
            writer.add(f"{number:07}_{_plain(Path(name).stem)}", picture)
        if writer is not None:
            shards.append(writer.finish())
    finally:
        if writer is not None:
            writer.close()
    report_skipped([f"{entry['file']}: {entry['reason']}" for entry in skipped], len(files))
    if not any(shard["part"] == "train" for shard in shards):
        raise ValueError(
            f"none of the pictures to train on can be packed: {skipped[0]['file']}: {skipped[0]['reason']}"
        )
    return {
        "format": FORMAT,
        "colorize": colorize.__version__,
        "pictures": {part: sum(s["pictures"] for s in shards if s["part"] == part) for part in PARTS},
        "bytes": sum(shard["bytes"] for shard in shards),
        "settings": {"size": size, "shard_size": shard_size, "grey": grey},
        "shards": shards,
        "skipped": skipped,
    }


class ShardWriter:
    """A tar file that grows."""

    def __init__(self, folder: Path, part: str, number: int):
        from webdataset.writer import TarWriter

        self.path, self.part, self.pictures, self.bytes = folder / f"{part}-{number:05}.tar", part, 0, 0
        self._file = open(self.path, "wb")  # noqa: SIM115  (closed by `close`)
        self._tar = TarWriter(self._file, encoder=False, mtime=0)  # without a time, the same pictures are the same file

    def add(self, key: str, picture: Packed) -> None:
        self._tar.write({"__key__": key, picture.suffix.removeprefix("."): picture.content})
        self.pictures += 1
        self.bytes += len(picture.content)

    def finish(self) -> dict[str, Any]:
        self._tar.close()
        self._file.close()
        with open(self.path, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        about = {"file": self.path.name, "part": self.part, "pictures": self.pictures}
        return {**about, "bytes": self.path.stat().st_size, "sha256": checksum}

    def close(self) -> None:
        self._file.close()


def _plain(name: str) -> str:
    """Letters, digits, _ and -: WebDataset takes a name up to its first dot for the picture's key."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64]


def _in_processes(prepare: Any, paths: list[Path], workers: int) -> Iterator[Packed | str]:
    """``prepare`` of each path, in order; what is done ahead is bounded, or a large set would fill the memory."""
    chunks = deque(paths[i : i + _AT_ONCE] for i in range(0, len(paths), _AT_ONCE))
    pool = ProcessPoolExecutor(min(workers, len(chunks)))
    running: deque[Future[list[Packed | str]]] = deque()
    try:
        while chunks or running:
            while chunks and len(running) < 3 * workers:
                running.append(pool.submit(_each, prepare, chunks.popleft()))
            yield from running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _each(prepare: Any, paths: list[Path]) -> list[Packed | str]:
    return [prepare(path) for path in paths]


def _prepare(path: Path, size: int | None, grey: str) -> Packed | str:
    """What goes into the shard, or why nothing does."""
    try:
        rgb = read_picture(path).rgb
        content = path.read_bytes()
    except MediaError as error:
        return str(error)
    except OSError as error:
        return str(error.strerror)
    image = Image.fromarray(rgb)
    if grey == "skip" and is_nearly_grey(rgb):
        return "nearly grey (grey=keep packs it)"
    if size is None or min(image.size) <= size:
        return Packed(path.suffix.lower(), content)
    scale = size / min(image.size)
    reduced = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    reduced.save(encoded, "JPEG", quality=95, subsampling=0)
    return Packed(".jpg", encoded.getvalue())
