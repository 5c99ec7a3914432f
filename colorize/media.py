"""Pictures and animated GIFs: files in, uint8 arrays out, and back again.

Pillow decodes and encodes; this module adds what it leaves open. Pictures of every pixel format come out as upright
8-bit sRGB. GIF frames come out as a browser shows them, with their exact timing, and go back with one palette for the
whole clip, so that colours do not flicker. Files are written under a temporary name and renamed: never half written.
Whatever is wrong with a file is a `MediaError`, one line. Everything here may be called from several threads.

Sources: GIF89a specification (https://www.w3.org/Graphics/GIF/spec-gif89a.txt), the NETSCAPE2.0 looping extension,
Pillow's documentation.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile, getdata, getheader
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from colorize.files import atomic

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # matched in any case
MAX_PIXELS = 300_000_000  # a larger picture is refused as a decompression bomb

# `Image.open` warns or fails at Pillow's own process-wide pixel limit, and a warning cannot be silenced in one thread
# alone. Its format classes, called directly, leave the limit to us. (Left over: Pillow still refuses WebP and
# uncompressed TIFF above 179 megapixels, and warns of the latter above 89.) Few formats are also few risks.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {  # by the first two bytes; the class checks the rest
    b"\xff\xd8": JpegImageFile,
    b"\x89P": PngImageFile,
    b"RI": WebPImageFile,
    b"BM": BmpImageFile,
    b"II": TiffImageFile,
    b"MM": TiffImageFile,
    b"GI": GifImageFile,
}
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},  # 4:4:4, for the colour is what we made
    "WEBP": {"quality": 95},  # its alpha is lossless all the same
    "TIFF": {"compression": "tiff_deflate"},
}
# The tags of a TIFF also say how its pixels are stored, and Pillow's deflate writer fails on EXIF's sub-folders: only
# description, make, model, software, date, artist and copyright come from a TIFF or go into one.
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)

_SRGB = ImageCms.createProfile("sRGB")
_PROFILE_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}

_KEEP, _CLEAR, _RESTORE = 1, 2, 3  # GIF disposal: what becomes of a frame's area before the next one (0 acts as 1)
_MAX_COLORS = 254
_OPAQUE = 128  # GIF knows no half-transparency: alpha below this is transparent
_FRAME_SAMPLE, _PALETTE_SAMPLE = 1 << 16, 1 << 15  # pixels a frame, pixels in all: more brings < 0.1 dB

StrPath = str | os.PathLike[str]


class MediaError(ValueError):
    """A file cannot be read or written: one line that names the file and the remedy."""


@dataclass(frozen=True)
class Picture:
    """A still picture.

    Attributes:
        rgb: uint8 (H, W, 3), sRGB, upright (EXIF orientation already applied).
        alpha: uint8 (H, W), 255 opaque; None where the file has no transparency.
        metadata: what `write_picture` puts back: ``exif`` (bytes, orientation reset) and ``dpi`` ((x, y)), if known.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    metadata: dict[str, Any]


def read_picture(path: StrPath) -> Picture:
    """Read a JPEG, PNG, WebP, BMP, TIFF or GIF (its first frame), recognised by content, whatever its pixel format.

    16-bit values are scaled (65535 -> 255), float TIFFs are taken to lie in [0, 1], and an embedded ICC profile is
    converted to sRGB; a broken or mismatched profile and damaged EXIF are ignored.

    Raises:
        MediaError: missing, a folder, empty, no picture, damaged, cut short, or above `MAX_PIXELS`.
    """
    path = Path(path)
    with _reading(path, "picture"), open(path, "rb") as file:
        image = _open_image(file)
        _check_pixels(*image.size)
        metadata = _turn_upright(image)
        color, alpha = _split_alpha(image)
        # np.array, not asarray: a few ms more, but writable, as torch.from_numpy wants it.
        return Picture(np.array(_to_srgb(color, image)), None if alpha is None else np.array(alpha), metadata)


