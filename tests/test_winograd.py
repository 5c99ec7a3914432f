"""3x3 convolutions by Winograd's algorithm compute what PyTorch's own do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from conftest import TINY, config
from torch import Tensor, nn

from colorize.models import create_model, winograd
from colorize.models.winograd import Conv3x3


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers too."""
    monkeypatch.setattr(winograd, "_CHANNELS", 1)
    monkeypatch.setattr(winograd, "_WORTH", 0)


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What comes out, and every gradient of it."""
    x = x.clone().requires_grad_()
    y = layer(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)  # a gradient that is another everywhere
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "channels_out"),
    [((1, 1, 4, 4), 1), ((3, 5, 8, 12), 7), ((2, 16, 64, 48), 24), ((5, 3, 4, 132), 2), ((40, 8, 4, 8), 8)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_result_and_gradients_are_the_convolutions(everywhere, monkeypatch, shape, channels_out, bias, layout):
    monkeypatch.setattr(winograd, "_FEWEST", 8)  # in several pieces
    monkeypatch.setattr(winograd, "_VALUES", 64)
    torch.manual_seed(0)
    layer = Conv3x3(shape[1], channels_out, bias)
    reference = nn.Conv2d(shape[1], channels_out, 3, padding=1, bias=bias).double()
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(shape).to(memory_format=layout)
    expected = results(reference, x.double())
    layer.winograd = True
    got = results(layer, x)
    assert "_Winograd" in type(layer(x).grad_fn).__name__
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-5 * max(0.1, float(other.abs().max())))


def test_where_it_would_not_be_faster_the_plain_convolution_is_used():
    wide, narrow = (Conv3x3(channels, 128) for channels in (128, 64))
    wide.winograd = narrow.winograd = True
    used = {
        "wide": wide(torch.rand(2, 128, 64, 64)),
        "narrow": narrow(torch.rand(2, 64, 64, 64)),
        "small": wide(torch.rand(1, 128, 8, 8)),
        "odd": wide(torch.rand(2, 128, 66, 64)),
    }
    with torch.autocast("cpu", torch.bfloat16):
        used["bf16"] = wide(torch.rand(2, 128, 64, 64))
    wide.winograd = False
    used["off"] = wide(torch.rand(2, 128, 64, 64))
    assert [name for name, y in used.items() if "_Winograd" in type(y.grad_fn).__name__] == ["wide"]
    wide.winograd = True
    with torch.no_grad():
        x = torch.rand(2, 128, 64, 64)
        assert torch.equal(wide(x), nn.functional.conv2d(x, wide.weight, wide.bias, padding=1))


def test_a_layer_that_needs_no_gradient_of_its_input_or_of_itself(everywhere):
    layer = Conv3x3(3, 4)
    layer.winograd = True
    x = torch.rand(1, 3, 8, 8)
    layer(x).sum().backward()
    assert x.grad is None and layer.weight.grad is not None
    layer.requires_grad_(False)
    (of_x,) = torch.autograd.grad(layer(x.requires_grad_()).sum(), x)
    expected = torch.autograd.grad(nn.functional.conv2d(x, layer.weight, padding=1).sum(), x)[0]
    torch.testing.assert_close(of_x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["beta", "unet"])
def test_networks_have_such_layers_and_their_weights_are_as_before(name: str):
    model = create_model(name)
    model.use_winograd(True)
    layers = [m for m in model.modules() if isinstance(m, Conv3x3)]
    assert len(layers) >= 8 and all(layer.winograd for layer in layers)
    assert all(m.stride == (2, 2) for m in model.modules() if type(m) is nn.Conv2d and m.kernel_size == (3, 3))


def test_a_run_has_the_same_losses_with_it(train, tmp_path: Path, everywhere):
    steps = [*TINY, "dataset.steps_per_epoch=20", "trainer.log_every_n_steps=1", "logger.tensorboard.log_graph=false"]
    found = []
    for on in ("true", "false"):
        train(*steps, f"trainer.winograd={on}", run_dir=tmp_path / on)
        with open(tmp_path / on / "csv/version_0/metrics.csv") as file:
            found.append([float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]])
    assert len(found[0]) == 20 and found[0] != found[1]  # another order of sums
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_it_is_on_by_default():
    assert config("train", "run_dir=x").trainer.winograd is True
