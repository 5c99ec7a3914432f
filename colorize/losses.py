"""Losses by name: functions of (network, its output, real ab (B, 2, H, W)) that return a scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color import AB_SCALE
from colorize.models.base import Network
from colorize.models.heads import SIGMA, ClassHead
from colorize.names import call_by_name

Loss = Callable[[Network, Tensor, Tensor], Tensor]


def mse() -> Loss:
    """Mean squared error of ab / 128: the reference's loss. Its minimum is the mean of what a place could be: pale."""
    return lambda network, output, ab: F.mse_loss(network.decode(output), ab)


def smooth_l1(beta: float = 1.0, saturation: float = 0.0) -> Loss:
    """Smooth L1 (Girshick, Fast R-CNN, 2015): squared below ``beta`` (in units of ab / 128), absolute above.

    Args:
        beta: where the square ends.
        saturation: how much more a vivid pixel weighs than a grey one: 1 + saturation * chroma / 128. Most of a
            photograph is nearly grey, and without it the few vivid things (a strawberry) are drawn towards that.
    """

    def loss(network: Network, output: Tensor, ab: Tensor) -> Tensor:
        prediction = network.decode(output).float()
        if not saturation:
            return F.smooth_l1_loss(prediction, ab, beta=beta)
        weight = 1 + saturation * torch.hypot(ab[:, :1], ab[:, 1:])  # norm(dim=1) takes a tenth of a step
        return (weight * F.smooth_l1_loss(prediction, ab, beta=beta, reduction="none")).mean()

    return loss


def delta_e(eps: float = 1.0, saturation: float = 0.0) -> Loss:
    """CIEDE2000 at equal lightness, without its terms of hue (T and R_T): how far off a colour looks, over 20.

    What the networks are judged by, made smooth: with a1, b1 and a2, b2 the colours in Lab units, a stretched as there
    by 1 + G, and C1, C2, C their chromas and the mean of these, sqrt((dC / (1 + 0.045 C))^2 + (dH / (1 + 0.015 C))^2)
    (Sharma, Wu and Dalal 2005; their `colorize.metrics.delta_e_2000` has no gradient at grey). Near grey an error
    weighs most, since there the eye sees it best: white stays white, and a vivid thing may be more vivid.

    Args:
        eps: below this difference, about the least that is noticeable, the loss is squared, as a smooth L1 is.
        saturation: how much more a vivid pixel weighs than a grey one, as in `smooth_l1`: CIEDE2000 itself counts an
            error less the more vivid a colour is, and alone would leave strawberries brown.
    """
    if not eps > 0:
        raise ValueError(f"loss.eps={eps} must be above 0")

    def chroma(a: Tensor, b: Tensor) -> Tensor:
        return torch.sqrt(a * a + b * b + 1e-4)  # hypot has no gradient at grey

    def loss(network: Network, output: Tensor, ab: Tensor) -> Tensor:
        (a1, b1), (a2, b2) = ((AB_SCALE * x.float()).unbind(1) for x in (network.decode(output), ab))
        c7 = ((chroma(a1, b1) + chroma(a2, b2)).detach() / 2) ** 7
        stretch = 1.5 - 0.5 * torch.sqrt(c7 / (c7 + 25.0**7))
        a1, a2 = stretch * a1, stretch * a2
        c1, c2 = chroma(a1, b1), chroma(a2, b2)
        c = (c1 + c2) / 2
        c_step = c1 - c2
        h_step2 = ((a1 - a2) ** 2 + (b1 - b2) ** 2 - c_step**2).clamp(min=0)  # rounding may take it below
        square = (c_step / (1 + 0.045 * c)) ** 2 + h_step2 / (1 + 0.015 * c) ** 2
        weight = 1 + saturation * torch.hypot(*ab.float().unbind(1))
        return (weight * (torch.sqrt(square + eps**2) - eps)).mean() / 20

    return loss


def cross_entropy(rebalance: float = 0.5, sigma: float = SIGMA) -> Loss:
    """Cross-entropy of colour classes, rare colours weighing more (Zhang, Isola and Efros, ECCV 2016): vivid.

    A pixel weighs in inverse proportion to the share of its class in the training pictures, mixed with the uniform
    distribution; weights have mean 1 over the training pictures. For networks with ``model.head=classes`` alone.

    Args:
        rebalance: the uniform distribution's part in that mixture, the paper's lambda, in (0, 1]: near 0 a pixel
            weighs by its inverse share alone, at 1 all weigh alike.
        sigma: how far a colour's weight spreads over its 5 nearest classes, in units of a and b.
    """
    if not 0 < rebalance <= 1:
        raise ValueError(f"loss.rebalance={rebalance} must be above 0 and at most 1")
    if not sigma > 0:
        raise ValueError(f"loss.sigma={sigma} must be above 0")

    def loss(network: Network, output: Tensor, ab: Tensor) -> Tensor:
        head = network.head
        assert isinstance(head, ClassHead), "see check_head"
        # One real colour of each cell, not their mean: between a red and a green thing there is no brown one.
        classes, weights = head.encode(F.interpolate(ab, output.shape[-2:], mode="nearest-exact"), sigma)
        # -sum(weights * log softmax), without writing out the softmax of every class
        error = output.logsumexp(1) - (weights * output.gather(1, classes)).sum(1)
        prior = head.prior.float()
        balance = 1 / ((1 - rebalance) * prior + rebalance / len(prior))
        balance = balance / (prior * balance).sum()
        nearest = classes.gather(1, weights.argmax(1, keepdim=True)).squeeze(1)
        return (balance[nearest] * error).mean()

    return loss


LOSSES: dict[str, Callable[..., Loss]] = {
    "mse": mse,
    "smooth_l1": smooth_l1,
    "delta_e": delta_e,
    "cross_entropy": cross_entropy,
}


def create_loss(name: str, **settings: Any) -> Loss:
    """Build a loss by name. Raises ValueError that lists the names."""
    return call_by_name("loss", LOSSES, name, **settings)


def check_head(network: Network, name: str) -> None:
    """That the network's head gives what the loss of this name judges. Raises ValueError that names both settings."""
    classes = isinstance(getattr(network, "head", None), ClassHead)
    if classes and name != "cross_entropy":
        raise ValueError(f"loss={name} does not go with model.head=classes: take loss=cross_entropy or model.head=ab")
    if name == "cross_entropy" and not classes:
        raise ValueError(
            "loss=cross_entropy needs model.head=classes, which every network but alpha has: "
            "set it, or take loss=mse or loss=smooth_l1 for a network whose output is ab"
        )
