"""Colorizer: any picture in, the same size out in colour, its lightness kept. The one road from pixels to pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.checkpoint import Checkpoint, describe, load_checkpoint
from colorize.color import l_ab_to_rgb, rgb_to_l_ab, to_float, to_uint8
from colorize.models.base import Network
from colorize.temporal import Temporal, create_temporal

log = logging.getLogger(__name__)

_STRIP_PIXELS = 2**19


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is cuda, mps or cpu, the first there is. Raises ValueError for a device this machine does not have."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there.get(name.partition(":")[0], False):
        available = ", ".join(device for device, ok in there.items() if ok)
        raise ValueError(f"device={name} is not on this machine; there is: auto, {available}")
    return torch.device(name)


class Colorizer:
    """Colours pictures with a trained network.

    The network sees the lightness resized to about ``size`` x ``size`` pixels, aspect kept; the ab it predicts is
    resized up smoothly, clamped to the sRGB gamut and joined to the full-size lightness, which stays as it is:
    within 0.3 of 100 at every pixel, the rounding to uint8 included.

    Args:
        model: the network.
        size: side in pixels of the square whose area the network works at: what it was trained on.
        device: auto, cpu, cuda or mps.
        saturation: factor of the ab that the network predicts: 1 as it is, 0 grey.
    """

    def __init__(self, model: Network, size: int, device: str = "auto", saturation: float = 1.0):
        if not isinstance(size, int) or size < 8:
            raise ValueError(f"size={size} must be a whole number from 8 up")
        if not isinstance(saturation, int | float) or not 0 <= saturation <= 10:
            raise ValueError(f"saturation={saturation} must be a number from 0 (grey) to 10")
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.size, self.saturation = size, saturation

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, size: int | None = None, device: str = "auto", saturation: float | None = None
    ) -> Colorizer:
        """From its file alone, and say which; ``size`` and ``saturation`` None as in `of`. Raises ValueError."""
        checkpoint = load_checkpoint(path)
        log.info("weights: %s", describe(checkpoint, path))
        return cls.of(checkpoint, size=size, device=device, saturation=saturation)

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, *, size: int | None = None, device: str = "auto", saturation: float | None = None
    ) -> Colorizer:
        """``size`` None: what the network was trained at; ``saturation`` None: what was fitted to it, or 1."""
        size = checkpoint.data["size"] if size is None else size
        return cls(
            checkpoint.model, size, device, checkpoint.data.get("saturation", 1.0) if saturation is None else saturation
        )

    def __call__(self, rgb: np.ndarray, temporal: Temporal | None = None) -> np.ndarray:
        """Colour pictures of one size.

        Args:
            rgb: uint8 (H, W, 3) or, for a batch, (B, H, W, 3). Of a picture in colour the lightness alone is used.
            temporal: the state of the clip whose next frames these are; None: each is a picture by itself.

        Returns:
            uint8 of the same shape.
        """
        if rgb.ndim == 3:
            return self(rgb[None], temporal)[0]
        assert rgb.ndim == 4 and rgb.shape[-1] == 3 and rgb.dtype == np.uint8, f"{rgb.shape} {rgb.dtype}"
        pictures = torch.tensor(rgb, device=self.device).permute(0, 3, 1, 2)
        return self.colour(pictures, temporal).permute(0, 2, 3, 1).cpu().numpy()

    def colour_clip(self, batches: Iterable[np.ndarray], temporal: str = "smooth") -> Iterator[np.ndarray]:
        """Colour the frames of one clip, in order, holding no more than a batch.

        Args:
            batches: uint8 (B, H, W, 3); how the clip is cut into batches makes no difference to its colours.
            temporal: how colour is kept steady, a name of `colorize.temporal.TEMPORAL`. Raises ValueError.

        Returns:
            The batches, coloured, one at a time.
        """
        state = create_temporal(temporal)
        return (self(batch, state) for batch in batches)

    @torch.inference_mode()
    def colour(self, rgb: Tensor, temporal: Temporal | None = None) -> Tensor:
        """uint8 RGB (B, 3, H, W) -> the same, coloured. Raises ValueError where the network gives no finite number."""
        # Colour conversion, pixel by pixel, holds dozens of bytes for each: done in strips, a big picture needs little.
        rows = max(1, _STRIP_PIXELS // (rgb.shape[0] * rgb.shape[3]))
        l = torch.cat([rgb_to_l_ab(to_float(strip))[0] for strip in rgb.split(rows, dim=2)], dim=2)
        ab = self.predict_ab(l, temporal)
        strips = zip(l.split(rows, dim=2), ab.split(rows, dim=2), strict=True)
        return torch.cat([to_uint8(l_ab_to_rgb(*strip)) for strip in strips], dim=2)

    @torch.inference_mode()
    def predict_ab(self, l: Tensor, temporal: Temporal | None = None) -> Tensor:
        """l (B, 1, H, W) in [0, 1], any H and W -> ab (B, 2, H, W) in (-1, 1)."""
        height, width = l.shape[-2:]
        small = F.interpolate(l, self._working_size(height, width), mode="bilinear", antialias=True)
        ab = self.model(small.contiguous(memory_format=torch.channels_last)).float()
        if not ab.isfinite().all():
            raise ValueError("the network's output is not finite: its weights are damaged, or its training diverged")
        if temporal is not None:
            ab = temporal(small, ab)  # at the size the network works at: the flow then costs little beside it
        ab = F.interpolate(ab, (height, width), mode="bicubic", align_corners=False, antialias=True)
        return (self.saturation * ab).clamp(-1, 1)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        stride = self.model.stride
        scale = self.size / math.sqrt(height * width)
        # A strip of a picture may be narrower than one stride; the network still needs one cell.
        return tuple(max(stride, round(side * scale / stride) * stride) for side in (height, width))  # type: ignore[return-value]
