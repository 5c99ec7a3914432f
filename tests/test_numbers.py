"""Numbers that can be had again, and a stop where they are no numbers any more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import TINY, config

from colorize.losses import create_loss
from colorize.module import ColorizeModule
from colorize.pipeline import Colorizer


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_seed_fixes_every_weight_bit_for_bit_and_another_does_not(train, tmp_path: Path):
    # augmented, degraded and with dropout: everything that is drawn
    drawn = ["dataset.steps_per_epoch=3", "dataset.degrade=film", "dataset.flip=0.5", "dataset.size=32"]
    drawn += ["model=unet", "model.widths=[4,4,8]", "model.blocks=[0,0,1]", "model.dropout=0.3"]
    for run, seed in {"one": 7, "two": 7, "other": 8}.items():
        train(
            *(setting for setting in TINY if not setting.startswith("model.")),
            *drawn,
            f"seed={seed}",
            run_dir=tmp_path / run,
        )
        torch.rand(5)  # what was drawn before a run makes no difference
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))


def test_the_same_picture_gets_the_same_colours(checkpoint: Path):
    rgb = torch.randint(0, 256, (37, 51, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    one, two = (Colorizer.from_checkpoint(checkpoint, device="cpu")(rgb) for _ in range(2))
    assert (one == two).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_at_once_and_keeps_its_batch(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
):
    steps = 0

    def spoilt(name: str):
        loss = create_loss(name)

        def at_the_fifth_step(model, output, target):
            nonlocal steps
            steps += model.training
            return loss(model, output, target) * (value if steps == 5 else 1.0)

        return at_the_fifth_step

    monkeypatch.setattr("colorize.module.create_loss", spoilt)
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=rf"the loss became {value} in epoch 1: .*not_finite.pt holds the batch"):
        train(*TINY, "dataset.epochs=3", "dataset.steps_per_epoch=3")
    assert steps == 5, "the run went on"
    kept = torch.load(run / "not_finite.pt", weights_only=True)
    assert kept["batch"]["l"].shape == (2, 1, 32, 32) and kept["batch"]["ab"].shape == (2, 2, 32, 32)
    assert (kept["epoch"], kept["step"]) == (1, 4) and not torch.isfinite(torch.tensor(kept["loss"]))
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert content["epoch"] == 0, "a checkpoint of the spoilt epoch"
    module = ColorizeModule(**content["hyper_parameters"])
    module.load_state_dict(kept["weights"])  # what led to it can be computed again
    assert all(value.isfinite().all() for value in kept["weights"].values())
    assert not (run / "metrics.json").exists() and (run / "loss.png").exists()


def test_every_set_of_callbacks_watches_the_loss():
    for choice in ("default", "early_stopping", "ema"):
        assert "finite_loss" in config("train", f"callbacks={choice}").callbacks
