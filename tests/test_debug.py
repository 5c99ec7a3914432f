"""debug=: short runs that show whether, and where, something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import TINY

from colorize.choice import choose_checkpoint

FREE = [s for s in TINY if not s.startswith(("dataset.steps", "dataset.epochs"))]  # what debug= sets


def test_fast_takes_a_batch_of_everything(train):
    result = train("debug=fast", *FREE)
    assert result["steps"] == result["epochs"] == 1
    assert result["test"]["beta"]["pictures"] == 2, "one batch"


def test_overfit_brings_the_loss_of_one_batch_near_zero(train, tmp_path: Path):
    train("debug=overfit", *FREE, "optimizer=adamw", "optimizer.lr=1e-2", "dataset.epochs=60")
    epochs = json.loads((tmp_path / "run/history.json").read_text())
    assert len(epochs) == 60 and epochs[-1]["train/loss"] < 0.1 * epochs[0]["train/loss"]


def test_profile_writes_a_trace(train, tmp_path: Path):
    train("debug=profile", *FREE)
    traces = list((tmp_path / "run/tensorboard").glob("fit-trace*.json"))
    assert traces
    names = {event.get("name", "") for event in json.loads(traces[0].read_text())["traceEvents"]}
    assert any("conv" in name for name in names)


def test_a_debug_run_is_no_network_to_colour_with(train, tmp_path: Path):
    train("debug=fast", *FREE, run_dir=tmp_path / "outputs/debug/beach/beta/one")
    with pytest.raises(ValueError, match="no finished run"):
        choose_checkpoint(None, "last", str(tmp_path / "outputs"))


def test_limit_takes_a_share_of_the_steps(train):
    result = train("debug=limit", *FREE, "dataset.steps_per_epoch=20", "dataset.epochs=1")
    assert result["steps"] == 2 and result["test"]["beta"]["pictures"] == 2
