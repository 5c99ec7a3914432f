"""3x3 convolutions that train faster on a CPU than PyTorch's own, in float32, and compute the same."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from colorize.models import winograd

_VALUES = 2**20  # of patches at a time: with fewer a matrix product is slow, more leave the processor's cache
_CHANNELS = 32  # with fewer, patches are mostly copying
_WORTH = 2**27  # multiplications: below, a step's time is elsewhere


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` of 3 x 3: (B, C, H, W) -> (B, K, H', W').

    With ``fast``, where gradients are wanted in float32 on a CPU, layers that are wide enough train by other
    algorithms: at stride 1 by Winograd's, or else with the gradient of the weight as a product of matrices. Without
    gradients it always is the plain convolution.
    """

    fast = False

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, padding: int = 1, bias: bool = True):
        super().__init__(channels_in, channels_out, 3, stride, padding, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if self.fast and torch.is_grad_enabled() and not torch.jit.is_tracing() and _is_plain(input):
            if self.stride == self.padding == (1, 1) and winograd.pays(input, self.out_channels):
                return winograd.convolve(input, self.weight, self.bias)
            if self._patches_pay(input):
                return _ByPatches.apply(input, self.weight, self.bias, self.stride[0], self.padding[0])
        return super().forward(input)

    def _patches_pay(self, x: Tensor) -> bool:
        pixels = x[:, 0].numel() // self.stride[0] ** 2
        return (
            min(self.in_channels, self.out_channels) >= _CHANNELS
            and 9 * pixels * self.in_channels * self.out_channels >= _WORTH
            # with AVX-512 oneDNN's own is as fast at stride 1; with AVX2 it takes two to four times as long
            and (self.stride == (2, 2) or torch.backends.cpu.get_cpu_capability() == "AVX2")
        )


def _is_plain(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


class _ByPatches(torch.autograd.Function):
    """A convolution whose weight's gradient is the patches' matrix (pixels, 9 C), transposed, times the result's.

    A few patches are copied out at a time ("im2col": Chellapilla, Puri and Simard, 2006).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x, _, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, [True, False, False]
            )
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, gradient, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def _weight_gradient(x: Tensor, gradient: Tensor, stride: int, padding: int) -> Tensor:
    """x (B, C, H, W) and the gradient of the result (B, K, H', W') -> (K, C, 3, 3)."""
    x = x.permute(0, 2, 3, 1)
    x = F.pad(x, (0, 0, *[padding] * 4)) if padding else x.contiguous()
    gradient = gradient.permute(0, 2, 3, 1).contiguous()
    count, height, width, channels_out = gradient.shape
    channels = x.shape[3]
    picture, row, column, channel = x.stride()
    shape = (count, height, width, 3, 3, channels)
    windows = x.as_strided(shape, (picture, stride * row, stride * column, row, column, channel))
    at_once = max(1, _VALUES // (9 * channels * width))  # rows
    pictures, rows = max(1, at_once // height), min(at_once, height)
    buffer = torch.empty(min(pictures, count) * rows * width * 9 * channels)
    total = torch.zeros(9 * channels, channels_out)
    for some, of_some in zip(windows.split(pictures), gradient.split(pictures), strict=True):
        for part, of_part in zip(some.split(rows, 1), of_some.split(rows, 1), strict=True):
            patches = buffer[: part.numel()].view(part.shape).copy_(part).view(-1, 9 * channels)
            torch.addmm(total, patches.T, of_part.reshape(-1, channels_out), out=total)
    return total.view(3, 3, channels, channels_out).permute(3, 2, 0, 1)
