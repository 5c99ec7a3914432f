"""Animated GIFs: frames as a browser shows them, with their exact timing, and back with one palette a clip or scene.

Sources: GIF89a specification (https://www.w3.org/Graphics/GIF/spec-gif89a.txt), the NETSCAPE2.0 looping extension.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.GifImagePlugin import GifImageFile, getdata, getheader

from colorize.media.animation import CLEAR, KEEP, RESTORE, Flipbook, lost_after
from colorize.media.common import MAX_PIXELS, MediaError, StrPath, check_pixels, reading, replacing
from colorize.media.palette import MAX_COLORS, PaletteMap

_HELD = 64 * 2**20  # 256 frames of 256 x 256


@dataclass
class Gif(Flipbook):
    """An animated GIF: durations are multiples of 10 ms.

    Attributes:
        transparent: whether any pixel shown in any frame is transparent.
        held: its frames, of a clip that has no more than `_HELD` bytes of them: they are gone through three times.
    """

    kind = "GIF"
    durations: list[int]
    transparent: bool
    max_pixels: int
    held: list[np.ndarray] = field(repr=False)

    def _play(self) -> Iterator[np.ndarray]:
        if self.held:
            yield from (frame.copy() for frame in self.held)
            return
        with open(self.path, "rb") as file:
            for _, canvas in _play(_GifBlocks(file, self.max_pixels)):
                yield _shown(canvas)


def read_gif(path: StrPath, *, max_pixels: int = MAX_PIXELS, partial: bool = False) -> Gif:
    """Open a GIF. It is played through once, so a damaged one is found now and not half-way through the work.

    Args:
        partial: take what can be read of a file that is damaged or cut short after its first frame; ``lost`` says so.

    Raises:
        MediaError: missing, a folder, empty, not a GIF, damaged, cut short, or above ``max_pixels``.
    """
    path = Path(path)
    lost = ""
    with reading(path, "GIF"), open(path, "rb") as file:
        blocks = _GifBlocks(file, max_pixels)
        durations, transparent = [], False
        held: list[np.ndarray] = []
        try:
            for patch, canvas in _play(blocks):
                durations.append(patch.duration)
                transparent = transparent or not canvas.all()  # a transparent pixel is 0 in all four bytes
                if len(durations) * canvas.nbytes <= _HELD:
                    held.append(_shown(canvas))
                else:
                    held.clear()
        except Exception as error:
            if not (partial and durations):
                raise
            lost = lost_after(len(durations), error)
        if not durations:
            raise ValueError("it has no frames")
        return Gif(path, blocks.size, blocks.loop, lost, durations, transparent, max_pixels, held)


def write_gif(
    path: StrPath,
    frames: Iterable[np.ndarray],
    *,
    palette: np.ndarray,
    durations: Iterable[int],
    loop: int | None,
    own: Iterable[np.ndarray | None] | None = None,
) -> None:
    """Write an animated GIF frame by frame (two are held at a time), at once or not at all.

    Every pixel takes the nearest palette colour. There is no dithering: measured on real clips it flickers more,
    makes larger files and looks no smoother.

    Args:
        frames: uint8 (H, W, 4) RGBA, all of one size; alpha below 128 is transparent.
        palette: uint8 (N, 3), 1 <= N <= 254, as `gif_palette` makes it.
        durations: milliseconds, one a frame, rounded to GIF's 10 ms; at most 655350. The next is taken after its frame.
        loop: None plays once, 0 for ever, n is the count of the looping extension (<= 65535).
        own: for each frame the palette that it takes instead, or None. Where that changes the whole frame is drawn
            anew; as long as it does not, it must be the same array. Each is taken after its frame.

    Raises:
        MediaError: no such folder, not writable, disk full, no frames, or a side above 65535 pixels.
        ValueError: frames and durations differ in number.
    """
    path = Path(path)
    assert 1 <= len(palette) <= MAX_COLORS, f"a palette of {len(palette)} colours"
    transparent = len(palette) if own is None else MAX_COLORS  # one index in all palettes
    owned = zip(frames, itertools.repeat(None) if own is None else own, strict=own is not None)
    patches = _changes(_indices(owned, palette, transparent), transparent)
    empty = True
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for (indices, corner, disposal, local), duration in zip(patches, durations, strict=True):
            assert 0 <= duration <= 655_350, f"durations are 0 to 655350 ms, not {duration}"
            image = Image.fromarray(indices) if local is None else _paletted(Image.fromarray(indices), local)
            if empty:  # the first patch is a whole frame
                if max(image.size) > 0xFFFF:
                    raise MediaError(f"{path}: {image.width}x{image.height} is too large for GIF; its limit is 65535")
                file.writelines(_gif_header(image.size, palette, transparent, loop))
                empty = False
            delay = 10 * round(duration / 10)
            how = {"duration": delay, "disposal": disposal, "transparency": transparent}
            file.writelines(getdata(image, corner, include_color_table=local is not None, **how))
        if empty:
            raise MediaError(f"{path}: there are no frames to write")
        file.write(b";")


class _Patch(NamedTuple):
    """One image block of a GIF: what is drawn where, for how long, and what becomes of it."""

    x: int
    y: int
    width: int
    height: int
    interlaced: bool
    palette: bytes  # RGBRGB...
    lzw: bytes  # as it stands in the file: code size and sub-blocks
    duration: int  # ms
    disposal: int
    transparent: int | None  # palette index


class _GifBlocks:
    """The blocks of a GIF file in order. ``loop`` is certain once the patches have been read to the end.

    Pillow's own compositing is not used: as of 13.0 it goes wrong on grey palettes with transparency and on disposal
    0 after 2, and it skips the durations of frames it does not decode. It still does the decoding, in `_decode`.
    """

    def __init__(self, file: BinaryIO, max_pixels: int) -> None:
        self._file, self._max_pixels = file, max_pixels
        if (magic := file.read(6)) not in (b"GIF87a", b"GIF89a"):
            raise ValueError("not a GIF" if magic else "it is empty")
        width, height, flags = struct.unpack("<HHBxx", self._take(7))
        check_pixels(width, height, self._max_pixels)
        self.size: tuple[int, int] = (width, height)
        self.loop: int | None = None
        self._palette = self._take_palette(flags)

    def patches(self) -> Iterator[_Patch]:
        flags, delay, transparent = 0, 0, 0
        while (kind := self._take(1)) != b";":
            if kind == b",":
                x, y, width, height, shape = struct.unpack("<HHHHB", self._take(9))
                check_pixels(width, height, self._max_pixels)
                palette = self._take_palette(shape) or self._palette
                lzw = self._take(1) + b"".join(bytes([len(part)]) + part for part in self._take_parts()) + b"\0"
                see_through = transparent if flags & 1 else None
                interlaced = bool(shape & 0x40)
                yield _Patch(x, y, width, height, interlaced, palette, lzw, delay * 10, flags >> 2 & 7, see_through)
                flags, delay, transparent = 0, 0, 0  # they hold for one image
            elif kind == b"!":
                label, parts = self._take(1), list(self._take_parts())
                if label == b"\xf9":
                    flags, delay, transparent = struct.unpack_from("<BHB", parts[0])
                elif label == b"\xff" and parts[:1] == [b"NETSCAPE2.0"] and len(parts) > 1 and parts[1][0] == 1:
                    (self.loop,) = struct.unpack_from("<H", parts[1], 1)
            elif kind != b"\0":  # some encoders pad with zeros
                raise ValueError("it is damaged")

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("it is cut short")
        return data

    def _take_palette(self, flags: int) -> bytes:
        return self._take(3 << (flags & 7) + 1) if flags & 0x80 else b""

    def _take_parts(self) -> Iterator[bytes]:
        while length := self._take(1)[0]:
            yield self._take(length)


def _play(blocks: _GifBlocks) -> Iterator[tuple[_Patch, np.ndarray]]:
    """Each patch with the canvas as shown then: (H, W), the four bytes of RGBA as one number. Do not keep it: copy."""
    width, height = blocks.size
    canvas = np.zeros((height, width), np.uint32)
    for patch in blocks.patches():
        before = canvas.copy() if patch.disposal == RESTORE else canvas
        area = canvas[patch.y : patch.y + patch.height, patch.x : patch.x + patch.width]
        indices = _decode(patch)[: area.shape[0], : area.shape[1]]  # what sticks out of the canvas is not shown
        np.copyto(area, _patch_colors(patch)[indices], where=indices != patch.transparent)  # None: True everywhere
        yield patch, canvas
        if patch.disposal == CLEAR:
            area[:] = 0
        canvas = before


def _shown(canvas: np.ndarray) -> np.ndarray:
    """The canvas as uint8 (H, W, 4), a copy."""
    return canvas.copy().view(np.uint8).reshape(*canvas.shape, 4)


def _decode(patch: _Patch) -> np.ndarray:
    """Palette indices uint8 (H, W): Pillow reads the patch as a GIF of its own, with no palette, hence as grey."""
    screen = struct.pack("<6sHHBxx", b"GIF89a", patch.width, patch.height, 0)
    image = struct.pack("<cHHHHB", b",", 0, 0, patch.width, patch.height, 0x40 * patch.interlaced)
    with GifImageFile(io.BytesIO(screen + image + patch.lzw + b";")) as single:
        return np.asarray(single)


def _patch_colors(patch: _Patch) -> np.ndarray:
    """uint32 (256,): the RGBA bytes of each index; indices beyond the palette are black, without any it is grey."""
    rgba = np.zeros((256, 4), np.uint8)
    rgba[:, 3] = 255
    rgb = np.frombuffer(patch.palette or bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)), np.uint8).reshape(-1, 3)
    rgba[: len(rgb), :3] = rgb
    return rgba.view(np.uint32)[:, 0]


def _indices(
    owned: Iterable[tuple[np.ndarray, np.ndarray | None]], palette: np.ndarray, transparent: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Frames as indices of their own palette or else the shared one, and that palette."""
    to_indices, held = PaletteMap(palette, transparent), None
    for frame, own in owned:
        if own is not held:  # one table at a time: each has 32 MiB
            to_indices, held = PaletteMap(palette if own is None else own, transparent), own
        yield to_indices(frame), own


