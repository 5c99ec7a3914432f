"""The measures against scikit-image and published values, and the Metric's means in one process and in two."""

from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color, metrics
from torch import Tensor

from colorize.metrics import (
    PSNR_CAP,
    PictureMetrics,
    ab_mse,
    ciede2000,
    colourfulness,
    delta_e_2000,
    per_picture,
    psnr,
    ssim,
)

# Sharma, Wu and Dalal 2005, table 1: L, a, b of the two colours, and their CIEDE2000.
SHARMA = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def pictures(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Smooth colours with some noise, as photographs have; uint8 (count, 3, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = smooth + 0.05 * torch.randn(count, 3, height, width, generator=generator)
    return (noisy.clamp(0, 1) * 255).round().to(torch.uint8)


def arrays(rgb: Tensor) -> list[np.ndarray]:
    return list(rgb.permute(0, 2, 3, 1).numpy())


def test_sharma_table():
    table = torch.tensor([[float(x) for x in line.split()] for line in SHARMA.split("\n") if line], dtype=torch.float64)
    assert table.shape == (34, 7)
    first, second, published = table[:, 0:3], table[:, 3:6], table[:, 6]
    # float64: pairs 9 to 15 lie within 1e-4 of the jump at opposite hues. Half of the last printed digit, and rounding.
    torch.testing.assert_close(delta_e_2000(first, second), published, atol=5.1e-5, rtol=0)
    # Swapped, pairs 10 and 14 (exactly opposite hues) are decided by float rounding; the paper lists them one way.
    others = [i for i in range(34) if i not in (9, 13)]
    torch.testing.assert_close(delta_e_2000(second, first)[others], published[others], atol=5.1e-5, rtol=0)


# A strip holds 2**17 pixels: the last size needs several, and their last one is not full.
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 48), (300, 500)])
def test_against_skimage(size):
    pred, real = pictures(2, *size, seed=1), pictures(2, *size, seed=2)
    values = per_picture(pred, real)
    for i, (p, r) in enumerate(zip(arrays(pred), arrays(real), strict=True)):
        lab_p, lab_r = color.rgb2lab(p), color.rgb2lab(r)
        # float32 here, float64 there; nobody reads more than two decimals.
        assert values["ciede2000"][i].item() == pytest.approx(color.deltaE_ciede2000(lab_p, lab_r).mean(), abs=1e-4)
        assert values["ab_mse"][i].item() == pytest.approx(((lab_p - lab_r)[..., 1:] ** 2).mean() / 128**2, rel=1e-4)
        assert values["psnr"][i].item() == pytest.approx(metrics.peak_signal_noise_ratio(r, p), abs=1e-3)


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (64, 48), (300, 500)])
def test_ssim_against_skimage(size):
    real = pictures(2, *size)
    pred = (real.float() * 0.9 + pictures(2, *size, seed=1).float() * 0.1).to(torch.uint8)
    for i, (p, r) in enumerate(zip(arrays(pred), arrays(real), strict=True)):
        # The paper's settings, float64; float32 variances of values in [0, 1] are off by about 1e-7, C2 is 9e-4.
        expected = metrics.structural_similarity(
            p, r, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1
        )
        assert ssim(pred, real)[i].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 2), (3, 3), (8, 40), (10, 10)])
def test_ssim_of_pictures_smaller_than_the_window(size):
    real = pictures(2, *size)
    assert torch.equal(ssim(real, real), torch.ones(2))
    different = ssim(255 - real, real)
    assert (different > -1).all() and (different < 1).all()


def test_ssim_of_one_pixel_compares_brightness():
    black, white = torch.zeros(1, 3, 1, 1, dtype=torch.uint8), torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    assert ssim(black, white).item() == pytest.approx(1e-4 / (1 + 1e-4))


