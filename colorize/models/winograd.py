"""3x3 convolutions that train faster on a CPU: Winograd's algorithm, with a quarter of the multiplications.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: F(4x4, 3x3). A tile of 6 x 6 pixels, 2
of them shared with each neighbour, and the kernel are transformed (with `_TILE` and `_KERNEL`, along rows and columns);
their products, which are 36 matrix products over channels, are transformed back (with `_RESULT`) to 4 x 4 pixels of the
result. The gradients are the transposes of the same steps. In float32 the result is that of the convolution to about
1e-5 of its largest value.

A few tiles are taken at a time, so that what lies between the steps stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_RESULT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_BOTH = torch.kron(_KERNEL, _KERNEL)  # (36, 9): of rows and columns at once
_FEWEST = 128  # tiles at a time: a matrix product of fewer rows is slow, too
_VALUES = 2**15  # tiles times channels at a time: transformed, 5 MB
_CHANNELS = 64  # with fewer, memory is the limit
_WORTH = 2**23  # tiles times channels times channels: below, the transformations take as long as they save


def pays(x: Tensor, channels_out: int) -> bool:
    """Whether x (B, C, H, W), float32 on a CPU, is convolved faster so: from 64 channels on, sides multiples of 4."""
    count, channels, height, width = x.shape
    return (
        min(channels, channels_out) >= _CHANNELS
        and height % 4 == width % 4 == 0
        and count * height * width // 16 * channels * channels_out >= _WORTH
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (B, C, H, W), weight (K, C, 3, 3), bias (K) or None -> (B, K, H, W), channels last; padded by 1."""
    return _Winograd.apply(x, weight, bias)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None
        count, channels, height, width = x.shape
        new = _Buffers()
        kernel, padded = _transformed(weight), _padded(x)
        y = torch.empty(count, len(weight), height, width, memory_format=torch.channels_last)
        for pictures, rows in _pieces(count, height // 4, width // 4, max(channels, len(weight))):
            tiles = new.copy("tiles", _overlapping(padded, pictures, rows))
            transformed = new.both_ways("transformed", _TILE, tiles).view(36, -1, channels)
            products = torch.bmm(transformed, kernel, out=new("products", 36, transformed.shape[1], len(weight)))
            into = _disjoint(y.permute(0, 2, 3, 1), pictures, rows)
            back = new.both_ways("back", _RESULT, products).view(into.shape)
            torch.add(back, 0 if bias is None else bias, out=into)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        count, channels, height, width = x.shape
        new = _Buffers()
        kernel, padded = _transformed(weight), _padded(x)
        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        of_kernel = torch.zeros_like(kernel)
        of_padded = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None
        for pictures, rows in _pieces(count, height // 4, width // 4, max(channels, len(weight))):
            tiles = new.copy("tiles", _overlapping(padded, pictures, rows))
            transformed = new.both_ways("transformed", _TILE, tiles).view(36, -1, channels)
            results = new.copy("results", _disjoint(gradient, pictures, rows))
            of_products = new.both_ways("products", _RESULT.T, results).view(36, -1, len(weight))
            of_kernel.baddbmm_(transformed.transpose(1, 2), of_products)
            if of_padded is None:
                continue
            torch.bmm(of_products, kernel.transpose(1, 2), out=transformed)
            of_tiles = new.both_ways("tiles", _TILE.T, transformed).view(tiles.shape)
            into = _overlapping(of_padded, pictures, rows)
            for i in (slice(0, 4), slice(4, 6)):  # tiles overlap, but such parts of them do not
                for j in (slice(0, 4), slice(4, 6)):
                    into[i, j] += of_tiles[i, j]
        of_weight = (_BOTH.T @ of_kernel.view(36, -1)).view(3, 3, channels, -1).permute(3, 2, 0, 1)
        of_x = None
        if of_padded is not None:  # dense, or the convolution before takes twice the time
            of_x = of_padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return of_x, of_weight, gradient.sum((0, 1, 2)) if ctx.bias else None


class _Buffers:
    """Memory that each piece finds where the last one left it, in the cache."""

    def __init__(self) -> None:
        self._there: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        size = prod(shape)
        if name not in self._there or len(self._there[name]) < size:
            self._there[name] = torch.empty(size)
        return self._there[name][:size].view(shape)

    def copy(self, name: str, values: Tensor) -> Tensor:
        return self(name, *values.shape).copy_(values)

    def both_ways(self, name: str, matrix: Tensor, values: Tensor) -> Tensor:
        """``matrix`` (P, Q) times ``values`` (Q, Q, ...) along the first and the second axis: (P, P, N)."""
        to, of = matrix.shape
        half = torch.mm(matrix, values.view(of, -1), out=self("half", to, values.numel() // of)).view(to, of, -1)
        return torch.bmm(matrix.expand(to, to, of), half, out=self(name, to, to, half.shape[2]))


def _transformed(weight: Tensor) -> Tensor:
    """(K, C, 3, 3) -> (36, C, K)."""
    return (_BOTH @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, weight.shape[1], len(weight))


def _padded(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H + 2, W + 2, C)."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()


def _pieces(count: int, rows: int, columns: int, channels: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the pictures and of the rows of tiles in them."""
    at_once = max(1, max(_FEWEST, _VALUES // channels) // columns)
    pictures = max(1, at_once // rows)
    at_once = min(at_once, rows)
    for i in range(0, count, pictures):
        for row in range(0, rows, at_once):
            yield slice(i, i + pictures), slice(row, min(row + at_once, rows))


def _overlapping(padded: Tensor, pictures: slice, rows: slice) -> Tensor:
    """Tiles of (B, H + 2, W + 2, C), a view: (6, 6, pictures, rows, columns, C)."""
    part = padded[pictures, 4 * rows.start : 4 * rows.stop + 2]
    picture, row, column, channel = part.stride()
    shape = (6, 6, len(part), rows.stop - rows.start, part.shape[2] // 4, part.shape[3])
    return part.as_strided(shape, (row, column, picture, 4 * row, 4 * column, channel))


def _disjoint(y: Tensor, pictures: slice, rows: slice) -> Tensor:
    """Tiles of (B, H, W, K), a view: (4, 4, pictures, rows, columns, K)."""
    part = y[pictures, 4 * rows.start : 4 * rows.stop]
    return part.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).permute(2, 4, 0, 1, 3, 5)
