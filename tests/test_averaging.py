"""The average of the weights follows them from the first step on, and in the end as slowly as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import TINY
from hydra.errors import InstantiationException
from torch import nn
from torch.optim.swa_utils import AveragedModel

from colorize.averaging import MovingAverage


def test_the_average_is_tensorflows_with_warm_up():
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("count", torch.tensor(0))  # integers are averaged too
    average = AveragedModel(model, use_buffers=True, **MovingAverage(0.9)._kwargs)
    expected = None
    for step in range(200):
        model.weight.data.fill_(step)
        model.get_buffer("count").fill_(step)
        average.update_parameters(model)
        kept = min(0.9, (1 + step) / (10 + step))
        expected = float(step) if expected is None else kept * expected + (1 - kept) * step
        assert average.module.get_parameter("weight").item() == pytest.approx(expected, rel=1e-5)
        if step == 5:
            assert expected > 2.5  # not the first weights
    assert expected == pytest.approx(199 - 9, abs=0.1)  # of a line, an average lags decay / (1 - decay) steps
    assert 150 < average.module.get_buffer("count").item() < 199


@pytest.mark.parametrize("decay", ["1", "-0.1", "2"])
def test_a_decay_that_is_none(train, decay: str):
    with pytest.raises(InstantiationException, match=rf"callbacks.ema.decay={decay} is not in"):
        train(*TINY, "callbacks=ema", f"callbacks.ema.decay={decay}")


def test_what_is_kept_is_the_average(train, tmp_path: Path):
    train(*TINY, "callbacks=ema", "callbacks.ema.decay=0.5", "dataset.steps_per_epoch=3", run_dir=tmp_path / "run")
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    average, current = (checkpoint[name] for name in ("state_dict", "current_model_state"))
    assert any(not torch.equal(average[name], current[name]) for name in average)
