"""What every network is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from colorize.models.convolution import Conv3x3

if TYPE_CHECKING:
    from colorize.data.store import Pictures


class Network(nn.Module):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1), both as `colorize.color` scales them.

    A call colours. Training needs what comes before the colour: `output` is what the loss judges, `decode` makes ab of
    it. A network whose output is ab says nothing about either but `output`.

    Attributes:
        stride: H and W must be multiples of it.
        checkpointing: keep no more of each `block` than its inputs, and compute it again when its gradient is due:
            less memory for a longer step, the same gradients (Chen et al., arXiv:1604.06174, 2016).
    """

    stride: int
    checkpointing = False

    def prepare(self, pictures: Tensor | Pictures) -> None:
        """Look at the training pictures, uint8 RGB (N, 3, S, S), by ``split``: a large set is not in memory.

        Called once before training from scratch or on another set, never when a checkpoint is only loaded.
        """

    def use_fast_convolutions(self, on: bool) -> None:
        """Whether its `Conv3x3` train by the faster algorithms."""
        for layer in self.modules():
            if isinstance(layer, Conv3x3):
                layer.fast = on

    def output(self, l: Tensor) -> Tensor:
        """l (B, 1, H, W) -> the network's own output: ab (B, 2, H, W), or what `decode` makes ab of."""
        raise NotImplementedError

    def clip_output(self, l: Tensor, frames: int) -> Tensor:
        """The same of clips of so many frames each, one clip after another; without a memory each frame by itself."""
        return self.output(l)

    def decode(self, output: Tensor) -> Tensor:
        """The output -> ab (B, 2, H, W) in (-1, 1)."""
        return output

    def forward(self, l: Tensor) -> Tensor:
        return self.decode(self.output(l))

    def block(self, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """``function(*inputs)``, one of the parts that make up `output`; what is called so can be checkpointed.

        The function must leave its inputs as they are: an in-place operation cannot stand at its beginning.
        """
        if not (self.checkpointing and torch.is_grad_enabled()) or torch.jit.is_tracing():
            return function(*inputs)
        contexts = lambda: (nullcontext(), self._statistics_kept())  # noqa: E731
        return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """While a block is computed again, batch norms do as before but do not count the batch a second time."""
        norms = [m for m in self.modules() if isinstance(m, _BatchNorm)]
        states = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, counted) in zip(norms, states, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, counted
