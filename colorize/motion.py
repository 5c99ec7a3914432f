"""Where every pixel was one frame ago: optical flow on lightness, what it cannot know, and scene cuts."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

LIKENESS = 8.0  # units of L*: a pixel this far from what the motion says is a third trusted, one twice as far not
CUT = 0.15  # of the frame trusted; of 344 pairs of photographs none has 0.1, frames that fast motion joins 0.2 or more
STILL = 0.9  # of the frame that rest explains, on average: of 80 thousand pairs of photographs none has 0.83
_SMALLEST = 16  # pixels a side: below it DIS has no patch to match


class Motion(NamedTuple):
    """Of frames since the ones before them.

    Attributes:
        flow: (B, 2, H, W), float32: the pixel at (x, y) was at (x + flow[:, 0], y + flow[:, 1]) in the frame before.
        visible: (B, 1, H, W), bool: it was to be seen there. After a scene cut nothing was.
    """

    flow: Tensor
    visible: Tensor


def estimate_motion(previous: Tensor, l: Tensor) -> Motion:
    """Motion from frames ``previous`` to frames ``l``, both (B, 1, H, W) in [0, 1].

    A pixel counts as seen before where its place before was inside the frame and the flow back and the flow forth agree
    (`consistent`), there and at its eight neighbours: beside what is covered the flow is no good either. So does one
    that is as good as unchanged.
    """
    flow, forth = optical_flow(previous, l), optical_flow(l, previous)
    hidden = (~(consistent(flow, forth) & _inside(flow))).float()
    visible = F.max_pool2d(hidden, 3, stride=1, padding=1) == 0
    trusted = (likeness(previous, l, flow) * visible).mean(dim=(1, 2, 3), keepdim=True)
    # Over a sky full of grain the flow follows the grain, and is found out. There a pixel was at rest, if that explains
    # its lightness as well as motion explains the rest of the frame.
    noise = _nearby_error(l, warp(previous, flow)).flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    resting = ~visible & (_nearby_error(l, previous) <= 2 * noise)
    return Motion(flow.masked_fill(resting, 0), (visible | resting) & (trusted >= CUT))


def is_cut(previous: Tensor, l: Tensor) -> bool:
    """Whether a frame ``l`` (1, 1, H, W) in [0, 1] shows another scene than the one before it: its own size is enough
    at a hundred pixels a side. Motion, exposure and grain are no cut; a flash of light over everything may be one."""
    before, now = (F.adaptive_avg_pool2d(x, 20) for x in (previous, l))  # so few pixels move little, and have no grain
    if likeness(before, now, torch.zeros(1, 2, 20, 20, device=l.device)).mean() >= STILL:
        return False  # most frames of most clips; the flow would take ten times as long
    return not estimate_motion(previous, l).visible.any()


def optical_flow(previous: Tensor, l: Tensor) -> Tensor:
    """Flow (B, 2, H, W) as in `Motion` of frames (B, 1, H, W) in [0, 1], on their device.

    Dense inverse search (Kroeger et al., ECCV 2016), OpenCV's with its medium preset: on clips of known motion half
    the error of its fast one, and of Farneback's and Lucas-Kanade's, in 2 ms at 160 x 96 pixels. Always on the CPU,
    and the same in any number of threads. A frame below 16 pixels a side has no flow: zeros.
    """
    if min(l.shape[-2:]) < _SMALLEST:
        return torch.zeros(len(l), 2, *l.shape[-2:], device=l.device)
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    pairs = zip(_to_arrays(l), _to_arrays(previous), strict=True)
    flows = [torch.from_numpy(search.calc(now, before, None)) for now, before in pairs]
    return torch.stack(flows).permute(0, 3, 1, 2).contiguous().to(l.device)


def consistent(flow: Tensor, forth: Tensor) -> Tensor:
    """(B, 1, H, W), bool: going back by ``flow`` and forth again, both (B, 2, H, W), one arrives where one was.

    |flow + forth|^2 <= 0.01 (|flow|^2 + |forth|^2) + 0.5, with ``forth`` read where ``flow`` leads: Sundaram, Brox and
    Keutzer, ECCV 2010; the occlusion mask of Ruder et al. 2016 and Lai et al. 2018.
    """
    there = warp(forth, flow)
    gap, lengths = (_square(x) for x in (flow + there, torch.cat([flow, there], dim=1)))
    return gap <= 0.01 * lengths + 0.5


def likeness(previous: Tensor, l: Tensor, flow: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how well the frame before, moved by ``flow``, explains the lightness of each pixel.

    exp(-(dL / `LIKENESS`)^2), after lightness before was multiplied by the median change: exposure that drifts or
    flickers is no other content.
    """
    before = warp(previous, flow)
    change = ((l + 0.01) / (before + 0.01)).flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    return torch.exp(-(((l - before * change) * (100 / LIKENESS)) ** 2))


def warp(previous: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """The frames before (B, C, H, W), moved to where their pixels are now; the border is repeated outwards."""
    height, width = previous.shape[-2:]
    points = pixel_grid(height, width, dtype=flow.dtype, device=flow.device) + flow
    last = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=flow.dtype, device=flow.device)
    grid = points.permute(0, 2, 3, 1) * (2 / last) - 1
    return F.grid_sample(previous, grid, mode=mode, padding_mode="border", align_corners=True)


def pixel_grid(height: int, width: int, **options: Any) -> Tensor:
    """(2, H, W): each pixel's own x and y."""
    y, x = torch.meshgrid(torch.arange(height, **options), torch.arange(width, **options), indexing="ij")
    return torch.stack([x, y])


def _inside(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    x, y = (pixel_grid(height, width, device=flow.device) + flow).split(1, dim=1)
    # half a pixel beyond the outermost centres is still the picture
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def _nearby_error(l: Tensor, other: Tensor) -> Tensor:
    """Mean square difference over 7 x 7 pixels."""
    return F.avg_pool2d((l - other).square(), 7, stride=1, padding=3, count_include_pad=False)


def _square(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True)


def _to_arrays(l: Tensor) -> Any:
    return (l[:, 0].clamp(0, 1) * 255).round().byte().cpu().numpy()
