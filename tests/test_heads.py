"""Colour as classification: bins, soft encoding, annealed mean, prior and loss against plain numpy, and a run of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import color as skcolor
from torch import nn

from colorize.checkpoint import load_checkpoint
from colorize.color import ab_bins, rgb_to_l_ab
from colorize.losses import create_loss
from colorize.models import create_model
from colorize.models.heads import ClassHead, create_head
from colorize.module import ColorizeModule

TINY = [
    "experiment=classification",
    "model.widths=[4,8,8]",
    "model.blocks=[0,0,1]",
    "dataset.size=32",
    "dataset.batch_size=2",
    "dataset.steps_per_epoch=1",
    "dataset.epochs=1",
    "trainer.accelerator=cpu",
]


def real_ab(*shape: int, seed: int = 0) -> torch.Tensor:
    """ab (B, 2, H, W) of random sRGB colours."""
    batch, height, width = shape
    return rgb_to_l_ab(torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)))[1]


def bins_in_units() -> np.ndarray:
    return ab_bins().double().numpy() * 128


def soft_encoding(ab: np.ndarray, sigma: float = 5.0) -> np.ndarray:
    """(N, 2) in units -> (N, Q) by the paper's words: a Gaussian over the 5 nearest bins, normalised."""
    distance = np.linalg.norm(ab[:, None] - bins_in_units()[None], axis=-1)
    encoded = np.zeros_like(distance)
    for row, d in enumerate(distance):
        for q in np.argsort(d)[:5]:
            encoded[row, q] = np.exp(-(d[q] ** 2) / (2 * sigma**2))
    return encoded / encoded.sum(1, keepdims=True)


def dense(head: ClassHead, ab: torch.Tensor) -> torch.Tensor:
    """`encode` written out: (B, Q, H, W)."""
    classes, weights = head.encode(ab)
    batch, _, height, width = ab.shape
    return torch.zeros(batch, len(head.bins), height, width).scatter_(1, classes, weights)


