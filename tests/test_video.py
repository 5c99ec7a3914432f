"""Clips of every kind through read_animation and write_animation, and colorize.gif from file to file.

What is written is checked by an independent path: PyAV, Pillow or imageio reading back, or bytes put together here.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import resource
import struct
import sys
import weakref
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
import pytest
from conftest import config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from colorize import gif as command
from colorize.gif import gif
from colorize.media import (
    MediaError,
    Palettes,
    gif_palette,
    is_clip,
    read_animation,
    read_gif,
    read_picture,
    write_animation,
    write_gif,
)
from colorize.media.animation import Timing
from colorize.pipeline import Colorizer
from colorize.temporal import Independent, Temporal

SECOND = 12800  # ticks of the videos made here
VFR = [0, 512, 1024, 1100, 3000, 3064, 6400, 6912]  # frames far apart, and close together
FILES = ["clip.mp4", "clip.m4v", "clip.mov", "clip.mkv", "clip.webm", "clip.avi"]


def smooth(height: int, width: int, phase: float = 0.0) -> np.ndarray:
    """A picture that lossy formats keep well: uint8 (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(3 * x + y + phase), np.sin(2 * y + 1 + phase), np.sin(2 * (x + y) + 2 + phase)]
    return (128 + 100 * np.stack(waves, -1)).round().astype(np.uint8)