def write_picture(path: StrPath, picture: Picture) -> None:
    """Write a picture in the format its suffix names (`PICTURE_SUFFIXES`), at once or not at all.

    JPEG is written at quality 95 with full colour resolution (4:4:4), WebP lossy at 95, TIFF with deflate. PNG, WebP
    and TIFF keep alpha; JPEG and BMP cannot, and show the picture on white. dpi and EXIF go back where the format has
    a place for them (a TIFF takes the descriptive tags alone), without EXIF's thumbnail: it shows the old picture.

    Raises:
        MediaError: unknown suffix, no such folder, not writable, disk full, or too large for the format.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise MediaError(f"{path}: unknown picture suffix '{path.suffix}'; use one of {', '.join(PICTURE_SUFFIXES)}")
    kind = Image.registered_extensions()[path.suffix.lower()]
    options = {**_WRITE_OPTIONS.get(kind, {}), **_writable_metadata(picture.metadata, kind)}
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None:
        alpha = Image.fromarray(picture.alpha)
        if kind in ("JPEG", "BMP"):
            image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
        else:
            image.putalpha(alpha)
    encoded = io.BytesIO()  # not straight into the file: there Pillow overlooks the short write of a full disk
    try:
        image.save(encoded, kind, **options)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise MediaError(f"{path}: {kind} cannot hold this picture ({error}); try .png or .tif") from error
    with _replacing(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (size, size, 3), bicubic; the kernel widens when it shrinks, so nothing aliases."""
    return np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Animation:
    """A GIF opened for reading; its frames stay in the file until they are asked for.

    Attributes:
        size: (width, height) in pixels.
        durations: milliseconds, one a frame, multiples of 10, as the file says (0: as fast as the viewer likes).
        loop: None plays once, 0 for ever, n as the file's looping extension says.
        transparent: whether any pixel shown in any frame is transparent.
    """

    path: Path
    size: tuple[int, int]
    durations: list[int]
    loop: int | None
    transparent: bool

    def __len__(self) -> int:
        return len(self.durations)

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame as shown at its instant, one at a time: uint8 (H, W, 4) RGBA, alpha 0 or 255.

        Raises:
            MediaError: the file has gone or changed since it was opened.
        """
        with _reading(self.path, "GIF"), open(self.path, "rb") as file:
            for _, canvas in _play(_GifBlocks(file)):
                yield canvas.copy().view(np.uint8).reshape(*canvas.shape, 4)


def read_gif(path: StrPath) -> Animation:
    """Open a GIF. It is played through once, so a damaged one is found now and not half-way through the work.

    Raises:
        MediaError: missing, a folder, empty, not a GIF, damaged, cut short, or above `MAX_PIXELS`.
    """
    path = Path(path)
    with _reading(path, "GIF"), open(path, "rb") as file:
        blocks = _GifBlocks(file)
        durations, transparent = [], False
        for patch, canvas in _play(blocks):
            durations.append(patch.duration)
            transparent = transparent or not canvas.all()  # a transparent pixel is 0 in all four bytes
        if not durations:
            raise ValueError("it has no frames")
        return Animation(path, blocks.size, durations, blocks.loop, transparent)


def gif_palette(frames: Iterable[np.ndarray]) -> np.ndarray:
    """One palette for a whole clip: median cut refined by k-means over a fixed-seed sample of pixels.

    Args:
        frames: some frames of the clip (16 spread over it will do), uint8 (H, W, 4); transparent pixels do not count.

    Returns:
        uint8 (N, 3), 1 <= N <= 254. Up to 254 colours in the frames come back exactly.
    """
    generator = np.random.default_rng(0)
    samples = [np.empty(0, np.uint32)]
    for frame in frames:
        codes = _color_codes(frame)[frame[..., 3] >= _OPAQUE]
        samples.append(codes if len(codes) <= _FRAME_SAMPLE else generator.choice(codes, _FRAME_SAMPLE))
    codes = np.concatenate(samples)
    colors = np.unique(codes)
    if len(colors) <= _MAX_COLORS:
        return _code_colors(colors) if len(colors) else np.zeros((1, 3), np.uint8)
    mosaic = Image.fromarray(_code_colors(generator.choice(codes, _PALETTE_SAMPLE))[None])
    quantized = mosaic.quantize(_MAX_COLORS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return np.array(quantized.getpalette(), np.uint8).reshape(-1, 3)


def write_gif(
    path: StrPath, frames: Iterable[np.ndarray], *, palette: np.ndarray, durations: Sequence[int], loop: int | None
) -> None:
    """Write an animated GIF frame by frame (two are held at a time), at once or not at all.

    Every pixel takes the nearest palette colour. There is no dithering: measured on real clips it flickers more,
    makes larger files and looks no smoother.

    Args:
        frames: uint8 (H, W, 4) RGBA, all of one size; alpha below 128 is transparent.
        palette: uint8 (N, 3), 1 <= N <= 254, as `gif_palette` makes it.
        durations: milliseconds, one a frame, rounded to GIF's 10 ms; at most 655350.
        loop: None plays once, 0 for ever, n is the count of the looping extension (<= 65535).

    Raises:
        MediaError: no such folder, not writable, disk full, no frames, or a side above 65535 pixels.
        ValueError: frames and durations differ in number.
    """
    path = Path(path)
    transparent = len(palette)  # the index after the last colour
    assert 1 <= transparent <= _MAX_COLORS, f"a palette of {transparent} colours"
    assert all(0 <= duration <= 655_350 for duration in durations), "durations are 0 to 655350 ms"
    to_indices = _PaletteMap(palette)
    patches = _changes(map(to_indices, frames), transparent)
    empty = True
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        for duration, (indices, corner, disposal) in zip(durations, patches, strict=True):
            image = Image.fromarray(indices)
            if empty:  # the first patch is a whole frame
                if max(image.size) > 0xFFFF:
                    raise MediaError(f"{path}: {image.width}x{image.height} is too large for GIF; its limit is 65535")
                file.writelines(_gif_header(image.size, palette, loop))
                empty = False
            delay = 10 * round(duration / 10)
            file.writelines(getdata(image, corner, duration=delay, disposal=disposal, transparency=transparent))
        if empty:
            raise MediaError(f"{path}: there are no frames to write")
        file.write(b";")


# ---------------------------------------------------------------------------------------------- files and their errors


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into one `MediaError` line."""
    try:
        yield
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise MediaError(f"{path}: a folder, not a {kind}; name a file inside it") from error
    except PermissionError as error:
        raise MediaError(f"{path}: not readable; check its permissions") from error
    except Exception as error:  # decoders of damaged files raise nearly anything: OSError, SyntaxError, struct.error...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"{path}: cannot be read as a {kind}: {reason}; replace or convert the file") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to, which takes its place at the end if all went well."""
    try:
        with atomic(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise MediaError(f"{path}: cannot be written ({reason}); check its folder and the space on the disk") from error


def _check_pixels(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"{width}x{height} = {width * height} pixels; the limit is max_pixels = {MAX_PIXELS}")


# ------------------------------------------------------------------------------------------------------------ pictures


def _open_image(file: BinaryIO) -> ImageFile.ImageFile:
    magic = file.read(2)
    if not magic:
        raise ValueError("it is empty")
    if magic not in _READERS:
        raise ValueError("not a JPEG, PNG, WebP, BMP, TIFF or GIF")
    file.seek(0)
    return _READERS[magic](file)


def _turn_upright(image: ImageFile.ImageFile) -> dict[str, Any]:
    """Decode the pixels, turn them as EXIF says, in place, and return the metadata worth keeping."""
    image.load()
    metadata: dict[str, Any] = {}
    with suppress(Exception):  # damaged EXIF says nothing against the pixels
        ImageOps.exif_transpose(image, in_place=True)
        tiff = image.format == "TIFF"
        if exif := _descriptive(image.getexif()).tobytes() if tiff else image.info.get("exif"):
            metadata["exif"] = exif
    with suppress(TypeError, ValueError, ZeroDivisionError):
        x, y = (float(value) for value in image.info.get("dpi", ()))
        if 0 < x < 65536 and 0 < y < 65536:  # what JPEG can hold; so put, NaN is refused too
            metadata["dpi"] = (x, y)
    return metadata


def _writable_metadata(metadata: dict[str, Any], kind: str) -> dict[str, Any]:
    """The keyword arguments with which Pillow writes metadata to this kind of file."""
    kept = {"dpi": metadata["dpi"]} if "dpi" in metadata else {}
    with suppress(Exception):  # damaged EXIF must not cost the picture
        if "exif" in metadata:
            exif = Image.Exif()
            exif.load(metadata["exif"])
            exif.pop(ExifTags.Base.Orientation, None)
            kept["exif"] = (_descriptive(exif) if kind == "TIFF" else exif).tobytes()
    return kept


def _descriptive(exif: Image.Exif) -> Image.Exif:
    kept = Image.Exif()
    kept.update({tag: exif[tag] for tag in _TIFF_TAGS if tag in exif})
    return kept


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(8-bit L, RGB or CMYK image, its alpha or None)."""
    if image.mode.startswith(("I", "F")):
        return _scale_to_8_bit(image), None
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    return image if image.mode in ("L", "CMYK") else _in_mode(image, "RGB"), None


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    top = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= top):  # so put, NaN is refused too
        raise ValueError(f"its values reach from {values.min()} to {values.max()}, and 0 to {top:g} is expected")
    return Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8))


def _to_srgb(color: Image.Image, source: Image.Image) -> Image.Image:
    """RGB image in sRGB, by the ICC profile of ``source`` if it has one that fits its pixels."""
    mode, transform = _icc_transform(source.info.get("icc_profile") or b"")
    pixels = "CMYK" if color.mode == "CMYK" else Image.getmodebase(source.mode)
    fits = mode == pixels or (mode == "RGB" and pixels != "CMYK")
    if transform is not None and fits:
        return transform.apply(_in_mode(color, mode))  # a grey picture that became RGB becomes L again, losing nothing
    return _in_mode(color, "RGB")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # `convert` would copy


@lru_cache(maxsize=64)
def _icc_transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode a profile describes and its transform to sRGB; no transform if it is broken or is sRGB already.

    Most pictures carry the same few profiles, most of them sRGB, whose transform costs three times a JPEG's decoding.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILE_MODES[source.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, KeyError):
        return "", None
    if mode == "RGB":
        levels = np.arange(0, 256, 17, dtype=np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
        shown = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform))
        if np.abs(shown.astype(int) - probe).max() <= 1:
            return mode, None
    return mode, transform


# ---------------------------------------------------------------------------------------------------------------- GIFs


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

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if (magic := file.read(6)) not in (b"GIF87a", b"GIF89a"):
            raise ValueError("not a GIF" if magic else "it is empty")
        width, height, flags = struct.unpack("<HHBxx", self._take(7))
        _check_pixels(width, height)
        self.size: tuple[int, int] = (width, height)
        self.loop: int | None = None
        self._palette = self._take_palette(flags)

    def patches(self) -> Iterator[_Patch]:
        flags, delay, transparent = 0, 0, 0
        while (kind := self._take(1)) != b";":
            if kind == b",":
                x, y, width, height, shape = struct.unpack("<HHHHB", self._take(9))
                _check_pixels(width, height)
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
        before = canvas.copy() if patch.disposal == _RESTORE else canvas
        area = canvas[patch.y : patch.y + patch.height, patch.x : patch.x + patch.width]
        indices = _decode(patch)[: area.shape[0], : area.shape[1]]  # what sticks out of the canvas is not shown
        np.copyto(area, _patch_colors(patch)[indices], where=indices != patch.transparent)  # None: True everywhere
        yield patch, canvas
        if patch.disposal == _CLEAR:
            area[:] = 0
        canvas = before


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


def _color_codes(frame: np.ndarray) -> np.ndarray:
    """uint8 RGBA (H, W, 4) -> uint32 (H, W): R + 256 G + 65536 B."""
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 4, f"{frame.dtype} {frame.shape}"
    return np.ascontiguousarray(frame).view("<u4")[..., 0] & np.uint32(0xFFFFFF)


def _code_colors(codes: np.ndarray) -> np.ndarray:
    """`_color_codes` undone: (N,) -> uint8 (N, 3)."""
    return codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].copy()


class _PaletteMap:
    """RGBA frame (H, W, 4) -> palette indices uint8 (H, W), len(palette) where transparent.

    Exact nearest colours in RGB. Each is worked out once and kept in a table over all 2^24 colours (32 MiB); a coarser
    table, or Pillow's own, costs 0.1 to 4 dB and moves colours that the palette holds exactly.
    """

    def __init__(self, palette: np.ndarray) -> None:
        self._palette = palette.astype(np.float32)
        self._known = np.full(1 << 24, -1, np.int16)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        codes = _color_codes(frame)
        new = np.unique(codes[self._known[codes] < 0])
        for start in range(0, len(new), 1 << 14):  # in chunks, or distances would fill the memory
            chunk = new[start : start + (1 << 14)]
            self._known[chunk] = self._nearest(_code_colors(chunk).astype(np.float32))
        return np.where(frame[..., 3] < _OPAQUE, len(self._palette), self._known[codes]).astype(np.uint8)

    def _nearest(self, colors: np.ndarray) -> np.ndarray:
        # |c - p|^2 = |c|^2 - 2 c.p + |p|^2, and |c|^2 is the same for every p; whole numbers below 2^24, so no rounding
        return ((self._palette**2).sum(1) - 2 * colors @ self._palette.T).argmin(1)


def _changes(frames: Iterable[np.ndarray], transparent: int) -> Iterator[tuple[np.ndarray, tuple[int, int], int]]:
    """What must be drawn for each frame of indices (H, W): the patch that changes, its (x, y) corner, its disposal.

    Transparent pixels of a patch let the last frame show through; they compress well, and nothing else can be meant,
    so a frame that must turn opaque pixels transparent is preceded by one that clears the whole canvas.
    """
    canvas: np.ndarray | None = None
    frame: np.ndarray | None
    for frame, following in itertools.pairwise(itertools.chain(frames, [None])):
        assert frame is not None and (following is None or following.shape == frame.shape), "frames differ in size"
        changed = np.ones_like(frame, bool) if canvas is None else frame != canvas
        clear = following is not None and bool(((frame != transparent) & (following == transparent)).any())
        whole = canvas is None or clear  # GIF clears the patch's own area only
        top, bottom = (0, frame.shape[0]) if whole else _extent(changed.any(1))
        left, right = (0, frame.shape[1]) if whole else _extent(changed.any(0))
        patch = np.where(changed, frame, transparent).astype(np.uint8)[top:bottom, left:right]
        yield patch, (left, top), _CLEAR if clear else _KEEP
        canvas = np.full_like(frame, transparent) if clear else frame


def _extent(line: npt.ArrayLike) -> tuple[int, int]:
    """Start and stop of the True values; one pixel where there are none, for a GIF frame cannot be empty."""
    places = np.flatnonzero(line)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1)


def _gif_header(size: tuple[int, int], palette: np.ndarray, loop: int | None) -> list[bytes]:
    image = Image.new("P", size)
    image.putpalette(palette.tobytes() + bytes(3))  # the last entry is the transparent one
    return getheader(image, info={"loop": loop, "duration": 10})[0]  # a duration makes it a GIF89a
