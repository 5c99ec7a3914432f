"""Shards: a set of pictures as a few tar files beside a manifest, on disk or at a URL, read from front to back.

They are plain WebDataset shards: tar files with a picture a member. WebDataset opens URLs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from filelock import FileLock

from colorize.data.store import cache_dir
from colorize.media import PICTURE_SUFFIXES
from colorize.progress import track

MANIFEST = "manifest.json"
FORMAT = "colorize shards 1"
PARTS = ("train", "val", "test")
_LARGEST = 2**30  # bytes of a member
_URL = re.compile(r"([a-z0-9]+)://")
# What WebDataset gives curl waits for a quarter of an hour where nobody answers, and for ever where the stream stalls.
_CURL = ("curl", "-f", "-s", "-L", "--proto-redir", "=http,https", "--connect-timeout", "10", "--retry", "3")
_CURL_STALL = ("--speed-limit", "1", "--speed-time", "60")
_CURL_SAYS = {
    "6": "its host is not known",
    "7": "nobody answers there",
    "18": "the connection broke off",
    "22": "the server does not have it or refuses it",
    "28": "it does not answer in time",
    "56": "the connection broke off",
}


@dataclass(frozen=True)
class Shard:
    """A tar file with so many pictures, at a path or URL."""

    url: str
    pictures: int


@dataclass(frozen=True)
class ShardSet:
    """The shards of a set, by part (train, val, test), in the manifest's order."""

    parts: dict[str, list[Shard]]
    rendered: bool  # whether the pictures are rendered scenes

    def count(self, part: str) -> int:
        return sum(shard.pictures for shard in self.parts[part])


def is_url(root: str) -> bool:
    return _URL.match(root) is not None


def is_sharded(root: object) -> bool:
    """Whether it names a set of shards: a URL, or a folder with a manifest."""
    return isinstance(root, str) and (is_url(root) or (Path(root).expanduser() / MANIFEST).is_file())


def open_shards(root: str) -> ShardSet:
    """What is in a folder or URL of shards; the pictures are not read.

    A folder of tar files without a manifest will do, too: their members are counted, and what is not called val... or
    test... is trained on. At a URL there has to be a manifest, since a URL does not tell what lies below it.

    Raises:
        ValueError: no shards there, the URL does not answer, the manifest is damaged or a shard is not as it says.
    """
    if is_url(root):
        place = f"{root.rstrip('/')}/{MANIFEST}"
        return _from_manifest(_read_url(place), place, root.rstrip("/") + "/")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.root={root} does not exist")
    if (folder / MANIFEST).is_file():
        return _from_manifest((folder / MANIFEST).read_bytes(), str(folder / MANIFEST), f"{folder.resolve()}/")
    files = sorted(path for path in folder.rglob("*.tar") if not path.name.startswith("."))
    if not files:
        raise ValueError(f"no shards in {folder}: python -m colorize.pack input=PHOTOS output={folder} makes some")
    found: dict[str, list[Shard]] = {part: [] for part in PARTS}
    for file in track(files, "Counting pictures", total=len(files), unit="shards"):
        name = file.relative_to(folder).as_posix()
        part = next((part for part in ("val", "test") if name.startswith(part)), "train")
        found[part].append(Shard(str(file.resolve()), _count(file)))
    return ShardSet(found, rendered=False)


def _from_manifest(content: bytes, place: str, base: str) -> ShardSet:
    found: dict[str, list[Shard]] = {part: [] for part in PARTS}
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r} and not {FORMAT!r}")
        rendered, entries = bool(manifest["rendered"]), manifest["shards"]
        for entry in entries:
            name, pictures = str(entry["file"]), int(entry["pictures"])
            if name != PurePosixPath(name).name or ":" in name or pictures < 1:
                raise ValueError(f"{name!r} with {pictures} pictures is no shard beside it")  # nor a command to run
            if not is_url(base):
                _check_size(Path(base + name), int(entry["bytes"]))
            found[entry["part"]].append(Shard(base + name, pictures))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, _Damaged):
            raise
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else error
        raise ValueError(f"{place} is damaged or no manifest of colorize.pack ({reason}): pack again") from error
    return ShardSet(found, rendered)


class _Damaged(ValueError):
    pass


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size != expected:
        is_what = "is missing" if size is None else f"has {size} bytes and not {expected}: it was cut short or changed"
        raise _Damaged(f"{path} {is_what}; copy it again, or pack again")


