"""Networks to share: where a named one lies, folders that hold one, and the Hugging Face Hub (extra ``hub``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorize.card import model_card
from colorize.checkpoint import Checkpoint, save_weights
from colorize.choice import choose_checkpoint, shipped
from colorize.files import atomic

if TYPE_CHECKING:
    from colorize.pipeline import Colorizer

WEIGHTS, CARD = "model.safetensors", "README.md"  # as the Hub calls them
EXPORTED = "model.onnx"
_FILES = (".ckpt", ".safetensors", ".onnx")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def locate(source: str, **hub: Any) -> Path:
    """The file that `Colorizer.from_pretrained` means by ``source``; of a repository it is downloaded where it must be.

    Raises:
        ValueError: there is none, or it cannot be fetched.
    """
    path = Path(source)
    if source in ("auto", "last", *shipped()):
        return choose_checkpoint(None, source, "outputs")
    if path.is_dir():
        for name in (WEIGHTS, EXPORTED):
            if (path / name).is_file():
                return path / name
        raise ValueError(f"{source} has no {WEIGHTS}: name a folder that save_pretrained wrote, or a file")
    if path.is_file() or path.suffix.lower() in _FILES:
        return path
    if _REPOSITORY.fullmatch(source):
        return _download(source, **hub)
    raise ValueError(
        f"{source} is no network: give {', '.join(['auto', 'last', *shipped()])}, a file ({' '.join(_FILES)}), a "
        "folder that save_pretrained wrote or a repository of the Hugging Face Hub, owner/name"
    )


def save_folder(checkpoint: Checkpoint | None, size: int, saturation: float, folder: str | Path) -> Path:
    """What `Colorizer.save_pretrained` writes. Raises ValueError."""
    if checkpoint is None or checkpoint.settings["model"]["name"] == "onnx":
        what = "it has no settings with it" if checkpoint is None else "it is an exported one"
        raise ValueError(f"this network cannot be saved: {what}; load it from a checkpoint or a weights file")
    checkpoint = checkpoint._replace(data={**checkpoint.data, "size": size, "saturation": saturation})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    card = model_card(checkpoint)
    save_weights(checkpoint, folder / WEIGHTS, card)
    if not (folder / CARD).exists():
        with atomic(folder / CARD) as temporary:
            temporary.write_text(card, encoding="utf-8")
    return folder


def push(colorizer: Colorizer, repo_id: str, **settings: Any) -> str:
    """What `Colorizer.push_to_hub` does. Raises ValueError."""
    try:
        from huggingface_hub import ModelHubMixin
    except ImportError as error:
        raise ValueError(_NO_HUB) from error

    class Shared(ModelHubMixin):  # made here, since to import it takes a second that only this is worth
        def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
            colorizer.save_pretrained(save_directory)

    try:
        return Shared().push_to_hub(repo_id, **settings)
    except OSError as error:  # all of the Hub's, by way of requests to it
        raise ValueError(f"cannot push to {repo_id}: {_first_line(error)}; is it yours, and did you log in?") from error


_NO_HUB = "the Hugging Face Hub needs: pip install 'colorize[hub]'"


def _download(repository: str, **hub: Any) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ValueError(f"there is no file or folder {repository}, and {_NO_HUB}") from error
    try:
        return Path(hf_hub_download(repository, WEIGHTS, **hub))
    except (OSError, HfHubHTTPError) as error:
        raise ValueError(
            f"there is no file or folder {repository}, and {WEIGHTS} cannot be fetched from that repository of the "
            f"Hugging Face Hub: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")
