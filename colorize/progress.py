"""One progress bar for everything that takes more than a few seconds outside the Trainer: count, rate, time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")


class _Rate(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s")


def track(items: Iterable[T], description: str, total: int, unit: str = "pictures") -> Iterator[T]:
    """Yield the items under a bar on stderr, which disappears at the end and is not shown where nobody watches."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=description)
