"""Colorizer: any picture in, the same size out in colour, its lightness kept. The one road from pixels to pixels."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorize import ranks
from colorize.checkpoint import Checkpoint, describe, load_checkpoint
from colorize.color import l_ab_to_rgb, rgb_to_l, to_uint8
from colorize.convert import unify
from colorize.models.base import Network
from colorize.pretrained import locate, push, save_folder
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
    # of several processes on a machine each takes a GPU of its own
    return torch.device(name, ranks.local() % torch.cuda.device_count()) if name == "cuda" else torch.device(name)


class Colorizer:
    """Colours pictures with a trained network.

    ```python
    colorizer = Colorizer.from_pretrained("auto")
    coloured = colorizer(Image.open("photo.jpg"))
    ```

    The network sees the lightness resized to about ``size`` x ``size`` pixels, aspect kept; the ab it predicts is
    resized up smoothly, clamped to the sRGB gamut and joined to the full-size lightness, which stays as it is:
    within 0.3 of 100 at every pixel, the rounding to uint8 included.

    Args:
        model: the network.
        size: side in pixels of the square whose area the network works at: what it was trained on.
        device: auto, cpu, cuda or mps.
        saturation: factor of the ab that the network predicts: 1 as it is, 0 grey.
        backend: what computes the network: "torch", or "onnxruntime" on the CPU (extra ``export``).

    Attributes:
        checkpoint: where the network is from, of `from_pretrained`; None of one that was put in by hand.
    """

    def __init__(
        self, model: Network, size: int, device: str = "auto", saturation: float = 1.0, backend: str = "torch"
    ):
        if not isinstance(size, int) or size < 8:
            raise ValueError(f"size={size} must be a whole number from 8 up")
        if not isinstance(saturation, int | float) or not 0 <= saturation <= 10:
            raise ValueError(f"saturation={saturation} must be a number from 0 (grey) to 10")
        if backend not in ("torch", "onnxruntime"):
            raise ValueError(f"backend={backend} is not one of: torch, onnxruntime")
        self.device = pick_device(device)
        if backend == "onnxruntime":
            from colorize.onnx_network import as_onnx  # an extra

            model = as_onnx(model)
        self.model = model.to(self.device).eval()
        self.size, self.saturation = size, saturation
        self.checkpoint: Checkpoint | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "auto",
        *,
        size: int | None = None,
        device: str = "auto",
        saturation: float | None = None,
        backend: str = "torch",
        **hub: Any,
    ) -> Colorizer:
        """A trained network, ready to colour.

        Args:
            source: "auto", the network that comes with colorize; "last", the best of your newest finished run under
                outputs/; a training checkpoint (.ckpt), a weights file (.safetensors) or an exported network (.onnx); a
                folder that `save_pretrained` wrote; or a repository of the Hugging Face Hub, "owner/name" (extra
                ``hub``; downloaded once), where no folder is called so.
            size, saturation: None: what the network was trained at, and what suits it.
            device: auto, cpu, cuda or mps.
            backend: "torch" or "onnxruntime", which a .onnx file always is.
            **hub: revision, token, cache_dir, force_download and local_files_only of ``hf_hub_download``.

        Raises:
            ValueError: there is no such network, or it cannot be read or fetched.
        """
        return cls.from_checkpoint(
            locate(str(source), **hub), size=size, device=device, saturation=saturation, backend=backend
        )

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the network to a folder, for `from_pretrained`: model.safetensors in half precision, and a model card.

        ``size`` and ``saturation`` are saved as they are here. A README.md that is there stays.

        Returns:
            The folder, made where it was not there.

        Raises:
            ValueError: the network was not loaded from a file, or runs in onnxruntime.
        """
        return save_folder(self.checkpoint, self.size, self.saturation, folder)

    def push_to_hub(self, repo_id: str, **settings: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face Hub, with its ``ModelHubMixin`` (extra ``hub``).

        Args:
            repo_id: "owner/name", created where it is not there.
            **settings: commit_message, private, token, branch, create_pr, ... of ``ModelHubMixin.push_to_hub``.

        Returns:
            The address of the commit.

        Raises:
            ValueError: as `save_pretrained`, huggingface_hub is not installed, or the upload fails.
        """
        return push(self, repo_id, **settings)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        size: int | None = None,
        device: str = "auto",
        saturation: float | None = None,
        backend: str = "torch",
    ) -> Colorizer:
        """From its file alone, and say which; ``size`` and ``saturation`` None as in `of`. Raises ValueError."""
        checkpoint = load_checkpoint(path)
        log.info("weights: %s", describe(checkpoint, path))
        return cls.of(checkpoint, size=size, device=device, saturation=saturation, backend=backend)

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        size: int | None = None,
        device: str = "auto",
        saturation: float | None = None,
        backend: str = "torch",
    ) -> Colorizer:
        """``size`` None: what the network was trained at; ``saturation`` None: what was fitted to it, or 1."""
        size = checkpoint.data["size"] if size is None else size
        saturation = checkpoint.data.get("saturation", 1.0) if saturation is None else saturation
        colorizer = cls(checkpoint.model, size, device, saturation, backend)
        colorizer.checkpoint = checkpoint
        return colorizer

    @overload
    def __call__(self, image: np.ndarray, temporal: Temporal | None = None) -> np.ndarray: ...
    @overload
    def __call__(self, image: Tensor, temporal: Temporal | None = None) -> Tensor: ...
    @overload
    def __call__(self, image: Image.Image | str | os.PathLike[str]) -> Image.Image: ...
    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Any]: ...
    @overload
    def __call__(self, image: Iterator[Any]) -> Iterator[Any]: ...
    def __call__(self, image: Any, temporal: Temporal | None = None) -> Any:
        """Colour a picture, several of one size, or one after another; size and alpha stay as they are.

        Args:
            image: a PIL image; the path of a picture; a NumPy array of (H, W), (H, W, C) or, for a batch, (B, H, W, C);
                a tensor of (H, W), (C, H, W) or (B, C, H, W); or a list or an iterator of any of these. Arrays and
                tensors are uint8, or floating in [0, 1]; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and
                alpha). Of a picture in colour the lightness alone is used.
            temporal: of arrays and tensors the state of the clip whose next frames these are (`new_clip`); None: each
                is a picture by itself.

        Returns:
            The same kind, of an array or tensor the same type too, with 3 channels, or 4 where there is alpha: of a
            path a PIL image, of a list or tuple a list, and of an iterator an iterator that colours when it is asked.

        Raises:
            TypeError: no kind of picture.
            ValueError: another shape or type, values outside [0, 1], or a file that cannot be read.
        """
        if isinstance(image, list | tuple):
            return [self(one) for one in image]
        if isinstance(image, Iterator):
            return map(self, image)
        rgb, back = unify(image)
        return back(self.colour(rgb.to(self.device), temporal))

    def colour_clip(self, batches: Iterable[np.ndarray], temporal: str = "smooth") -> Iterator[np.ndarray]:
        """Colour the frames of one clip, in order, holding no more than a batch.

        Args:
            batches: uint8 (B, H, W, 3 or 4); how the clip is cut into batches makes no difference to its colours.
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
        """RGB (B, 3, H, W), uint8 or floating in [0, 1] -> the same, coloured. Raises ValueError where the network
        gives no finite number.

        ``adjust`` has its way with the network's ab, see `colorize.hints`.
        """
        # At full size there is never more than the lightness, the result and a strip of anything else: colour
        # conversion holds dozens of bytes for each pixel.
        floating = rgb.is_floating_point()
        count, _, height, width = rgb.shape
        rows = max(1, _STRIP_PIXELS // (count * width))
        l = rgb.new_empty(count, 1, height, width, dtype=torch.float32)
        for part, into in zip(rgb.split(rows, dim=2), l.split(rows, dim=2), strict=True):
            into.copy_(rgb_to_l(part.float() if floating else part))
        small, saturation = self._small_ab(l, temporal), self.saturation
        if adjust is not None:
            small, saturation = adjust(l, small * saturation), 1.0
        enlarged = self._enlarge(small, height, width, rows, saturation)
        out = torch.empty(rgb.shape, dtype=rgb.dtype, device=rgb.device)
        for part, ab, into in zip(l.split(rows, dim=2), enlarged, out.split(rows, dim=2), strict=True):
            coloured = l_ab_to_rgb(part, ab)
            into.copy_(coloured if floating else to_uint8(coloured))
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
        return tuple(max(stride, math.floor(side * scale / stride + 0.5) * stride) for side in (height, width))  # type: ignore[return-value]


@lru_cache(maxsize=8)  # the frames of a clip are of one size
def _row_mixture(height: int, target: int) -> tuple[Tensor, Tensor]:
    """Which rows of ``height`` make each of ``target`` rows, and their weights: both (target, taps).

    It is F.interpolate's own bicubic antialias=True, read off its response to rows one by one: to a comb of them, since
    rows that are further apart than any mixture reaches can be told apart (of a long strip the whole is gigabytes).
    """
    reach = math.ceil(2 * max(1.0, height / target)) + 1
    period = 2 * reach + 1
    comb = torch.eye(period)[torch.arange(height) % period]
    response = F.interpolate(comb[None, None], (target, period), mode="bicubic", antialias=True)[0, 0]
    middle = (torch.arange(target, dtype=torch.float64) + 0.5) * (height / target)
    rows = middle.long()[:, None] + torch.arange(-reach, reach + 1)
    weights = response.gather(1, rows % period) * ((rows >= 0) & (rows < height))
    used = weights != 0
    first = used.int().argmax(1)
    taps = int((period - used.flip(1).int().argmax(1) - first).max())
    columns = first[:, None] + torch.arange(taps)
    there = columns < period
    columns = columns.clamp(max=period - 1)
    return rows.gather(1, columns).clamp(0, height - 1), weights.gather(1, columns) * there
