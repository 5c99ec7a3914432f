"""Colorize: colour for greyscale photographs, GIFs and videos.

```python
from colorize import Colorizer

coloured = Colorizer.from_pretrained("auto")(image)  # PIL, NumPy, torch, a path, a list of them
```

The names in ``__all__`` stay as they are from version to version; what else is in the modules may move. They are
imported when they are first asked for: ``import colorize`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colorize.checkpoint import Checkpoint, load_checkpoint
    from colorize.models import Network, create_model
    from colorize.pipeline import Colorizer

__version__ = "0.1.0"

__all__ = ["Checkpoint", "Colorizer", "Network", "__version__", "create_model", "load_checkpoint"]

_WHERE = {
    "Checkpoint": "colorize.checkpoint",
    "Colorizer": "colorize.pipeline",
    "Network": "colorize.models",
    "create_model": "colorize.models",
    "load_checkpoint": "colorize.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'colorize' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
