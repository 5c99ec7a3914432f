"""One progress bar for everything that takes more than a few seconds outside the Trainer: count, rate, time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

log = logging.getLogger(__name__)

T = TypeVar("T")
_EVERY = 30.0  # seconds between two lines where there is no terminal


class _Rate(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s")


def track(items: Iterable[T], description: str, total: int, unit: str = "pictures") -> Iterator[T]:
    """Yield the items under a bar on stderr, which disappears at the end; without a terminal, a line every 30 s."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn())
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from _told(items, description, total, unit)
        return
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _told(items: Iterable[T], description: str, total: int, unit: str) -> Iterator[T]:
    start = said = time.monotonic()
    for count, item in enumerate(items):
        now = time.monotonic()
        if count and now - said >= _EVERY:
            rate, said = count / (now - start), now
            left = (total - count) / rate
            log.info("%s: %d of %d, %.1f %s/s, %.0f s left", description, count, total, rate, unit, left)
        yield item
