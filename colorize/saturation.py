"""How much to strengthen a network's colours: losses that average make them paler than the world is."""

from __future__ import annotations

import torch
from torch import Tensor

from colorize.color import l_ab_to_rgb, rgb_to_l_ab, to_float, to_uint8
from colorize.data.store import Pictures
from colorize.metrics import colourfulness
from colorize.models.base import Network

TARGET = 0.95  # colourfulness, predicted / real: more costs more accuracy than the eye gains
LIMIT = 2.0  # a network that is paler than this can mend has not learnt enough to be made vivid
_BISECTIONS = 6  # to 0.01


@torch.inference_mode()
def fit_saturation(network: Network, pictures: Tensor | Pictures) -> float:
    """The factor of ab, in [1, 2], that brings predictions to 0.95 of the colourfulness of real pictures.

    The whole prediction is scaled, so hues stay and no weight is touched: it is to regression what annealing is to
    classification (Zhang et al., ECCV 2016). 1 where the network is colourful enough.

    Args:
        network: on the device to compute on.
        pictures: uint8 RGB (N, 3, S, S) that it was not trained on, S a multiple of its stride.
    """
    device = next(network.parameters()).device
    parts = []
    for part in pictures.split(16):
        l, _ = rgb_to_l_ab(to_float(part.to(device)))
        parts.append((l, network(l.contiguous(memory_format=torch.channels_last)).float()))
    real = sum(float(colourfulness(part).sum()) for part in pictures.split(16))

    def ratio(factor: float) -> float:
        vivid = (colourfulness(to_uint8(l_ab_to_rgb(l, (factor * ab).clamp(-1, 1)))) for l, ab in parts)
        return sum(float(values.sum()) for values in vivid) / max(real, 1.0)

    low, high = 1.0, LIMIT
    if ratio(low) >= TARGET:
        return low
    if ratio(high) <= TARGET:
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(middle) < TARGET else (low, middle)
    return round((low + high) / 2, 2)
