"""Animated PNG. Pillow codes the pixels; the animation around them is ours, frame by frame.

As of 13.0 Pillow lerps the alpha of half-transparent frames where it ought to be composed, adds up the durations of
identical neighbours, and holds all frames until the last is written.

Source: PNG specification, third edition (https://www.w3.org/TR/png-3/), acTL, fcTL and fdAT.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from colorize.media.animation import (
    CLEAR,
    KEEP,
    RESTORE,
    Flipbook,
    Patch,
    Timed,
    changed_box,
    compose,
    lost_after,
    rgba,
)
from colorize.media.common import MediaError, StrPath, check_pixels, reading, replacing
from colorize.media.pictures import decode_picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"PLTE", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT")  # they tell what the pixels mean
_DISPOSALS, _BLEND_OVER = (KEEP, CLEAR, RESTORE), 1


@dataclass
class Apng(Flipbook):
    """An animated PNG: durations are fractions of milliseconds."""

    kind = "PNG"
    max_pixels: int

    def _play(self) -> Iterator[np.ndarray]:
        with open(self.path, "rb") as file:
            parts = _ApngParts(file, self.max_pixels)
            yield from compose(self.size, (_decode(parts, part, self.max_pixels) for part in parts.frames()))


def is_apng(file: BinaryIO) -> bool:
    """Whether the PNG that starts here says it is animated; it must do so before its pixels."""
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
        if head[4:] == b"acTL":
            return True
        file.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
    return False


def read_apng(path: StrPath, *, max_pixels: int) -> Apng:
    """Open an animated PNG; what can be read of one that is cut short is taken, and ``lost`` says so.

    Raises:
        MediaError: it cannot be read, or is above ``max_pixels``.
    """
    path = Path(path)
    durations: list[Fraction] = []
    lost = ""
    with reading(path, "PNG"), open(path, "rb") as file:
        parts = _ApngParts(file, max_pixels)
        try:
            durations.extend(part.duration for part in parts.frames())
            if parts.count != len(durations):
                raise ValueError(f"{parts.count - len(durations)} of {parts.count} frames are missing")
        except Exception as error:
            if not durations:
                raise
            lost = lost_after(len(durations), error)
        if not durations:
            raise ValueError("it has no frames")
        loop = {0: 0, 1: None}.get(parts.plays, parts.plays - 1)
        return Apng(path, parts.size, loop, lost, durations, max_pixels)


def write_apng(path: StrPath, timed: Timed, *, loop: int | None) -> None:
    """Write an animated PNG frame by frame, without loss, at once or not at all.

    Args:
        timed: frames uint8 (H, W, 3 or 4) with their timing.
        loop: None plays once, 0 for ever, n plays n + 1 times.

    Raises:
        MediaError: not writable, disk full, no frames.
    """
    path = Path(path)
    before: np.ndarray | None = None
    count = sequence = 0
    plays = 1 if loop is None else loop and loop + 1
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for frame, timing in timed:
            frame = rgba(frame)
            left, top, right, bottom = changed_box(before, frame) or (0, 0, 1, 1)
            if before is None:
                file.write(_SIGNATURE)
                _put(file, b"IHDR", struct.pack(">IIBBBBB", right, bottom, 8, 6, 0, 0, 0))
                place = file.tell()
                _put(file, b"acTL", struct.pack(">II", 0, plays))  # the count is filled in at the end
            duration = _fit(timing.duration)
            control = (sequence, right - left, bottom - top, left, top, duration.numerator, duration.denominator, 0, 0)
            _put(file, b"fcTL", struct.pack(">IIIIIHHBB", *control))
            sequence += 1
            pixels = _compressed(frame[top:bottom, left:right])
            if before is None:
                _put(file, b"IDAT", pixels)
            else:
                _put(file, b"fdAT", struct.pack(">I", sequence) + pixels)
                sequence += 1
            before, count = frame, count + 1
        if not count:
            raise MediaError(f"{path}: there are no frames to write")
        _put(file, b"IEND", b"")
        file.seek(place)
        _put(file, b"acTL", struct.pack(">II", count, plays))


def _put(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _compressed(pixels: np.ndarray) -> bytes:
    """What stands in the IDAT chunks of these pixels as a PNG."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    encoded.seek(8)
    return b"".join(data for kind, data in _chunks(encoded) if kind == b"IDAT")


