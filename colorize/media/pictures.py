"""Still pictures of every pixel format, in and out of upright 8-bit sRGB."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from colorize.media.common import MAX_PIXELS, MediaError, StrPath, check_pixels, reading, replacing

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # matched in any case

# `Image.open` warns or fails at Pillow's own process-wide pixel limit, and a warning cannot be silenced in one thread
# alone. Its format classes, called directly, leave the limit to us. (Left over: WebP and uncompressed TIFF, for which
# the commands lift Pillow's limit.) Few formats are also few risks.
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
    "PNG": {"compress_level": 4},  # of photographs 3 to 5 % more bytes than at 6, in half the time
    "TIFF": {"compression": "tiff_deflate"},
}
# The tags of a TIFF also say how its pixels are stored, and Pillow's deflate writer fails on EXIF's sub-folders: only
# description, make, model, software, date, artist and copyright come from a TIFF or go into one.
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)

_SRGB = ImageCms.createProfile("sRGB")
_PROFILE_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Picture:
    """A still picture.

    Attributes:
        rgb: uint8 (H, W, 3), sRGB, upright (EXIF orientation already applied).
        alpha: uint8 (H, W), 255 opaque; None where the file has no transparency.
        metadata: what `write_picture` puts back: ``exif`` (bytes, orientation reset) and ``dpi`` ((x, y)), if known.
        pages: how many the file has, a TIFF; this is the first.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    metadata: dict[str, Any]
    pages: int = 1


def read_picture(path: StrPath, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a JPEG, PNG, WebP, BMP, TIFF or GIF (its first frame), recognised by content, whatever its pixel format.

    16-bit values are scaled (65535 -> 255), float TIFFs are taken to lie in [0, 1], and an embedded ICC profile is
    converted to sRGB; a broken or mismatched profile and damaged EXIF are ignored.

    Raises:
        MediaError: missing, a folder, empty, no picture, damaged, cut short, or above ``max_pixels``.
    """
    path = Path(path)
    with reading(path, "picture"), open(path, "rb") as file:
        return decode_picture(file, max_pixels)


def decode_picture(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Picture:
    """`read_picture` of a file that is open, or of bytes in memory. Raises nearly anything."""
    image = _open_image(file)
    check_pixels(*image.size, max_pixels)
    metadata = _turn_upright(image)
    color, alpha = _split_alpha(image)
    # np.array, not asarray: a few ms more, but writable, as torch.from_numpy wants it.
    rgb = np.array(_to_srgb(color, image))
    return Picture(rgb, None if alpha is None else np.array(alpha), metadata, _pages(image))


def picture_of(image: Image.Image) -> Picture:
    """A picture in memory, whatever its pixel format, as `read_picture` reads one; it is not turned as EXIF says.

    Raises:
        MediaError: damaged or cut short, or values that cannot be told.
    """
    try:
        image.load()
        color, alpha = _split_alpha(image)
        return Picture(np.array(_to_srgb(color, image)), None if alpha is None else np.array(alpha), {})
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(f"a PIL image of mode {image.mode} cannot be read ({error})") from error


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
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (size, size, 3), bicubic; the kernel widens when it shrinks, so nothing aliases."""
    return np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC))


def picture_size(path: StrPath) -> tuple[int, int]:
    """(width, height) as the file's head says, EXIF orientation aside. Raises MediaError."""
    with reading(Path(path), "picture"), open(path, "rb") as file:
        return _open_image(file).size


def is_picture(head: bytes) -> bool:
    """Whether a file that starts with these bytes is of a format that `read_picture` knows, GIF aside."""
    return head[:2] in _READERS and head[:2] != b"GI" and (head[:2] != b"RI" or head[8:12] == b"WEBP")


def _open_image(file: BinaryIO) -> ImageFile.ImageFile:
    magic = file.read(2)
    if not magic:
        raise ValueError("it is empty")
    if magic not in _READERS:
        raise ValueError("not a JPEG, PNG, WebP, BMP, TIFF or GIF")
    file.seek(0)
    return _READERS[magic](file)


def _pages(image: ImageFile.ImageFile) -> int:
    with suppress(Exception):  # the first page is whole
        if isinstance(image, TiffImageFile):
            return image.n_frames
    return 1


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
