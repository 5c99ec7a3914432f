"""When the world fails: full disks, files that change or cannot be written, clocks, two at once, Ctrl-C.

Being killed while a checkpoint is written belongs to the tests of resuming, and full disks while a clip is written to
those of media and video.
"""

from __future__ import annotations

import errno
import gc
import io
import itertools
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
from conftest import TINY, config
from PIL import Image

from colorize import cli
from colorize.checkpoint import load_checkpoint
from colorize.data import scenes
from colorize.evaluate import evaluate
from colorize.files import atomic
from colorize.gif import gif
from colorize.media import MediaError, Picture, read_picture, write_picture
from colorize.predict import predict


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: as far as it can tell, the disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_noise((64, 48), 60).convert("RGB").save(path)
    return path


class TestDisk:
    def test_a_picture_on_a_full_disk(self, checkpoint: Path, photo: Path):
        photo.with_name("photo_color.png").write_bytes(b"precious")
        with full_disk(1000), pytest.raises(ValueError, match=r"photo_color.png: cannot be written \(File too large\)"):
            predict(config("predict", f"input={photo}", f"ckpt_path={checkpoint}", "overwrite=true", "device=cpu"))
        assert names(photo.parent) == ["photo.png", "photo_color.png"]
        assert photo.with_name("photo_color.png").read_bytes() == b"precious"

    def test_training_on_a_full_disk_keeps_the_checkpoint_of_the_epoch_before(self, train, tmp_path: Path, monkeypatch):
        """The disk fills while the second epoch's checkpoint is written."""
        from lightning.pytorch.callbacks import ModelCheckpoint

        saved = itertools.count()
        save = ModelCheckpoint._save_checkpoint

        def filling(self: ModelCheckpoint, *args: Any) -> None:
            with full_disk(3000) if next(saved) >= 2 else full_disk(resource.RLIM_INFINITY):
                save(self, *args)

        monkeypatch.setattr(ModelCheckpoint, "_save_checkpoint", filling)
        with pytest.raises((ValueError, OSError)) as error:
            train(*TINY, "dataset.epochs=3")
        assert "is the disk full" in (cli.one_line(error.value) or "")
        for path in (tmp_path / "run/checkpoints").glob("*.ckpt"):
            assert load_checkpoint(path).epoch <= 1, path  # whole
        assert not (tmp_path / "run/metrics.json").exists()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's writer has one
    def test_training_on_a_disk_that_is_full_for_good(self, train, tmp_path: Path, monkeypatch):
        """Nothing can be written after the first epoch: neither checkpoints, nor curves, nor what TensorBoard reads."""
        from lightning.pytorch.callbacks import ModelCheckpoint

        save, limits = ModelCheckpoint._save_checkpoint, resource.getrlimit(resource.RLIMIT_FSIZE)

        def filling(self: ModelCheckpoint, *args: Any) -> None:
            save(self, *args)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))

        monkeypatch.setattr(ModelCheckpoint, "_save_checkpoint", filling)
        try:
            with pytest.raises((ValueError, OSError)) as error:
                train(*TINY, "dataset.epochs=3")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "is the disk full" in (cli.one_line(error.value) or "")
        (kept,) = (tmp_path / "run/checkpoints").glob("*.ckpt")
        assert load_checkpoint(kept).epoch == 0  # whole

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
    def test_whatever_the_disk_answers(self, code: int, photo: Path, monkeypatch):
        picture = read_picture(photo)

        def refused(*_: Any) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "replace", refused)
        with pytest.raises(MediaError, match=os.strerror(code)) as error:
            write_picture(photo.with_name("new.png"), picture)
        assert "\n" not in str(error.value) and names(photo.parent) == ["photo.png"]

    def test_an_output_folder_that_cannot_be_written(self, checkpoint: Path, photo: Path):
        """/proc is read-only for everybody, root included."""
        for command, name in ((predict, "predict"), (gif, "gif")):
            with pytest.raises((ValueError, OSError)) as error:
                command(config(name, f"input={photo}", f"ckpt_path={checkpoint}", "output=/proc/x.png", "device=cpu"))
            assert "/proc/x.png" in (cli.one_line(error.value) or "")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
    def test_without_permission(self, checkpoint: Path, photo: Path):
        photo.chmod(0)
        with pytest.raises(ValueError, match=r"photo.png: not readable; check its permissions"):
            predict(config("predict", f"input={photo}", f"ckpt_path={checkpoint}", "device=cpu"))

    def test_a_write_that_fails_half_way(self, tmp_path: Path):
        path = tmp_path / "file.txt"
        path.write_text("old")
        with pytest.raises(OSError, match="File too large"), full_disk(10), atomic(path) as temporary:
            temporary.write_text("x" * 100)
        assert path.read_text() == "old" and names(tmp_path) == ["file.txt"]


