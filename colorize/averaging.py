"""An exponential moving average of the weights that does not wait for them."""

from __future__ import annotations

from functools import partial

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Lightning's averaging of weights and buffers; the average is what is validated, kept and judged.

    In Lightning's own ``EMAWeightAveraging`` the weights that training starts from count decay^n after n steps: from
    nothing, the first validations judge little else. Here the average reaches back over about a tenth of the steps so
    far, until that is as far as ``decay`` says: min(decay, (1 + n) / (10 + n)), as TensorFlow's
    ``ExponentialMovingAverage`` does with ``num_updates``.

    Args:
        decay: what an average keeps of itself at each step, in [0, 1), at most.
    """

    def __init__(self, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"callbacks.ema.decay={decay} is not in [0, 1)")
        super().__init__(avg_fn=partial(_average, decay))


def _average(decay: float, average: Tensor, current: Tensor, number: Tensor) -> Tensor:
    """``number`` of updates before this one, from 1 on, where the weights are: a GPU need not be waited for."""
    kept = ((1 + number) / (10 + number)).clamp(max=decay)
    return average + (1 - kept) * (current - average)
