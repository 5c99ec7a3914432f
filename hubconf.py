"""For torch.hub: ``torch.hub.load(FOLDER_OR_REPOSITORY, "colorizer", source="local")``."""

from typing import Any

from colorize import Colorizer

dependencies = ["torch", "torchvision", "kornia", "safetensors", "hydra", "numpy", "PIL", "cv2"]


def colorizer(source: str = "auto", **settings: Any) -> Colorizer:
    """A trained network, ready to colour; the arguments are those of `Colorizer.from_pretrained`."""
    return Colorizer.from_pretrained(source, **settings)