class TestChange:
    def test_a_picture_that_changes_while_it_is_read(self, tmp_path: Path):
        """A picture is the old one, the new one, or refused: never a traceback and never another size."""
        path, stop = tmp_path / "photo.png", threading.Event()
        versions = []
        for size in ((40, 30), (90, 70)):
            encoded = io.BytesIO()
            Image.effect_noise(size, 60).convert("RGB").save(encoded, "PNG")
            versions.append(encoded.getvalue())
        path.write_bytes(versions[0])

        def rewrite() -> None:
            for version in itertools.cycle(versions):
                if stop.is_set():
                    return
                path.write_bytes(version)  # in place, as a camera's or an editor's copy is

        writer = threading.Thread(target=rewrite)
        writer.start()
        try:
            for _ in range(100):
                try:
                    assert read_picture(path).rgb.shape in ((30, 40, 3), (70, 90, 3))
                except MediaError as error:
                    assert "\n" not in str(error)
        finally:
            stop.set()
            writer.join()

    def test_a_picture_of_a_folder_that_vanishes(self, checkpoint: Path, photo: Path, monkeypatch):
        (photo.parent / "in").mkdir()
        for name in ("a.png", "b.png", "c.png"):
            (photo.parent / "in" / name).write_bytes(photo.read_bytes())
        seen = read_picture

        def vanishing(path: Path, **settings: Any) -> Picture:
            (photo.parent / "in/b.png").unlink(missing_ok=True)
            return seen(path, **settings)

        monkeypatch.setattr("colorize.media.read_picture", vanishing)
        with pytest.raises(ValueError, match=r"could not colour 1 of 3: .*b.png: no such file"):
            predict(config("predict", f"input={photo.parent / 'in'}", f"ckpt_path={checkpoint}", "device=cpu"))
        assert names(photo.parent / "in_color") == ["a.png", "c.png"]

    def test_a_clock_that_jumps(self, train, tmp_path: Path, monkeypatch):
        """Backwards by a day with each look: no run lands in another's folder, and times are no negative numbers."""
        day = itertools.count()
        monkeypatch.setattr(time, "time", lambda: 1.7e9 - 86400 * next(day))
        result = train(*TINY, "dataset.epochs=2")
        assert result["minutes"] >= 0 and result["epochs"] == 2

    def test_two_runs_of_one_second(self, tmp_path: Path, monkeypatch):
        class Still(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Still:
                return cls(2024, 10, 27, 2, 30)

        monkeypatch.setattr(cli, "datetime", Still)
        first = Path(cli.new_or_unfinished_run(str(tmp_path), "a", "b", None))
        first.mkdir(parents=True)
        assert Path(cli.new_or_unfinished_run(str(tmp_path), "a", "b", None)) != first


def _render(folder: Path) -> None:
    scenes.render_set("beach", folder, size=32, counts=(4, 2))


def test_two_runs_start_on_one_data_folder_at_once(tmp_path: Path):
    """Both render the missing set: one of them wins, and it is whole."""
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_render, args=(tmp_path / "data/beach",)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["beach"]
    assert len(list((tmp_path / "data/beach/train").iterdir())) == 4
    for path in (tmp_path / "data/beach").rglob("*.png"):
        read_picture(path)


class TestInterrupted:
    """Ctrl-C, as the terminal sends it: a signal, at a stage."""

    @pytest.fixture(autouse=True)
    def heard(self) -> Iterator[None]:
        """A suite that was started in the background may have inherited that it is ignored."""
        was = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, was)

    def at(self, monkeypatch: pytest.MonkeyPatch, place: str, number: int = 1) -> None:
        """Sends it when that function is called for the number-th time."""
        owner, _, name = place.rpartition(".")
        target = hydra.utils.get_object(owner)
        was, calls = getattr(target, name), itertools.count(1)

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGINT)
            return was(*args, **kwargs)

        monkeypatch.setattr(target, name, interrupted)

    def typed(self, monkeypatch: pytest.MonkeyPatch, capsys: Any, task: Any, *arguments: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", [task.__name__, *arguments])
        monkeypatch.setattr(hydra.utils, "instantiate", hydra.utils.instantiate)
        with pytest.raises(SystemExit) as stop:
            cli.run(task, task.__name__)
        return stop.value.code, capsys.readouterr().err

    @pytest.mark.parametrize(
        ("place", "number", "resumable"),
        [
            ("colorize.data.datamodule.PhotoDataModule.setup", 1, False),
            ("colorize.module.ColorizeModule.training_step", 2, True),
            ("colorize.module.ColorizeModule.training_step", 5, True),
            ("colorize.module.ColorizeModule.validation_step", 2, True),
            ("colorize.run.judge", 1, True),
        ],
    )
    def test_training(
        self, place: str, number: int, resumable: bool, rendered: Path, train, tmp_path: Path, monkeypatch, capsys
    ):
        from colorize.train import train as task

        run = tmp_path / "run"
        arguments = [*TINY, "dataset.steps_per_epoch=3", "dataset.epochs=2", f"dataset.root={rendered}"]
        with monkeypatch.context() as patched:
            self.at(patched, place, number)
            code, said = self.typed(patched, capsys, task, *arguments, f"hydra.run.dir={run}", f"output_dir={tmp_path}")
        assert code == 130 and "Traceback" not in said
        assert not (run / "metrics.json").exists()
        kept = list((run / "checkpoints").glob("*.ckpt"))
        assert bool(kept) is (resumable and (place, number) != ("colorize.module.ColorizeModule.training_step", 2))
        assert ("ckpt_path=last goes on" in said) is bool(kept)
        assert ("before anything was saved" in said) is (resumable and not kept)
        for path in kept:
            assert load_checkpoint(path)  # whole
        if resumable and place.endswith("training_step"):
            gc.collect()  # what the interrupted run held, the lock of its folder with it
            result = train(*arguments, "ckpt_path=last", run_dir=run)
            whole = train(*arguments, run_dir=tmp_path / "whole")
            assert result["steps"] == 6 and result["val"] == whole["val"]

    @pytest.mark.parametrize("place", ["colorize.media.read_picture", "colorize.pipeline.Colorizer.colour"])
    def test_colouring_a_folder(self, place: str, checkpoint: Path, photo: Path, monkeypatch, capsys):
        (photo.parent / "in").mkdir()
        for name in ("a.png", "b.png", "c.png"):
            (photo.parent / "in" / name).write_bytes(photo.read_bytes())
        self.at(monkeypatch, place, 2)
        arguments = (f"input={photo.parent / 'in'}", f"ckpt_path={checkpoint}", "device=cpu")
        code, said = self.typed(monkeypatch, capsys, predict, *arguments)
        assert code == 130 and "Traceback" not in said
        assert names(photo.parent / "in_color") == ["a.png"] and f"coloured 1 of 3: {photo.parent}" in said
        assert read_picture(photo.parent / "in_color/a.png").rgb.shape == (48, 64, 3)

    def test_colouring_a_clip(self, checkpoint: Path, photo: Path, monkeypatch, capsys):
        frames = [Image.effect_noise((32, 24), 50) for _ in range(5)]
        frames[0].save(photo.with_name("clip.gif"), save_all=True, append_images=frames[1:])
        self.at(monkeypatch, "colorize.media.gif._paletted", 3)
        self.at(monkeypatch, "colorize.pipeline.Colorizer.colour", 4)
        arguments = (f"input={photo.with_name('clip.gif')}", f"ckpt_path={checkpoint}", "device=cpu", "batch_size=1")
        code, said = self.typed(monkeypatch, capsys, gif, *arguments)
        assert code == 130 and "Traceback" not in said
        assert names(photo.parent) == ["clip.gif", "photo.png"]

    def test_judging(self, checkpoint: Path, tmp_path: Path, monkeypatch, capsys):
        self.at(monkeypatch, "colorize.evaluation.write_sheets", 1)
        self.at(monkeypatch, "colorize.pipeline.Colorizer.colour", 2)
        code, said = self.typed(
            *(monkeypatch, capsys, evaluate, f"ckpt_path={checkpoint}", f"run_dir={tmp_path / 'e'}", "device=cpu"),
            f"hydra.run.dir={tmp_path / 'e'}",
        )
        assert code == 130 and "Traceback" not in said
        for path in (tmp_path / "e").rglob("*.json"):
            json.loads(path.read_text())
