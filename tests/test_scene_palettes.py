"""Palettes of a GIF's scenes, through colorize.gif and on its own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import config
from PIL import Image
from test_media import parse_gif

from benchmarks import palette as benchmark
from benchmarks.clips import make_clips
from colorize.data import scenes
from colorize.evaluation import ConstantColour
from colorize.gif import gif
from colorize.media import Flipbook, gif_palette, read_animation, write_animation
from colorize.pipeline import Colorizer
from colorize.scene_palettes import scene_palettes

DURATION = 40


class Frames(Flipbook):
    kind = "frames"

    def __init__(self, frames: list[np.ndarray]):
        super().__init__(Path("frames"), frames[0].shape[1::-1], 0, "", [DURATION] * len(frames))
        self.shots = frames

    def _play(self):
        return iter(self.shots)


def mean_square_error(frames: list[np.ndarray], path: Path) -> float:
    shown = [frame[..., :3].astype(float) for frame in read_animation(path).frames()]
    return float(np.mean([(a - b) ** 2 for a, b in zip(shown, frames, strict=True)]))


def scene(kind: str, seed: int, count: int = 6) -> list[np.ndarray]:
    photograph = scenes.render(kind, seed, size=144)
    return list(make_clips([photograph], frames=count, size=(96, 144))[0].frames)


def tinted(frames: list[np.ndarray], tint: tuple[int, int, int]) -> list[np.ndarray]:
    return [(0.6 * frame + np.array(tint)).astype(np.uint8) for frame in frames]


def save(path: Path, frames: list[np.ndarray], rate: int = 25) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv444p"
        stream.options = {"crf": "1"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def two() -> list[np.ndarray]:
    return tinted(scene("rural", 0), (0, 100, 0)) + tinted(scene("beach", 1), (100, 0, 60))


def test_scenes_of_other_colours_get_their_own(two: list[np.ndarray], tmp_path: Path):
    clip = Frames(two)
    palettes = scene_palettes(clip, lambda frame: frame)
    assert [start for start, _ in palettes.scenes] == [0, Fraction(6 * DURATION, 1000)]
    assert all(own is not None for _, own in palettes.scenes)
    write_animation(tmp_path / "own.gif", clip.timed(), clip, palette=palettes)
    write_animation(tmp_path / "shared.gif", clip.timed(), clip, palette=palettes.shared)
    own, shared = (mean_square_error(two, tmp_path / name) for name in ("own.gif", "shared.gif"))
    assert own < shared / 10**0.05  # half a dB
    assert palettes.shared.tolist() == gif_palette(two).tolist()


def test_what_stands_still_within_a_scene_does_not_change(two: list[np.ndarray], tmp_path: Path):
    first, second = two[0], two[-1]
    still = [first] * 4 + [second] * 4
    clip = Frames(still)
    palettes = scene_palettes(clip, lambda frame: frame)
    assert len(palettes.scenes) == 2
    write_animation(tmp_path / "out.gif", clip.timed(), clip, palette=palettes)
    shown = list(read_animation(tmp_path / "out.gif").frames())
    for frames in (shown[:4], shown[4:]):
        assert all(np.array_equal(frame, frames[0]) for frame in frames)


def test_one_scene_one_palette(two: list[np.ndarray]):
    palettes = scene_palettes(Frames(two[:6]), lambda frame: frame)
    assert not palettes.scenes and palettes.shared.tolist() == gif_palette(two[:6]).tolist()


def test_where_nothing_is_gained_the_palette_is_shared(tmp_path: Path):
    flat = [np.full((96, 144, 3), 0, np.uint8) for _ in range(8)]  # few colours: the shared palette has them all
    for i, frame in enumerate(flat):
        frame[20:70, 20:90] = (200, 30, 30) if i < 4 else 0
        frame[5:15, 100:140] = 0 if i < 4 else (240, 240, 20)
        frame[80:, :] = 0 if i < 4 else (120, 200, 220)
    clip = Frames(flat)
    palettes = scene_palettes(clip, lambda frame: frame)
    assert palettes.scenes and all(own is None for _, own in palettes.scenes)
    write_animation(tmp_path / "out.gif", clip.timed(), clip, palette=palettes)
    assert mean_square_error(flat, tmp_path / "out.gif") == 0


def test_few_frames_are_coloured(two: list[np.ndarray]):
    coloured = []

    def colour(frame: np.ndarray) -> np.ndarray:
        coloured.append(frame)
        return frame

    scene_palettes(Frames(two * 10), colour)  # 120 frames, 20 scenes
    assert 16 <= len(coloured) <= 18 + 20


def test_a_video_that_loses_frames_keeps_its_scenes(two: list[np.ndarray], tmp_path: Path):
    """Of 100 frames a second a GIF shows 50: palettes go by time, not by number."""
    save(tmp_path / "in.mp4", two, rate=100)
    clip = read_animation(tmp_path / "in.mp4")
    palettes = scene_palettes(clip, lambda frame: frame)
    write_animation(tmp_path / "out.gif", clip.timed(), clip, palette=palettes)
    assert 6 <= len(read_animation(tmp_path / "out.gif")) < 12
    assert mean_square_error(two[::2], tmp_path / "out.gif") < 40


def test_the_command_takes_them(two: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Coloured by one ab, a dark and a light scene have other colours."""
    flat = Colorizer(ConstantColour([0.2, 0.1]), 16, "cpu")
    monkeypatch.setattr(Colorizer, "from_checkpoint", lambda *_, **__: flat)
    shots = [frame // 3 for frame in two[:6]] + [170 + frame // 3 for frame in two[6:]]
    images = [Image.fromarray(frame) for frame in shots]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=40, lossless=True)
    target = gif(config("gif", f"input={tmp_path / 'a.webp'}", f"output={tmp_path / 'a.gif'}"))
    _, _, patches = parse_gif(target.read_bytes())
    tables = [None if patch["palette"] is None else patch["palette"].tobytes() for patch in patches]
    assert len(patches) == 12
    assert len(set(tables[:6])) == len(set(tables[6:])) == 1
    shown = [np.array(frame[..., :3]) for frame in read_animation(target).frames()]
    true = [flat(frame) for frame in shots]
    assert np.mean([(a.astype(int) - b) ** 2 for a, b in zip(shown, true, strict=True)]) < 4


def test_the_benchmark(two: list[np.ndarray], tmp_path: Path):
    videos = []
    for name, frames in (("a", two[:6]), ("b", two[6:])):
        videos.append(str(save(tmp_path / f"{name}.mp4", frames)))
    table = benchmark.main([*videos, "--out", str(tmp_path / "table")])
    by = {(row["clip"], row["method"]): row for row in table}
    assert len(table) == 3 + 3 + 4 and (tmp_path / "table.md").exists()
    assert by["joined", "ours"]["psnr"] > by["joined", "one palette"]["psnr"] + 0.5
    assert all(row["psnr"] > 25 and row["bytes"] > 100 for row in table)
