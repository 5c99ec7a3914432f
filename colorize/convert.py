"""Pictures of every kind a program may hold, in and out: PIL, NumPy, torch. Kind, type, shape and alpha come back."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colorize.media import picture_of, read_picture

KINDS = "a PIL image, a NumPy array, a torch tensor, a path, or a list or iterator of these"


class Unified(NamedTuple):
    """Pictures as `Colorizer.colour` takes them, and the way back.

    Attributes:
        rgb: (B, 3, H, W), uint8 or floating in [0, 1].
        back: what `Colorizer.colour` made of it -> the kind that it came as.
    """

    rgb: Tensor
    back: Callable[[Tensor], Any]


def unify(image: Any) -> Unified:
    """One picture, or a batch of one size, as a tensor.

    Args:
        image: a PIL image of any mode; a path of a picture; a NumPy array, uint8 or floating in [0, 1], of (H, W),
            (H, W, C) or (B, H, W, C); a tensor, the same types, of (H, W), (C, H, W) or (B, C, H, W); with C of 1
            (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).

    Raises:
        TypeError: something else.
        ValueError: another shape or type of number, values outside, or a file that cannot be read (`MediaError`).
    """
    if isinstance(image, str | os.PathLike):
        picture = read_picture(os.fspath(image))
        return _pil(picture.rgb, picture.alpha, {})
    if isinstance(image, Image.Image):
        picture = picture_of(image)
        # What is said of the pixels: EXIF may hold how to turn them, which is for the one who shows them to do.
        return _pil(picture.rgb, picture.alpha, {key: image.info[key] for key in ("exif", "dpi") if key in image.info})
    if isinstance(image, np.ndarray):
        if image.dtype.newbyteorder("=") not in (np.uint8, np.float16, np.float32, np.float64):
            raise ValueError(_type(f"an array of {image.dtype}"))
        array = image.astype(image.dtype.newbyteorder("="), copy=False)
        if (
            not array.flags.writeable or min(array.strides, default=0) < 0
        ):  # PyTorch warns of the one, refuses the other
            array = array.copy()
        pixels = torch.from_numpy(array)
        rgb, back = _channels(pixels.movedim(-1, -3) if image.ndim > 2 else pixels, f"an array of shape {image.shape}")

        def to_array(coloured: Tensor) -> np.ndarray:
            return back(coloured.cpu()).movedim(-3, -1).contiguous().numpy().astype(image.dtype, copy=False)

        return Unified(rgb, to_array)
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise ValueError(_type(f"a tensor of {image.dtype}"))
        rgb, back = _channels(image.detach(), f"a tensor of shape {tuple(image.shape)}")
        return Unified(rgb, lambda coloured: back(coloured.to(image.device)))
    raise TypeError(f"a picture cannot be {type(image).__module__}.{type(image).__name__}: give {KINDS}")


def _type(what: str) -> str:
    return f"{what} is no picture: give uint8, or floating numbers in [0, 1]"


def _pil(rgb: np.ndarray, alpha: np.ndarray | None, info: dict[str, Any]) -> Unified:
    def back(coloured: Tensor) -> Image.Image:
        out = Image.fromarray(np.ascontiguousarray(coloured[0].permute(1, 2, 0).cpu().numpy()))
        if alpha is not None:
            out.putalpha(Image.fromarray(alpha))
        out.info.update(info)
        return out

    return Unified(torch.from_numpy(rgb).permute(2, 0, 1)[None], back)


def _channels(pixels: Tensor, name: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(H, W), (C, H, W) or (B, C, H, W) -> (B, 3, H, W), and the way back, of the same type and with its alpha."""
    single = pixels.ndim < 4
    whole = pixels.expand(1, 1, *pixels.shape) if pixels.ndim == 2 else pixels[None] if single else pixels
    if whole.ndim != 4 or not 1 <= whole.shape[1] <= 4 or 0 in whole.shape:
        axes = "(H, W), (H, W, C) or (B, H, W, C)" if "array" in name else "(H, W), (C, H, W) or (B, C, H, W)"
        raise ValueError(f"{name} is no picture: it must be {axes} with C of 1 to 4")
    if whole.is_floating_point():
        low, high = (float(x) for x in whole.aminmax())
        if not (low >= 0 and high <= 1):  # so put, NaN is refused too
            raise ValueError(f"floating pictures lie in [0, 1], and this one reaches from {low:g} to {high:g}")
    colours = 1 if whole.shape[1] < 3 else 3
    alpha = whole[:, colours:]

    def back(coloured: Tensor) -> Tensor:
        out = coloured.to(pixels.dtype)
        if alpha.shape[1]:
            out = torch.cat([out, alpha.to(out.device)], dim=1)
        return out[0] if single else out

    return whole[:, :colours].expand(-1, 3, -1, -1), back
