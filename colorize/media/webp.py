"""Animated WebP. Pillow codes the pixels; the animation around them is ours, frame by frame.

Pillow's reader wants the whole file in memory and refuses one that is cut short; its writer holds all frames until the
last and joins identical neighbours.

Source: WebP container specification (https://developers.google.com/speed/webp/docs/riff_container).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from colorize.media.animation import (
    CLEAR,
    KEEP,
    Flipbook,
    Patch,
    Timed,
    changed_box,
    compose,
    lost_after,
    rgba,
    unzip,
    whole_durations,
)
from colorize.media.common import MediaError, StrPath, check_pixels, reading, replacing
from colorize.media.pictures import decode_picture

_ANIMATED, _ALPHA, _PROFILE = 2, 16, 32  # flags of the file
_DISPOSE, _NO_BLEND = 1, 2  # flags of a frame
_MAX_SIDE, _MAX_DURATION = 16383, (1 << 24) - 1


@dataclass
class WebP(Flipbook):
    """An animated WebP."""

    kind = "WebP"
    max_pixels: int

    def _play(self) -> Iterator[np.ndarray]:
        with open(self.path, "rb") as file:
            parts = _WebPParts(file, self.max_pixels)
            yield from compose(self.size, (_decode(parts, part, self.max_pixels) for part in parts.frames(skip=False)))


def is_animated_webp(head: bytes) -> bool:
    """Whether a file that starts with these 21 bytes is one."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & _ANIMATED)


def read_webp(path: StrPath, *, max_pixels: int) -> WebP:
    """Open an animated WebP; what can be read of one that is cut short is taken, and ``lost`` says so.

    Raises:
        MediaError: it cannot be read, or is above ``max_pixels``.
    """
    path = Path(path)
    durations: list[int] = []
    lost = ""
    with reading(path, "WebP"), open(path, "rb") as file:
        parts = _WebPParts(file, max_pixels)
        try:
            durations.extend(part.duration for part in parts.frames(skip=True))
        except Exception as error:
            if not durations:
                raise
            lost = lost_after(len(durations), error)
        if not durations:
            raise ValueError("it has no frames")
        loop = {0: 0, 1: None}.get(parts.plays, parts.plays - 1)
        return WebP(path, parts.size, loop, lost, durations, max_pixels)


def write_webp(path: StrPath, timed: Timed, *, loop: int | None, quality: int) -> None:
    """Write an animated WebP frame by frame, at once or not at all. What changes is written, lossy; alpha is exact.

    Args:
        timed: frames uint8 (H, W, 3 or 4) with their timing, rounded to WebP's 1 ms.
        loop: None plays once, 0 for ever, n plays n + 1 times.
        quality: 0 to 100, of libwebp.

    Raises:
        MediaError: not writable, disk full, no frames, or a side above 16383 pixels.
    """
    path = Path(path)
    before: np.ndarray | None = None
    alpha = 0
    frames, timing = unzip(timed)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for frame, duration in zip(frames, whole_durations(timing, 1000), strict=True):
            frame = rgba(frame)
            box = changed_box(before, frame, grid=2)  # corners are stored halved
            if before is None:
                height, width = frame.shape[:2]
                if max(width, height) > _MAX_SIDE:
                    raise MediaError(f"{path}: {width}x{height} is too large for WebP; its limit is {_MAX_SIDE}")
                file.write(bytes(30))  # filled in at the end
                _put(file, b"ANIM", struct.pack("<IH", 0, 1 if loop is None else min(loop and loop + 1, 0xFFFF)))
            if box is None:  # nothing drawn over what is there
                pixels, box, flags = np.zeros((1, 1, 4), np.uint8), (0, 0, 1, 1), 0
            else:
                pixels, flags = frame[box[1] : box[3], box[0] : box[2]], _NO_BLEND
            encoded = io.BytesIO()
            Image.fromarray(pixels).save(encoded, "WEBP", quality=quality)
            encoded.seek(12)
            data = b"".join(
                _chunk(kind, part) for kind, part in _chunks(encoded) if kind in (b"ALPH", b"VP8 ", b"VP8L")
            )
            place = (box[0] // 2, box[1] // 2, box[2] - box[0] - 1, box[3] - box[1] - 1, min(duration, _MAX_DURATION))
            _put(file, b"ANMF", b"".join(_three(number) for number in place) + bytes([flags]) + data)
            alpha = alpha or (_ALPHA if (pixels[..., 3] < 255).any() else 0)
            before = frame
        if before is None:
            raise MediaError(f"{path}: there are no frames to write")
        length = file.tell()
        if length > 0xFFFF_FFFE:
            raise MediaError(f"{path}: over 4 GiB, which WebP cannot hold; write a video instead")
        file.seek(0)
        file.write(struct.pack("<4sI4s", b"RIFF", length - 8, b"WEBP"))
        _put(file, b"VP8X", bytes([_ANIMATED | alpha, 0, 0, 0]) + _three(width - 1) + _three(height - 1))


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2)