def _count(file: Path) -> int:
    try:
        with tarfile.open(file) as tar:  # an unpacked one: a tar file on disk can be jumped through
            count = 0
            while member := tar.next():
                count += member.isreg() and _is_picture(member.name)
                tar.members = []  # type: ignore[attr-defined]  # else it remembers them all
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{file} cannot be read ({error}): replace or remove it") from error
    if not count:
        raise ValueError(f"{file} holds no picture ({' '.join(PICTURE_SUFFIXES)}): remove it")
    return count


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def read_members(shard: Shard, skip: int = 0) -> Generator[tuple[str, bytes], None, None]:
    """Name and content of each picture of a shard, in order, without the first ``skip``.

    Raises:
        ValueError: it cannot be opened, breaks off, or has fewer pictures than it should.
    """
    seen = 0

    def wanted(name: str) -> bool:
        nonlocal seen
        picture = _is_picture(name)
        seen += picture
        return picture and seen > skip

    try:
        with closing(_open(shard.url)) as stream, ExitStack() as stack:
            try:
                tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|*"))
                for member in tar:
                    if member.isreg() and wanted(member.name):
                        if member.issparse() or member.size > _LARGEST:  # a few bytes can stand for terabytes of zeros
                            raise tarfile.ReadError(f"{member.name} is no picture: {member.size} bytes")
                        file = tar.extractfile(member)
                        assert file is not None
                        yield member.name, file.read()
                    tar.members = []  # type: ignore[attr-defined]  # else it remembers them all
                    if seen == shard.pictures:
                        break
            except (tarfile.TarError, EOFError) as error:
                stream.close()  # of a URL the connection may be what failed: that is raised here
                reason = str(error).partition(" @ ")[0]
                raise OSError(f"damaged after {max(0, seen - 1)} of {shard.pictures} pictures: {reason}") from error
    except OSError as error:
        raise ValueError(f"{shard.url} cannot be read ({_reason(error)}): copy it again, or pack again") from error
    if seen < shard.pictures:
        raise ValueError(f"{shard.url} holds {seen} pictures and not {shard.pictures}: copy it again, or pack again")


def _open(url: str) -> Any:
    from webdataset.gopen import Pipe, gopen, gopen_schemes

    scheme = _URL.match(url)
    if scheme and scheme[1] in ("http", "https"):
        return Pipe([*_CURL, *_CURL_STALL, url], mode="rb", ignore_status=[23, -13])  # nobody wanted the rest
    known = sorted(set(gopen_schemes) - {"__default__", "pipe"})
    if scheme and scheme[1] not in known:
        raise ValueError(f"{url}: shards are read from a folder or from {', '.join(f'{name}://' for name in known)}")
    return gopen(url, "rb")


def _read_url(url: str) -> bytes:
    try:
        stream: BinaryIO
        with closing(_open(url)) as stream:
            return stream.read()
    except OSError as error:
        raise ValueError(f"{url} cannot be read ({_reason(error)}): check dataset.root= and the network") from error


def _reason(error: OSError) -> str:
    """What went wrong, in words: of a command that WebDataset reads from it says the exit code alone."""
    code = re.search(r": exit (\d+) \(read\)", str(error))
    if code is None:
        return error.strerror or str(error)
    return _CURL_SAYS.get(code[1], f"exit code {code[1]}")


def unpack(shards: list[Shard]) -> list[Path]:
    """The pictures of some shards as files in `cache_dir`, written once; what is judged is judged from files.

    Raises:
        ValueError: a shard cannot be read.
        OSError: the disk is full.
    """
    if not shards:
        return []
    key = hashlib.sha256(json.dumps([(shard.url, shard.pictures, _stamp(shard.url)) for shard in shards]).encode())
    folder = cache_dir() / f"test_{key.hexdigest()[:20]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as draft:
                place = Path(draft, "pictures")
                place.mkdir()
                members = (member for shard in shards for member in read_members(shard))
                total = sum(shard.pictures for shard in shards)
                for number, (name, content) in enumerate(track(members, "Unpacking test pictures", total=total)):
                    (place / f"{number:06}_{PurePosixPath(name).name}").write_bytes(content)  # wherever it says to lie
                os.rename(place, folder)
    return sorted(folder.iterdir())


def _stamp(url: str) -> list[int]:
    with suppress(OSError):
        status = os.stat(url)
        return [status.st_size, status.st_mtime_ns]
    return []  # of a URL its name has to do
