"""A folder of openly licensed photographs that grows, with a list of who made them and under which license."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from colorize import report
from colorize.data.duplicates import near_duplicates
from colorize.data.folder import PICTURE_SUFFIXES
from colorize.data.openverse import Client, FetchError, allowed, search
from colorize.data.store import is_nearly_grey
from colorize.files import atomic
from colorize.media import decode_picture, read_picture, resize
from colorize.progress import track

log = logging.getLogger(__name__)

ATTRIBUTION = "ATTRIBUTION.json"
_COLUMNS = ("file", "title", "author", "author_url", "license", "license_url", "source", "url", "sha256")
_COMPARED = 64  # pixels at which pictures are compared with each other
_KINDS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"RIFF": ".webp"}  # by what a file begins with


class Collection:
    """The photographs in a folder and what is known of them, on disk after each one.

    Raises:
        ValueError: a folder that holds other pictures, or a list that is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.pictures: list[dict[str, Any]] = []
        self.rejected: dict[str, str] = {}  # by Openverse's id: why
        path = folder / ATTRIBUTION
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                self.pictures = [entry for entry in content["pictures"] if (folder / entry["file"]).is_file()]
                self.rejected = dict(content["rejected"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged ({error}): mend or remove it") from error
        elif folder.exists() and any(p.suffix.lower() in PICTURE_SUFFIXES for p in folder.rglob("*")):
            raise ValueError(f"{folder} holds pictures that were not collected: give another dataset=")
        self._thumbnails = torch.empty(0, 3, _COMPARED, _COMPARED, dtype=torch.uint8)
        for entry in self.pictures:
            self._remember(_thumbnail(read_picture(folder / entry["file"]).rgb))

    def __len__(self) -> int:
        return len(self.pictures)

    def knows(self, identifier: str) -> bool:
        return identifier in self.rejected or any(entry["id"] == identifier for entry in self.pictures)

    def check(self, content: bytes, *, max_pixels: int, min_side: int) -> tuple[str, Tensor]:
        """The suffix and the thumbnail of a picture to keep. Raises ValueError that says why not."""
        suffix = next((suffix for magic, suffix in _KINDS.items() if content.startswith(magic)), None)
        if suffix is None or (suffix == ".webp" and content[8:12] != b"WEBP"):
            raise ValueError("no JPEG, PNG or WebP")
        try:
            rgb = decode_picture(io.BytesIO(content), max_pixels).rgb
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise ValueError(f"cannot be read: {' '.join(str(error).split())}") from error
        height, width = rgb.shape[:2]
        if min(height, width) < min_side:
            raise ValueError(f"small: {width}x{height}")
        if is_nearly_grey(rgb):
            raise ValueError("nearly grey")
        thumbnail = _thumbnail(rgb)
        if len(self._thumbnails) and near_duplicates(thumbnail, self._thumbnails).any():
            raise ValueError("a near duplicate of one that is there")
        return suffix, thumbnail

    def add(self, result: dict[str, Any], content: bytes, suffix: str, thumbnail: Tensor) -> None:
        name = f"{result['id']}{suffix}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self.folder / name) as temporary:
            temporary.write_bytes(content)
        version = f" {result['license_version']}" if result.get("license_version") else ""
        entry = {
            "file": name,
            "id": result["id"],
            "title": result.get("title"),
            "author": result.get("creator"),
            "author_url": result.get("creator_url"),
            "license": result["license"] + version,
            "license_url": result["license_url"],
            "source": result["foreign_landing_url"],
            "url": result["url"],
            "attribution": result.get("attribution"),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        self.pictures.append(entry)
        self._remember(thumbnail)
        self.save()

    def reject(self, identifier: str, reason: str) -> None:
        self.rejected[identifier] = reason
        self.save()

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        report.write_json(self.folder / ATTRIBUTION, {"pictures": self.pictures, "rejected": self.rejected})
        with (
            atomic((self.folder / ATTRIBUTION).with_suffix(".csv")) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.pictures)

    def _remember(self, thumbnail: Tensor) -> None:
        self._thumbnails = torch.cat([self._thumbnails, thumbnail])


def collect(
    folder: Path,
    query: str,
    count: int,
    *,
    api: str,
    license: str | None,
    license_type: str | None,
    wait: float,
    max_bytes: int,
    max_pixels: int,
    min_side: int,
) -> Collection:
    """Add photographs to a folder until it holds ``count``, or the search is at its end.

    What was there or was rejected before is not fetched again.

    Args:
        query, license, license_type: of the search.
        wait: seconds between two requests.
        max_bytes, max_pixels, min_side: of a picture: its file at most, and its shorter side at least.

    Raises:
        ValueError: the API refuses or does not answer, or the folder holds other pictures; what there is is kept.
    """
    collection = Collection(folder)
    before, tally = len(collection), Counter[str]()
    client = Client(wait)

    def grow() -> Iterator[None]:
        for result in search(client, api, query, license, license_type) if before < count else ():
            identifier = str(result.get("id"))
            if not _complete(result) or not allowed(result["license"], license, license_type):
                tally["without a license that was asked for"] += 1
            elif not collection.knows(identifier):
                try:
                    content = client.get(result["url"], max_bytes)
                    suffix, thumbnail = collection.check(content, max_pixels=max_pixels, min_side=min_side)
                except FetchError as error:
                    tally["not fetched"] += 1
                    if error.lasting:
                        collection.reject(identifier, str(error))
                except ValueError as error:
                    tally[str(error).partition(":")[0]] += 1
                    collection.reject(identifier, str(error))
                else:
                    collection.add(result, content, suffix, thumbnail)
                    yield
                    if len(collection) >= count:
                        return

    try:
        for _ in track(grow(), "Collecting", total=max(0, count - before)):
            pass
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror or error})") from error
    except FetchError as error:
        so_far = f"; {len(collection)} pictures are in {folder}, the same command goes on" if len(collection) else ""
        raise ValueError(f"{error}{so_far}") from error
    left = "".join(f"; {number} {reason}" for reason, number in tally.most_common())
    log.info("%d new photographs, %d in %s%s", len(collection) - before, len(collection), folder, left)
    if len(collection) < count:
        log.warning("%d were asked for and the search has no more: another query= adds to them", count)
    return collection


def _complete(result: dict[str, Any]) -> bool:
    """Whether a result says all that has to be said of a picture."""
    needed = ("id", "url", "license", "license_url", "foreign_landing_url")
    whole = all(isinstance(result.get(key), str) and result[key] for key in needed)
    return whole and re.fullmatch(r"[0-9A-Za-z-]{1,64}", result["id"]) is not None  # it becomes a file's name


def _thumbnail(rgb: Any) -> Tensor:
    return torch.from_numpy(resize(rgb, _COMPARED).copy()).permute(2, 0, 1)[None]
