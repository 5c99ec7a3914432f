"""Networks by name. A new one is a `Network` in a file here, a line in MODELS and a YAML in conf/model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from colorize.models.base import Network
from colorize.models.convlstm import ConvLSTM
from colorize.models.encoder_decoder import alpha, beta
from colorize.models.fusion import Full
from colorize.models.unet import UNet
from colorize.names import call_by_name

MODELS: dict[str, Callable[..., Network]] = {
    "alpha": alpha,
    "beta": beta,
    "convlstm": ConvLSTM,
    "full": Full,
    "unet": UNet,
}


def create_model(name: str, **settings: Any) -> Network:
    """Build a network by name. Raises ValueError that lists the names, or names the setting it does not have."""
    return call_by_name("model", MODELS, name, **settings)
