"""Pictures and GIFs through the public functions of colorize.media; every result is checked by an independent path:
a GIF reader of the test's own (blocks, LZW and compositing in plain Python), or Pillow reading back."""

from __future__ import annotations

import io
import itertools
import os
import resource
import struct
import warnings
import weakref
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from colorize import media
from colorize.media import MediaError, Picture, gif_palette, read_gif, read_picture, write_gif, write_picture

VIDEO = Path(__file__).parents[1].parent / "shared" / "data" / "video"
GIFS = sorted(VIDEO.glob("*.gif"))
GREY_RAMP = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int, phase: float = 0.0) -> np.ndarray:
    """A picture that lossy formats keep well: uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(3 * x + y + phase), np.sin(2 * y + 1 + phase), np.sin(2 * (x + y) + 2 + phase)]
    return (128 + 100 * np.stack(waves, -1)).round().astype(np.uint8)


def opaque(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def one_line(error: pytest.ExceptionInfo[MediaError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


# ------------------------------------------------------------------------------------------- a GIF reader and writer


def sub_blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def lzw(indices: np.ndarray) -> bytes:
    """8-bit LZW that compresses nothing: clear codes come before the code size would grow."""
    codes: list[int] = []
    for place, value in enumerate(indices.ravel().tolist()):
        if place % 254 == 0:
            codes.append(256)
        codes.append(value)
    bits = sum(code << 9 * place for place, code in enumerate([*codes, 257]))
    return b"\x08" + sub_blocks(bits.to_bytes((9 * len(codes) + 9 + 7) // 8, "little"))


def color_table(palette: np.ndarray | None) -> tuple[int, bytes]:
    if palette is None:
        return 0, b""
    bits = max(1, (len(palette) - 1).bit_length())
    return 0x80 | bits - 1, palette.tobytes() + bytes(3 * ((1 << bits) - len(palette)))


def interlace_order(height: int) -> list[int]:
    return [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]


def build_gif(
    size: tuple[int, int], frames: list[dict[str, Any]], palette: np.ndarray | None = None, loop: int | None = None
) -> bytes:
    flags, table = color_table(palette)
    out = b"GIF89a" + struct.pack("<HHBBB", *size, flags, 0, 0) + table
    if loop is not None:
        out += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0"
    for frame in frames:
        indices, clear = frame["indices"], frame.get("transparent")
        if {"transparent", "delay", "disposal"} & frame.keys():
            packed = frame.get("disposal", 0) << 2 | (clear is not None)
            out += b"!\xf9\x04" + struct.pack("<BHBB", packed, frame.get("delay", 0), clear or 0, 0)
        flags, table = color_table(frame.get("palette"))
        if frame.get("interlaced"):
            flags, indices = flags | 0x40, indices[interlace_order(len(indices))]
        height, width = indices.shape
        out += b"," + struct.pack("<HHHHB", *frame.get("at", (0, 0)), width, height, flags) + table + lzw(indices)
    return out + b";"


def lzw_decode(data: bytes, bits: int) -> bytes:
    clear, out, buffer, held, place = 1 << bits, bytearray(), 0, 0, 0
    table, width, last = [b""], bits + 1, b""
    while True:
        while held < width:
            buffer, held, place = buffer | data[place] << held, held + 8, place + 1
        code, buffer, held = buffer & (1 << width) - 1, buffer >> width, held - width
        if code == clear:
            table, width, last = [bytes([i]) for i in range(clear)] + [b"", b""], bits + 1, b""
            continue
        if code == clear + 1:
            return bytes(out)
        entry = table[code] if code < len(table) else last + last[:1]
        out += entry
        if last and len(table) < 4096:
            table.append(last + entry[:1])
        if len(table) == 1 << width and width < 12:
            width += 1
        last = entry


def parse_gif(data: bytes) -> tuple[tuple[int, int], int | None, list[dict[str, Any]]]:
    """(size, loop, frames): every byte of the file is accounted for."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place, loop, frames, control = 13, None, [], (0, 0, 0)

    def table(flags: int) -> np.ndarray | None:
        nonlocal place
        if not flags & 0x80:
            return None
        count = 2 << (flags & 7)
        place += 3 * count
        return np.frombuffer(data, np.uint8, 3 * count, place - 3 * count).reshape(-1, 3)

    def parts() -> bytes:
        nonlocal place
        out = b""
        while length := data[place]:
            out += data[place + 1 : place + 1 + length]
            place += 1 + length
        place += 1
        return out

    shared = table(flags)
    while data[place] != 0x3B:
        kind, place = data[place], place + 1
        if kind == 0x21:
            label, place = data[place], place + 1
            part = parts()
            if label == 0xF9:
                control = struct.unpack_from("<BHB", part)
            elif part.startswith(b"NETSCAPE2.0"):
                (loop,) = struct.unpack_from("<H", part, 12)
        else:
            assert kind == 0x2C
            x, y, w, h, flags = struct.unpack_from("<HHHHB", data, place)
            place += 9
            own, bits = table(flags), data[place]
            place += 1
            indices = np.frombuffer(lzw_decode(parts(), bits), np.uint8).reshape(h, w)
            if flags & 0x40:
                indices = indices[np.argsort(interlace_order(h))]
            frames.append(
                {
                    "at": (x, y),
                    "indices": indices,
                    "palette": own,
                    "shown palette": shared if own is None else own,
                    "delay": control[1],
                    "disposal": control[0] >> 2 & 7,
                    "transparent": control[2] if control[0] & 1 else None,
                }
            )
            control = (0, 0, 0)
    assert place == len(data) - 1
    return (width, height), loop, frames


