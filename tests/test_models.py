"""Networks: the reference's layers to the letter, and what every network must be able to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000
from torch import nn

from colorize.losses import LOSSES, create_loss
from colorize.models import MODELS, create_model
from colorize.models.base import Network
from colorize.models.encoder_decoder import StridedConv2d


@pytest.mark.parametrize(
    ("name", "settings", "parameters"),
    [("alpha", {}, 32_202), ("beta", {"extra_layers": 0}, 3_892_194), ("beta", {}, 5_957_474)],
)
def test_parameter_counts_of_the_report(name: str, settings: dict, parameters: int):
    assert sum(p.numel() for p in create_model(name, **settings).parameters()) == parameters


def test_betas_layers_are_the_references():
    layers = [m for m in create_model("beta").modules() if isinstance(m, nn.Conv2d | nn.Upsample | nn.Tanh)]
    said = [f"{m.out_channels}/{m.stride[0]}" if isinstance(m, nn.Conv2d) else type(m).__name__.lower() for m in layers]
    widths = "64/1 64/2 128/1 128/2 256/1 256/2 512/1 256/1 128/1 512/1 256/1 128/1"
    assert " ".join(said) == f"{widths} upsample 64/1 upsample 32/1 2/1 tanh upsample"


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"convlstm"}))  # learns from clips: tests/test_convlstm.py
def test_every_network_keeps_size_and_range_and_trains_every_parameter(name: str):
    torch.manual_seed(0)
    model = create_model(name)
    ab = model(torch.rand(2, 1, 3 * model.stride, 5 * model.stride))
    assert ab.shape == (2, 2, 3 * model.stride, 5 * model.stride)
    assert ab.abs().max() < 1
    (ab - 0.5).square().mean().backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}  # all but a frozen backbone's
    still = [n for n, p in learning.items() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("side", [8, 9, 16, 31])
def test_stride_2_pads_as_keras_does(side: int):
    """Keras' 'same': ceil(side / 2) outputs, the odd pixel of padding at the right and bottom."""
    conv = StridedConv2d(1, 1)
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    conv.weight.data[0, 0, 0, 0] = 1.0  # picks the window's first pixel
    x = torch.arange(1.0, side * side + 1).view(1, 1, side, side)
    y = conv(x)[0, 0]
    outputs = -(-side // 2)
    before = max((outputs - 1) * 2 + 3 - side, 0) // 2  # Keras' own formula
    expected = torch.nn.functional.pad(x, (before, 2, before, 2))[0, 0, ::2, ::2][:outputs, :outputs]
    torch.testing.assert_close(y, expected)


def test_glorot_initialisation_of_the_reference():
    for conv in (m for m in create_model("beta", init="glorot").modules() if isinstance(m, nn.Conv2d)):
        limit = (6 / (9 * (conv.in_channels + conv.out_channels))) ** 0.5
        assert conv.bias is not None and not conv.bias.any()
        assert 0.9 * limit < conv.weight.abs().max() <= limit


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gamma", {}, "no model is called 'gamma'; there are: alpha, beta, convlstm, full, unet"),
        ("beta", {"depth": 3}, "its settings are: encoder, extra_layers, decoder, init"),
        ("alpha", {"encoder": [64, "64/3"]}, "'64/3' is not understood"),
        ("beta", {"decoder": ["up", "head"]}, "1 'up' for an encoder that shrinks by 8"),
        ("beta", {"decoder": ["up", "up", "up"]}, "exactly one 'head'"),
        ("beta", {"extra_layers": 10}, "extra_layers=10 is not in 0..9"),
        ("alpha", {"init": "he"}, "torch, glorot"),
        ("unet", {"widths": [8, 16]}, "model.widths=[8, 16] and model.blocks="),
        ("unet", {"dropout": 1}, "model.dropout=1 is not in [0, 1)"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(name: str, settings: dict, message: str):
    with pytest.raises(ValueError) as error:
        create_model(name, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"cross_entropy"}))  # of classes: tests/test_heads.py
def test_every_loss_is_zero_for_the_target_and_has_a_gradient_elsewhere(name: str):
    loss, target = create_loss(name), torch.rand(2, 2, 4, 4) - 0.5
    network = Network()  # whose output is ab
    assert float(loss(network, target, target)) == 0
    guess = torch.zeros_like(target, requires_grad=True)
    loss(network, guess, target).backward()
    assert guess.grad is not None and guess.grad.abs().max() > 0


@pytest.mark.parametrize(("span", "tolerance"), [(5, 0.05), (20, 0.15), (60, 0.3)])  # hue counts more far from grey
def test_delta_e_is_near_ciede2000(span: float, tolerance: float):
    colours = torch.empty(2, 500, 2).uniform_(-span, span, generator=torch.Generator().manual_seed(0))
    lab = [torch.cat([torch.full((500, 1), 50.0), ab], dim=1).numpy() for ab in colours]
    loss = create_loss("delta_e", eps=1e-6)
    pairs = zip(*(colours / 128).view(2, 500, 1, 2, 1, 1), strict=True)
    found = 20 * torch.stack([loss(Network(), *pair) for pair in pairs]).numpy()
    assert np.quantile(np.abs(found / deltaE_ciede2000(*lab) - 1), 0.95) < tolerance


def test_dropout_acts_while_training_alone():
    network, l = create_model("unet", dropout=0.5), torch.rand(2, 1, 64, 64)
    assert not torch.equal(network(l), network(l))
    network.eval()
    assert torch.equal(network(l), network(l))


def test_an_unknown_loss_lists_the_names():
    with pytest.raises(ValueError, match="there are: cross_entropy, delta_e, mse, smooth_l1"):
        create_loss("mae")
