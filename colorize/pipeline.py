"""Colorizer: any picture in, the same size out in colour, its lightness kept. The one road from pixels to pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.checkpoint import Checkpoint, describe, load_checkpoint
from colorize.color import l_ab_to_rgb, rgb_to_l_ab, to_float, to_uint8
from colorize.models.base import Network
from colorize.temporal import Recurrent, Temporal, create_temporal, temporal_modes

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
        rgb = rgb if rgb.flags.writeable else rgb.copy()  # PyTorch warns of what it could not write to
        pictures = torch.as_tensor(rgb, device=self.device).permute(0, 3, 1, 2)
        return self.colour(pictures, temporal).permute(0, 2, 3, 1).cpu().numpy()

    def colour_clip(self, batches: Iterable[np.ndarray], temporal: str = "smooth") -> Iterator[np.ndarray]:
        """Colour the frames of one clip, in order, holding no more than a batch.

        Args:
            batches: uint8 (B, H, W, 3); how the clip is cut into batches makes no difference to its colours.
            temporal: how colour is kept steady, a name of `colorize.temporal.TEMPORAL`. Raises ValueError.

        Returns:
            The batches, coloured, one at a time.
        """
        state = self.new_clip(temporal)
        return (self(batch, state) for batch in batches)

    def new_clip(self, temporal: str) -> Temporal:
        """Fresh state for one clip, by name. Raises ValueError: an unknown name, or the network has not what it takes.

        With "convlstm" the network's own memory keeps colour steady, and nothing else does; with every other name that
        memory stays empty, and the network colours each frame by itself.
        """
        state = create_temporal(temporal)
        if temporal not in temporal_modes(self.model):
            raise ValueError(
                f"temporal={temporal} needs a network with a memory, and these weights have none: "
                "python -m colorize.train experiment=convlstm dataset.root=FOLDER trains one, for ckpt_path=; "
                "or take temporal=smooth"
            )
        return state

    @torch.inference_mode()
    def colour(
        self, rgb: Tensor, temporal: Temporal | None = None, adjust: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Tensor:
        """uint8 RGB (B, 3, H, W) -> the same, coloured. Raises ValueError where the network gives no finite number.

        ``adjust`` has its way with the network's ab, see `colorize.hints`.
        """
        # At full size there is never more than the lightness, the result and a strip of anything else: colour
        # conversion holds dozens of bytes for each pixel.
        count, _, height, width = rgb.shape
        rows = max(1, _STRIP_PIXELS // (count * width))
        l = rgb.new_empty(count, 1, height, width, dtype=torch.float32)
        for part, into in zip(rgb.split(rows, dim=2), l.split(rows, dim=2), strict=True):
            into.copy_(rgb_to_l_ab(to_float(part))[0])
        small, saturation = self._small_ab(l, temporal), self.saturation
        if adjust is not None:
            small, saturation = adjust(l, small * saturation), 1.0
        enlarged = self._enlarge(small, height, width, rows, saturation)
        out = torch.empty_like(rgb)
        for part, ab, into in zip(l.split(rows, dim=2), enlarged, out.split(rows, dim=2), strict=True):
            into.copy_(to_uint8(l_ab_to_rgb(part, ab)))
        return out

    @torch.inference_mode()
    def predict_ab(self, l: Tensor, temporal: Temporal | None = None) -> Tensor:
        """l (B, 1, H, W) in [0, 1], any H and W -> ab (B, 2, H, W) in (-1, 1)."""
        height, width = l.shape[-2:]
        return next(self._enlarge(self._small_ab(l, temporal), height, width, height))

    def _small_ab(self, l: Tensor, temporal: Temporal | None) -> Tensor:
        """l of any size -> ab (B, 2, h, w) at the size the network works at."""
        small = F.interpolate(l, self._working_size(*l.shape[-2:]), mode="bilinear", antialias=True)
        small = small.contiguous(memory_format=torch.channels_last)
        ab = (temporal.run(self.model, small) if isinstance(temporal, Recurrent) else self.model(small)).float()
        if not ab.isfinite().all():
            raise ValueError("the network's output is not finite: its weights are damaged, or its training diverged")
        # At the size the network works at, the flow costs little beside it.
        return ab if temporal is None else temporal(small, ab)

    def _enlarge(
        self, ab: Tensor, height: int, width: int, rows: int, saturation: float | None = None
    ) -> Iterator[Tensor]:
        """ab (B, 2, h, w) -> strips (B, 2, rows, width) of the whole (B, 2, height, width), bicubic, saturated."""
        saturation = self.saturation if saturation is None else saturation
        wide = F.interpolate(ab, (ab.shape[2], width), mode="bicubic", align_corners=False, antialias=True)
        sources, weights = (x.to(ab.device) for x in _row_mixture(ab.shape[2], height))
        for source, weight in zip(sources.split(rows), weights.split(rows), strict=True):
            strip = torch.zeros(())
            for tap in range(source.shape[1]):  # one after the other, so that a row is the same in every strip
                term = wide.index_select(2, source[:, tap]).mul_(weight[:, tap, None])
                strip = term if tap == 0 else strip.add_(term)
            yield strip.mul_(saturation).clamp_(-1, 1)

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        stride = self.model.stride
        scale = self.size / math.sqrt(height * width)
        # A strip of a picture may be narrower than one stride; the network still needs one cell.
        return tuple(max(stride, round(side * scale / stride) * stride) for side in (height, width))  # type: ignore[return-value]


@lru_cache(maxsize=8)  # the frames of a clip are of one size
def _row_mixture(height: int, target: int) -> tuple[Tensor, Tensor]:
    """Which rows of ``height`` make each of ``target`` rows, and their weights: both (target, taps).

    It is F.interpolate's own bicubic antialias=True, read off its response to each row alone.
    """
    response = F.interpolate(torch.eye(height)[None, None], (target, height), mode="bicubic", antialias=True)[0, 0]
    used = response != 0
    first = used.int().argmax(1)
    taps = int((height - used.flip(1).int().argmax(1) - first).max())
    sources = first[:, None] + torch.arange(taps)
    weights = response.gather(1, sources.clamp(max=height - 1)) * (sources < height)
    return sources.clamp(max=height - 1), weights