def shown(size: tuple[int, int], frames: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    canvas = np.zeros((size[1], size[0], 4), np.uint8)
    for frame in frames:
        before, (x, y) = canvas.copy(), frame["at"]
        h, w = frame["indices"].shape
        drawn = np.ones((h, w), bool) if frame["transparent"] is None else frame["indices"] != frame["transparent"]
        canvas[y : y + h, x : x + w][drawn] = opaque(frame["shown palette"][frame["indices"]])[drawn]
        yield canvas.copy()
        if frame["disposal"] == 2:
            canvas[y : y + h, x : x + w] = 0
        if frame["disposal"] == 3:
            canvas = before


def assert_same_frames(got: Iterator[np.ndarray], expected: Iterator[np.ndarray]) -> None:
    for number, (one, other) in enumerate(zip(got, expected, strict=True)):
        np.testing.assert_array_equal(one, other, err_msg=f"frame {number}")


# ---------------------------------------------------------------------------------------------------- reading pictures


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("suffix", media.PICTURE_SUFFIXES)
def test_every_mode_of_every_format_reads_as_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(opaque(smooth(12, 17))).convert("RGB" if mode in ("P", "CMYK", "YCbCr", "I;16") else mode)
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    path = tmp_path / f"picture{suffix.upper()}"
    try:
        image.save(path)
        with Image.open(path) as again:
            again.load()  # Pillow 12 cannot read the YCbCr TIFF that it writes
    except (OSError, KeyError, ValueError):
        pytest.skip(f"{suffix} has no {mode}")
    picture = read_picture(path)
    assert picture.rgb.shape == (12, 17, 3) and picture.rgb.dtype == np.uint8 and picture.rgb.flags.writeable
    with Image.open(path) as again:
        assert (picture.alpha is not None) == ("A" in again.mode)
        if mode != "I;16":
            np.testing.assert_array_equal(picture.rgb, np.asarray(again.convert("RGB")))


def test_16_bit_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 32768, 65534, 65535]], np.uint16)
    for suffix in (".png", ".tif"):
        iio.imwrite(tmp_path / f"grey{suffix}", values)
        grey = read_picture(tmp_path / f"grey{suffix}").rgb
        np.testing.assert_array_equal(grey, np.rint(values / 257)[..., None].repeat(3, -1))
    tall = np.stack([values, values[:, ::-1], values], -1)
    (tmp_path / "rgb.png").write_bytes(png_16_bit_rgb(tall))
    assert np.abs(read_picture(tmp_path / "rgb.png").rgb - tall / 257).max() <= 1


