"""Judging a clip through the command: colorize.evaluate input=CLIP."""

from __future__ import annotations

import csv
import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import config
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colorize import report
from colorize.checkpoint import Checkpoint
from colorize.clip_evaluation import judge_animation
from colorize.data import scenes
from colorize.evaluate import evaluate
from colorize.evaluation import ConstantColour
from colorize.media import Flipbook

COUNT = 8


def pan(count: int = COUNT) -> list[np.ndarray]:
    """uint8 (32, 48, 3) each: a window that moves over a rendered scene."""
    scene = scenes.render("beach", 0, size=80)
    return [np.ascontiguousarray(scene[20:52, i : i + 48]) for i in range(count)]


def save(path: Path, frames: list[np.ndarray]) -> Path:
    """As a GIF, a video or a folder, by the name."""
    images = [Image.fromarray(frame) for frame in frames]
    if path.suffix == ".mp4":
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv444p"
            stream.options = {"crf": "10"}
            for frame in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            file.mux(stream.encode())
    elif path.suffix:
        images[0].save(path, save_all=True, append_images=images[1:], duration=40)
    else:
        path.mkdir()
        for number, image in enumerate(images):
            image.save(path / f"frame{number}.png")
    return path


def judge(tmp_path: Path, *overrides: object) -> list[dict]:
    return evaluate(config("evaluate", f"run_dir={tmp_path / 'out'}", "device=cpu", *map(str, overrides)))


def test_every_mode_side_by_side(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    clip = save(tmp_path / "clip.gif", pan())
    rows = judge(tmp_path, f"input={clip}", f"ckpt_path={checkpoint}")
    by = {row["temporal"]: row for row in rows}
    assert list(by) == ["real", "none", "smooth"]
    assert by["real"]["psnr"] == 100 and by["real"]["frames"] == COUNT
    for mode in ("none", "smooth"):
        assert by[mode]["method"] == "beach/beta/first" and by[mode]["tested on"] == "clip.gif"
        assert 5 < by[mode]["psnr"] < 60 and by[mode]["ciede2000"] > 1 and 0 <= by[mode]["colourfulness_ratio"] < 3
    assert by["smooth"]["warp_error"] < by["none"]["warp_error"]
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("PSNR", "CIEDE2000", "colour ratio", "flicker", "warp error", "smooth"))

    out = tmp_path / "out"
    assert json.loads((out / "table.json").read_text())[2]["psnr"] == by["smooth"]["psnr"]
    assert len(list(csv.DictReader((out / "table.csv").open()))) == 3
    assert f"{by['smooth']['warp_error']:.3f}" in (out / "table.md").read_text()
    assert Image.open(out / "mean_ab.png").size[0] > 300
    assert Image.open(out / "sheet.png").size[0] > 4 * 256  # real, grey and two modes, 256 high
    board = EventAccumulator(str(out), size_guidance={"images": 0})
    board.Reload()
    (tag,) = board.Tags()["images"]
    assert "real, grey, none, smooth" in tag
    frames = board.Images(tag)
    assert [image.step for image in frames][:: len(frames) - 1] == [0, COUNT - 1]
    assert (frames[0].height, frames[0].width) == (32, 4 * 48)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webp", "frames"])
def test_every_kind_of_clip(checkpoint: Path, tmp_path: Path, name: str):
    clip = save(tmp_path / name, pan(3))
    rows = judge(tmp_path, f"input={clip}", f"ckpt_path={checkpoint}", "eval.size=24")
    assert rows[-1]["frames"] == 3 and rows[-1]["size"] == "24 x 24" and rows[-1]["tested on"] == name


def test_several_networks_share_a_table(checkpoint: Path, tmp_path: Path):
    clip = save(tmp_path / "clip.gif", pan(3))
    both = f"ckpt_path=[{checkpoint},{checkpoint.with_name('last.ckpt')}]"
    rows = judge(tmp_path, f"input={clip}", both)
    labels = ["beach/beta/first best", "beach/beta/first last"]
    assert [(row["method"], row["temporal"]) for row in rows] == [
        ("", "real"),
        *((label, mode) for label in labels for mode in ("none", "smooth")),
    ]
    for label in labels:
        folder = tmp_path / "out" / label.replace("/", "_").replace(" ", "_")
        assert {path.name for path in folder.iterdir()} == {"mean_ab.png", "sheet.png"}


