"""What reading and writing share: the one error, whole files or none, and the limit on pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colorize.files import atomic

MAX_PIXELS = 300_000_000  # a larger picture, or frame of a clip, is refused as a decompression bomb

StrPath = str | os.PathLike[str]


class MediaError(ValueError):
    """A file cannot be read or written: one line that names the file and the remedy."""


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into one `MediaError` line."""
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # opening a pipe waits for whoever writes to it
            raise ValueError("it is no regular file")
        yield
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise MediaError(f"{path}: a folder, not a {kind}; name a file inside it") from error
    except PermissionError as error:
        raise MediaError(f"{path}: not readable; check its permissions") from error
    except MediaError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything: OSError, SyntaxError, struct.error...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"{path}: cannot be read as a {kind}: {reason}; replace or convert the file") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to, which takes its place at the end if all went well."""
    try:
        with atomic(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise MediaError(f"{path}: cannot be written ({reason}); check its folder and the space on the disk") from error


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    if not 0 < width * height <= max_pixels:
        raise ValueError(
            f"{width}x{height} = {width * height} pixels; the limit is max_pixels = {max_pixels}, raise it for more"
        )
