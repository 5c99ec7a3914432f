"""Checkpoints and weights files: reading one safely, writing what ships, and starting or going on from one."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

import colorize
from colorize.choice import check_there, is_weights_file, shipped, shipped_path
from colorize.files import atomic
from colorize.models import create_model
from colorize.models.base import Network
from colorize.models.convlstm import ConvLSTM

log = logging.getLogger(__name__)

FORMAT = "1"  # of a weights file's metadata; raised when an older colorize could not read it rightly


class Checkpoint(NamedTuple):
    """A trained network with what its checkpoint says of it."""

    model: Network  # on the CPU, in evaluation mode, float32
    name: str  # of the network in tables: its `label`, where it has one
    # of the training set: name, root (None in a weights file), rendered, size, mean_ab and, where that was fitted,
    # saturation: the factor of the network's ab that makes pictures as colourful as real ones
    data: dict[str, Any]
    epoch: int  # after which it was saved, from 0
    steps: int  # of the optimizer until then
    settings: dict[str, Any]  # every argument of ColorizeModule; of a weights file model and data alone


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The network of a training checkpoint (.ckpt), a weights file (.safetensors, see `save_weights`) or, exported, of
    an ONNX file (.onnx, see `colorize.export`).

    From this file alone, and without running code from it.

    Raises:
        ValueError: no such file, not one of Colorize, damaged, of another version, or of a network this version does
            not have.
    """
    path = Path(path)
    check_there(path)
    if path.suffix.lower() == ".onnx":
        from colorize.onnx_network import load_onnx  # an extra

        network, about = load_onnx(path)
        settings = about["settings"]
        epoch: Any = about.get("epoch")
        steps: Any = about.get("steps")
        _check_content(path, settings, epoch, steps)
        return Checkpoint(network, str(about.get("name", "onnx")), settings["data"], epoch, steps, settings)
    settings, weights, epoch, steps = (_read_weights if is_weights_file(path) else _read_training)(path)
    _check_content(path, settings, epoch, steps)
    try:
        # A number takes a byte at least; of a classifier in it the layers behind the last map are not in the file.
        with _at_most(path.stat().st_size + (_CLASSIFIER if "backbone" in settings["model"] else 0)):
            model = create_model(**settings["model"])
    except _TooLarge as error:
        reason = f"the network it names, {error}: they are of another network"
        raise ValueError(f"the weights in {path} do not fit {reason}") from error
    except Exception as error:  # settings of another version may fail anywhere in a constructor
        raise ValueError(
            f"{path} holds a network that this version of Colorize cannot build ({error}): update colorize"
        ) from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {path} do not fit the network it names, {settings['model']}: they are of another network"
        ) from error
    model = model.to(memory_format=torch.channels_last).eval()
    name = getattr(model, "label", settings["model"]["name"])
    return Checkpoint(model, name, settings["data"], epoch, steps, settings)


_MOST_VALUES, _LONGEST_TEXT = 10_000, 10_000  # of a checkpoint's settings
_LARGEST_SIDE = 8192  # pixels, that a checkpoint says it was trained at
_CLASSIFIER = 2**27  # parameters of the layers of a classifier that are built and then left out: VGG's have 124 M


def _check_content(path: Path, settings: dict[str, Any], epoch: Any, steps: Any) -> None:
    """Settings are plain, finite and few before anything is built or said by them. Raises ValueError."""
    try:
        _check_settings(settings, epoch, steps)
    except ValueError as error:
        raise ValueError(f"{path} is damaged or no checkpoint of Colorize ({error})") from error


def _check_settings(settings: dict[str, Any], epoch: Any, steps: Any) -> None:
    waiting: list[Any] = [settings]
    for _ in range(_MOST_VALUES):
        if not waiting:
            break
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()][:_MOST_VALUES]
        elif isinstance(value, list | tuple):
            waiting += value[:_MOST_VALUES]
        elif not (value is None or isinstance(value, int | float | str)) or len(str(value)) > _LONGEST_TEXT:
            raise ValueError("its settings are not plain values")
    else:
        raise ValueError("its settings are endless")
    data = settings["data"]
    if not isinstance(settings["model"], dict) or not isinstance(data, dict):
        raise ValueError("its settings are of another shape")
    side, colour = data.get("size"), data.get("mean_ab")
    right = {
        "size": isinstance(side, int) and 0 < side <= _LARGEST_SIDE,
        "name": isinstance(data.get("name"), str),
        "rendered": isinstance(data.get("rendered"), bool),
        "mean_ab": isinstance(colour, list) and len(colour) == 2 and all(isinstance(x, float) for x in colour),
        "epoch": isinstance(epoch, int) and isinstance(steps, int),
    }
    if wrong := [name for name, is_right in right.items() if not is_right]:
        raise ValueError(f"it does not rightly say its {wrong[0]}")


