"""3x3 convolutions that train faster compute what PyTorch's own do."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, config
from torch import Tensor, nn

from colorize.models import convolution, create_model, winograd
from colorize.models.convolution import Conv3x3


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers too."""
    monkeypatch.setattr(winograd, "_CHANNELS", 1)
    monkeypatch.setattr(winograd, "_WORTH", 0)
    monkeypatch.setattr(convolution, "_CHANNELS", 1)
    monkeypatch.setattr(convolution, "_WORTH", 0)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What comes out, and every gradient of it."""
    x = x.clone().requires_grad_()
    y = layer(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)  # a gradient that is another everywhere
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()])]


def compare(layer: Conv3x3, shape: tuple[int, ...], layout: torch.memory_format, way: str, tolerance: float) -> None:
    """With what PyTorch's own layer computes in double precision."""
    torch.manual_seed(0)
    layer.reset_parameters()
    reference: Any = nn.Conv2d(shape[1], layer.out_channels, 3, bias=layer.bias is not None)
    reference.stride, reference.padding = layer.stride, layer.padding
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(shape).to(memory_format=layout)
    expected = results(reference.double(), x.double())
    layer.fast = True
    got = results(layer, x)
    assert way in type(layer(x).grad_fn).__name__
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance * max(0.1, float(other.abs().max())))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "channels_out"),
    [((1, 1, 4, 4), 1), ((3, 5, 8, 12), 7), ((2, 16, 64, 48), 24), ((5, 3, 4, 132), 2), ((40, 8, 4, 8), 8)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_result_and_gradients_are_the_convolutions(everywhere, monkeypatch, shape, channels_out, bias, layout):
    monkeypatch.setattr(winograd, "_FEWEST", 8)  # in several pieces
    monkeypatch.setattr(winograd, "_VALUES", 64)
    compare(Conv3x3(shape[1], channels_out, bias=bias), shape, layout, "_Winograd", 2e-5)


@pytest.mark.parametrize(("stride", "padding"), [(2, 0), (2, 1), (1, 1)])
@pytest.mark.parametrize(
    ("shape", "channels_out"), [((1, 1, 3, 3), 1), ((3, 5, 9, 13), 7), ((2, 16, 34, 27), 24), ((20, 8, 5, 6), 3)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_by_patches_are_right(everywhere, monkeypatch, shape, channels_out, stride, padding, layout):
    monkeypatch.setattr(winograd, "_CHANNELS", 10**6)
    monkeypatch.setattr(convolution, "_VALUES", 2**9)  # in several pieces
    compare(Conv3x3(shape[1], channels_out, stride, padding), shape, layout, "_ByPatches", 1e-5)


def test_where_it_would_not_be_faster_the_plain_convolution_is_used(monkeypatch):
    wide, narrow, small = (Conv3x3(channels, 128) for channels in (64, 32, 8))
    strided = Conv3x3(64, 128, stride=2)
    for layer in (wide, narrow, small, strided):
        layer.fast = True

    def way(layer: Conv3x3, *shape: int, capability: str = "AVX512") -> str:
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
        return type(layer(torch.rand(shape)).grad_fn).__name__.strip("_").partition("Backward")[0]

    assert way(wide, 4, 64, 64, 64) == way(wide, 4, 64, 64, 64, capability="AVX2") == "Winograd"
    assert way(strided, 4, 64, 65, 65) == "ByPatches"
    assert way(narrow, 4, 32, 64, 64, capability="AVX2") == "ByPatches"
    plain = [
        way(narrow, 4, 32, 64, 64),  # AVX-512
        way(wide, 4, 64, 66, 64),  # not a multiple of 4
        way(wide, 1, 64, 8, 8, capability="AVX2"),
        way(strided, 1, 64, 9, 9),
        way(small, 4, 8, 64, 64, capability="AVX2"),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        plain.append(way(wide, 4, 64, 64, 64))
    wide.fast = strided.fast = False
    plain += [way(wide, 4, 64, 64, 64), way(strided, 4, 64, 65, 65)]
    assert set(plain) == {"Convolution"}
    wide.fast = True
    with torch.no_grad():
        x = torch.rand(4, 64, 64, 64)
        assert torch.equal(wide(x), nn.functional.conv2d(x, wide.weight, wide.bias, padding=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_that_needs_no_gradient_of_its_input_or_of_itself(everywhere, stride: int):
    layer = Conv3x3(3, 4, stride)
    layer.fast = True
    x = torch.rand(1, 3, 8, 8)
    layer(x).sum().backward()
    assert x.grad is None and layer.weight.grad is not None
    layer.requires_grad_(False)
    (of_x,) = torch.autograd.grad(layer(x.requires_grad_()).sum(), x)
    expected = torch.autograd.grad(nn.functional.conv2d(x, layer.weight, None, stride, 1).sum(), x)[0]
    torch.testing.assert_close(of_x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["beta", "unet"])
def test_all_3x3_convolutions_of_a_network_are_such(name: str):
    model = create_model(name)
    model.use_fast_convolutions(True)
    layers = [m for m in model.modules() if isinstance(m, Conv3x3)]
    assert len(layers) >= 8 and all(layer.fast for layer in layers)
    others = [m for m in model.modules() if isinstance(m, nn.Conv2d) and not isinstance(m, Conv3x3)]
    assert all(m.kernel_size == (1, 1) or m.out_channels == 2 for m in others)


def test_a_run_has_the_same_losses_with_it(train, tmp_path: Path, everywhere):
    steps = [*TINY, "dataset.steps_per_epoch=20", "trainer.log_every_n_steps=1"]
    found = []
    for on in ("true", "false"):
        train(*steps, f"trainer.fast_convolutions={on}", run_dir=tmp_path / on)
        with open(tmp_path / on / "csv/version_0/metrics.csv") as file:
            found.append([float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]])
    assert len(found[0]) == 20 and found[0] != found[1]  # another order of sums
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_it_is_on_by_default():
    assert config("train", "run_dir=x").trainer.fast_convolutions is True
