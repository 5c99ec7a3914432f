"""Which reader and which writer for which file."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from colorize.media.animation import Animation, Flipbook, Timed, Timing, rgba, unzip, whole_durations
from colorize.media.apng import is_apng, read_apng, write_apng
from colorize.media.common import MAX_PIXELS, MediaError, StrPath, reading
from colorize.media.folder import Pictures, numbered, read_frames, read_single, write_frames, write_single
from colorize.media.gif import read_gif, write_gif
from colorize.media.palette import Palettes
from colorize.media.pictures import PICTURE_SUFFIXES, is_picture
from colorize.media.webp import is_animated_webp, read_webp, write_webp

log = logging.getLogger(__name__)

_FLIPBOOK_SUFFIXES = (".gif", ".png", ".apng", ".webp")
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")  # of video.py, which is not imported before use
CLIP_SUFFIXES = _FLIPBOOK_SUFFIXES + _VIDEO_SUFFIXES
_GIF_MAX = 65535  # hundredths of a second
_GIF_MIN = 2  # players slow a shorter delay down to 10
_BLINK, _SHOWN = Fraction(1, 50), Fraction(1, 10)  # what players make of delays below 20 ms


def read_animation(path: StrPath, *, max_pixels: int = MAX_PIXELS) -> Animation:
    """Open a GIF, APNG, animated WebP, video, folder of frames or single picture, recognised by content.

    Of a GIF, APNG, WebP or video that is damaged or cut short, what can be read is; ``lost`` says what could not.

    Raises:
        MediaError: missing, empty, nothing of it can be read, or frames above ``max_pixels``.
    """
    path = Path(path)
    if path.is_dir():
        return read_frames(path, max_pixels=max_pixels)
    with reading(path, "clip"), open(path, "rb") as file:
        head = file.read(32)
        if not head:
            raise ValueError("it is empty")
        apng = head[:8] == b"\x89PNG\r\n\x1a\n" and is_apng(file)
    if head[:3] == b"GIF" or (path.suffix.lower() == ".gif" and not is_picture(head)):
        return read_gif(path, max_pixels=max_pixels, partial=True)
    if apng:
        return read_apng(path, max_pixels=max_pixels)
    if is_animated_webp(head):
        return read_webp(path, max_pixels=max_pixels)
    if is_picture(head):
        return read_single(path, max_pixels=max_pixels)
    from colorize.media.video import read_video

    return read_video(path, max_pixels=max_pixels)


def is_clip(path: StrPath) -> bool:
    """Whether a file is for `read_animation`, by content and, where that cannot be read, by its ending: not a still."""
    path = Path(path)
    try:
        if not path.is_file():
            raise FileNotFoundError(path)  # a pipe would wait for whoever writes to it
        with open(path, "rb") as file:
            head = file.read(32)
            if head[:8] == b"\x89PNG\r\n\x1a\n":
                return is_apng(file)
    except OSError:
        return path.suffix.lower() in (".gif", *_VIDEO_SUFFIXES)
    return is_animated_webp(head) or not (is_picture(head) or path.suffix.lower() in PICTURE_SUFFIXES)


def is_single(animation: Animation) -> bool:
    """Whether it is one picture, of a file that is no animation."""
    return isinstance(animation, Pictures) and not animation.path.is_dir()


def choose_target(source: Path, output: str | None, overwrite: bool) -> tuple[Path, bool]:
    """What is written, and whether it is a folder. Raises ValueError for what is in the way."""
    target = Path(output) if output else _beside(source)
    folder = bool(output and output.endswith("/")) or (source.is_dir() and (not output or not target.suffix))
    if target.resolve() == source.resolve():
        raise ValueError(f"output={target} is the input: choose another")
    if target.is_dir() and not folder:
        raise ValueError(f"output={target} is a folder: name a file in it, or end it with / for a folder of frames")
    if folder and target.exists() and not target.is_dir():
        raise ValueError(f"output={target} is a file, and a folder of frames is asked for: choose another")
    if target.exists() and not overwrite and not (folder and not any(target.iterdir())):
        raise ValueError(f"{target} exists: overwrite=true replaces it, output= writes elsewhere")
    return target, folder


def check_target(target: Path, animation: Animation, folder: bool) -> None:
    """Refuse an ending that nothing can be written to, or that cannot hold this. Raises ValueError."""
    suffix = target.suffix.lower()
    if folder or suffix in CLIP_SUFFIXES:
        return
    if suffix in PICTURE_SUFFIXES:
        if is_single(animation):
            return
        raise ValueError(f"output={target} holds one picture, not a clip: {target.stem}/ writes a folder of pictures")
    raise ValueError(f"output={target} must end in .gif, {', '.join(CLIP_SUFFIXES[1:])}, or / for a folder of pictures")


def write_animation(
    path: StrPath,
    timed: Timed,
    source: Animation,
    *,
    folder: bool = False,
    palette: np.ndarray | Palettes | None = None,
    quality: int = 90,
) -> None:
    """Write a clip as the suffix of ``path`` says, frame by frame, at once or not at all.

    Where the kind stays the same, so do size, number of frames, every duration, loop count and transparency; otherwise
    as near as the new kind allows: GIF's hundredths do not drift from the true time, a GIF has at most 50 frames a
    second (the others are left out), video has no transparency (white), and delays below 20 ms, which players show
    for 100, last that long in a video.

    Args:
        timed: frames uint8 (H, W, 3 or 4) and their timing, as `Animation.through` gives them.
        source: what they come from; loop, sound, names and tags are taken from it.
        folder: write a folder of pictures, whatever the suffix.
        palette: for a GIF: one, as `gif_palette` makes it, or those of its scenes.
        quality: 0 to 100, of WebP and video.

    Raises:
        MediaError: not writable, disk full, no frames, or more than the kind can hold.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if folder:
        names = (file.name for file in source.paths) if isinstance(source, Pictures) else numbered()
        write_frames(path, (frame for frame, _ in timed), names)
    elif suffix == ".gif":
        assert palette is not None, "a GIF needs a palette"
        shared, scenes = palette if isinstance(palette, Palettes) else Palettes(palette)
        frames, timing = unzip(timed if isinstance(source, Flipbook) else _at_most_50_a_second(timed))
        timing, again = itertools.tee(timing)
        durations = (10 * min(duration, _GIF_MAX) for duration in whole_durations(timing, 100))
        own = _own_palettes(scenes, again) if scenes else None
        write_gif(path, map(rgba, frames), palette=shared, own=own, durations=durations, loop=source.loop)
    elif suffix in PICTURE_SUFFIXES and is_single(source):
        assert isinstance(source, Pictures)
        frame, _ = next(timed)
        write_single(path, frame, source.metadata)
    elif suffix in (".png", ".apng"):
        write_apng(path, timed, loop=source.loop)
    elif suffix == ".webp":
        write_webp(path, timed, loop=source.loop, quality=quality)
    elif suffix in _VIDEO_SUFFIXES:
        from colorize.media.video import write_video

        shown = _as_players_show(timed) if isinstance(source, Flipbook) else timed
        write_video(path, shown, source=source, quality=quality)
    else:
        raise MediaError(f"{path}: unknown suffix '{path.suffix}'; use one of {', '.join(CLIP_SUFFIXES)}")


