"""How good a colourization is: pure functions with one value a picture, and a Metric that averages them.

Everything is judged on uint8 RGB, the picture that a user would get. ``pred`` and ``real`` are uint8 tensors
(B, 3, H, W) of the same shape, on the same device; anything else raises ``ValueError``. Results are float32 (B,).
The sums run over strips of rows, so a 12-megapixel picture needs little more memory than a small one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from colorize.color import rgb_to_l_ab, rgb_to_lab, to_float

PSNR_CAP = 100.0  # dB; equal pictures have none, and infinity would spoil every mean
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
RED_FROM = 30.0  # a*
_STRIP_PIXELS = 2**17  # a strip's temporaries then stay near the CPU's cache

PER_PICTURE = ("psnr", "ssim", "ciede2000", "ab_mse", "colourfulness", "colourfulness_real")


def psnr(pred: Tensor, real: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over R, G and B, peak 255; at most 100 dB, the value of equal pictures."""
    _check(pred, real)
    mse = _mean_over_strips(lambda pred, real: (pred - real).square(), pred, real)
    return (-10 * torch.log10(mse)).clamp(max=PSNR_CAP)


def ssim(pred: Tensor, real: Tensor) -> Tensor:
    """Structural similarity in [-1, 1], 1 for equal pictures; mean over R, G and B (Wang et al. 2004).

    Gaussian window of 11 x 11, sigma 1.5, K1 0.01, K2 0.03, averaged where the window lies inside the picture, as in
    the paper and in scikit-image. A picture with a side below 11 gets the largest odd window that fits, with sigma
    shrunk alike (1.5 / 11 of the window); for a side of 1 or 2 that is one pixel, so that only brightness is compared.
    """
    _check(pred, real)
    # Not torchmetrics: its mean takes the borders in or leaves them out by version, and it needs 5 times as long on a
    # CPU. Sums of shifted pictures also stay float32 where a convolution would run in bfloat16 or TF32, which lose the
    # variances: they are small differences of large squares.
    side = min(SSIM_WINDOW, *pred.shape[-2:])
    window = side - 1 + side % 2
    offsets = torch.arange(window) - window // 2
    weights = torch.softmax(-0.5 * (offsets / (SSIM_SIGMA * window / SSIM_WINDOW)) ** 2, dim=0).tolist()

    def blur(x: Tensor) -> Tensor:
        for dim in (-2, -1):
            inside = x.shape[dim] - window + 1
            blurred = x.narrow(dim, 0, inside) * weights[0]
            for shift in range(1, window):
                blurred.add_(x.narrow(dim, shift, inside), alpha=weights[shift])
            x = blurred
        return x

    def similarity(pred: Tensor, real: Tensor) -> Tensor:
        mean_pred, mean_real = blur(pred), blur(real)
        product, squares = mean_pred * mean_real, mean_pred.square() + mean_real.square()
        covariance = blur(pred * real) - product
        variances = blur(pred.square() + real.square()) - squares
        c1, c2 = 0.01**2, 0.03**2
        return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))

    return _mean_over_strips(similarity, pred, real, overlap=window - 1)


def ciede2000(pred: Tensor, real: Tensor) -> Tensor:
    """CIEDE2000 colour difference, mean over pixels; 0 for equal pictures, about 1 is just noticeable."""
    _check(pred, real)
    return _mean_over_strips(lambda pred, real: delta_e_2000(rgb_to_lab(pred), rgb_to_lab(real)), pred, real)


def ab_mse(pred: Tensor, real: Tensor) -> Tensor:
    """Mean squared error of ab / 128, the scale of the training losses; lightness does not count."""
    _check(pred, real)
    return _mean_over_strips(lambda pred, real: (rgb_to_l_ab(pred)[1] - rgb_to_l_ab(real)[1]).square(), pred, real)


def colourfulness(rgb: Tensor) -> Tensor:
    """Colourfulness M of uint8 RGB (B, 3, H, W): 0 for grey, above 100 for the most vivid photographs.

    Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", the M^(3) formula in its absolute form:
    rg = |R - G| and yb = |0.5 (R + G) - B| on 0..255, M = sqrt(std_rg^2 + std_yb^2) + 0.3 sqrt(mean_rg^2 + mean_yb^2).
    The paper has no absolute values; without them M differs, so compare with figures of this form only.
    """
    _check(rgb, rgb)
    red, green, blue = rgb.float().flatten(2).unbind(1)
    opponents = torch.stack([(red - green).abs(), ((red + green) / 2 - blue).abs()])  # (2, B, pixels)
    variance, mean = torch.var_mean(opponents, dim=-1, correction=0)
    return variance.sum(0).sqrt() + 0.3 * mean.square().sum(0).sqrt()


