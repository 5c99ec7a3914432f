"""How steady the colour of a clip is: functions of neighbouring frames, and a Metric that goes through a clip.

A grey clip never flickers: each figure here means something only beside PSNR, CIEDE2000 and colourfulness, so
`ClipMetrics` has them too. As in `colorize.metrics` everything is judged on uint8 RGB; ab are CIELAB's, unscaled.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import torch
from torch import Tensor
from torchmetrics import Metric

from colorize.color import rgb_to_lab, to_float
from colorize.metrics import ciede2000, colourfulness, delta_e_2000, psnr
from colorize.motion import Motion, estimate_motion, warp

STILL = 1.0  # units of L*
RESTING = 0.5  # pixels
MEDIAN = 5  # pixels a side, of the window that takes grain and compression noise out of L
GAPS = (1, 2, 4)  # frames, of CDC
_BINS = 256


def still(previous: Tensor, l: Tensor, flow: Tensor) -> Tensor:
    """Where nothing happens between two frames: |dL| < 1 after a median over 5 x 5 pixels, and no motion.

    Lightness alone would also call a flat area still that moves. With both, 98 % of a beach filmed by a fixed camera is
    still and 0.5 % of kite surfers followed by the camera.

    Args:
        previous, l: L* (B, 1, H, W) in [0, 100], unscaled.
        flow: (B, 2, H, W), as in `Motion`.

    Returns:
        (B, 1, H, W), bool.
    """
    resting = flow.norm(dim=1, keepdim=True) < RESTING
    return ((_denoised(l) - _denoised(previous)).abs() < STILL) & resting


def flicker(previous: Tensor, ab: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    """How much colour changes where nothing happens: mean of |da| and |db| over the pixels of ``still``.

    Args:
        previous, ab: (B, 2, H, W), unscaled.
        still: (B, 1, H, W), bool.

    Returns:
        The sum of (|da| + |db|) / 2 over those pixels and their number, each (B,). Pool sums over sums.
    """
    change = (ab - previous).abs().mean(1, keepdim=True) * still
    return change.sum((1, 2, 3)), still.sum((1, 2, 3))


def warp_error(previous: Tensor, ab: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """How much colour changes along the motion: mean of |da| and |db| over the pixels that were visible before.

    As in Lai et al., ECCV 2018, "Learning blind video temporal consistency", but of ab, and not squared: so it has the
    unit of flicker, and half the error is half the figure.

    Args:
        previous, ab: (B, 2, H, W), unscaled.
        motion: since the frames before.

    Returns:
        The sum of (|da| + |db|) / 2 over those pixels and their number, each (B,). Pool sums over sums.
    """
    return flicker(warp(previous, motion.flow), ab, motion.visible)


def colour_histograms(rgb: Tensor) -> Tensor:
    """Shares of the 256 values of R, G and B: uint8 (B, 3, H, W) -> float32 (B, 3, 256)."""
    planes = rgb.flatten(2).long()
    counts = torch.zeros(*planes.shape[:2], _BINS, device=rgb.device)
    return counts.scatter_add_(2, planes, torch.ones_like(planes, dtype=counts.dtype)) / planes.shape[-1]


def colour_shift(histograms: Tensor, others: Tensor) -> Tensor:
    """Jensen-Shannon divergence of histograms (B, 3, 256), natural logarithm, mean over R, G and B: (B,), 0..ln 2.

    Its mean over all pairs of frames t apart is CDC_t, and the mean of CDC_1, CDC_2 and CDC_4 the colour distribution
    consistency of Liu et al. 2021, "Temporally consistent video colorization with deep feature propagation and
    self-regularization learning" (0: no colour ever comes or goes). What comes into a picture also counts: compare
    with the real clip's own figure.
    """
    middle = (histograms + others) / 2
    divergences = [torch.xlogy(p, p / middle.where(p > 0, 1.0)).sum(-1) for p in (histograms, others)]
    return (sum(divergences) / 2).mean(-1)  # type: ignore[union-attr]


class ClipMetrics(Metric):
    """Goes through clips, one frame after another, holding the last four.

    ``update`` in order; ``new_clip`` before the first frame of another clip. A scene cut is found and compared across
    as little. Sums over pixels (and for PSNR, CIEDE2000, colourfulness and CDC over frames) are pooled over all clips
    and, under DDP, over ranks that judge clips of their own.
    """

    is_differentiable = False
    full_state_update = False
    frame_sums: Tensor  # PSNR, CIEDE2000, colourfulness, colourfulness of the originals
    frames: Tensor
    pixel_sums: Tensor  # of flicker, warp error and ghosts
    pixels: Tensor  # that they are of
    cdc_sums: Tensor  # by gap
    cdc_pairs: Tensor
    compared: Tensor  # pixels of all pairs of neighbouring frames

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sizes = {"frame_sums": 4, "frames": 1, "pixel_sums": 3, "pixels": 3, "cdc_sums": len(GAPS)}
        for name, size in (sizes | {"cdc_pairs": len(GAPS), "compared": 1}).items():
            # float64: a float32 sum over the pixels of an hour would no longer notice one of them
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.new_clip()

    def new_clip(self) -> None:
        """What comes next is no neighbour of what came before."""
        self._before: tuple[Tensor, Tensor] | None = None  # Lab of the original and of the prediction
        self._histograms: list[Tensor] = []  # of the last four predictions, the newest first

    def reset(self) -> None:
        super().reset()
        self.new_clip()

    def update(self, pred: Tensor, real: Tensor, motion: Motion | None = None, uncovered: Tensor | None = None) -> None:
        """Add the next frame.

        Args:
            pred, real: uint8 RGB (1, 3, H, W).
            motion: of ``real`` since the frame before, where it is known; None: optical flow of its lightness.
            uncovered: (1, 1, H, W), bool: background that a moving subject hid one frame before: there are the ghosts.
        """
        self.frame_sums += torch.cat(
            [psnr(pred, real), ciede2000(pred, real), colourfulness(pred), colourfulness(real)]
        )
        self.frames += 1
        real_lab, lab = rgb_to_lab(to_float(real)), rgb_to_lab(to_float(pred))
        histograms = colour_histograms(pred)
        if self._before is not None:
            if motion is None:
                motion = estimate_motion(self._before[0][:, :1] / 100, real_lab[:, :1] / 100)
            if motion.visible.any():
                self._compare(lab, real_lab, motion, histograms)
            else:  # a cut
                self.new_clip()
        if uncovered is not None:
            self._add(2, (delta_e_2000(lab, real_lab)[:, None] * uncovered).sum(), uncovered.sum())
        self._before = real_lab, lab
        self._histograms = [histograms, *self._histograms][: max(GAPS)]

    def _compare(self, lab: Tensor, real_lab: Tensor, motion: Motion, histograms: Tensor) -> None:
        old_real, old = self._before  # type: ignore[misc]
        self.compared += real_lab[:, 0].numel()
        self._add(0, *flicker(old[:, 1:], lab[:, 1:], still(old_real[:, :1], real_lab[:, :1], motion.flow)))
        self._add(1, *warp_error(old[:, 1:], lab[:, 1:], motion))
        for i, gap in enumerate(GAPS):
            if len(self._histograms) >= gap:
                self.cdc_sums[i] += colour_shift(self._histograms[gap - 1], histograms)[0]
                self.cdc_pairs[i] += 1

    def _add(self, which: int, total: Tensor, count: Tensor) -> None:
        self.pixel_sums[which] += total.sum()
        self.pixels[which] += count.sum()

    def compute(self) -> dict[str, Tensor]:
        """By name; NaN where there was nothing to measure.

        psnr, ciede2000, colourfulness, colourfulness_ratio: as in `colorize.metrics`, means over frames; flicker and
        warp_error in units of ab; cdc; ghosts: CIEDE2000 where ``uncovered``; still: share of pixels that flicker is
        of; frames.
        """
        psnr, ciede2000, pred, real = self.frame_sums / self.frames
        flicker, warp_error, ghosts = self.pixel_sums / self.pixels
        return {
            "psnr": psnr,
            "ciede2000": ciede2000,
            "colourfulness": pred,
            "colourfulness_ratio": pred / real.clamp(min=1.0),
            "flicker": flicker,
            "warp_error": warp_error,
            "cdc": (self.cdc_sums / self.cdc_pairs).mean(),
            "ghosts": ghosts,
            "still": (self.pixels[0] / self.compared)[0],
            "frames": self.frames[0],
        }


def _denoised(l: Tensor) -> Tensor:
    if not math.prod(l.shape):
        return l
    planes = [cv2.medianBlur(plane.contiguous().numpy(), MEDIAN) for plane in l[:, 0].float().cpu()]
    return torch.stack([torch.from_numpy(plane) for plane in planes])[:, None].to(l.device)