def png_16_bit_rgb(values: np.ndarray) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_float_tiff(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(path)
    assert read_picture(path).rgb[0, :, 0].tolist() == [0, 128, 255]
    for bad in (255.0, -1.0, np.nan):
        Image.fromarray(np.array([[0, bad]], np.float32)).save(path)
        with pytest.raises(MediaError) as error:
            read_picture(path)
        assert "0 to 1 is expected" in one_line(error, path)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparency_without_an_alpha_channel(tmp_path: Path, mode: str) -> None:
    rgb = np.zeros((2, 3, 3), np.uint8)
    rgb[0] = 200
    image = Image.fromarray(rgb).convert(mode)
    key: Any = (200, 200, 200) if mode == "RGB" else image.getpixel((0, 0))
    image.save(tmp_path / "key.png", transparency=key)
    picture = read_picture(tmp_path / "key.png")
    np.testing.assert_array_equal(picture.alpha, [[0, 0, 0], [255, 255, 255]])


def test_palette_with_half_transparent_entries(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "half.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = read_picture(tmp_path / "half.png")
    assert picture.rgb.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert picture.alpha is not None and picture.alpha.tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_reset(tmp_path: Path, orientation: int, suffix: str) -> None:
    # How each orientation must be turned, as EXIF 2.3 defines row 0 and column 0.
    turns = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1)}
    turns |= {6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90}
    rgb = smooth(16, 24)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Colorize"
    source, target = tmp_path / f"in{suffix}", tmp_path / "out.png"
    Image.fromarray(rgb).save(source, exif=exif, quality=100)
    picture = read_picture(source)
    assert picture.rgb.shape == turns[orientation](rgb).shape
    assert np.abs(picture.rgb.astype(int) - turns[orientation](rgb)).mean() < 3
    write_picture(target, picture)
    with Image.open(target) as again:
        assert again.size == picture.rgb.shape[1::-1]
        assert again.getexif().get(0x0112, 1) == 1 and again.getexif()[0x010F] == "Colorize"


def test_exif_thumbnail_is_left_behind(tmp_path: Path) -> None:
    make = struct.pack("<HHI4s", 0x010F, 2, 4, b"Me!")
    first = struct.pack("<H", 1) + make + struct.pack("<I", 26)  # IFD0 at 8, the thumbnail's IFD1 at 26
    place = struct.pack("<HHIIHHII", 513, 4, 1, 56, 514, 4, 1, 9)  # 9 bytes at 56
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + struct.pack("<H", 2) + place + bytes(4) + b"thumbnail"
    Image.fromarray(smooth(8, 8)).save(tmp_path / "in.jpg", exif=exif)
    with Image.open(tmp_path / "in.jpg") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1) == {513: 56, 514: 9}
    write_picture(tmp_path / "out.jpg", read_picture(tmp_path / "in.jpg"))
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[0x010F] == "Me!" and not image.getexif().get_ifd(ExifTags.IFD.IFD1)
    assert b"thumbnail" not in (tmp_path / "out.jpg").read_bytes()


