"""Video files through PyAV (FFmpeg's libraries): frames with their exact times in, and out with their sound.

Frames come out upright (a rotation flag is applied) as 8-bit RGB, by the colour matrix that the file names, or else by
the one that players take for its size. Memory does not grow with length: one frame is decoded at a time.
"""

from __future__ import annotations

import itertools
import logging
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from colorize.media.animation import Animation, Timed, Timing, on_white
from colorize.media.common import MediaError, StrPath, check_pixels, reading, replacing

log = logging.getLogger(__name__)

# container, encoder of the pictures, encoder of sound that the container cannot hold as it is
_WRITERS = {
    ".mp4": ("mp4", "libx264", "aac"),
    ".m4v": ("mp4", "libx264", "aac"),
    ".mov": ("mov", "libx264", "aac"),
    ".mkv": ("matroska", "libx264", "aac"),
    ".webm": ("webm", "libvpx-vp9", "libopus"),
    ".avi": ("avi", "mpeg4", "libmp3lame"),
}
_SHORTEST = Fraction(1, 100)  # AVI: every tick without a frame costs bytes
_RGB_TO_YUV = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
# ITU-T H.273 numbers: (matrix, primaries, transfer)
# FFmpeg's demuxers of files that are whole in themselves. Playlists (HLS, DASH, concat) name others, which may lie
# anywhere on this machine.
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,dv,mxf,nut,ivf,yuv4mpegpipe,h264,hevc,obu,rm,swf"
_BT601, _BT709 = (6, 6, 6), (1, 1, 1)
_UNSPECIFIED = (0, 2)
_SLACK = Fraction(1, 2)  # seconds that a file may end before it says it does
_MATRICES = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
_MATRICES |= {4: Colorspace.FCC, 9: Colorspace.BT2020}


@dataclass
class Video(Animation):
    """A video opened for reading.

    Attributes:
        time_base: seconds; the times of all frames are multiples of it.
        rate: frames a second, on average.
        end: seconds, when the last frame ends, as far as the file says; otherwise 0.
        pixel_aspect: width / height of a pixel as shown.
        color: matrix, primaries and transfer, as H.273 numbers them.
        sound: whether there is any.
    """

    kind = "video"
    count: int
    time_base: Fraction
    rate: Fraction
    end: Fraction
    pixel_aspect: Fraction
    color: tuple[int, int, int]
    sound: bool
    max_pixels: int

    def __len__(self) -> int:
        return self.count

    def timed(self) -> Timed:
        with reading(self.path, self.kind), _open(self.path) as file:
            stream = _stream(file, self.max_pixels)
            converter = VideoReformatter()
            damaged = number = 0
            size: tuple[int, int] | None = None
            waiting: tuple[np.ndarray, Fraction, Fraction] | None = None
            for frame in _decoded(file, stream):
                if frame is None:
                    damaged += 1
                    continue
                size = size or (frame.width, frame.height)
                pixels = _upright(_to_rgb(converter, frame, size, self.color[0]), _display_matrix(frame))
                length = (frame.duration or 0) * self.time_base or 1 / self.rate
                start = waiting[1] + waiting[2] if waiting and frame.pts is None else (frame.pts or 0) * self.time_base
                if waiting is not None:
                    yield waiting[0], Timing(waiting[1], max(start - waiting[1], Fraction(0)))
                waiting = pixels, start, length
                number += 1
            if waiting is None:
                raise ValueError("not one of its frames can be decoded")
            yield waiting[0], Timing(*waiting[1:])
        cut = _is_cut_short(self.path) or waiting[1] + waiting[2] < self.end - _SLACK
        short = f"it is cut short after {number} of about {self.count} frames" if cut else ""
        pieces = f"{damaged} damaged piece{'s' if damaged > 1 else ''} could not be decoded" if damaged else ""
        self.lost = ", ".join(filter(None, (short, pieces)))