class _TooLarge(ValueError):
    pass


@contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Building more than so many parameters is a ValueError, before memory is filled with them."""
    built, thread = 0, threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal built
        if parameter is not None and threading.get_ident() == thread:  # PyTorch's hook is one for all threads
            built += parameter.numel()
            if built > parameters:
                raise _TooLarge("it asks for more weights than the file can hold")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


_REMEMBERED = ("name", "rendered", "size", "mean_ab", "saturation")  # of the training set in a weights file

Content = tuple[dict[str, Any], dict[str, Tensor], int, int]  # settings, the network's state, epoch, steps


def _read_training(path: Path) -> Content:
    try:
        zipped = zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # so it calls one that says it spans several disks
        zipped = False
    if not zipped:
        raise ValueError(f"{path} is damaged or no checkpoint of Colorize")
    try:
        # mmap: the optimizer's state, twice the network's size, is never read
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        settings, state = content["hyper_parameters"], content["state_dict"]
        weights = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
        _ = settings["model"]["name"], settings["data"]
        return settings, weights, content["epoch"], content["global_step"]
    except Exception as error:  # zipfile, pickle, torch and a dict of another shape each raise their own
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is damaged or no checkpoint of Colorize ({reason})") from error


def save_weights(checkpoint: Checkpoint, path: str | Path, card: str) -> None:
    """Write a network to share: a .safetensors file in half precision, a quarter of its training checkpoint or less.

    The header's metadata hold ``colorize.weights`` (the version of all this), ``about`` (JSON: model, its settings;
    data, of the training set; epoch, steps and the version of colorize), ``card`` (what a person should know of them,
    Markdown) and ``sha256`` of everything, since the format itself notices a lost byte but no changed one. Of the
    training set stay its name and figures, and not where it was.

    Raises:
        ValueError: another suffix, or weights that are beyond half precision (65504).
    """
    if not is_weights_file(path):
        raise ValueError(f"{path} must end in .safetensors")
    weights = {name: _half(value).contiguous() for name, value in checkpoint.model.state_dict().items()}
    infinite = [name for name, value in weights.items() if not value.isfinite().all()]
    if infinite:
        raise ValueError(f"the network's {infinite[0]} is not finite in half precision: its training diverged")
    model = checkpoint.settings["model"]
    if "backbone_weights" in model:  # a file's name says enough
        model = {**model, "backbone_weights": Path(model["backbone_weights"]).name}
    about = json.dumps(
        {
            "model": model,
            "data": {key: value for key, value in checkpoint.data.items() if key in _REMEMBERED},
            "epoch": checkpoint.epoch,
            "steps": checkpoint.steps,
            "colorize": colorize.__version__,
        }
    )
    metadata = {"colorize.weights": FORMAT, "about": about, "card": card, "sha256": _digest(about, card, weights)}
    with atomic(path) as temporary:
        temporary.write_bytes(save(weights, metadata))  # save_file's are readable by their owner alone


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value  # batch norm counts its batches


def _digest(about: str, card: str, weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{about}\n{card}\n".encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_weights(path: Path) -> Content:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except Exception as error:  # SafetensorError, OSError and, for what a header may claim, others
        reason = f"{error}".splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is damaged or no weights file ({reason})") from error
    version = metadata.get("colorize.weights")
    if version is None:
        raise ValueError(f"{path} is no weights file of Colorize: benchmarks/ship.py makes one of a checkpoint")
    if version != FORMAT:
        raise ValueError(
            f"{path} holds weights of another version ({version}; this colorize reads {FORMAT}): update colorize or "
            "retrain"
        )
    try:
        if metadata["sha256"] != _digest(metadata["about"], metadata["card"], weights):
            raise ValueError("its checksum is another")
        about = json.loads(metadata["about"])
        model, data = about["model"], {"root": None, **about["data"]}
        _ = model["name"], data["name"], data["rendered"], data["size"], data["mean_ab"]
        return {"model": model, "data": data}, weights, about["epoch"], about["steps"]
    except Exception as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}): fetch it anew") from error


_WHILE_TRAINING = {
    "init",
    "backbone_weights",
    "frozen",
    "cache",
    "dropout",
}  # settings that no trained weight depends on


def start_weights(network: Network, settings: Mapping[str, Any], source: str) -> None:
    """Put the weights that ``finetune=source`` names into a freshly built network, batch-norm buffers included.

    Args:
        network: what ``settings`` built, `create_model`'s arguments.
        source: auto or the name of a shipped network, a .ckpt or a .safetensors file.

    Raises:
        ValueError: no such weights, or they are of a network of other settings.
    """
    is_file = is_weights_file(source) or source.endswith(".ckpt")
    path = Path(source) if is_file else shipped_path("finetune", source)
    checkpoint = load_checkpoint(path)
    if isinstance(network, ConvLSTM) and checkpoint.settings["model"]["name"] == "unet":  # its memory begins afresh
        network, settings = network.picture, {**settings, "name": "unet"}
    # As JSON has them: a tuple there may be a list here. What one of both does not say is the default.
    there, here = (json.loads(json.dumps(dict(s))) for s in (checkpoint.settings["model"], settings))
    differing = {key for key in there.keys() & here.keys() if there[key] != here[key]} - _WHILE_TRAINING
    if "name" in differing:
        is_other = f"holds {there['name']}, and model={here['name']} is another network: give model={there['name']}"
    elif differing:
        what = (f"{key} {there[key]} and model.{key}={here[key]} is" for key in sorted(differing))
        is_other = f"holds {there['name']} with {', '.join(what)} asked for: give the same"
    else:
        try:
            network.load_state_dict(checkpoint.model.state_dict())
        except RuntimeError:
            is_other = f"holds {there['name']} with other layers than model= asks for: its settings are {there}"
        else:
            log.info("starting from %s", describe(checkpoint, path))
            return
    raise ValueError(f"finetune={source} {is_other}")


def describe(checkpoint: Checkpoint, path: str | Path) -> str:
    """Which weights these are, for one line of the log."""
    path = Path(path)
    if path.resolve() in shipped().values():
        card = f"colorize/weights/{path.stem}.md"
        return f"{path.stem}, shipped with colorize {colorize.__version__}; research use only, see {card}"
    pictures = "rendered scenes" if checkpoint.data["rendered"] else "photographs"
    return f"{checkpoint.name}, trained on {checkpoint.data['name']} ({pictures}): {path}"


def remember(path: Path, **found: Any) -> None:
    """Add to what a training checkpoint knows of its training set, ``Checkpoint.data``."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    content["hyper_parameters"]["data"] |= found
    with atomic(path) as temporary:
        torch.save(content, temporary)