def pixels(x: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) -> (B * H * W, C)."""
    return x.movedim(1, -1).flatten(0, 2).double().numpy()


def test_bins_are_the_grid_points_nearest_to_a_colour_of_srgb():
    levels = np.linspace(0, 1, 120)
    faces = [np.stack(np.meshgrid([end], levels, levels), -1).reshape(-1, 3) for end in (0.0, 1.0)]
    surface = np.concatenate([np.roll(face, channel, axis=1) for face in faces for channel in range(3)])
    inside = np.random.default_rng(0).random((100_000, 3))
    reached, inner = (
        set(map(tuple, np.round(skcolor.rgb2lab(rgb[None])[0, :, 1:] / 10).astype(int))) for rgb in (surface, inside)
    )
    bins = set(map(tuple, np.round(bins_in_units() / 10).astype(int)))
    assert len(bins) == len(ab_bins()) == 261
    assert bins == reached and inner <= bins


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_every_grid_point_that_srgb_shows_at_some_lightness_is_a_bin():
    grid = np.stack(np.meshgrid(np.arange(1.0, 100, 2), np.arange(-110.0, 111, 10), np.arange(-110.0, 111, 10)), -1)
    lab = grid.reshape(-1, 3)
    shown = np.abs(skcolor.rgb2lab(skcolor.lab2rgb(lab)) - lab).max(1) < 0.01  # else clipped on the way
    assert set(map(tuple, lab[shown, 1:])) <= set(map(tuple, bins_in_units()))
    assert shown.sum() > 1000


def test_the_soft_encoding_is_the_papers():
    head, ab = ClassHead(1), real_ab(2, 20, 20)
    whole = (ab * 128).round() / 128  # where the table's rounding changes nothing
    distance = np.sort(np.linalg.norm(pixels(whole)[:, None] * 128 - bins_in_units()[None], axis=-1), axis=1)
    clear = distance[:, 5] - distance[:, 4] > 1e-3  # the fifth is no tie
    expected = soft_encoding(pixels(whole) * 128)
    assert clear.mean() > 0.5
    np.testing.assert_allclose(pixels(dense(head, whole))[clear], expected[clear], atol=1e-5)

    difference = np.abs(pixels(dense(head, ab)) - soft_encoding(pixels(ab) * 128)).sum(1) / 2
    assert difference.max() < 0.1 and difference.mean() < 0.01


def test_the_annealed_mean_lies_between_the_mean_and_the_likeliest_bin():
    head, logits = ClassHead(1), 3 * torch.randn(2, 261, 3, 4, generator=torch.Generator().manual_seed(0))
    p = np.exp(pixels(logits))
    p /= p.sum(1, keepdims=True)
    bins = ab_bins().double().numpy()
    head.temperature = 1.0
    np.testing.assert_allclose(pixels(head.decode(logits)), p @ bins, atol=1e-6)
    head.temperature = 1e-4
    np.testing.assert_allclose(pixels(head.decode(logits)), bins[p.argmax(1)], atol=1e-6)
    head.temperature = 0.38
    annealed = p ** (1 / 0.38)
    np.testing.assert_allclose(pixels(head.decode(logits)), annealed @ bins / annealed.sum(1, keepdims=True), atol=1e-6)


def test_a_colour_that_is_encoded_and_decoded_comes_back():
    head, ab = ClassHead(1), real_ab(2, 32, 32)
    error = (head.decode(dense(head, ab).clamp(min=1e-30).log()) - ab).norm(dim=1) * 128
    assert error.mean() < 2.5 and error.max() < 10  # in units of a and b, bins 10 apart


def test_the_prior_is_the_mean_soft_encoding_of_the_training_pictures():
    head = ClassHead(1)
    torch.testing.assert_close(head.prior, torch.full((261,), 1 / 261))
    pictures = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    head.prepare(pictures)
    ab = rgb_to_l_ab(pictures[:, :, 2::4, 2::4].float() / 255)[1]
    np.testing.assert_allclose(head.prior, soft_encoding(pixels(ab) * 128).mean(0), atol=1e-3)

    head.prepare(torch.full((1, 3, 16, 16), 128, dtype=torch.uint8))
    grey = int(head.bins.norm(dim=1).argmin())
    assert head.prior.argmax() == grey and (head.prior > 0).sum() == 5


@pytest.mark.parametrize("rebalance", [0.5, 1.0])
def test_the_loss_is_the_papers(rebalance: float):
    model, generator = create_model("unet", head="classes"), torch.Generator().manual_seed(0)
    head = model.head
    assert isinstance(head, ClassHead)
    prior = torch.rand(261, generator=generator).square()
    head.prior.copy_(prior / prior.sum())
    logits, ab = torch.randn(2, 261, 4, 6, generator=generator), real_ab(2, 4, 6)
    target, p = pixels(dense(head, ab)), head.prior.double().numpy()
    weight = 1 / ((1 - rebalance) * p + rebalance / 261)
    weight /= (p * weight).sum()
    log_p = pixels(logits) - np.log(np.exp(pixels(logits)).sum(1, keepdims=True))
    expected = (weight[target.argmax(1)] * -(target * log_p).sum(1)).mean()
    big = ab.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)  # the loss looks at the output's own resolution
    loss = create_loss("cross_entropy", rebalance=rebalance)
    assert float(loss(model, logits, big)) == pytest.approx(expected, rel=1e-5)
    assert (weight.max() - weight.min() < 1e-6) == (rebalance == 1)


@pytest.mark.parametrize("name", ["unet", "beta"])
def test_every_parameter_is_trained_and_the_size_kept(name: str):
    torch.manual_seed(0)
    model = create_model(name, head="classes")
    l, ab = torch.rand(2, 1, 64, 96), real_ab(2, 64, 96)
    output = model.output(l)
    assert output.shape[1] == 261
    create_loss("cross_entropy")(model, output, ab).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still
    assert model(l).shape == ab.shape and model(l).abs().max() < 1


def test_a_thing_of_two_colours_gets_one_of_them_instead_of_grey():
    """What the head is for: red twice as often as its complement is red, where the mean would be pale."""
    head = ClassHead(1)
    red, cyan = (((head.bins * 128 - torch.tensor(c)).norm(dim=1)).argmin() for c in ([50.0, 30.0], [-50.0, -30.0]))
    logits = torch.full((1, 261, 1, 1), -30.0)
    logits[0, red], logits[0, cyan] = np.log(2 / 3), np.log(1 / 3)
    head.temperature = 1.0
    mean = head.decode(logits).norm()
    head.temperature = 0.38
    assert mean < 0.4 * head.bins[red].norm()
    assert head.decode(logits).norm() > 0.7 * head.bins[red].norm()


def test_weights_of_a_network_without_the_setting_still_fit():
    beta, unet = create_model("beta"), create_model("unet")
    convolutions = [n for n, m in beta.named_modules() if isinstance(m, nn.Conv2d)]
    assert list(beta.state_dict()) == [f"{n}.{kind}" for n in convolutions for kind in ("weight", "bias")]
    assert convolutions[0] == "layers.0" and convolutions[-1] == "layers.30"
    assert {"head.weight", "head.bias"} <= set(unet.state_dict())


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        ({"name": "unet", "head": "classes"}, "mse", "loss=mse does not go with model.head=classes: take"),
        ({"name": "beta", "head": "classes"}, "smooth_l1", "loss=smooth_l1 does not go with model.head=classes: take"),
        ({"name": "unet"}, "cross_entropy", "loss=cross_entropy needs model.head=classes"),
        ({"name": "alpha"}, "cross_entropy", "loss=cross_entropy needs model.head=classes"),
        ({"name": "beta", "head": "lab"}, "mse", "model.head=lab is not one of: ab, classes"),
    ],
)
def test_a_head_and_a_loss_that_do_not_go_together(model: dict[str, Any], loss: str, message: str):
    with pytest.raises(ValueError) as error:
        ColorizeModule(model, {"name": loss}, {"name": "AdamW"}, None, {"size": 32})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_loss("cross_entropy", rebalance=0), "loss.rebalance=0 must be above 0 and at most 1"),
        (lambda: create_loss("cross_entropy", sigma=0), "loss.sigma=0 must be above 0"),
        (lambda: create_head("hue", 3), "model.head=hue is not one of: ab, classes"),
        (lambda: create_model("beta", decoder=["up", "up", "head", "up", 2]), "only 'up' can stand there"),
    ],
)
def test_a_wrong_setting_is_named(make: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_run_keeps_its_prior_and_goes_on_with_its_own_set_only(train, tmp_path: Path):
    assert train(*TINY)["val"]["loss"] > 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    checkpoint = load_checkpoint(last)
    prior = checkpoint.model.state_dict()["head.prior"]
    assert float(prior.sum()) == pytest.approx(1) and float(prior.max()) > 0.05, "not uniform: of the pictures"
    assert checkpoint.model(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)

    with pytest.raises(ValueError, match=r"cannot go on from .*dataset.name pradera there and rural here") as error:
        train(*TINY, "dataset=rural", "dataset.epochs=2", f"ckpt_path={last}", run_dir=tmp_path / "other")
    assert "\n" not in str(error.value)

    train(*TINY, "dataset.epochs=2", f"ckpt_path={last}", run_dir=tmp_path / "on")
    on = load_checkpoint(tmp_path / "on/checkpoints/last.ckpt")
    torch.testing.assert_close(on.model.state_dict()["head.prior"], prior)