def read_video(path: StrPath, *, max_pixels: int) -> Video:
    """Open a video of any container and codec that this build of FFmpeg reads; its first frame is decoded.

    Raises:
        MediaError: missing, empty, not a video, without pictures, of an unknown codec, or above ``max_pixels``.
    """
    path = Path(path)
    with reading(path, "video"), _open(path) as file:
        stream = _stream(file, max_pixels)
        frame = next((frame for frame in _decoded(file, stream) if frame is not None), None)
        if frame is None:
            raise ValueError("not one of its frames can be decoded")
        width, height = frame.width, frame.height
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        if _display_matrix(frame)[0] == 0:  # lies on its side
            width, height, aspect = height, width, 1 / aspect
        time_base = stream.time_base or 1 / rate
        count = stream.frames
        sound = bool(file.streams.audio)
        end = Fraction(0)
        if stream.duration:
            end = ((stream.start_time or 0) + stream.duration) * time_base
        elif "DURATION" in stream.metadata:  # Matroska's
            with suppress(ValueError):
                hours, minutes, seconds = stream.metadata["DURATION"].split(":")
                end = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
        length = end or Fraction(file.duration or 0, av.time_base)
        count = max(1, count or round(length * rate) or sum(packet.size > 0 for packet in file.demux(stream)))
        if stream.metadata.get("alpha_mode") == "1":
            log.info("%s: its transparency is not kept", path)
        color = _color(frame)
        return Video(path, (width, height), 0, "", count, time_base, rate, end, aspect, color, sound, max_pixels)


def write_video(path: StrPath, timed: Timed, *, source: Animation, quality: int) -> None:
    """Write a video in the container its suffix names (`_WRITERS`), at once or not at all.

    H.264 in .mp4, .m4v, .mov and .mkv, VP9 in .webm, MPEG-4 in .avi. Times are exact as far as the container can tell
    them (mkv and webm: 1 ms; avi: whole frames). Sound is copied, or encoded anew where the container cannot hold it.

    Args:
        timed: frames uint8 (H, W, 3 or 4) with their timing; what is transparent shows white.
        source: where time base, pixel aspect, colour tags and sound come from, if it is a video.
        quality: 0 to 100; 90 is hard to tell from the source.

    Raises:
        MediaError: no encoder, not writable, disk full, no frames.
    """
    path = Path(path)
    container, encoder, _ = _WRITERS[path.suffix.lower()]
    if encoder not in av.codecs_available:
        raise MediaError(f"{path}: this build of PyAV has no {encoder} encoder; choose another suffix for output=")
    video = source if isinstance(source, Video) else None
    first = next(timed, None)
    if first is None:
        raise MediaError(f"{path}: there are no frames to write")
    options = {"movflags": "faststart"} if container in ("mp4", "mov") else {}
    with replacing(path) as temporary, ExitStack() as stack:
        try:
            file = stack.enter_context(av.open(_url(temporary), "w", format=container, container_options=options))
            stream = _add_pictures(file, encoder, first[0].shape, source, quality)
            if video is not None:
                with _open(video.path) as original:
                    file.metadata.update({key: original.metadata[key] for key in _KEPT if key in original.metadata})
                    if original.streams.subtitles:
                        log.info("%s: subtitles are left out", path)
            sound = _Sound(file, video, path, stack) if video and video.sound else None
            if stream.pix_fmt == "yuv444p":
                log.info("%s: odd size, so its colours are stored at full resolution (4:4:4)", path)
            matrix = _MATRICES.get(stream.codec_context.colorspace, Colorspace.ITU709)
            last, durations = -(1 << 62), {}
            time_base, converter = stream.codec_context.time_base, VideoReformatter()
            for pixels, timing in itertools.chain([first], timed):
                frame = converter.reformat(
                    av.VideoFrame.from_ndarray(on_white(pixels), format="rgb24"),
                    format=stream.pix_fmt,
                    dst_colorspace=matrix,
                    src_color_range="JPEG",
                    dst_color_range="MPEG",
                    interpolation=_RGB_TO_YUV,
                )
                frame.time_base = time_base
                frame.pts = last = max(round(timing.start / time_base), last + 1)
                durations[last] = max(1, round((timing.start + timing.duration) / time_base) - last)
                _mux(file, stream, stream.encode(frame), durations, sound)
            _mux(file, stream, stream.encode(None), durations, sound)
            if sound is not None:
                sound.until(None)
            stack.close()  # the container's end is written here
        except FFmpegError as error:
            if isinstance(error, OSError):  # the disk
                raise
            reason = " ".join(str(error).split())
            raise MediaError(f"{path}: {encoder} cannot write this ({reason}); try another suffix") from error


