"""Runs that are killed, stopped, damaged or started twice, and go on as if nothing had been."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY, config
from filelock import FileLock

import colorize.resume
from colorize.cli import new_or_unfinished_run
from colorize.resume import SafeCheckpointIO
from colorize.train import train as entry

RECIPE = [*TINY, "dataset.steps_per_epoch=2", "trainer.log_every_n_steps=1"]


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "csv/version_0/metrics.csv") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def undisturbed(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    entry(config("train", f"dataset.root={rendered}", *RECIPE, "dataset.epochs=3", f"run_dir={run}"))
    return run


@pytest.fixture
def whole(undisturbed: Path, tmp_path: Path) -> Path:
    """The folder of a run of three epochs that nothing happened to."""
    return Path(shutil.copytree(undisturbed, tmp_path / "whole"))


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:3000] + b"!" + data[3001:]])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(train, whole: Path, damage, caplog):
    (whole / "metrics.json").unlink()
    expected, logged = weights(whole), rows(whole)
    last = whole / "checkpoints/last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    with caplog.at_level(logging.WARNING):
        result = train(*RECIPE, "dataset.epochs=3", "ckpt_path=last", run_dir=whole)
    said = [
        line for line in caplog.messages if "last.ckpt is damaged: going on from the one before, previous.ckpt" in line
    ]
    assert len(said) == 1 and result["steps"] == 6
    assert all(torch.equal(value, expected[name]) for name, value in weights(whole).items())
    assert rows(whole) == logged, "no row twice, none lost"
    last.write_bytes(b"")
    (whole / "checkpoints/previous.ckpt").write_bytes(b"PK")
    (whole / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"last.ckpt and .*previous.ckpt are damaged: leave ckpt_path=last out"):
        train(*RECIPE, "dataset.epochs=3", "ckpt_path=last", run_dir=whole)


def test_a_run_killed_while_it_is_judged_is_judged(train, whole: Path):
    expected = json.loads((whole / "metrics.json").read_text())
    (whole / "metrics.json").unlink()
    again = train(*RECIPE, "dataset.epochs=3", "ckpt_path=last", run_dir=whole)
    for name in ("val", "test", "steps", "epochs", "best_epoch"):
        assert again[name] == expected[name]


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    writer = SafeCheckpointIO()
    for epoch in range(3):
        writer.save_checkpoint({"epoch": epoch}, path)
    with pytest.raises(Exception, match="pickle"):
        writer.save_checkpoint({"epoch": lambda: 3}, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert torch.load(path)["epoch"] == 2 and torch.load(tmp_path / "previous.ckpt")["epoch"] == 1


def test_one_process_a_run(train, whole: Path, monkeypatch):
    monkeypatch.setattr(colorize.resume, "_WAIT", 0.1)
    (whole / "metrics.json").unlink()
    before = rows(whole)
    with FileLock(whole / "lock"), pytest.raises(ValueError, match=rf"another process trains in {whole}: wait"):
        train(*RECIPE, "dataset.epochs=4", "ckpt_path=last", run_dir=whole)
    assert rows(whole) == before and not (whole / "metrics.json").exists()


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path):
    begun = tmp_path / "beach/beta/begun"
    begun.mkdir(parents=True)
    (begun / "lock").touch()
    assert new_or_unfinished_run(str(tmp_path), "beach", "beta", "last") == str(begun)
    saved = tmp_path / "beach/beta/saved/checkpoints"
    saved.mkdir(parents=True)
    (saved / "previous.ckpt").touch()  # killed between the two names of a checkpoint
    assert new_or_unfinished_run(str(tmp_path), "beach", "beta", "last") == str(saved.parent)


SLURM = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "colorize", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
SLURM |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "1"}


def test_a_requeued_slurm_job_goes_on(train, whole: Path, tmp_path: Path, monkeypatch):
    for name, value in (SLURM | {"MASTER_ADDR": "127.0.0.1"}).items():
        monkeypatch.setenv(name, value)
    folder = new_or_unfinished_run(str(tmp_path), "beach", "beta", None)
    assert "slurm_4711_" in folder and folder == new_or_unfinished_run(str(tmp_path), "beach", "beta", None)
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/requeued\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")

    from colorize.module import ColorizeModule

    step = ColorizeModule.training_step

    def signalled(module: ColorizeModule, batch: dict, batch_idx: int) -> torch.Tensor:
        if module.global_step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)  # Slurm's --signal=USR1@90
        return step(module, batch, batch_idx)

    monkeypatch.setattr(ColorizeModule, "training_step", signalled)
    with pytest.raises(SystemExit):
        train(*RECIPE, "dataset.epochs=3", run_dir=Path(folder))
    assert (tmp_path / "requeued").read_text() == "requeue 4711\n"
    monkeypatch.setattr(ColorizeModule, "training_step", step)
    assert train(*RECIPE, "dataset.epochs=3", run_dir=Path(folder))["steps"] == 6
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(Path(folder)).items())
    assert rows(Path(folder)) == rows(whole)
    assert train(*RECIPE, "dataset.epochs=3", run_dir=Path(folder))["steps"] == 6, "a finished one is left as it is"


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--kills", "20"], ["--kills", "2", "--command-line"]])
def test_kills(how: list[str]):
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-m", "benchmarks.kills", *how], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
