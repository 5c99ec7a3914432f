"""Several processes: the same numbers as one, every picture once, and settings that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, config
from PIL import Image

from colorize.cli import one_line
from colorize.plan import plan

# Two processes with two pictures each learn from the four that one process has; three validation pictures are odd.
RECIPE = [
    *(setting for setting in TINY if "steps_per_epoch" not in setting and "batch_size" not in setting),
    *("dataset=beach", "dataset.steps_per_epoch=5", "dataset.val_fraction=0.5", "model.init=glorot"),
    *("dataset.shear=0", "dataset.rotation=0", "dataset.zoom=0"),
    *("optimizer=adagrad_keras", "optimizer.initial_accumulator_value=1.0", "optimizer.lr=0.05"),
]


def torchrun(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_are_one_with_twice_the_batch(train, rendered: Path, tmp_path: Path):
    two = [f"dataset.root={rendered}", "dataset.batch_size=2", "trainer=ddp", "trainer.devices=2"]
    done = torchrun("colorize.train", *RECIPE, *two, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs/beach/beta").iterdir()  # one folder for both
    together = json.loads((run / "metrics.json").read_text())
    alone = train(*RECIPE, "dataset.batch_size=4")
    assert together["steps"] == alone["steps"] == 5
    assert (together["processes"], together["effective_batch"]) == (2, 4)
    assert "4 pictures a step: 2 x 2 processes x 1 batches" in done.stderr
    for name in ("loss", "psnr", "colourfulness", "ciede2000", "ssim"):
        assert together["val"][name] == pytest.approx(alone["val"][name], rel=1e-5), name
    for name, value in alone["test"]["beta"].items():
        assert together["test"]["beta"][name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.new("L", (16, 16), 20 * i).save(folder / f"{i}.png")
    return folder


def test_predict_shares_the_pictures_of_a_folder(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "3")
    done: list[Path] = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        if not rank:
            folder = pictures(tmp_path / "grey", 7)
        mine = plan(str(folder), None, overwrite=False)
        for target in mine.values():  # the next process sees what this one has written
            target.parent.mkdir(exist_ok=True)
            target.touch()
        done += mine
    assert sorted(path.name for path in done) == [f"{i}.png" for i in range(7)], "each once"
    with pytest.raises(ValueError, match="exists: overwrite=true"):
        plan(str(folder), None, overwrite=False)


@pytest.mark.slow
def test_predict_under_torchrun(tmp_path: Path):
    done = torchrun("colorize.predict", f"input={pictures(tmp_path / 'grey', 5)}", "output=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i}.png" for i in range(5)]
    assert "coloured 3 of 3 (process 1 of 2)" in done.stderr and "coloured 2 of 2 (process 2 of 2)" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer=ddp", "trainer.devices=4096"], r"trainer.devices=4096 is more than this machine's \d+ processors"),
        (["trainer=ddp", "trainer.devices=0"], "trainer.devices=0 must be a whole number from 1 up"),
        (["trainer=ddp", "trainer.num_nodes=0"], "trainer.num_nodes=0 must be a whole number from 1 up"),
        (["trainer=ddp", "trainer.devices=2", "dataset.batch_size=auto"], "batch_size=auto is for one device"),
    ],
)
def test_devices_that_cannot_be(train, overrides: list[str], message: str):
    with pytest.raises(ValueError, match=message) as error:
        train(*TINY, *overrides)
    line = one_line(error.value)
    assert line is not None and "\n" not in line


def test_torchrun_and_the_trainer_must_agree(train, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"torchrun started 4 processes and the trainer has 1: give trainer=ddp"):
        train(*TINY)
    with pytest.raises(ValueError, match=r"trainer has 6: give trainer=ddp trainer.devices=2 trainer.num_nodes=2"):
        train(*TINY, "trainer=ddp", "trainer.devices=3", "trainer.num_nodes=2")


def test_a_step_of_more_pictures_than_there_are_is_noticed(rendered: Path, caplog):
    from types import SimpleNamespace
    from typing import Any

    from hydra.utils import instantiate

    from colorize.run import start

    cfg = config("train", f"dataset.root={rendered}", "run_dir=x", *TINY, "dataset.batch_size=4")
    data = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=0)
    data.prepare_data()
    data.setup("fit")
    trainer: Any = SimpleNamespace(world_size=2, accumulate_grad_batches=1, max_epochs=1)
    trainer.strategy = SimpleNamespace(root_device=SimpleNamespace(type="cpu"))
    module: Any = SimpleNamespace(model=SimpleNamespace(parameters=list), hparams={"model": {"name": "beta"}})
    with caplog.at_level("WARNING"):
        start(Path("x"), data, module, trainer, None)
    assert [m for m in caplog.messages if "a step has 8 pictures and there are 5" in m and "dataset.batch_size=2" in m]