def check_resumable(path: str | Path, settings: Mapping[str, Any], max_epochs: float) -> None:
    """That a run with these arguments of ColorizeModule can go on from ``path``.

    Lightning puts the checkpoint's own optimizer back and draws go on where they were, so a change of recipe would be
    ignored in part and in silence.

    Raises:
        ValueError: the checkpoint cannot be read, was made by another recipe, or has no epochs left.
    """
    checkpoint = load_checkpoint(path)
    if is_weights_file(path) or Path(path).suffix.lower() == ".onnx":
        raise ValueError(
            f"cannot go on from {path}: it holds weights and no state of a training; start from it with "
            f"finetune={path} instead of ckpt_path="
        )
    before, now = _recipe(checkpoint.settings), _recipe(settings)
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        what = ", ".join(f"{key} {before.get(key)} there and {now.get(key)} here" for key in differing)
        raise ValueError(
            f"cannot go on from {path}: {what}; give the same settings, or leave ckpt_path out to start anew"
        )
    if checkpoint.epoch + 1 >= max_epochs:
        raise ValueError(f"{path} has its {checkpoint.epoch + 1} epochs: raise dataset.epochs above that to go on")


def _recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ColorizeModule as {"optimizer.lr": 1e-3, "dataset.size": 128, ...}."""
    groups = {"dataset" if name == "data" else name: group or {} for name, group in settings.items()}
    flat = {f"{name}.{key}": value for name, group in groups.items() for key, value in group.items()}
    for found in ("mean_ab", "saturation"):  # in the pictures, by computing: no choice of anyone
        flat.pop(f"dataset.{found}", None)
    return flat
