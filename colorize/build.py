"""What a config may build: classes of colorize, and named ones of Lightning.

A ``_target_`` names anything that Python can import, and configs are passed around: one that came with a run or from a
stranger must not choose what runs. (Hydra 1.3.8 refuses names known to do harm, in logging settings too; here is
refused whatever is not known.) Who has callbacks of their own names their package in the environment, which no config
can: ``COLORIZE_TARGETS=mylab python -m colorize.train +callbacks.mine._target_=mylab.callbacks.Mine``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import hydra.utils
from omegaconf import OmegaConf

NAMED = ("lightning.Trainer", "optuna.samplers.TPESampler")
PUBLIC = (  # of these modules whatever they list in __all__
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
)
OWN = "COLORIZE_TARGETS"  # in the environment: further packages, with commas between
_instantiate = hydra.utils.instantiate  # `confine` puts ours in its place


def instantiate(config: Any, /, *positional: Any, **objects: Any) -> Any:
    """`hydra.utils.instantiate` for a config that need not be trusted.

    Args:
        config: of one object, or a mapping of several.
        objects: further arguments of it, built already.

    Raises:
        ValueError: a ``_target_`` anywhere in it is not allowed.
    """
    plain = _plain(config)
    _check(plain)
    return _instantiate(plain, *positional, **objects)


def confine() -> None:
    """Hold Hydra itself to it, which builds ``hydra.callbacks`` before any command of ours is reached."""
    hydra.utils.instantiate = instantiate  # type: ignore[assignment]


def is_allowed(target: Any) -> bool:
    """Whether a config may name it. Of a module's own imports (colorize.demo.subprocess.run) none counts."""
    if not isinstance(target, str):
        return False
    module, _, name = target.rpartition(".")
    if target in NAMED:
        return True
    if module in PUBLIC:
        return name in import_module(module).__all__
    own = os.environ.get(OWN, "").replace(" ", "").split(",")
    if module.partition(".")[0] in ("colorize", "benchmarks", *filter(None, own)):
        with suppress(ModuleNotFoundError):
            found = getattr(import_module(module), name, None)
            return isinstance(found, type) and found.__module__ == module
    return False


def _plain(config: Any) -> Any:
    if OmegaConf.is_config(config):
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if isinstance(config, Mapping):
        return {key: _plain(value) for key, value in config.items()}
    return config


def _check(plain: Any) -> None:
    for key, value in _walk(plain):
        if key == "_target_" and not is_allowed(value):
            raise ValueError(
                f"_target_: {value} is refused, for a config could run anything by it: allowed are classes of "
                f"colorize, {', '.join(NAMED)}, what is in {', '.join(PUBLIC)}, and classes of the packages that "
                f"{OWN}= names in the environment"
            )
        if isinstance(value, str) and "${" in value:  # it would be resolved once more, after this look at it
            raise ValueError(f"{key}={value}: an interpolation within an interpolation is refused")


def _walk(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every key and value of nested mappings and lists; an item of a list has its number for a key."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield key, value
        yield from _walk(value)