_KEPT = ("title", "artist", "album", "date", "comment", "description", "copyright", "genre", "creation_time")


# ------------------------------------------------------------------------------------------------------------- reading


def _open(path: Path) -> Any:
    """A video to be read: this file and no other. Raises ValueError for a kind that is not read."""
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        return av.open(_url(path), metadata_errors="replace", container_options=options)
    except ArgumentError as error:
        raise ValueError("it is no video, or of a kind that is not read, such as a playlist") from error


def _url(path: Path) -> str:
    """What stands before a colon in a name would be taken for a protocol."""
    return f"file:{path}"


def _stream(file: Any, max_pixels: int) -> Any:
    """The picture stream, ready to be decoded."""
    streams = [s for s in file.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise ValueError("it has no video stream")
    stream = streams[0]
    if stream.codec_context is None:
        raise ValueError("its video codec is unknown to this build of FFmpeg")
    check_pixels(stream.width, stream.height, max_pixels)
    stream.thread_type = "AUTO"
    return stream


def _decoded(file: Any, stream: Any) -> Iterator[Any]:
    """Frames in the order they are shown; None for what cannot be decoded."""
    packets = file.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = [] if packet.is_corrupt else packet.decode()
        except FFmpegError:
            yield None
            if packet is None:  # the file itself cannot be read on
                return
            continue
        if packet.is_corrupt:
            yield None
        yield from frames


def _color(frame: Any) -> tuple[int, int, int]:
    """The frame's (matrix, primaries, transfer); what is not told is what players take for its size."""
    usual = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    told = (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc))
    color = tuple(usual[i] if value in _UNSPECIFIED else value for i, value in enumerate(told))
    return color if color[0] in _MATRICES else (usual[0], *color[1:])  # type: ignore[return-value]


