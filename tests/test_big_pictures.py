"""Pictures of many megapixels: little memory beside the picture, and the limit is ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config
from PIL import Image

from colorize import cli, memory
from colorize.color import rgb_to_l_ab, to_float
from colorize.models.base import Network
from colorize.pipeline import Colorizer, _row_mixture
from colorize.predict import predict


class Waves(Network):
    stride = 8

    def forward(self, l: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.sin(9 * l), torch.cos(7 * l)], 1) / 3


@pytest.mark.parametrize("shape", [(200, 120), (31, 500), (7, 5), (48, 48)])
def test_strips_of_colour_are_those_of_the_whole(shape: tuple[int, int]):
    colorizer = Colorizer(Waves(), 48, "cpu", saturation=1.3)
    l = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    small = colorizer._small_ab(l, None)
    expected = torch.nn.functional.interpolate(small, shape, mode="bicubic", align_corners=False, antialias=True)
    torch.testing.assert_close(colorizer.predict_ab(l), (1.3 * expected).clamp(-1, 1), rtol=0, atol=1e-5)
    for rows in (1, 7):
        assert torch.equal(torch.cat([*colorizer._enlarge(small, *shape, rows)], 2), colorizer.predict_ab(l))


def test_the_mixture_of_rows_keeps_a_flat_colour():
    for height, target in ((1, 9), (9, 1), (64, 1000), (100, 31)):
        torch.testing.assert_close(_row_mixture(height, target)[1].sum(1), torch.ones(target))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_big_picture_needs_little_beside_itself(monkeypatch):
    colorizer = Colorizer(Waves(), 48, "cpu")
    rgb = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)  # 12 megapixels: 36 MB
    colorizer(rgb[:200])

    def status(key: str) -> int:
        return int(Path("/proc/self/status").read_text().partition(f"{key}:")[2].split()[0]) * 1024

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    colorizer(rgb)
    # lightness (4 bytes a pixel), the result (3), and strips, which do not grow
    assert status("VmHWM") - before < 12e6 * 7 + 250e6


def test_pillows_own_limit_neither_warns_nor_refuses(checkpoint: Path, tmp_path: Path, monkeypatch, recwarn):
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "plain.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    settings = [f"input={tmp_path / 'plain.tif'}", f"ckpt_path={checkpoint}", "device=cpu"]
    with pytest.raises(ValueError, match="limit of 20 pixels"):
        predict(config("predict", *settings))
    monkeypatch.setattr(sys, "argv", ["predict", *settings])
    cli.run(predict, "predict")
    assert (tmp_path / "plain_color.tif").exists()
    assert not [w for w in recwarn if "DecompressionBomb" in w.category.__name__]


def test_a_limit_that_is_no_number_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="max_pixels=many must be a whole number"):
        predict(config("predict", f"input={tmp_path}", "max_pixels=many"))


def test_lightness_is_kept_in_strips_too():
    rgb = np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8)
    out = Colorizer(Waves(), 48, "cpu")(rgb)
    l, kept = (rgb_to_l_ab(to_float(torch.tensor(x).permute(2, 0, 1)[None]))[0] for x in (rgb, out))
    assert float((l - kept).abs().max()) * 100 <= 0.3


@pytest.mark.parametrize(("rows", "target"), [(32, 256), (128, 1080), (96, 31), (8, 1), (1, 7), (500, 33), (160, 101)])
def test_rows_are_mixed_as_pytorch_does(rows: int, target: int):
    sources, weights = _row_mixture(rows, target)
    x = torch.rand(rows, 5, generator=torch.Generator().manual_seed(0))
    mixed = (x[sources] * weights[..., None]).sum(1)
    expected = torch.nn.functional.interpolate(x[None, None], (target, 5), mode="bicubic", antialias=True)[0, 0]
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_a_long_strip_takes_memory_for_its_pixels_alone(checkpoint: Path):
    """A GIF of 28 x 45,588 took 577 MiB: the mixture of its rows was found from all of them at once."""
    colorizer = Colorizer.from_pretrained(checkpoint, size=128, device="cpu")
    colorizer(np.zeros((64, 64, 3), np.uint8))
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    strip = np.full((45_588, 28, 3), 90, np.uint8)

    def colour() -> None:
        colorizer(strip)

    assert memory.peak(colour) - before < 400 * 2**20