def _changes(
    frames: Iterable[tuple[np.ndarray, np.ndarray | None]], transparent: int
) -> Iterator[tuple[np.ndarray, tuple[int, int], int, np.ndarray | None]]:
    """What must be drawn for each frame of indices (H, W): the patch that changes, its (x, y) corner, its disposal and
    the palette of its own, if it has one.

    Transparent pixels of a patch let the last frame show through; they compress well, and nothing else can be meant,
    so a frame that must turn opaque pixels transparent is preceded by one that clears the whole canvas.
    """
    canvas: np.ndarray | None = None
    held: np.ndarray | None = None
    for this, following in itertools.pairwise(itertools.chain(frames, [None])):
        assert this is not None
        frame, own = this
        assert following is None or following[0].shape == frame.shape, "frames differ in size"
        anew = canvas is None or own is not held  # an index of another palette is another colour
        changed = np.ones_like(frame, bool) if anew else frame != canvas
        clear = following is not None and bool(((frame != transparent) & (following[0] == transparent)).any())
        whole = anew or clear  # GIF clears the patch's own area only
        top, bottom = (0, frame.shape[0]) if whole else _extent(changed.any(1))
        left, right = (0, frame.shape[1]) if whole else _extent(changed.any(0))
        patch = np.where(changed, frame, transparent).astype(np.uint8)[top:bottom, left:right]
        yield patch, (left, top), CLEAR if clear else KEEP, own
        held = own
        canvas = np.full_like(frame, transparent) if clear else frame


def _extent(line: npt.ArrayLike) -> tuple[int, int]:
    """Start and stop of the True values; one pixel where there are none, for a GIF frame cannot be empty."""
    places = np.flatnonzero(line)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1)


def _paletted(indices: Image.Image, palette: np.ndarray) -> Image.Image:
    indices.putpalette(palette.tobytes() + bytes(3 * (MAX_COLORS + 1 - len(palette))))
    return indices


def _gif_header(size: tuple[int, int], palette: np.ndarray, transparent: int, loop: int | None) -> list[bytes]:
    image = Image.new("P", size)
    image.putpalette(palette.tobytes() + bytes(3 * (transparent + 1 - len(palette))))
    return getheader(image, info={"loop": loop, "duration": 10})[0]  # a duration makes it a GIF89a