def _to_rgb(converter: VideoReformatter, frame: Any, size: tuple[int, int], matrix: int) -> np.ndarray:
    """uint8 (H, W, 3) of the (W, H) asked for: a stream may change its size on the way.

    One converter a clip: each has threads, and a frame's own lives on until Python looks for cycles.
    """
    full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    rgb = converter.reformat(
        frame,
        *size,
        "rgb24",
        src_colorspace=_MATRICES[matrix],
        src_color_range="JPEG" if full else "MPEG",
        dst_color_range="JPEG",
    )
    return rgb.to_ndarray()


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """(a, b, c, d): a pixel at (x, y) is shown at (a x + c y, b x + d y); turns by 90 degrees and mirrors alone."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _upright(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if a == 0:
        pixels = pixels.swapaxes(0, 1)
    if a + c < 0:
        pixels = pixels[:, ::-1]
    if b + d < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _is_cut_short(path: Path) -> bool:
    """Whether the file ends before its container says it does. False where the container does not say."""
    length = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] == b"RIFF":
            return struct.unpack_from("<I", head, 4)[0] + 8 > length
        if head[:4] == b"\x1a\x45\xdf\xa3":  # Matroska and WebM: a header, then one segment
            place = 4
            size, place = _ebml_size(head, place)
            place += size or 0
            if head[place : place + 4] != b"\x18\x53\x80\x67":
                return False
            size, place = _ebml_size(head, place + 4)
            return size is not None and place + size > length
        if head[4:8] != b"ftyp":
            return False
        place = 0
        while place + 8 <= length:
            file.seek(place)
            size, _, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            if size == 0:  # to the end
                return False
            place += large if size == 1 else size
        return place != length


def _ebml_size(data: bytes, place: int) -> tuple[int | None, int]:
    """A variable-length number and the place after it; None for all ones, which mean unknown."""
    if place >= len(data) or not data[place]:
        return None, len(data)
    width = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + width]) & (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), place + width


# ------------------------------------------------------------------------------------------------------------- writing


def _add_pictures(file: Any, encoder: str, shape: tuple[int, ...], source: Animation, quality: int) -> Any:
    height, width = shape[:2]
    video = source if isinstance(source, Video) else None
    rate, time_base = (video.rate, video.time_base) if video else _clock(source)
    if encoder == "mpeg4":  # AVI counts frames of one length, and MPEG-4's clock has 16 bits
        if time_base < _SHORTEST or time_base.denominator >= 1 << 16:
            time_base = 1 / rate.limit_denominator(1001) if video else _SHORTEST
        rate = 1 / time_base
    stream = file.add_stream(encoder, rate=rate.limit_denominator(1 << 16), time_base=time_base)
    context = stream.codec_context
    context.width, context.height = width, height
    full_chroma = encoder == "libx264" and (width % 2 or height % 2)
    context.pix_fmt = "yuv444p" if full_chroma else "yuv420p"
    large = width >= 1280 or height > 576
    matrix, primaries, transfer = video.color if video else (_BT709 if large else _BT601)
    context.colorspace, context.color_primaries, context.color_trc, context.color_range = matrix, primaries, transfer, 1
    if video is not None and video.pixel_aspect != 1:
        context.sample_aspect_ratio = video.pixel_aspect
    if encoder == "libx264":
        # No B-frames: mp4 tells how long each frame lasts in the order they are coded, which is to be as shown.
        stream.options = {"crf": f"{51 - 0.37 * quality:.1f}", "bf": "0"}
    elif encoder == "libvpx-vp9":
        crf = str(round(63 - 0.42 * quality))
        stream.options = {"crf": crf, "b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "4"}
    else:
        context.qmin = context.qmax = round(31 - 0.31 * quality) or 1
    return stream


def _clock(source: Animation) -> tuple[Fraction, Fraction]:
    """Frame rate and time base for an animation: the longest tick of which all its durations are multiples."""
    durations = [round(ms) for ms in getattr(source, "durations", [])]
    tick = Fraction(gcd(*durations) or 40, 1000)
    return len(durations) / max(Fraction(sum(durations), 1000), tick), tick


def _mux(file: Any, stream: Any, packets: list[Any], durations: dict[int, int], sound: _Sound | None) -> None:
    for packet in packets:
        packet.duration = durations.pop(packet.pts, packet.duration)  # the last one's is nowhere else
        if sound is not None and packet.dts is not None:
            sound.until(packet.dts * packet.time_base)
        file.mux(packet)


class _Sound:
    """The sound of a video on its way into another file, in step with the pictures."""

    def __init__(self, file: Any, video: Video, path: Path, stack: ExitStack) -> None:
        self._file = file
        self._input: Any = stack.enter_context(_open(video.path))
        self._targets: dict[int, tuple[Any, bool]] = {}
        fallback = _WRITERS[path.suffix.lower()][2]
        for stream in self._input.streams.audio:
            try:
                target, copied = file.add_stream_from_template(stream), True
            except (FFmpegError, ValueError):
                if stream.codec_context is None:
                    log.info("%s: a sound track of an unknown codec is left out", path)
                    continue
                rate = 48000 if fallback == "libopus" else stream.codec_context.sample_rate
                target, copied = file.add_stream(fallback, rate=rate), False
                target.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
                log.info("%s: %s sound does not fit in here and becomes %s", path, stream.codec_context.name, fallback)
            target.metadata.update({key: v for key, v in stream.metadata.items() if key in ("language", "title")})
            self._targets[stream.index] = target, copied
        streams = [stream for stream in self._input.streams.audio if stream.index in self._targets]
        self._packets = self._muxable(streams) if streams else iter(())
        self._held: Any = None

    def until(self, time: Fraction | None) -> None:
        """Mux all sound that comes before ``time`` in seconds; None: the rest."""
        while True:
            packet = self._held or next(self._packets, None)
            self._held = None
            if packet is None:
                return
            if time is not None and packet.dts is not None and packet.dts * packet.time_base > time:
                self._held = packet
                return
            self._file.mux(packet)

    def _muxable(self, streams: list[Any]) -> Iterator[Any]:
        packets = self._input.demux(*streams)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:  # the rest of the sound is lost with the rest of the pictures
                packet = None
            if packet is None:
                break
            target, copied = self._targets[packet.stream.index]
            if not copied:
                try:
                    frames = packet.decode()
                except FFmpegError:
                    continue
                for frame in frames:
                    yield from target.encode(frame)
            elif packet.dts is not None:
                packet.stream = target
                yield packet
        for target, copied in self._targets.values():
            if not copied:
                yield from target.encode(None)