def red_kept(pred: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the red is still there: sums of CIELAB a* (unscaled) over the pixels that are red in ``real``.

    Red is a* > 30 and a* > |b*|: strawberries, not skin or oranges. Returned are the sum over the prediction and the
    sum over the original, each (B,), 0 for a picture without red. Their ratio is the share of red kept: 1 as red as
    the original, 0 grey, negative green. Pool it, sum of sums over sum of sums, or a picture with three red pixels
    counts as much as one full of strawberries.
    """
    _check(pred, real)

    def a_where_red(rgb: Tensor, real: Tensor) -> Tensor:
        _, a, b = rgb_to_lab(real).unbind(1)
        return rgb_to_lab(rgb)[:, 1] * ((a > RED_FROM) & (a > b.abs()))

    pixels = real.shape[-2] * real.shape[-1]
    return tuple(_mean_over_strips(a_where_red, rgb, real) * pixels for rgb in (pred, real))  # type: ignore[return-value]


def delta_e_2000(lab: Tensor, other: Tensor) -> Tensor:
    """CIEDE2000 difference of two Lab tensors (B, 3, ...), unscaled, any float dtype -> (B, ...); kL = kC = kH = 1.

    Sharma, Wu and Dalal 2005, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
    and mathematical observations"; the numbers in the comments are its equations. Hues are in radians.
    """
    (l1, a1, b1), (l2, a2, b2) = lab.unbind(1), other.unbind(1)
    c_bar7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7  # (2), (3)
    g = 0.5 * (1 - torch.sqrt(c_bar7 / (c_bar7 + 25.0**7)))  # (4)
    a1, a2 = (1 + g) * a1, (1 + g) * a2  # (5)
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)  # (6)
    h1, h2 = torch.atan2(b1, a1) % (2 * torch.pi), torch.atan2(b2, a2) % (2 * torch.pi)  # (7)

    # (10), (14): the hues' difference and mean go the short way round. Without chroma a hue means nothing, and needs
    # no case of its own: delta_h is 0 then, and it multiplies everything that a hue enters.
    h_step, h_sum = h2 - h1, h1 + h2
    far = h_step.abs() > torch.pi
    h_step = torch.where(far, h_step - 2 * torch.pi * h_step.sign(), h_step)
    h_bar = torch.where(far, torch.where(h_sum < 2 * torch.pi, h_sum + 2 * torch.pi, h_sum - 2 * torch.pi), h_sum) / 2

    l_bar, c_bar = (l1 + l2) / 2, (c1 + c2) / 2  # (12), (13)
    delta_h = 2 * torch.sqrt(c1 * c2) * torch.sin(h_step / 2)  # (11)
    t = (  # (15)
        1
        - 0.17 * torch.cos(h_bar - torch.pi / 6)
        + 0.24 * torch.cos(2 * h_bar)
        + 0.32 * torch.cos(3 * h_bar + torch.pi / 30)
        - 0.20 * torch.cos(4 * h_bar - 63 * torch.pi / 180)
    )
    rotation = torch.exp(-(((h_bar * 180 / torch.pi - 275) / 25) ** 2)) * (torch.pi / 3)  # 2 delta theta of (16), (21)
    c_bar7 = c_bar**7
    r_t = -2 * torch.sqrt(c_bar7 / (c_bar7 + 25.0**7)) * torch.sin(rotation)  # (17), (21)
    l_step = (l2 - l1) / (1 + 0.015 * (l_bar - 50) ** 2 / torch.sqrt(20 + (l_bar - 50) ** 2))  # (8), (18)
    c_step = (c2 - c1) / (1 + 0.045 * c_bar)  # (9), (19)
    h_part = delta_h / (1 + 0.015 * c_bar * t)  # (20)
    # (22); rounding may take the form a hair below 0
    return (l_step**2 + c_step**2 + h_part**2 + r_t * c_step * h_part).clamp(min=0).sqrt()


def per_picture(pred: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Every measure of `PER_PICTURE` by name, each float32 (B,)."""
    return {
        "psnr": psnr(pred, real),
        "ssim": ssim(pred, real),
        "ciede2000": ciede2000(pred, real),
        "ab_mse": ab_mse(pred, real),
        "colourfulness": colourfulness(pred),
        "colourfulness_real": colourfulness(real),
    }


class PictureMetrics(Metric):
    """Means over pictures of everything in `per_picture`; every picture weighs the same, in any batch on any rank."""

    is_differentiable = False
    full_state_update = False
    totals: Tensor  # float32, in the order of PER_PICTURE
    pictures: Tensor  # int64

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("totals", torch.zeros(len(PER_PICTURE)), dist_reduce_fx="sum")
        self.add_state("pictures", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, pred: Tensor, real: Tensor) -> None:
        """Add pictures: uint8 RGB (B, 3, H, W), prediction and original."""
        values = per_picture(pred, real)
        self.totals += torch.stack([values[name].sum() for name in PER_PICTURE])
        self.pictures += len(pred)

    def compute(self) -> dict[str, Tensor]:
        """Means by name (NaN before any picture), `colourfulness_ratio`, and the count as `pictures`.

        The ratio is mean colourfulness of the predictions / of the originals. A mean below 1, which no eye tells from
        grey, counts as 1 there, so that grey originals give a finite ratio.
        """
        means = dict(zip(PER_PICTURE, self.totals / self.pictures, strict=True))
        ratio = means["colourfulness"] / means["colourfulness_real"].clamp(min=1.0)
        return {**means, "colourfulness_ratio": ratio, "pictures": self.pictures}


def _mean_over_strips(
    error: Callable[[Tensor, Tensor], Tensor], pred: Tensor, real: Tensor, overlap: int = 0
) -> Tensor:
    """Mean (B,) of ``error(pred, real)``, a map (B, ...) of float RGB strips, over strips that share `overlap` rows."""
    batch, _, height, width = pred.shape
    rows = max(1, _STRIP_PIXELS // (batch * width))
    total, count = torch.zeros(batch, device=pred.device), 0
    for top in range(0, height - overlap, rows):
        strip = slice(top, top + rows + overlap)
        values = error(to_float(pred[:, :, strip]), to_float(real[:, :, strip])).flatten(1)
        total += values.sum(1)
        count += values.shape[1]
    return total / count


def _check(pred: Tensor, real: Tensor) -> None:
    for rgb in (pred, real):
        if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.numel() == 0:
            raise ValueError(f"expected uint8 RGB (B, 3, H, W), got {rgb.dtype} {tuple(rgb.shape)}")
    if pred.shape != real.shape:
        raise ValueError(f"pictures differ in shape: {tuple(pred.shape)} and {tuple(real.shape)}")