def _put(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(_chunk(kind, data))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while head := file.read(8):
        if len(head) < 8:
            raise ValueError("it is cut short")
        kind, length = struct.unpack("<4sI", head)
        data = file.read(length)
        if len(data) < length:
            raise ValueError("it is cut short")
        file.read(length % 2)
        yield kind, data


class _Part(NamedTuple):
    """One frame as it stands in the file."""

    x: int
    y: int
    width: int
    height: int
    duration: int  # ms
    flags: int
    data: bytes  # its chunks


class _WebPParts:
    """The frames of an animated WebP. ``plays`` is known with the first."""

    def __init__(self, file: BinaryIO, max_pixels: int) -> None:
        head = file.read(30)
        if not is_animated_webp(head) or len(head) < 30:
            raise ValueError("not an animated WebP")
        self._file = file
        self._end = struct.unpack_from("<I", head, 4)[0] + 8
        width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
        check_pixels(width, height, max_pixels)
        self.size: tuple[int, int] = (width, height)
        self.plays = 0
        self.profile = b""

    def frames(self, skip: bool) -> Iterator[_Part]:
        """``skip`` leaves the pixels in the file."""
        file = self._file
        length = os.fstat(file.fileno()).st_size
        while (start := file.tell()) + 8 <= self._end:
            head = file.read(8)
            if len(head) < 8:
                raise ValueError("it is cut short")
            kind, size = struct.unpack("<4sI", head)
            following = start + 8 + size + size % 2
            if start + 8 + size > length:
                raise ValueError("it is cut short")
            if kind == b"ANIM":
                (self.plays,) = struct.unpack("<4xH", file.read(6))
            elif kind == b"ICCP":
                self.profile = file.read(size)
            elif kind == b"ANMF":
                numbers = file.read(16)
                x, y, width, height, duration = (
                    int.from_bytes(numbers[place : place + 3], "little") for place in range(0, 15, 3)
                )
                if size < 16 or 2 * x + width + 1 > self.size[0] or 2 * y + height + 1 > self.size[1]:
                    raise ValueError("it is damaged")
                data = b"" if skip else file.read(size - 16)
                yield _Part(2 * x, 2 * y, width + 1, height + 1, duration, numbers[15], data)
            file.seek(following)


def _decode(parts: _WebPParts, part: _Part, max_pixels: int) -> Patch:
    """The frame made a WebP of its own."""
    chunks = [(kind, data) for kind, data in _chunks(io.BytesIO(part.data)) if kind in (b"ALPH", b"VP8 ", b"VP8L")]
    alpha = any(kind == b"ALPH" or (kind == b"VP8L" and data[4] & 16) for kind, data in chunks)
    flags = (_ALPHA if alpha else 0) | (_PROFILE if parts.profile else 0)
    size = _three(part.width - 1) + _three(part.height - 1)
    body = _chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)
    if parts.profile:
        body += _chunk(b"ICCP", parts.profile)
    body += b"".join(_chunk(kind, data) for kind, data in chunks)
    picture = decode_picture(io.BytesIO(struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WEBP") + body), max_pixels)
    pixels = rgba(picture.rgb) if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    return Patch(part.x, part.y, pixels, not part.flags & _NO_BLEND, CLEAR if part.flags & _DISPOSE else KEEP)