def test_exif_and_dpi_go_back(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Colorize"
    exif.get_ifd(0x8769)[0x9003] = "2023:05:31 12:00:00"
    head = exif.tobytes()
    Image.fromarray(smooth(8, 8)).save(tmp_path / "in.jpg", exif=head, dpi=(300, 300))
    for suffix in media.PICTURE_SUFFIXES:
        write_picture(tmp_path / f"out{suffix}", read_picture(tmp_path / "in.jpg"))
        with Image.open(tmp_path / f"out{suffix}") as image:
            if suffix != ".bmp":
                assert image.getexif()[0x010F] == "Colorize"
            if suffix in (".jpg", ".jpeg", ".png", ".webp"):
                assert image.getexif().get_ifd(0x8769)[0x9003] == "2023:05:31 12:00:00"
            if suffix != ".webp":
                assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert read_picture(tmp_path / "out.tif").metadata["exif"]
    write_picture(tmp_path / "again.jpg", read_picture(tmp_path / "out.tif"))
    with Image.open(tmp_path / "again.jpg") as image:
        assert image.getexif()[0x010F] == "Colorize"
        assert set(image.getexif()) == {0x010F}  # nothing about how the TIFF lay


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(smooth(8, 8)).save(tmp_path / "in.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says that the EXIF is damaged
        picture = read_picture(tmp_path / "in.jpg")
        write_picture(tmp_path / "out.jpg", picture)
    assert picture.rgb.shape == (8, 8, 3)


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries change places: colours must visibly move."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = [icc.find(name, 128) for name in (b"rXYZ", b"bXYZ")]
    for offset in (4, 5, 6, 7):
        icc[tags[0] + offset], icc[tags[1] + offset] = icc[tags[1] + offset], icc[tags[0] + offset]
    return bytes(icc)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_icc_profile_is_converted_to_srgb(tmp_path: Path, mode: str) -> None:
    Image.fromarray(smooth(8, 8)).convert(mode).save(tmp_path / "in.png", icc_profile=swapped_profile())
    picture = read_picture(tmp_path / "in.png")
    with Image.open(tmp_path / "in.png") as image:
        plain = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(picture.rgb - plain[..., ::-1]).max() <= 2
    assert (picture.alpha is not None) == (mode == "RGBA")
    write_picture(tmp_path / "out.png", picture)
    with Image.open(tmp_path / "out.png") as image:
        assert "icc_profile" not in image.info


def test_srgb_broken_and_mismatched_profiles_change_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = swapped_profile()  # made once: the second it was made in is part of it
    for profile in (srgb, b"rubbish", srgb[:200], swapped):
        mode = "CMYK" if profile == swapped else "RGB"
        Image.fromarray(smooth(8, 8)).convert(mode).save(tmp_path / "in.tif", icc_profile=profile)
        with Image.open(tmp_path / "in.tif") as image:
            np.testing.assert_array_equal(read_picture(tmp_path / "in.tif").rgb, np.asarray(image.convert("RGB")))


def test_first_frame_of_files_with_several(tmp_path: Path) -> None:
    first, second = Image.fromarray(smooth(8, 9)), Image.fromarray(smooth(8, 9, 2.0))
    for suffix in (".tif", ".png", ".webp", ".gif"):
        path = tmp_path / f"two{suffix}"
        first.quantize(16).convert("RGB").save(path, save_all=True, append_images=[second], lossless=True)
        np.testing.assert_array_equal(read_picture(path).rgb, np.asarray(first.quantize(16).convert("RGB")))
    first.save(tmp_path / "two.mpo", save_all=True, append_images=[second], quality=95, subsampling=0)
    os.rename(tmp_path / "two.mpo", tmp_path / "phone.jpg")
    assert np.abs(read_picture(tmp_path / "phone.jpg").rgb.astype(int) - smooth(8, 9)).mean() < 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow of a TIFF cut short
@pytest.mark.parametrize("suffix", media.PICTURE_SUFFIXES)
def test_picture_errors_are_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    cases: dict[str, bytes] = {"empty": b"", "not a JPEG": b"this is text, not a picture"}
    for content in cases.values():
        path.write_bytes(content)
        with pytest.raises(MediaError):
            read_picture(path)
    for reason, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(MediaError) as error:
            read_picture(path)
        assert reason in one_line(error, path)
    write_picture(path, Picture(noise(64, 64, 3), None, {}))
    whole = path.read_bytes()
    for cut in (8, 30, len(whole) // 3, len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:cut])
        with pytest.raises(MediaError) as error:
            read_picture(path)
        one_line(error, path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for read in (read_picture, read_gif):
        with pytest.raises(MediaError, match="no such file"):
            read(tmp_path / "absent.png")
        with pytest.raises(MediaError, match="a folder"):
            read(tmp_path)


def test_pixel_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.png"
    data = bytearray(png_16_bit_rgb(np.zeros((1, 1, 3), np.uint16)))
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    bomb.write_bytes(data)
    with pytest.raises(MediaError, match=r"900000000 pixels; the limit is max_pixels = 300000000"):
        read_picture(bomb)
    (tmp_path / "bomb.gif").write_bytes(build_gif((60_000, 60_000), [{"indices": np.zeros((1, 1), np.uint8)}]))
    with pytest.raises(MediaError, match="max_pixels"):
        read_gif(tmp_path / "bomb.gif")
    # Below our limit, Pillow's own (here made tiny) neither warns nor fails, and stays what it was.
    write_picture(tmp_path / "large.png", Picture(noise(20, 20, 3), None, {}))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in (".jpg", ".png", ".bmp"):
            write_picture(tmp_path / f"large{suffix}", Picture(noise(20, 20, 3), None, {}))
            assert read_picture(tmp_path / f"large{suffix}").rgb.shape == (20, 20, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_reading_from_threads(tmp_path: Path) -> None:
    paths = []
    for number in range(8):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(smooth(200, 200, number)).save(paths[-1], icc_profile=swapped_profile())
    alone = [read_picture(path).rgb for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for path, rgb in pool.map(lambda path: (path, read_picture(path).rgb), paths * 5):
            np.testing.assert_array_equal(rgb, alone[paths.index(path)])


# ---------------------------------------------------------------------------------------------------- writing pictures


@pytest.mark.parametrize("suffix", media.PICTURE_SUFFIXES)
@pytest.mark.parametrize("size", [(1, 1), (31, 17)])
def test_picture_round_trip(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"out{suffix.upper()}"
    rgb = smooth(*size)
    write_picture(path, Picture(rgb, None, {}))
    again = iio.imread(path)
    assert again.shape == rgb.shape and [p.name for p in tmp_path.iterdir()] == [path.name]
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    assert np.abs(again.astype(int) - rgb).max() <= (12 if lossy else 0)
    np.testing.assert_array_equal(read_picture(path).rgb, again)


@pytest.mark.parametrize("suffix", media.PICTURE_SUFFIXES)
def test_alpha_is_kept_or_shown_on_white(tmp_path: Path, suffix: str) -> None:
    rgb, alpha = smooth(16, 16), np.full((16, 16), 255, np.uint8)
    alpha[:, 8:] = 0
    write_picture(tmp_path / f"out{suffix}", Picture(rgb, alpha, {}))
    again = read_picture(tmp_path / f"out{suffix}")
    if suffix in (".png", ".webp", ".tif", ".tiff"):
        np.testing.assert_array_equal(again.alpha, alpha)
    else:
        assert again.alpha is None
        assert again.rgb[:, 10:].min() >= 250 and np.abs(again.rgb[:, :6].astype(int) - rgb[:, :6]).mean() < 5


def test_jpeg_keeps_full_colour_resolution(tmp_path: Path) -> None:
    write_picture(tmp_path / "out.jpg", Picture(smooth(16, 16), None, {}))
    with Image.open(tmp_path / "out.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_unwritable_targets_leave_nothing_behind(tmp_path: Path) -> None:
    picture = Picture(smooth(8, 8), None, {})
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "no" / "folder.png", tmp_path / "folder.png", tmp_path / "x.xyz", tmp_path / "none"):
        with pytest.raises(MediaError) as error:
            write_picture(path, picture)
        one_line(error, path)
    with pytest.raises(MediaError, match=r"try \.png or \.tif"):
        write_picture(tmp_path / "wide.webp", Picture(np.zeros((1, 17_000, 3), np.uint8), None, {}))
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("name", ["old.png", "old.jpg", "old.webp", "old.bmp", "old.tif", "old.gif"])
def test_full_disk_keeps_the_old_file(tmp_path: Path, name: str) -> None:
    path, rgb = tmp_path / name, noise(64, 64, 3)
    path.write_bytes(b"precious")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # stands in for a disk with 1000 bytes left
    try:
        with pytest.raises(MediaError) as error:
            if name.endswith(".gif"):
                write_gif(path, [opaque(rgb)], palette=noise(200, 3), durations=[10], loop=0)
            else:
                write_picture(path, Picture(rgb, None, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written" in one_line(error, path)
    assert path.read_bytes() == b"precious" and [p.name for p in tmp_path.iterdir()] == [name]


def test_a_failing_source_of_frames_leaves_nothing_behind(tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield opaque(smooth(8, 8))
        raise MediaError("source.gif: cut short")

    with pytest.raises(MediaError, match=r"^source\.gif: cut short$"):
        write_gif(tmp_path / "out.gif", frames(), palette=noise(4, 3), durations=[10, 10], loop=0)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------------- reading GIFs


@st.composite
def gif_files(draw: st.DrawFn) -> bytes:
    """GIFs as the wild has them: partial frames, every disposal, local and grey palettes, interlacing."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    palettes = st.sampled_from([GREY_RAMP[:16], GREY_RAMP, generator.integers(0, 256, (16, 3), dtype=np.uint8)])
    frames = []
    for _ in range(draw(st.integers(1, 5))):
        w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
        frame = {
            "indices": generator.integers(0, 16, (h, w), dtype=np.uint8),
            "at": (draw(st.integers(0, width - w)), draw(st.integers(0, height - h))),
            "delay": draw(st.integers(0, 65535)),
            "disposal": draw(st.integers(0, 3)),
            "interlaced": draw(st.booleans()),
            "transparent": draw(st.none() | st.integers(0, 15)),
            "palette": draw(st.none() | palettes),
        }
        frames.append(frame)
    return build_gif((width, height), frames, draw(palettes), draw(st.none() | st.integers(0, 65535)))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=gif_files())
def test_gif_frames_are_as_shown(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "in.gif"
    path.write_bytes(data)
    size, loop, frames = parse_gif(data)
    animation = read_gif(path)
    expected = list(shown(size, frames))
    assert_same_frames(animation.frames(), iter(expected))
    assert (animation.size, animation.loop, len(animation)) == (size, loop, len(frames))
    assert animation.durations == [10 * frame["delay"] for frame in frames]
    assert animation.transparent == any((frame[..., 3] == 0).any() for frame in expected)


def test_gif_without_control_block_or_palette(tmp_path: Path) -> None:
    path = tmp_path / "bare.gif"
    indices = np.arange(15, dtype=np.uint8).reshape(3, 5)
    path.write_bytes(build_gif((5, 3), [{"indices": indices}]))
    animation = read_gif(path)
    assert (animation.durations, animation.loop, animation.transparent) == ([0], None, False)
    np.testing.assert_array_equal(next(animation.frames()), opaque(GREY_RAMP[indices]))


def test_gif_patch_outside_the_canvas_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "out.gif"
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4)
    path.write_bytes(build_gif((3, 3), [{"indices": indices, "at": (1, 1)}, {"indices": indices, "at": (7, 7)}]))
    frames = list(read_gif(path).frames())
    assert frames[1][..., 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 4, 5]]


@pytest.mark.parametrize("frames", [1, 3])
def test_gif_cut_anywhere_is_refused(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "cut.gif"
    write_gif(
        path,
        [opaque(noise(9, 7, 3, seed=i)) for i in range(frames)],
        palette=noise(9, 3),
        durations=[10] * frames,
        loop=0,
    )
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(MediaError) as error:
            read_gif(path)
        one_line(error, path)


def test_gif_errors(tmp_path: Path) -> None:
    path = tmp_path / "bad.gif"
    png = io.BytesIO()
    Image.new("RGB", (3, 3)).save(png, "PNG")
    for content, reason in [(b"", "empty"), (b"text, no GIF", "not a GIF"), (png.getvalue(), "not a GIF")]:
        path.write_bytes(content)
        with pytest.raises(MediaError) as error:
            read_gif(path)
        assert reason in one_line(error, path)
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 3, 3, 0, 0, 0) + b";")
    with pytest.raises(MediaError, match="no frames"):
        read_gif(path)
    path.write_bytes(build_gif((0, 3), [{"indices": np.zeros((1, 1), np.uint8)}]))
    with pytest.raises(MediaError, match="0 pixels"):
        read_gif(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=gif_files(), place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_damaged_gif_reads_or_says_so(tmp_path: Path, data: bytes, place: int, value: int) -> None:
    path = tmp_path / "damaged.gif"
    broken = bytearray(data)
    broken[place % len(data)] = value
    path.write_bytes(broken)
    try:
        animation = read_gif(path)
    except MediaError as error:
        assert "\n" not in str(error)
    else:
        assert sum(1 for _ in animation.frames()) == len(animation)


# -------------------------------------------------------------------------------------------------------- writing GIFs


@st.composite
def clips(draw: st.DrawFn) -> tuple[list[np.ndarray], list[int], int | None]:
    """RGBA frames of a few colours, with neighbours that are alike, differ a little, or wholly, some transparent."""
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    colors = generator.integers(0, 256, (draw(st.integers(1, 254)), 3), dtype=np.uint8)
    see_through = draw(st.booleans())
    frames: list[np.ndarray] = []
    for kind in draw(st.lists(st.sampled_from(["new", "same", "near"]), min_size=1, max_size=6)):
        frame = opaque(colors[generator.integers(0, len(colors), (height, width))])
        if see_through:
            frame[generator.random((height, width)) < 0.3] = 0
        if frames and kind == "same":
            frame = frames[-1].copy()
        if frames and kind == "near":
            rest = frames[-1].copy()
            rest[: height // 2] = frame[: height // 2]
            frame = rest
        frames.append(frame)
    durations = draw(st.lists(st.integers(0, 65535).map(lambda d: 10 * d), min_size=len(frames), max_size=len(frames)))
    return frames, durations, draw(st.none() | st.integers(0, 65535))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clip=clips())
def test_gif_round_trip(tmp_path: Path, clip: tuple[list[np.ndarray], list[int], int | None]) -> None:
    frames, durations, loop = clip
    path = tmp_path / "out.gif"
    palette = gif_palette(frames)
    write_gif(path, iter(frames), palette=palette, durations=durations, loop=loop)
    size, loop_there, patches = parse_gif(path.read_bytes())
    assert path.read_bytes().startswith(b"GIF89a")
    assert size == frames[0].shape[1::-1] and loop_there == loop
    assert [10 * patch["delay"] for patch in patches] == durations
    assert all(patch["palette"] is None for patch in patches)  # one palette for the clip
    assert_same_frames(shown(size, patches), iter(frames))  # up to 254 colours: exact
    animation = read_gif(path)
    assert (animation.size, animation.durations, animation.loop) == (size, durations, loop)
    assert animation.transparent == any((frame[..., 3] == 0).any() for frame in frames)
    assert_same_frames(animation.frames(), iter(frames))
    # Other people's reader agrees.
    for frame, pillow in zip(frames, iio.imiter(path, plugin="pillow", mode="RGBA"), strict=True):
        np.testing.assert_array_equal(pillow[..., 3], frame[..., 3])
        np.testing.assert_array_equal(pillow[frame[..., 3] > 0], frame[frame[..., 3] > 0])


def test_alpha_threshold_and_nearest_colour(tmp_path: Path) -> None:
    palette = np.array([[0, 0, 0], [255, 0, 0], [250, 250, 250]], np.uint8)
    frame = np.array([[[1, 2, 3, 255], [200, 60, 60, 128], [255, 255, 255, 127]]], np.uint8)
    write_gif(tmp_path / "out.gif", [frame], palette=palette, durations=[40], loop=None)
    (again,) = read_gif(tmp_path / "out.gif").frames()
    assert again.tolist() == [[[0, 0, 0, 255], [255, 0, 0, 255], [0, 0, 0, 0]]]


def test_every_pixel_takes_the_nearest_colour(tmp_path: Path) -> None:
    palette, frame = noise(254, 3), noise(60, 80, 3, seed=1)
    write_gif(tmp_path / "out.gif", [opaque(frame)], palette=palette, durations=[0], loop=None)
    (again,) = read_gif(tmp_path / "out.gif").frames()
    distances = ((frame[:, :, None].astype(int) - palette) ** 2).sum(-1).min(-1)
    np.testing.assert_array_equal(((again[..., :3].astype(int) - frame) ** 2).sum(-1), distances)


def test_frames_are_not_hoarded(tmp_path: Path) -> None:
    alive, most = [], 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(20):
            frame = opaque(smooth(8, 8, number))
            alive.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in alive))
            yield frame

    write_gif(tmp_path / "out.gif", frames(), palette=noise(8, 3), durations=[20] * 20, loop=0)
    assert most <= 3 and len(read_gif(tmp_path / "out.gif")) == 20


def test_gif_writing_errors(tmp_path: Path) -> None:
    path, frame, palette = tmp_path / "out.gif", opaque(smooth(4, 4)), noise(4, 3)
    with pytest.raises(MediaError, match="no frames"):
        write_gif(path, [], palette=palette, durations=[], loop=0)
    for count in (1, 3):
        with pytest.raises(ValueError):
            write_gif(path, [frame, frame], palette=palette, durations=[10] * count, loop=0)
    with pytest.raises(MediaError, match="65535"):
        write_gif(path, [np.zeros((1, 70_000, 4), np.uint8)], palette=palette, durations=[0], loop=0)
    with pytest.raises(MediaError, match="cannot be written"):
        write_gif(tmp_path / "no" / "out.gif", [frame], palette=palette, durations=[0], loop=0)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------ palettes


def psnr(frames: list[np.ndarray], shown_frames: list[np.ndarray]) -> float:
    error = np.mean(
        [(one[..., :3].astype(float) - other[..., :3]) ** 2 for one, other in zip(frames, shown_frames, strict=True)]
    )
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("count", [1, 253, 254])
def test_as_many_colours_as_a_palette_holds_come_back_exactly(count: int) -> None:
    colors = np.array([(i, 255 - i, 7 * i % 256) for i in range(count)], np.uint8)
    frame = opaque(np.random.default_rng(0).permutation(np.repeat(colors, 3, axis=0))[None])
    assert sorted(gif_palette([frame]).tolist()) == sorted(colors.tolist())


def test_palette_is_deterministic_bounded_and_ignores_transparent_pixels() -> None:
    frames = [opaque(smooth(90, 160, phase)) for phase in np.linspace(0, 2, 6)]
    palette = gif_palette(iter(frames))
    assert palette.dtype == np.uint8 and palette.shape == (254, 3)
    np.testing.assert_array_equal(palette, gif_palette(frames))
    hidden = np.dstack([noise(5, 5, 3), np.zeros((5, 5), np.uint8)])
    assert gif_palette([hidden]).shape == (1, 3)
    hidden[0, 0] = (9, 8, 7, 255)
    assert gif_palette([hidden, hidden]).tolist() == [[9, 8, 7]]


def test_what_stands_still_does_not_flicker(tmp_path: Path) -> None:
    frames = [opaque(smooth(90, 160, phase)) for phase in np.linspace(0, 0.5, 6)]
    for frame in frames:
        frame[:45] = frames[0][:45]
    write_gif(tmp_path / "out.gif", frames, palette=gif_palette(frames), durations=[40] * 6, loop=0)
    again = list(read_gif(tmp_path / "out.gif").frames())
    assert all(np.array_equal(frame[:45], again[0][:45]) for frame in again)
    assert psnr(frames, again) > 40


def test_scenes_with_palettes_of_their_own(tmp_path: Path) -> None:
    """Shared, own, own, another, shared again; in the second something turns transparent."""
    shared, own, another = (noise(9, 3, seed=seed) for seed in range(3))
    holders = [shared, own, own, another, shared]
    generator = np.random.default_rng(5)
    frames = [opaque(palette[generator.integers(0, 9, (7, 8))]) for palette in holders]
    frames[2][:4] = frames[1][:4]
    frames[2][5, 5] = 0
    kept = [None, own, own, another, None]
    path = tmp_path / "out.gif"
    write_gif(path, iter(frames), palette=shared, own=iter(kept), durations=[40] * 5, loop=0)
    size, _, patches = parse_gif(path.read_bytes())
    assert_same_frames(shown(size, patches), iter(frames))
    assert_same_frames(read_gif(path).frames(), iter(frames))
    for frame, pillow in zip(frames, iio.imiter(path, plugin="pillow", mode="RGBA"), strict=True):
        np.testing.assert_array_equal(pillow[frame[..., 3] > 0], frame[frame[..., 3] > 0])
    assert [patch["palette"] is None for patch in patches] == [palette is None for palette in kept]
    with pytest.raises(ValueError):
        write_gif(path, iter(frames), palette=shared, own=kept[:3], durations=[40] * 5, loop=0)


@pytest.mark.skipif(not GIFS, reason="needs ../shared/data/video")
@pytest.mark.parametrize("source", GIFS, ids=lambda path: path.stem)
def test_real_gifs(tmp_path: Path, source: Path) -> None:
    animation = read_gif(source)
    size, loop, patches = parse_gif(source.read_bytes())
    assert (animation.size, animation.loop) == (size, loop)
    assert animation.durations == [10 * patch["delay"] for patch in patches]
    frames = list(animation.frames())
    assert_same_frames(iter(frames[:6]), itertools.islice(shown(size, patches), 6))
    target = tmp_path / "out.gif"
    write_gif(
        target, animation.frames(), palette=gif_palette(frames[::2]), durations=map(int, animation.durations), loop=loop
    )
    again = read_gif(target)
    assert (again.size, again.durations, again.loop) == (size, animation.durations, loop)
    assert again.transparent == animation.transparent
    assert psnr(frames, list(again.frames())) > 40


def test_what_rests_in_a_gif_costs_next_to_nothing(tmp_path: Path) -> None:
    frame = opaque(smooth(40, 60))
    palette = gif_palette([frame])
    sizes = []
    for count in (1, 20):
        write_gif(tmp_path / "still.gif", [frame] * count, palette=palette, durations=[50] * count, loop=0)
        sizes.append((tmp_path / "still.gif").stat().st_size)
    assert sizes[1] - sizes[0] < 19 * 60  # an empty pixel and its header, not a picture