def _fit(seconds: Fraction) -> Fraction:
    """The nearest fraction of two 16-bit numbers."""
    seconds = min(seconds, Fraction(0xFFFF))
    return seconds.limit_denominator(0xFFFF if seconds <= 1 else int(0xFFFF / seconds))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it is cut short")
        length, kind = struct.unpack(">I4s", head)
        if length + 4 > end - file.tell():  # asked first: for a read, memory is set aside
            raise ValueError("it is cut short")
        data = file.read(length + 4)
        if zlib.crc32(kind + data[:-4]) != int.from_bytes(data[-4:]):
            raise ValueError("it is damaged")
        yield kind, data[:-4]
        if kind == b"IEND":
            return


class _Part(NamedTuple):
    """One frame as it stands in the file."""

    width: int
    height: int
    x: int
    y: int
    duration: Fraction  # ms
    disposal: int
    blend: bool
    pixels: list[bytes]  # the data of its IDAT chunks


class _ApngParts:
    """The chunks of an animated PNG, gathered into frames. ``plays`` and ``count`` are known with the first frame."""

    def __init__(self, file: BinaryIO, max_pixels: int) -> None:
        if file.read(8) != _SIGNATURE:
            raise ValueError("not a PNG")
        self._chunks = _chunks(file)
        kind, self.header = next(self._chunks)
        if kind != b"IHDR":
            raise ValueError("it is damaged")
        width, height = struct.unpack_from(">II", self.header)
        check_pixels(width, height, max_pixels)
        self.size: tuple[int, int] = (width, height)
        self.meaning: list[tuple[bytes, bytes]] = []
        self.count = self.plays = 0

    def frames(self) -> Iterator[_Part]:
        part: _Part | None = None
        for kind, data in self._chunks:
            if kind == b"acTL":
                self.count, self.plays = struct.unpack_from(">II", data)
            elif kind in _PIXEL_CHUNKS:
                self.meaning.append((kind, data))
            elif kind in (b"fcTL", b"IEND"):
                if part is not None:
                    yield part
                if kind == b"fcTL":
                    part = self._part(data)
            elif part is not None and kind == b"IDAT":  # without a part it is a picture for those who know no APNG
                part.pixels.append(data)
            elif part is not None and kind == b"fdAT":
                part.pixels.append(data[4:])

    def _part(self, data: bytes) -> _Part:
        width, height, x, y, delay, unit, disposal, blend = struct.unpack_from(">4xIIIIHHBB", data)
        if not (0 < width <= self.size[0] - x and 0 < height <= self.size[1] - y and disposal < len(_DISPOSALS)):
            raise ValueError("it is damaged")
        return _Part(
            width, height, x, y, Fraction(1000 * delay, unit or 100), _DISPOSALS[disposal], blend == _BLEND_OVER, []
        )


def _decode(parts: _ApngParts, part: _Part, max_pixels: int) -> Patch:
    """The frame made a PNG of its own."""
    file = io.BytesIO()
    file.write(_SIGNATURE)
    _put(file, b"IHDR", struct.pack(">II", part.width, part.height) + parts.header[8:])
    for kind, data in parts.meaning:
        _put(file, kind, data)
    _put(file, b"IDAT", b"".join(part.pixels))
    _put(file, b"IEND", b"")
    file.seek(0)
    picture = decode_picture(file, max_pixels)
    pixels = rgba(picture.rgb) if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    return Patch(part.x, part.y, pixels, part.blend, part.disposal)
