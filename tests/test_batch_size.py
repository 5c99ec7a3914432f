"""A batch size that is found, and small batches that add up to a large one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from colorize import memory


def test_two_batches_of_two_learn_as_one_of_four(train, tmp_path: Path):
    still = ["dataset.shear=0", "dataset.rotation=0", "dataset.zoom=0", *TINY]
    four = train(*still, "dataset.batch_size=4", "dataset.steps_per_epoch=3", run_dir=tmp_path / "4")
    twice = ["dataset.batch_size=2", "dataset.steps_per_epoch=6", "trainer.accumulate_grad_batches=2"]
    two = train(*still, *twice, run_dir=tmp_path / "2")
    assert (two["steps"], two["batch_size"], two["accumulate_grad_batches"]) == (3, 2, 2) and four["steps"] == 3
    assert two["val"] == pytest.approx(four["val"], rel=1e-3)


AUTO = [*(s for s in TINY if not s.startswith(("dataset.batch_size", "model."))), "dataset.batch_size=auto"]


def test_a_batch_size_that_is_found_is_said_kept_and_used_again(train, tmp_path: Path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        result = train(*AUTO, "model=unet", run_dir=tmp_path / "run")
    assert result["batch_size"] == 5, "there are five training pictures"
    assert "dataset.batch_size=auto: 5" in caplog.text
    assert json.loads((tmp_path / "run/metrics.json").read_text())["batch_size"] == 5
    content = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert content["hyper_parameters"]["data"]["batch_size"] == 5
    (tmp_path / "run/metrics.json").unlink()
    monkeypatch.setattr(memory, "available", lambda: 10)  # which would now give 1
    again = train(*AUTO, "model=unet", "dataset.epochs=2", "ckpt_path=last", run_dir=tmp_path / "run")
    assert again["batch_size"] == 5 and again["steps"] == 2


def test_a_batch_grows_with_the_memory_there_is(train, tmp_path: Path, monkeypatch):
    photos = tmp_path / "photos"
    for part, count in {"train": 300, "val": 1, "test": 1}.items():
        (photos / part).mkdir(parents=True)
        for i in range(count):
            rgb = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(rgb).save(photos / part / f"{i}.png")
    found = {}
    for mib in (400, 1600):
        monkeypatch.setattr(memory, "available", lambda mib=mib: mib * 2**20)
        settings = [*AUTO, "model=unet", "dataset.size=96", "dataset.cache=ram"]
        found[mib] = train(*settings, root=photos, run_dir=tmp_path / str(mib))["batch_size"]
    assert 4 <= found[400] <= found[1600] / 2 and found[1600] <= 300


def test_several_devices_are_refused(train):
    with pytest.raises(ValueError, match="batch_size=auto is for one device"):
        train(*AUTO, "model=unet", "trainer=ddp", "trainer.accelerator=cpu")
