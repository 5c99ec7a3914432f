"""Strengthening a network's colours: fitted on pictures it was not trained on, kept in its file, or as asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from colorize.checkpoint import load_checkpoint, remember, save_weights
from colorize.color import rgb_to_l_ab, to_float
from colorize.data import scenes
from colorize.metrics import PictureMetrics
from colorize.models.base import Network
from colorize.pipeline import Colorizer
from colorize.saturation import LIMIT, TARGET, fit_saturation


class Pale(Network):
    """Knows the answer to one batch and gives a share of its chroma."""

    stride = 1

    def __init__(self, ab: Tensor, share: float):
        super().__init__()
        self.ab = nn.Parameter(share * ab)

    def output(self, l: Tensor) -> Tensor:
        return self.ab


@pytest.fixture
def picture() -> np.ndarray:
    return scenes.render("maduixes", seed=3, size=64)


@pytest.mark.parametrize(("share", "factor"), [(0.8, TARGET / 0.8), (0.3, LIMIT), (1.0, 1.0), (1.3, 1.0)])
def test_pale_colours_are_made_as_vivid_as_real_ones(picture: np.ndarray, share: float, factor: float):
    rgb = torch.tensor(picture).permute(2, 0, 1)[None]
    network = Pale(rgb_to_l_ab(to_float(rgb))[1], share)
    found = fit_saturation(network, rgb)
    assert found == pytest.approx(factor, abs=0.03)
    metrics = PictureMetrics()
    metrics.update(torch.tensor(Colorizer(network, 64, "cpu", found)(picture)).permute(2, 0, 1)[None], rgb)
    if 1 < found < LIMIT:
        assert float(metrics.compute()["colourfulness_ratio"]) == pytest.approx(TARGET, abs=0.02)


def test_what_was_fitted_is_kept_and_used_unless_the_user_says_otherwise(train, tmp_path: Path, picture: np.ndarray):
    result = train(*TINY, "saturation=auto")
    path = tmp_path / "run/checkpoints/best.ckpt"
    found = result["saturation"]
    assert 1 <= found <= LIMIT and load_checkpoint(path).data["saturation"] == found
    remember(path, saturation=1.23)  # no default
    assert Colorizer.from_checkpoint(path).saturation == 1.23
    save_weights(load_checkpoint(path), tmp_path / "x.safetensors", "card")
    assert Colorizer.from_checkpoint(tmp_path / "x.safetensors").saturation == 1.23
    grey = Colorizer.from_checkpoint(path, saturation=0.0)(picture).astype(int)
    assert np.ptp(grey, axis=-1).max() <= 1
    train(*TINY, "dataset.epochs=2", f"ckpt_path={path}", run_dir=tmp_path / "on")  # its recipe is the same


def test_a_wrong_saturation_is_named(train, picture: np.ndarray):
    with pytest.raises(ValueError, match="saturation=much must be a number from 0"):
        Colorizer(Pale(torch.zeros(1, 2, 64, 64), 1.0), 64, "cpu", "much")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"saturation=1.2 is not auto or null"):
        train(*TINY, "saturation=1.2")
