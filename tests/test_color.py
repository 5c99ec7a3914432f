"""Colour conversion against scikit-image, and the promises of the gamut clamp."""

from __future__ import annotations

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color as skcolor

from colorize.color import clamp_to_gamut, l_ab_to_rgb, rgb_to_l, rgb_to_l_ab, rgb_to_lab, to_float, to_uint8


def random_rgb(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_lab_equals_scikit_image():
    rgb = random_rgb(2, 3, 17, 23)
    expected = np.stack([skcolor.rgb2lab(picture.permute(1, 2, 0).numpy()) for picture in rgb])
    np.testing.assert_allclose(rgb_to_lab(rgb).permute(0, 2, 3, 1).numpy(), expected, atol=1e-3)


def test_scales_are_the_references():
    rgb = random_rgb(1, 3, 8, 8)
    lab, (l, ab) = rgb_to_lab(rgb), rgb_to_l_ab(rgb)
    torch.testing.assert_close((l, ab), (lab[:, :1] / 100, lab[:, 1:] / 128), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(2, 3, 17, 23), (3, 3, 300, 257), (0, 3, 8, 8), (1, 3, 1, 200_000)])
def test_the_fast_conversion_of_a_cpu_is_kornias(shape: tuple[int, ...]):
    rgb = random_rgb(*shape)
    rgb[..., ::2] *= 0.06  # dark: both sides of both curves' bends
    rgb[..., :1], rgb[..., -1:] = 0, 1
    lab = rgb_to_lab(rgb)
    plain = lab[:, :1] / 100, lab[:, 1:] / 128
    kept = rgb.clone()
    torch.testing.assert_close(rgb_to_l_ab(rgb), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(rgb, kept, atol=0, rtol=0)  # the colours given are not worked in
    channels_last = rgb.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(rgb_to_l_ab(channels_last), plain, atol=1e-5, rtol=0)
    for i in range(len(rgb)):  # whatever a picture shares its batch with
        alone = rgb_to_l_ab(rgb[i : i + 1])
        torch.testing.assert_close(alone, tuple(x[i : i + 1] for x in rgb_to_l_ab(rgb)), atol=1e-6, rtol=0)


def test_the_conversion_has_a_gradient():
    rgb = random_rgb(1, 3, 5, 5).requires_grad_()
    l, ab = rgb_to_l_ab(rgb)
    (l.sum() + ab.square().sum()).backward()
    assert rgb.grad is not None and rgb.grad.abs().min() > 0
    torch.testing.assert_close(rgb_to_l_ab(rgb.detach()), (l.detach(), ab.detach()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_conversion_fills_what_it_is_given(dtype: torch.dtype):
    rgb = random_rgb(2, 3, 5, 7).to(dtype)
    l, ab = torch.full((2, 1, 5, 7), 9.0), torch.full((2, 2, 5, 7), 9.0)
    back = rgb_to_l_ab(rgb, out=(l, ab))
    assert back[0] is l and back[1] is ab
    torch.testing.assert_close(back, rgb_to_l_ab(rgb.float()), atol=1e-5, rtol=0)


def test_lightness_alone_is_that_of_the_whole_conversion():
    rgb = to_uint8(random_rgb(2, 3, 40, 31))
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    for picture in (rgb, rgb.contiguous(memory_format=torch.channels_last), grey, rgb[:0]):
        torch.testing.assert_close(rgb_to_l(picture), rgb_to_l_ab(to_float(picture))[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(rgb_to_l(to_float(rgb)), rgb_to_l_ab(to_float(rgb))[0], atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(2, 3, 17, 23), (3, 3, 300, 257), (0, 3, 8, 8), (1, 3, 1, 200_000)])
def test_the_way_back_is_kornias(shape: tuple[int, ...]):
    rgb = random_rgb(*shape)
    rgb[..., ::2] *= 0.06
    l, ab = rgb_to_l_ab(rgb)
    theirs = kornia.color.lab_to_rgb(torch.cat([l * 100, ab * 128], dim=1))
    torch.testing.assert_close(l_ab_to_rgb(l, ab), theirs, atol=1e-5, rtol=0)
    for i in range(len(rgb)):
        torch.testing.assert_close(l_ab_to_rgb(l[i : i + 1], ab[i : i + 1]), theirs[i : i + 1], atol=1e-5, rtol=0)


def test_the_way_back_has_a_gradient():
    l, ab = (x.requires_grad_() for x in rgb_to_l_ab(random_rgb(1, 3, 5, 5)))
    l_ab_to_rgb(l, ab * 1.5).square().sum().backward()  # some of it outside the gamut
    for x in (l, ab):
        assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_every_uint8_colour_of_a_dense_sample_comes_back():
    levels = torch.arange(0, 256, 5, dtype=torch.uint8)
    rgb = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, -1, 52)
    torch.testing.assert_close(to_uint8(l_ab_to_rgb(*rgb_to_l_ab(to_float(rgb)))), rgb, atol=0, rtol=0)


def test_float32_inside_autocast():
    rgb = random_rgb(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        l, ab = rgb_to_l_ab(rgb)
        back = l_ab_to_rgb(l, ab.bfloat16())
    assert l.dtype == ab.dtype == back.dtype == torch.float32
    torch.testing.assert_close((l, ab), rgb_to_l_ab(rgb), atol=0, rtol=0)


def test_uint8_is_refused_rather_than_converted_wrongly():
    with pytest.raises(AssertionError, match="float RGB"):
        rgb_to_l_ab(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_colours_inside_the_gamut_are_left_alone():
    l, ab = rgb_to_l_ab(random_rgb(1, 3, 64, 64))
    torch.testing.assert_close(clamp_to_gamut(l, ab), ab, atol=0, rtol=0)


@settings(max_examples=60, deadline=None)
@given(l=st.floats(0, 1), a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_any_colour_asked_for_keeps_its_lightness_and_hue(l: float, a: float, b: float):
    lightness = torch.full((1, 1, 1, 1), l)
    ab = torch.tensor([a, b]).view(1, 2, 1, 1)
    clamped = clamp_to_gamut(lightness, ab)
    assert clamped.norm() <= ab.norm() + 1e-6
    assert abs(float(clamped[0, 0] * b - clamped[0, 1] * a)) < 1e-4  # parallel: the hue stays
    shown = to_uint8(l_ab_to_rgb(lightness, ab))
    assert abs(100 * float(rgb_to_l_ab(to_float(shown))[0]) - 100 * l) <= 0.3


def test_the_clamp_stops_at_the_gamuts_edge_and_not_before():
    l, ab = torch.full((1, 1, 1, 1), 0.6), torch.tensor([0.9, 0.1]).view(1, 2, 1, 1)
    edge = clamp_to_gamut(l, ab)
    assert float(edge.norm()) > 0.3
    outside = (
        skcolor.lab2xyz(np.array([[60.0, *(edge * 1.02 * 128).flatten().tolist()]]))
        @ np.linalg.inv(skcolor.colorconv.xyz_from_rgb).T
    )
    assert outside.max() > 1 or outside.min() < 0