def quarters(height: int, width: int) -> np.ndarray:
    """Four grey corners, all different, so that every turn and mirror of it differs."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 20
    picture[: height // 2, width // 2 :] = 90
    picture[height // 2 :, : width // 2] = 160
    picture[height // 2 :, width // 2 :] = 230
    return picture


def opaque(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def make_video(
    path: Path,
    frames: list[np.ndarray],
    pts: list[int] | None = None,
    *,
    ticks: int = SECOND,
    codec: str | None = None,
    sound: str | None = None,
    **settings: Any,
) -> Path:
    """A video by PyAV alone; ``pts`` count ticks, one frame after the other at 25 a second by default."""
    suffix = path.suffix.lower()
    codec = codec or {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    matrix, alpha = settings.pop("matrix", None), settings.pop("alpha", False)
    with av.open(str(path), "w", container_options=settings.pop("options", {})) as file:
        if suffix == ".avi":
            ticks = 25
        stream: Any = file.add_stream(codec, rate=25, time_base=Fraction(1, ticks))
        stream.width, stream.height = frames[0].shape[1::-1]
        odd = stream.width % 2 or stream.height % 2
        stream.pix_fmt = "yuv444p" if odd and codec == "libx264" else "yuv420p"
        stream.pix_fmt = "yuva420p" if alpha else stream.pix_fmt
        stream.options = {"crf": "10", "bf": "0"}
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if matrix:
            stream.set_display_matrix(matrix)
        track: Any = file.add_stream(sound, rate=48000) if sound else None
        if track is not None:
            track.codec_context.layout = "stereo"
        seconds = 0.0
        for frame, time in zip(frames, pts or range(0, len(frames) * ticks // 25, ticks // 25), strict=False):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, ticks)
            file.mux(stream.encode(picture))
            seconds = time / ticks + 0.04
        file.mux(stream.encode(None))
        if track is not None:
            wave = np.sin(np.arange(int(48000 * seconds)) * 0.05).astype(np.float32)
            for start in range(0, len(wave), 960):
                part = wave[None, start : start + 960].repeat(2, 0)
                piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="stereo")
                piece.sample_rate, piece.pts, piece.time_base = 48000, start, Fraction(1, 48000)
                file.mux(track.encode(piece))
            file.mux(track.encode(None))
    return path


def frame_count(image: Any) -> int:
    return image.n_frames  # of animations alone, which Pillow's types do not tell


def video_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as file:
        frames: Any = file.decode(video=0)
        return [frame.pts * frame.time_base for frame in frames]


def packets_of_sound(path: Path) -> list[tuple[Fraction, bytes]]:
    """When after the first picture, and what."""
    first = video_times(path)[0]
    with av.open(str(path)) as file:
        return [(p.pts * p.time_base - first, bytes(p)) for p in file.demux(audio=0) if p.pts is not None]


def warm(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """A colouriser that costs nothing."""
    for frame in frames:
        colour = frame.copy()
        colour[..., 2] //= 2
        yield colour


def convert(source: Path, target: Path, **settings: Any) -> Path:
    animation = read_animation(source)
    palette = gif_palette(warm(animation.frames())) if target.suffix == ".gif" else None
    write_animation(target, animation.through(warm), animation, palette=palette, **settings)
    return target


@pytest.fixture
def colourizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """colorize.gif with a network that costs nothing (tests/test_pipeline.py has a real one)."""

    class Warm(Colorizer):
        def __init__(self) -> None:
            pass

        def new_clip(self, temporal: str) -> Temporal:
            return Independent()

        def __call__(self, image: np.ndarray, temporal: Temporal | None = None) -> np.ndarray:  # type: ignore[override]
            return np.stack(list(warm(iter(image.reshape(-1, *image.shape[-3:]))))).reshape(image.shape)

    monkeypatch.setattr("colorize.choice.choose_checkpoint", lambda *_: Path(__file__))
    monkeypatch.setattr("colorize.pipeline.Colorizer.from_checkpoint", lambda *_, **__: Warm())


# ------------------------------------------------------------------------------------------------------------- videos


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_video_comes_back_in_kind(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    pts = list(range(8)) if name.endswith(".avi") else VFR
    frames = [smooth(*size, 0.3 * number) for number in range(8)]
    source = make_video(tmp_path / name, frames, pts)
    before = read_animation(source)
    assert before.size == size[::-1] and before.lost == "" and len(before) in range(7, 16)
    target = convert(source, tmp_path / f"out{source.suffix}")
    after = read_animation(target)
    assert after.size == before.size
    assert video_times(target) == video_times(source) == [timing.start for _, timing in before.timed()]
    assert [timing for _, timing in after.timed()] == [timing for _, timing in before.timed()]
    for frame, written in zip(warm(before.frames()), after.frames(), strict=True):
        assert np.abs(frame.astype(int) - written).mean() < 4
    again = [frame for frame, _ in zip(before.frames(), range(2), strict=False)]
    np.testing.assert_array_equal(again[0], next(before.frames()))  # any number of times
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, target.name])


def test_avi_with_gaps(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.avi", [smooth(16, 16, i) for i in range(4)], [0, 1, 5, 6])
    assert video_times(convert(source, tmp_path / "b.avi")) == video_times(source)


@pytest.mark.parametrize(("height", "numbers"), [(240, (6, 6, 6)), (720, (1, 1, 1))])
def test_colours_are_tagged_and_true(tmp_path: Path, height: int, numbers: tuple[int, int, int]) -> None:
    """Against the definition of Y'CbCr (BT.601, BT.709) rather than against our own reader."""
    red = np.full((height, 64, 3), (200, 30, 40), np.uint8)
    source = tmp_path / "red.gif"
    write_gif(source, [opaque(red)], palette=red[0, :1], durations=[40], loop=0)
    animation = read_animation(source)
    write_animation(tmp_path / "red.mp4", animation.timed(), animation)
    with av.open(str(tmp_path / "red.mp4")) as file:
        frame = next(file.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == numbers
        assert frame.color_range == 1 and frame.format.name == "yuv420p"
        planes = [memoryview(plane)[0] for plane in frame.planes]
    kr, kb = (0.299, 0.114) if height == 240 else (0.2126, 0.0722)
    r, g, b = red[0, 0] / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    expected = [16 + 219 * y, 128 + 112 * (b - y) / (1 - kb), 128 + 112 * (r - y) / (1 - kr)]
    assert np.abs(np.array(planes) - expected).max() <= 2
    assert np.abs(next(read_animation(tmp_path / "red.mp4").frames()).astype(int) - red).max() <= 4


def test_tags_of_the_source_are_kept(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1}
    source = make_video(tmp_path / "a.mkv", [smooth(32, 32)], **tags)
    with av.open(str(convert(source, tmp_path / "b.mkv"))) as file:
        frame: Any = next(file.decode(video=0))
        assert {name: int(getattr(frame, name)) for name in tags} == tags


@pytest.mark.parametrize(("codec", "full"), [("mjpeg", True), ("ffv1", False)])
def test_cameras_of_full_range_are_read_as_such(tmp_path: Path, codec: str, full: bool) -> None:
    """Y'CbCr written by hand: the same bytes mean two things."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p" if full else "yuv420p"
        frame = av.VideoFrame(32, 32, stream.pix_fmt)
        for plane, value in zip(frame.planes, (100, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    expected = 100 if full else (100 - 16) * 255 / 219
    assert np.abs(next(read_animation(path).frames()) - expected).max() <= 1.5
    assert np.abs(next(read_animation(convert(path, tmp_path / "b.mkv")).frames())[..., 0] - expected).max() <= 3


def test_transparency_that_a_video_cannot_keep_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_video(tmp_path / "a.webm", [smooth(32, 32)], alpha=True)
    with caplog.at_level(logging.INFO):
        assert read_animation(source).size == (32, 32)
    assert "transparency is not kept" in caplog.text


TURNS: dict[
    tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]
] = {  # a, b, c, d of the display matrix, and what a player shows
    (1, 0, 0, 1): lambda a: a,
    (-1, 0, 0, 1): np.fliplr,
    (-1, 0, 0, -1): lambda a: np.rot90(a, 2),
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda a: a.swapaxes(0, 1),
    (0, 1, -1, 0): lambda a: np.rot90(a, -1),
    (0, -1, -1, 0): lambda a: np.rot90(a, 2).swapaxes(0, 1),
    (0, -1, 1, 0): np.rot90,
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_player_shows_the_same_way_up_and_aspect(tmp_path: Path, turn: tuple[int, int, int, int]) -> None:
    a, b, c, d = (65536 * value or 7 for value in turn)  # sines and cosines that were rounded are not quite 0
    source = make_video(
        tmp_path / "a.mp4",
        [quarters(32, 64)] * 2,
        matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30],
        sample_aspect_ratio=Fraction(4, 3),
    )
    expected = TURNS[turn](quarters(32, 64))
    before = read_animation(source)
    assert before.size == expected.shape[1::-1]
    for frame in (next(before.frames()), iio.imread(convert(source, tmp_path / "b.mp4"), index=0, plugin="pyav")):
        assert np.abs(frame[..., 0].astype(int) - expected[..., 0]).mean() < 4
    with av.open(str(tmp_path / "b.mp4")) as file:
        aspect = file.streams.video[0].sample_aspect_ratio
    assert aspect == (Fraction(3, 4) if turn[0] == 0 else Fraction(4, 3))


@pytest.mark.parametrize(
    ("name", "sound", "out"),
    [
        ("a.mp4", "aac", "b.mp4"),
        ("a.mov", "aac", "b.mkv"),
        ("a.webm", "libopus", "b.webm"),
        ("a.mkv", "libopus", "b.mp4"),
        ("a.avi", "libmp3lame", "b.avi"),
    ],
)
def test_sound_is_copied(tmp_path: Path, name: str, sound: str, out: str, caplog: pytest.LogCaptureFixture) -> None:
    source = make_video(tmp_path / name, [smooth(32, 32, i / 9) for i in range(40)], sound=sound)
    with caplog.at_level(logging.INFO):
        target = convert(source, tmp_path / out)
    before, after = packets_of_sound(source), packets_of_sound(target)
    assert [data for _, data in after] == [data for _, data in before] and len(before) > 50
    assert max(abs(one - other) for (one, _), (other, _) in zip(before, after, strict=True)) <= Fraction(1, 900)
    assert not caplog.messages


@pytest.mark.parametrize(("sound", "out"), [("aac", "b.webm"), ("libopus", "b.avi")])
def test_sound_that_does_not_fit_is_encoded_anew_and_said(
    tmp_path: Path, sound: str, out: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_video(tmp_path / "a.mkv", [smooth(32, 32, i / 9) for i in range(40)], sound=sound)
    with caplog.at_level(logging.INFO):
        target = convert(source, tmp_path / out)
    (line,) = caplog.messages
    assert f"{sound.removeprefix('lib')} sound does not fit" in line
    waves = []
    for path in (source, target):
        with av.open(str(path)) as file:
            parts = [frame.to_ndarray().reshape(frame.layout.nb_channels, -1)[0] for frame in file.decode(audio=0)]
        waves.append(np.concatenate(parts).astype(float))
    assert abs(len(waves[1]) - len(waves[0])) < 4800
    spectra = [np.abs(np.fft.rfft(wave[4800:52800])) for wave in waves]
    assert spectra[0].argmax() == spectra[1].argmax()


def test_odd_sizes_say_how_they_are_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_video(tmp_path / "a.mp4", [smooth(33, 47)])
    with caplog.at_level(logging.INFO):
        convert(source, tmp_path / "b.mp4")
    assert "odd size" in caplog.text and "4:4:4" in caplog.text


def test_quality_is_a_trade(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    source = make_video(tmp_path / "a.mp4", [noise] * 3)
    for suffix in (".mp4", ".webm", ".avi", ".webp"):
        sizes = [convert(source, tmp_path / f"{q}{suffix}", quality=q).stat().st_size for q in (0, 50, 100)]
        assert sizes[0] < sizes[1] < sizes[2]


def test_frames_of_a_video_are_not_hoarded(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", [smooth(32, 32, i / 9) for i in range(60)])
    animation = read_animation(source)
    for suffix in (".mp4", ".gif", ".webp", ".png"):
        alive: list[weakref.ref] = []
        most = 0

        def watched(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal most
            for frame in warm(frames):
                alive.append(weakref.ref(frame))  # noqa: B023
                most = max(most, sum(ref() is not None for ref in alive))  # noqa: B023
                yield frame

        palette = gif_palette([smooth(8, 8)])
        write_animation(tmp_path / f"b{suffix}", animation.through(watched), animation, palette=palette)
        assert len(alive) == 60 and most <= 4


# ------------------------------------------------------------------------------------------------- APNG and WebP


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_pixels(rgba: np.ndarray) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rgba))


def build_apng(size: tuple[int, int], patches: list[dict[str, Any]], plays: int, hidden: bool) -> bytes:
    """``hidden``: a first picture that is no part of the animation, for those who know no APNG."""
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 0))
    out += chunk(b"acTL", struct.pack(">II", len(patches), plays))
    if hidden:
        out += chunk(b"IDAT", raw_pixels(np.full((size[1], size[0], 4), 77, np.uint8)))
    sequence = itertools.count()
    for number, patch in enumerate(patches):
        height, width = patch["rgba"].shape[:2]
        control = (width, height, *patch["at"], *patch["delay"], patch["disposal"], patch["blend"])
        out += chunk(b"fcTL", struct.pack(">IIIIIHHBB", next(sequence), *control))
        data = raw_pixels(patch["rgba"])
        if number == 0 and not hidden:
            out += chunk(b"IDAT", data[:9]) + chunk(b"IDAT", data[9:])
        else:
            out += chunk(b"fdAT", struct.pack(">I", next(sequence)) + data)
    return out + chunk(b"IEND", b"")


def shown(size: tuple[int, int], patches: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    canvas = np.zeros((size[1], size[0], 4))
    for patch in patches:
        before, (x, y), source = canvas.copy(), patch["at"], patch["rgba"].astype(float)
        h, w = source.shape[:2]
        area = canvas[y : y + h, x : x + w]
        if patch["blend"]:
            alpha, under = source[..., 3:] / 255, area[..., 3:] / 255
            total = alpha + under * (1 - alpha)
            mixed = source[..., :3] * alpha + area[..., :3] * under * (1 - alpha)
            color = np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)
            area[:] = np.dstack([color, 255 * total])
        else:
            area[:] = source
        yield canvas.copy()
        if patch["disposal"] == 1:
            area[:] = 0
        elif patch["disposal"] == 2:
            canvas = before


@st.composite
def apngs(draw: st.DrawFn) -> tuple[tuple[int, int], list[dict[str, Any]], int, bool]:
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hidden = draw(st.booleans())
    patches: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        whole = number == 0 and not hidden
        w, h = (width, height) if whole else (draw(st.integers(1, width)), draw(st.integers(1, height)))
        rgba = generator.integers(0, 256, (h, w, 4), dtype=np.uint8)
        rgba[generator.random((h, w)) < 0.5, 3] = 255
        patch = {
            "rgba": rgba,
            "at": (0, 0) if whole else (draw(st.integers(0, width - w)), draw(st.integers(0, height - h))),
            "delay": (draw(st.integers(0, 65535)), draw(st.integers(0, 65535))),
            "disposal": draw(st.integers(0, 2)),
            "blend": draw(st.integers(0, 1)),
        }
        patches.append(patch)
    return (width, height), patches, draw(st.integers(0, 9)), hidden


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clip=apngs())
def test_apng_frames_are_as_shown_and_come_back_exactly(tmp_path: Path, clip: Any) -> None:
    size, patches, plays, hidden = clip
    source = tmp_path / "in.png"
    source.write_bytes(build_apng(size, patches, plays, hidden))
    animation = read_animation(source)
    seconds = [Fraction(number, unit or 100) for number, unit in (patch["delay"] for patch in patches)]
    assert (animation.size, len(animation), animation.lost) == (size, len(patches), "")
    assert animation.loop == {0: 0, 1: None}.get(plays, plays - 1)
    assert [timing.duration for _, timing in animation.timed()] == seconds
    frames = list(animation.frames())
    for frame, expected in zip(frames, shown(size, patches), strict=True):
        visible = expected[..., 3] > 0
        assert np.abs(frame[..., 3] - expected[..., 3]).max() <= 2
        weight = expected[..., 3:][visible] / 255  # colours that can hardly be seen are hardly told apart
        assert (np.abs(frame[..., :3][visible] - expected[..., :3][visible]) * weight).max(initial=0) <= 2.5

    write_animation(tmp_path / "out.png", animation.timed(), animation)
    again = read_animation(tmp_path / "out.png")
    assert (again.size, again.loop, again.lost) == (animation.size, animation.loop, "")
    for (frame, timing), (written, kept) in zip(animation.timed(), again.timed(), strict=True):
        np.testing.assert_array_equal(frame, written)
        assert timing == kept
    with Image.open(tmp_path / "out.png") as image:  # other people's reader agrees
        assert getattr(image, "n_frames", 1) == len(frames) and image.info["loop"] == plays
        for number, frame in enumerate(frames):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), frame)
            assert image.info["duration"] == pytest.approx(float(1000 * seconds[number]))


def webp(path: Path, frames: list[np.ndarray], durations: list[int], loop: int, **settings: Any) -> Path:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=loop, **settings)
    return path


@pytest.mark.parametrize("see_through", [False, True])
@pytest.mark.parametrize("loop", [0, 1, 5])
def test_webp_frames_are_as_libwebp_shows_them_and_keep_time(tmp_path: Path, see_through: bool, loop: int) -> None:
    frames = [opaque(smooth(34, 51, 0.2 * number)) for number in range(6)]
    frames[3] = frames[2].copy()
    frames[3][5:9, 7:30] = 255
    for number, frame in enumerate(frames if see_through else []):
        frame[number : number + 12, 3:20, 3] = [0, 255][number % 2]
    source = webp(tmp_path / "in.webp", frames, [30, 1, 0, 999, 40, 70], loop, lossless=True)
    animation = read_animation(source)
    with Image.open(source) as image:
        assert (animation.size, len(animation)) == (image.size, getattr(image, "n_frames", 1))
        durations = []
        for number, frame in enumerate(animation.frames()):
            image.seek(number)
            np.testing.assert_array_equal(
                np.asarray(image.convert("RGBA"))[frame[..., 3] > 0], frame[frame[..., 3] > 0]
            )
            durations.append(image.info["duration"])
    assert animation.loop == {0: 0, 1: None}.get(loop, loop - 1)
    assert [1000 * timing.duration for _, timing in animation.timed()] == durations

    def still(original: Iterator[np.ndarray]) -> Iterator[np.ndarray]:  # frames that do not change are kept too
        for frame in original:
            yield frame
            if next(original, None) is not None:
                yield frame.copy()

    write_animation(tmp_path / "out.webp", animation.through(still), animation, quality=100)
    again = read_animation(tmp_path / "out.webp")
    assert [t for _, t in again.timed()] == [t for _, t in animation.timed()] and again.loop == animation.loop
    with Image.open(tmp_path / "out.webp") as image:
        assert getattr(image, "n_frames", 1) == 6 and image.info["loop"] == loop
        for number, (frame, written) in enumerate(zip(still(animation.frames()), again.frames(), strict=True)):
            image.seek(number)
            pillow = np.asarray(image.convert("RGBA"))
            np.testing.assert_array_equal(pillow[..., 3], frame[..., 3])
            np.testing.assert_array_equal(written[..., 3], frame[..., 3])
            seen = frame[..., 3] > 0
            np.testing.assert_array_equal(pillow[seen], written[seen])
            assert np.abs(pillow[seen].astype(int) - frame[seen]).mean() < 6


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
@pytest.mark.parametrize("see_through", [False, True])
def test_what_moves_in_the_middle_is_drawn_in_its_place(tmp_path: Path, suffix: str, see_through: bool) -> None:
    ground = np.full((40, 60, 4), 200, np.uint8)
    ground[..., 3] = 0 if see_through else 255
    frames = []
    for number in range(5):
        frame = ground.copy()
        frame[14 + number : 24 + number, 20 + 3 * number : 31 + 3 * number] = (40, 90, 160, 255)
        frames.append(frame)
    first = webp(tmp_path / "in.webp", frames, [40] * 5, 0, lossless=True)
    clip, target = read_animation(first), tmp_path / f"out{suffix}"
    write_animation(target, clip.timed(), clip, palette=Palettes(gif_palette(frames)), quality=100)
    ours = list(read_animation(target).frames())
    with Image.open(target) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            for read in (np.asarray(image.convert("RGBA")), ours[number]):
                np.testing.assert_array_equal(read[..., 3], frame[..., 3])
                seen = frame[..., 3] > 0
                assert np.abs(read[seen].astype(int) - frame[seen]).mean() < (6 if suffix == ".webp" else 1e-9)


@pytest.mark.parametrize("at", [(3, 0), (0, 3), (3, 3)])
@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_a_patch_that_sticks_out_is_refused(tmp_path: Path, suffix: str, at: tuple[int, int]) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        patch = {"rgba": np.zeros((8, 8, 4), np.uint8), "delay": (1, 10), "disposal": 0, "blend": 0}
        path.write_bytes(build_apng((10, 10), [{**patch, "at": at}], 0, hidden=True))
    else:
        webp(path, [opaque(smooth(10, 10)), opaque(smooth(10, 10, 2.0))], [30, 30], 0)
        whole = bytearray(path.read_bytes())
        place = whole.index(b"ANMF") + 8
        whole[place], whole[place + 3] = at  # in steps of two pixels
        path.write_bytes(whole)
    with pytest.raises(MediaError, match="damaged"):
        list(read_animation(path).frames())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numerator=st.integers(1, 10**7), denominator=st.integers(1, 10**7))
@example(numerator=100003, denominator=30011)
@example(numerator=65535 * 90001 - 1, denominator=90001)
def test_any_duration_fits_an_apng(tmp_path: Path, numerator: int, denominator: int) -> None:
    wanted, target = Fraction(numerator, denominator), tmp_path / "out.png"
    source = read_animation(flipbook(tmp_path / "in.png", 2))
    timed = ((frame, Timing(timing.start, wanted)) for frame, timing in source.timed())
    write_animation(target, timed, source)
    for _, (_, duration) in read_animation(target).timed():
        assert abs(duration - min(wanted, Fraction(0xFFFF))) <= max(wanted, Fraction(1)) / 20000


def test_stills_and_clips_are_told_apart_by_content(tmp_path: Path) -> None:
    frames = [opaque(smooth(12, 16, 0.3 * number)) for number in range(3)]
    stills, clips = [tmp_path / f"still{number}" for number in range(4)], [tmp_path / f"clip{n}" for n in range(4)]
    for path, kind in zip(stills, ("PNG", "WEBP", "TIFF", "BMP"), strict=True):
        Image.fromarray(frames[0]).save(path, kind)
    for path, kind in zip(clips, ("PNG", "WEBP", "GIF"), strict=False):
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(path, kind, save_all=True, append_images=images[1:], duration=50)
    make_video(tmp_path / "a.mp4", [frame[..., :3] for frame in frames]).rename(clips[3])
    assert [is_clip(path) for path in stills] == [False] * 4
    assert [is_clip(path) for path in clips] == [True] * 4
    # what cannot be read goes by its name
    assert [is_clip(tmp_path / name) for name in ("no.gif", "no.mp4", "no.jpg", "no.png")] == [True, True, False, False]


# ------------------------------------------------------------------------------------- from one kind into another


def test_gif_into_video_lasts_as_long_as_browsers_show_it(tmp_path: Path) -> None:
    frames = [opaque(smooth(16, 16, i)) for i in range(4)]
    frames[1][:8, :, 3] = 0
    source = tmp_path / "a.gif"
    write_gif(source, frames, palette=gif_palette(frames), durations=[50, 0, 10, 200], loop=0)
    for suffix in (".mp4", ".webm", ".avi"):
        target = tmp_path / f"b{suffix}"
        animation = read_animation(source)
        write_animation(target, animation.timed(), animation)
        starts = [Fraction(0), Fraction(5, 100), Fraction(15, 100), Fraction(25, 100)]
        assert video_times(target) == starts
        shown = list(read_animation(target).frames())
        assert shown[1][:6].min() > 220, "what is transparent is white"


def test_video_into_gif_does_not_drift_and_leaves_out_what_no_player_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [smooth(16, 16, i / 5) for i in range(30)]
    source = make_video(tmp_path / "a.mp4", frames, [i * 1001 for i in range(30)], ticks=30000)
    animation = read_gif(convert(source, tmp_path / "a.gif"))
    assert len(animation) == 30 and set(animation.durations) == {30, 40} and animation.loop == 0
    assert sum(animation.durations) == pytest.approx(30 * 1001 / 30, abs=10)
    assert not caplog.messages
    source = make_video(tmp_path / "b.mp4", frames, [i * 100 for i in range(30)], ticks=12000)  # 120 a second
    with caplog.at_level(logging.INFO):
        animation = read_gif(convert(source, tmp_path / "b.gif"))
    assert len(animation) == 13 and animation.durations[:-1] == [20] * 12
    assert f"{30 - len(animation)} are left out" in caplog.text


def test_loops_mean_the_same_in_every_kind(tmp_path: Path) -> None:
    frames = [opaque(smooth(8, 8, i)) for i in range(2)]
    for loop in (None, 0, 1, 7):
        path = tmp_path / "a.gif"
        write_gif(path, frames, palette=gif_palette(frames), durations=[40, 40], loop=loop)
        for suffix in (".png", ".webp", ".gif"):
            path = convert(path, tmp_path / f"b{suffix}")
            assert read_animation(path).loop == loop


def test_a_folder_of_frames(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2, 10):
        Image.fromarray(np.full((8, 12, 3), number, np.uint8)).save(tmp_path / f"in/frame{number}.png")
    animation = read_animation(tmp_path / "in")
    assert [int(frame[0, 0, 0]) for frame in animation.frames()] == [1, 2, 10], "by number, not by letter"
    write_animation(tmp_path / "out", animation.through(warm), animation, folder=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frame1.png", "frame10.png", "frame2.png"]
    np.testing.assert_array_equal(iio.imread(tmp_path / "out/frame10.png")[0, 0], [10, 10, 5])
    write_animation(tmp_path / "out.mp4", animation.timed(), animation)
    assert video_times(tmp_path / "out.mp4") == [Fraction(number, 25) for number in range(3)]
    clip = read_animation(tmp_path / "out.mp4")
    write_animation(tmp_path / "frames", clip.timed(), clip, folder=True)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"00000{i}.png" for i in (1, 2, 3)]


# ------------------------------------------------------------------------------------------------------- bad input


def flipbook(path: Path, count: int = 6) -> Path:
    frames = [opaque(smooth(24, 36, 0.3 * number)) for number in range(count)]
    if path.suffix == ".gif":
        write_gif(path, frames, palette=gif_palette(frames), durations=[40] * count, loop=0)
        return path
    write_gif(path.with_suffix(".gif"), frames, palette=gif_palette(frames), durations=[40] * count, loop=0)
    animation = read_animation(path.with_suffix(".gif"))
    write_animation(path, animation.timed(), animation)
    path.with_suffix(".gif").unlink()
    return path


def long_video(path: Path) -> Path:
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    return make_video(path, [smooth(48, 64, i / 7) for i in range(60)], options=options)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi"])
def test_what_can_be_read_of_a_cut_clip_is_coloured(tmp_path: Path, colourizer: None, name: str) -> None:
    path = tmp_path / name
    whole = (flipbook if name in ("a.gif", "a.png", "a.webp") else long_video)(path)
    before = read_animation(whole)
    times = [timing for _, timing in before.timed()]
    assert before.lost == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with pytest.raises(ValueError, match=r"cut short after \d+ .*frames were coloured") as error:
        gif(config("gif", f"input={path}"))
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    target = tmp_path / f"a_color{path.suffix}"
    after = read_animation(target)
    kept = [timing.start for _, timing in after.timed()]
    assert after.lost == "" and 0 < len(kept) < len(times)
    assert kept == [timing.start for timing in times[: len(kept)]]
    assert f"{len(kept)} frames were coloured" in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, target.name])


def test_damage_in_the_middle_does_not_end_a_video(tmp_path: Path) -> None:
    path = long_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    animation = read_animation(path)
    times = [timing.start for _, timing in animation.timed()]
    assert times[-1] == Fraction(59, 25) and (animation.lost or len(times) == 60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_apng_and_webp_read_or_say_so(tmp_path: Path, data: st.DataObject) -> None:
    for suffix in (".png", ".webp"):
        path = tmp_path / f"whole{suffix}"
        whole = path.read_bytes() if path.exists() else flipbook(path, 3).read_bytes()
        broken = bytearray(whole)
        broken[data.draw(st.integers(8, len(whole) - 1))] = data.draw(st.integers(0, 255))
        damaged = tmp_path / f"damaged{suffix}"
        damaged.write_bytes(broken)
        try:
            frames = list(read_animation(damaged).frames())
        except MediaError as error:
            assert "\n" not in str(error)
        else:
            assert 1 <= len(frames) <= 3


def test_decompression_bombs(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif", "a.png", "a.webp"):
        path = (flipbook if name != "a.mp4" else long_video)(tmp_path / name)
        with pytest.raises(MediaError, match=r"max_pixels = 500"):
            read_animation(path, max_pixels=500)
        assert read_animation(path, max_pixels=48 * 64).lost == ""


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    """``python -m colorize.gif``, in this process: exit code and stderr."""
    monkeypatch.setattr(sys, "argv", ["gif", *arguments])
    try:
        command.main()
    except SystemExit as stop:
        return int(stop.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, colourizer: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    flipbook(Path("ok.gif"))
    long_video(Path("ok.mp4"))
    for name in ("zero.gif", "zero.mp4"):
        Path(name).touch()
    for name in ("text.gif", "text.mp4", "text.webm", "text.txt"):
        Path(name).write_text("no picture at all, but a text that is long enough to look at")
    with av.open("sound.mp4", "w") as file:
        track: Any = file.add_stream("aac", rate=48000)
        piece = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        piece.sample_rate = 48000
        file.mux(track.encode(piece))
        file.mux(track.encode(None))
    Path("strange.mp4").write_bytes(Path("ok.mp4").read_bytes().replace(b"avc1", b"qqq1").replace(b"avcC", b"qqqC"))
    Path("headless.mp4").write_bytes(Path("ok.mp4").read_bytes()[:40])
    Path("empty").mkdir()
    Path("mixed").mkdir()
    for side in (8, 9):
        Image.new("L", (side, side)).save(f"mixed/{side}.png")
    Path("folder.gif").mkdir()
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    for arguments, words in [
        (["input=gone.gif"], ["gone.gif", "no such file"]),
        (["input=zero.gif"], ["zero.gif", "empty"]),
        (["input=zero.mp4"], ["zero.mp4", "empty"]),
        (["input=text.gif"], ["text.gif", "not a GIF"]),
        (["input=text.mp4"], ["text.mp4", "cannot be read as a video"]),
        (["input=text.webm"], ["text.webm", "cannot be read as a video"]),
        (["input=text.txt"], ["text.txt"]),
        (["input=sound.mp4"], ["sound.mp4", "no video stream"]),
        (["input=strange.mp4"], ["strange.mp4", "codec"]),
        (["input=headless.mp4"], ["headless.mp4"]),
        (["input=empty/"], ["no pictures in this folder"]),
        (["input=mixed/"], ["9x9", "8x8"]),
        (["input=ok.gif", "output=ok.gif"], ["is the input"]),
        (["input=ok.gif", "output=./ok.gif", "overwrite=true"], ["is the input"]),
        (["input=ok.gif", "output=out.xyz"], ["must end in .gif"]),
        (["input=ok.gif", "output=out"], ["must end in .gif"]),
        (["input=ok.mp4", "output=out.jpg"], ["one picture", "out/"]),
        (["input=ok.mp4", "output=ok.gif"], ["ok.gif exists: overwrite=true"]),
        (["input=ok.mp4", "output=folder.gif", "overwrite=true"], ["is a folder"]),
        (["input=ok.mp4", "output=ok.gif/"], ["is a file"]),
        (["input=ok.mp4", "output=text.txt/out.mp4"], ["text.txt"]),
        (["input=ok.mp4", "output=/proc/out.mp4"], ["/proc/out.mp4", "cannot be written"]),
        (["input=ok.mp4", "output=/proc/out.gif"], ["/proc/out.gif", "cannot be written"]),
        (["input=ok.mp4", "output=/proc/out/"], ["/proc/out"]),
        (["input=ok.mp4", "max_pixels=3000"], ["max_pixels = 3000"]),
        (["input=ok.gif", "quality=101"], ["quality=101"]),
        (["input=ok.gif", "quality=best"], ["quality=best"]),
    ]:
        code, said = run(monkeypatch, capsys, *arguments)
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(lines) == 1, (arguments, said)
        assert all(word in lines[0] for word in words), (arguments, said)
        assert sorted(str(path) for path in tmp_path.rglob("*")) == before, arguments


def test_a_missing_encoder_names_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = flipbook(tmp_path / "a.gif")
    monkeypatch.setattr("av.codecs_available", frozenset())
    with pytest.raises(MediaError, match="no libx264 encoder; choose another suffix"):
        convert(source, tmp_path / "b.mp4")


@pytest.mark.parametrize("name", ["old.mp4", "old.webm", "old.avi", "old.mkv", "old.webp", "old.png"])
def test_full_disk_keeps_the_old_file(tmp_path: Path, name: str) -> None:
    frames = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(9)]
    source = make_video(tmp_path / "in.mp4", frames)
    path = tmp_path / name
    path.write_bytes(b"precious")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # stands in for a disk with 3000 bytes left
    try:
        with pytest.raises(MediaError, match="cannot be written") as error:
            convert(source, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert path.read_bytes() == b"precious" and sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", name]


def test_full_disk_leaves_no_folder(tmp_path: Path) -> None:
    frames = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(3)]
    source = make_video(tmp_path / "in.mp4", frames)
    animation = read_animation(source)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(MediaError, match=r"out.* cannot be written"):
            write_animation(tmp_path / "out", animation.timed(), animation, folder=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("name", ["b.mp4", "b.webm", "b.avi", "b.gif", "b.webp", "b.png", "b"])
def test_a_cancelled_clip_leaves_nothing(tmp_path: Path, name: str) -> None:
    source = make_video(tmp_path / "in.mp4", [smooth(32, 32, i) for i in range(20)])
    animation = read_animation(source)

    def cancelled(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        yield from itertools.islice(frames, 9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        palette = gif_palette([smooth(8, 8)])
        timed = animation.through(cancelled)
        write_animation(tmp_path / name, timed, animation, folder=name == "b", palette=palette)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp", ".png"])
def test_a_fault_of_the_network_is_not_laid_on_the_file(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / "in.mp4", [smooth(32, 32)] * 3)
    animation = read_animation(source)

    def diverged(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        yield next(frames)
        raise ValueError("the network's output is not finite")

    with pytest.raises(ValueError, match=r"^the network's output is not finite$"):
        palette = gif_palette([smooth(8, 8)])
        write_animation(tmp_path / f"b{suffix}", animation.through(diverged), animation, palette=palette)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


# ------------------------------------------------------------------------------------------------ colorize.gif


def colour_is_there(path: Path) -> bool:
    frame = next(read_animation(path).frames())[..., :3].astype(int)
    return bool(np.ptp(frame, axis=-1).max() > 10)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.mp4", "a.mkv", "a.webm", "a.avi", "frames/"])
def test_the_command_keeps_the_kind(tmp_path: Path, colourizer: None, name: str) -> None:
    path = tmp_path / name
    if name == "frames/":
        path.mkdir()
        for number in range(3):
            Image.fromarray(smooth(16, 20, number)).save(path / f"{number}.png")
    else:
        (flipbook if name in ("a.gif", "a.png", "a.webp") else long_video)(path)
    before = read_animation(path)
    target = gif(config("gif", f"input={tmp_path}/{name}", "batch_size=4"))
    assert target == tmp_path / ("frames_color" if name == "frames/" else f"a_color{path.suffix}")
    after = read_animation(target)
    assert type(after) is type(before) and (after.size, after.loop) == (before.size, before.loop)
    assert [timing for _, timing in after.timed()] == [timing for _, timing in before.timed()]
    assert colour_is_there(target)


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path, colourizer: None) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Colorize"
    Image.fromarray(smooth(20, 30)).save(tmp_path / "a.jpg", exif=exif)
    target = gif(config("gif", f"input={tmp_path / 'a.jpg'}"))
    assert target.name == "a_color.jpg" and read_picture(target).rgb.shape == (30, 20, 3)
    with Image.open(target) as image:
        assert image.getexif()[0x010F] == "Colorize" and image.getexif().get(0x0112, 1) == 1
    for name in ("still.png", "still.gif", "still.mp4"):
        assert colour_is_there(gif(config("gif", f"input={tmp_path / 'a.jpg'}", f"output={tmp_path / name}")))


def test_4k_stills(tmp_path: Path, colourizer: None) -> None:
    frame = np.zeros((2160, 3840, 4), np.uint8)
    frame[..., :3] = np.linspace(0, 255, 3840).astype(np.uint8)[None, :, None]
    frame[100:, :, 3] = 255
    write_gif(tmp_path / "a.gif", [frame], palette=gif_palette([frame]), durations=[0], loop=None)
    Image.fromarray(frame).save(tmp_path / "a.webp", quality=50)
    for name in ("a.gif", "a.webp"):
        (written,) = read_animation(gif(config("gif", f"input={tmp_path / name}"))).frames()
        np.testing.assert_array_equal(written[..., 3], frame[..., 3])


def test_a_gif_of_2000_frames_with_10_and_0_ms(tmp_path: Path, colourizer: None) -> None:
    frames = [
        opaque(np.full((6, 8, 3), 30 * (number // 3 % 8), np.uint8)) for number in range(2000)
    ]  # neighbours alike
    durations = [(10, 0, 20, 0)[number % 4] for number in range(2000)]
    write_gif(tmp_path / "a.gif", frames, palette=gif_palette(frames[:64]), durations=durations, loop=2)
    target = gif(config("gif", f"input={tmp_path / 'a.gif'}", "batch_size=100"))
    after = read_gif(target)
    assert after.durations == durations and after.loop == 2
    with Image.open(target) as image:
        assert getattr(image, "n_frames", 1) == 2000


def test_a_clip_in_which_nothing_changes(tmp_path: Path, colourizer: None) -> None:
    frames = [opaque(smooth(16, 16))] * 5
    write_gif(tmp_path / "a.gif", frames, palette=gif_palette(frames), durations=[40, 0, 40, 70, 10], loop=0)
    for suffix in (".gif", ".png", ".webp"):
        animation = read_animation(tmp_path / "a.gif")
        write_animation(
            tmp_path / f"b{suffix}", animation.timed(), animation, palette=gif_palette(animation.frames()), quality=95
        )
        after = read_animation(tmp_path / f"b{suffix}")
        shown = list(after.frames())
        assert len(shown) == 5 and all(np.array_equal(frame, shown[0]) for frame in shown)
        assert [t for _, t in after.timed()] == [t for _, t in animation.timed()]


def test_existing_folders_keep_what_else_is_in_them(tmp_path: Path, colourizer: None) -> None:
    source = make_video(tmp_path / "a.mp4", [smooth(16, 16, i) for i in range(3)])
    (tmp_path / "out").mkdir()
    assert gif(config("gif", f"input={source}", f"output={tmp_path}/out/")) == tmp_path / "out"
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists: overwrite=true"):
        gif(config("gif", f"input={source}", f"output={tmp_path}/out/"))
    gif(config("gif", f"input={source}", f"output={tmp_path}/out/", "overwrite=true"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "000001.png",
        "000002.png",
        "000003.png",
        "mine.txt",
    ]


@pytest.mark.parametrize("name", ["beach_waves_gray.gif", "kite_surf_gray.mp4"])
def test_real_clips(shared: Path, tmp_path: Path, colourizer: None, name: str) -> None:
    source = shared / "video" / name
    target = gif(config("gif", f"input={source}", f"output={tmp_path / name}", "size=32", "quality=50"))
    before, after = read_animation(source), read_animation(target)
    assert after.size == before.size and colour_is_there(target)
    assert [timing for _, timing in after.timed()] == [timing for _, timing in before.timed()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts the threads of this process in /proc")
def test_a_long_clip_takes_no_more_threads_than_a_short_one(tmp_path: Path) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def counted(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            most[-1] = max(most[-1], threads())
            yield frame

    most = []
    for name, count in (("short.mp4", 5), ("long.mp4", 120)):
        with av.open(str(tmp_path / name), "w") as file:
            stream = file.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
            for level in range(count):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        gc.collect()
        gc.disable()  # each frame's own converter, with its threads, would live until the next collection
        try:
            most.append(0)
            clip = read_animation(tmp_path / name)
            write_animation(tmp_path / f"again_{name}", clip.through(counted), clip)
        finally:
            gc.enable()
    assert most[1] <= most[0] + 4
