"""Choosing by name from a config, with errors that say what there is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def call_by_name(group: str, choices: Mapping[str, Callable[..., T]], name: str, *args: Any, **settings: Any) -> T:
    """``choices[name](*args, **settings)``.

    Raises:
        ValueError: an unknown name (the error lists the names), or a setting that the choice does not have.
    """
    if name not in choices:
        raise ValueError(f"no {group} is called {name!r}; there are: {', '.join(sorted(choices))}")
    try:
        inspect.signature(choices[name]).bind(*args, **settings)
    except TypeError as error:
        parameters = list(inspect.signature(choices[name]).parameters)[len(args) :]
        raise ValueError(f"{group} {name}: {error}; its settings are: {', '.join(parameters)}") from None
    try:
        return choices[name](*args, **settings)
    except TypeError as error:  # text where a number belongs
        given = ", ".join(f"{key}={value}" for key, value in settings.items() if isinstance(value, str))
        raise ValueError(f"{group} {name} ({given}): {error}") from error