def test_autocast_changes_nothing():
    pred, real = pictures(1, 32, 32, seed=1), pictures(1, 32, 32, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = per_picture(pred, real)
    for name, value in per_picture(pred, real).items():
        assert torch.equal(inside[name], value), name


def test_colourfulness_known_values():
    flat = torch.tensor([[200, 100, 50], [77, 77, 77], [0, 0, 255]], dtype=torch.uint8)[:, :, None, None]
    expected = torch.tensor([0.3 * (100**2 + 100**2) ** 0.5, 0.0, 0.3 * 255])
    torch.testing.assert_close(colourfulness(flat.expand(-1, -1, 6, 5)), expected)


def test_colourfulness_against_numpy():
    rgb = pictures(3, 20, 30)
    for i, picture in enumerate(arrays(rgb)):
        red, green, blue = np.moveaxis(picture.astype(float), -1, 0)
        rg, yb = abs(red - green), abs(0.5 * (red + green) - blue)
        expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
        assert colourfulness(rgb)[i].item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14), st.integers(0, 10**6))
def test_properties(count, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    pred, real = torch.randint(0, 256, (2, count, 3, height, width), dtype=torch.uint8, generator=generator)
    zeros = torch.zeros(count)
    for measure in (psnr, ssim, ciede2000, ab_mse):
        values = measure(pred, real)
        assert values.shape == (count,) and values.dtype == torch.float32 and values.isfinite().all()
        # Each picture is judged alone: its neighbours in the batch do not matter.
        torch.testing.assert_close(values[-1:], measure(pred[-1:], real[-1:]), atol=1e-5, rtol=1e-4)
        if measure is not ciede2000:  # opposite hues may fall to either side when swapped
            torch.testing.assert_close(values, measure(real, pred), atol=1e-6, rtol=1e-5)
    assert torch.equal(ciede2000(real, real), zeros) and torch.equal(ab_mse(real, real), zeros)
    assert torch.equal(psnr(real, real), zeros + PSNR_CAP)
    assert (ciede2000(pred, real) >= 0).all() and (ssim(pred, real).abs() <= 1 + 1e-6).all()


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(1, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 4, 4, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 0, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 4, 5, dtype=torch.uint8),
    ],
)
def test_wrong_input_is_refused(bad):
    for measure in (psnr, ssim, ciede2000, ab_mse, per_picture):
        with pytest.raises(ValueError):
            measure(bad, torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def check_means(computed: dict[str, Tensor], pred: Tensor, real: Tensor) -> None:
    values = per_picture(pred, real)
    assert set(computed) == {*values, "colourfulness_ratio", "pictures"}
    assert computed["pictures"] == len(pred)
    for name, value in values.items():
        torch.testing.assert_close(computed[name], value.mean(), msg=name)
    ratio = values["colourfulness"].mean() / values["colourfulness_real"].mean()
    torch.testing.assert_close(computed["colourfulness_ratio"], ratio)


def test_metric_is_the_mean_over_pictures_whatever_the_batches():
    pred, real = pictures(7, 16, 20, seed=1), pictures(7, 16, 20, seed=2)
    metric = PictureMetrics()
    for batch in (slice(0, 4), slice(4, 5), slice(5, 7)):
        metric.update(pred[batch], real[batch])
    check_means(metric.compute(), pred, real)
    metric.reset()
    metric.update(pred[:2], real[:2])
    check_means(metric.compute(), pred[:2], real[:2])


def test_ratio_of_grey_originals_is_finite():
    metric = PictureMetrics()
    grey = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
    metric.update(grey, grey)
    assert metric.compute()["colourfulness_ratio"] == 0
    metric.update(pictures(1, 8, 8), grey)
    assert metric.compute()["colourfulness_ratio"].isfinite()


def rank(index: int, folder: str) -> None:
    minute = timedelta(minutes=1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", minute, rank=index, world_size=2)
    try:
        pred, real = pictures(4, 16, 20, seed=1), pictures(4, 16, 20, seed=2)
        metric = PictureMetrics()
        for i in ([0], [1, 2, 3])[index]:
            metric.update(pred[i : i + 1], real[i : i + 1])
        check_means(metric.compute(), pred, real)
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_with_uneven_numbers_of_pictures(tmp_path):
    # This process is the second one: starting a process, with all its imports, is what takes the time.
    other = torch.multiprocessing.spawn(rank, (str(tmp_path),), nprocs=1, join=False)
    rank(1, str(tmp_path))
    while not other.join():  # raises what the process raised
        pass