def _beside(source: Path) -> Path:
    """NAME_color.EXT beside the input, a folder beside a folder."""
    if source.is_dir():
        source = source.resolve()
        return source.with_name(f"{source.name}_color")
    return source.with_name(f"{source.stem}_color{source.suffix}")


def _own_palettes(
    scenes: Sequence[tuple[Fraction, np.ndarray | None]], timing: Iterable[Timing]
) -> Iterator[np.ndarray | None]:
    """For each frame the palette of its scene; by time, since not every frame may be there."""
    following, own = deque(scenes), None
    for start, _ in timing:
        while following and following[0][0] <= start:
            own = following.popleft()[1]
        yield own


def _at_most_50_a_second(timed: Timed) -> Timed:
    """Without the frames that GIF's players cannot show in time; the one before is shown for as long."""
    held: tuple[np.ndarray, Timing] | None = None
    left_out = 0
    for frame, timing in timed:
        if held is not None:
            if round(timing.start * 100) - round(held[1].start * 100) < _GIF_MIN:
                left_out += 1
                continue
            yield held[0], Timing(held[1].start, timing.start - held[1].start)
        held = frame, timing
        end = timing.start + timing.duration
    if held is not None:
        yield held[0], Timing(held[1].start, max(held[1].duration, end - held[1].start))
    if left_out:
        log.info("GIF shows at most 50 frames a second: %d are left out", left_out)


def _as_players_show(timed: Timed) -> Iterator[tuple[np.ndarray, Timing]]:
    start = Fraction(0)
    for frame, (_, duration) in timed:
        shown = _SHOWN if duration < _BLINK else duration
        yield frame, Timing(start, shown)
        start += shown