def test_without_a_checkpoint_it_is_what_ships_or_the_last(checkpoint: Path, tmp_path: Path):
    clip = save(tmp_path / "clip.gif", pan(2))
    assert judge(tmp_path, f"input={clip}", "eval.size=16")[1]["method"] == "general"
    last = judge(tmp_path, f"input={clip}", "weights=last", f"output_dir={checkpoint.parents[4]}")
    assert last[1]["method"] == "beach/beta/first"
    rows = judge(tmp_path, "weights=last", f"output_dir={checkpoint.parents[4]}")  # a set: what it was trained on
    assert [row["method"] for row in rows] == ["grey", "mean colour of beach", "beach/beta/first"]


def test_a_still_picture_is_a_set_of_one(checkpoint: Path, rendered: Path, tmp_path: Path):
    picture = sorted((rendered / "test").iterdir())[0]
    named = judge(tmp_path, f"input={picture}", f"ckpt_path={checkpoint}")
    assert [row["pictures"] for row in named] == [1, 1, 1] and named[0]["method"] == "grey"
    assert judge(tmp_path, f"input={picture}", f"ckpt_path={checkpoint}", "dataset=picture") == named


def test_a_cut_off_clip_is_judged_as_far_as_it_goes(checkpoint: Path, tmp_path: Path, caplog):
    whole = save(tmp_path / "whole.gif", pan()).read_bytes()
    (tmp_path / "clip.gif").write_bytes(whole[: len(whole) * 2 // 3])
    rows = judge(tmp_path, f"input={tmp_path / 'clip.gif'}", f"ckpt_path={checkpoint}")
    assert 2 <= rows[0]["frames"] < COUNT and "cut short" in caplog.text


def test_bad_input(checkpoint: Path, tmp_path: Path):
    ckpt = f"ckpt_path={checkpoint}"
    colour, mixed, grey = pan(2), tmp_path / "mixed", [frame[..., :1].repeat(3, -1) for frame in pan(2)]
    save(mixed, [colour[0], colour[1][:20]])
    for overrides, message in [
        ([f"input={save(tmp_path / 'grey.gif', grey)}"], "grey.gif is grey"),
        ([f"input={save(tmp_path / 'grey.mp4', grey)}"], "grey.mp4 is grey"),
        ([f"input={tmp_path / 'gone.mp4'}"], "gone.mp4: no such file"),
        ([f"input={mixed}"], "48x20.*dataset=folder"),
        ([f"input={save(tmp_path / 'a.gif', colour)}", "dataset=beach"], "give one of them"),
        ([f"input={tmp_path / 'a.gif'}", "eval.size=4"], "eval.size=4"),
        ([f"input={tmp_path / 'a.gif'}", "weights=best"], "weights=best is not known"),
    ]:
        with pytest.raises(ValueError, match=message):
            judge(tmp_path, *([] if "weights=best" in overrides else [ckpt]), *overrides)
        assert not (tmp_path / "out").exists()


@dataclass
class Endless(Flipbook):
    """Frames of noise, and the most of them that were held at once."""

    kind = "test"
    most: int = 0

    def _play(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        frames: list[weakref.ref] = []
        for _ in self.durations:
            frame = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
            frames.append(weakref.ref(frame))
            yield frame
            self.most = max(self.most, sum(alive() is not None for alive in frames))


def test_memory_does_not_grow(tmp_path: Path):
    clip = Endless(Path("noise"), (16, 16), 0, "", [40] * 40)
    network = Checkpoint(ConstantColour([0.1, 0.1]), "flat", {"size": 16}, 0, 0, {})
    rows = judge_animation(clip, {"flat": network}, {"flat": tmp_path}, tmp_path, {}, device="cpu")
    assert rows[0]["frames"] == 40
    assert clip.most <= 8


def test_measures_are_written_with_their_decimals(tmp_path: Path):
    row = {
        "temporal": "none",
        "flicker": 0.12345,
        "warp_error": 1.23456,
        "cdc": 0.012345,
        "ghosts": 1.236,
        "still": 0.5,
    }
    report.write_table([row], tmp_path / "table")
    assert "|   0.123 |      1.235 | 0.0123 |   1.24 |  0.50 |" in (tmp_path / "table.md").read_text()
