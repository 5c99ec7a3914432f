"""Checkpoints: reading one safely, and finding the newest."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from colorize.cli import FINISHED
from colorize.models import create_model
from colorize.models.base import Network


class Checkpoint(NamedTuple):
    """A trained network with what its checkpoint says of it."""

    model: Network  # on the CPU, in evaluation mode
    name: str  # of the network
    data: dict[str, Any]  # of the training set: name, root, rendered, size, mean_ab
    epoch: int  # after which it was saved, from 0
    settings: dict[str, Any]  # every argument of ColorizeModule


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The network of a training checkpoint, from this file alone. Runs no code from the file.

    Raises:
        ValueError: no such file, not a checkpoint of Colorize, damaged, or of a network this version does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint {path}" + (": it is a folder" if path.is_dir() else ""))
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or no checkpoint of Colorize")
    try:
        # mmap: the optimizer's state, twice the network's size, is never read
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        settings, state = content["hyper_parameters"], content["state_dict"]
        name, data, epoch = settings["model"]["name"], settings["data"], content["epoch"]
        weights = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    except Exception as error:  # zipfile, pickle, torch and a dict of another shape each raise their own
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is damaged or no checkpoint of Colorize ({reason})") from error
    model = create_model(**settings["model"])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the network it names, {settings['model']}") from error
    return Checkpoint(model.to(memory_format=torch.channels_last).eval(), name, data, epoch, settings)


def check_resumable(path: str | Path, settings: Mapping[str, Any], max_epochs: int) -> None:
    """That a run with these arguments of ColorizeModule can go on from ``path``.

    Lightning puts the checkpoint's own optimizer back and draws go on where they were, so a change of recipe would be
    ignored in part and in silence.

    Raises:
        ValueError: the checkpoint cannot be read, was made by another recipe, or has no epochs left.
    """
    checkpoint = load_checkpoint(path)
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
    flat.pop("dataset.mean_ab", None)  # rounding may differ between machines
    return flat


def choose_checkpoint(ckpt_path: str | None, weights: str, output_dir: str) -> Path:
    """Which weights to colour with: ``ckpt_path`` first, then ``weights``, which is "last" so far.

    "last" is the best checkpoint of the newest finished run under ``output_dir``.

    Raises:
        ValueError: there is none; the message says how to get one.
    """
    if ckpt_path is not None:
        return Path(ckpt_path)
    if weights != "last":
        raise ValueError(f"weights={weights} is not known; there is: last (or give ckpt_path=)")
    finished = [path for path in Path(output_dir).rglob(FINISHED) if (path.parent / "checkpoints/best.ckpt").is_file()]
    if not finished:
        raise ValueError(
            f"no finished run under {Path(output_dir).resolve()}: train one (python -m colorize.train dataset=pradera "
            "experiment=quick) or give ckpt_path="
        )
    return max(finished, key=lambda path: path.stat().st_mtime).parent / "checkpoints/best.ckpt"


def unfinished_run(output_dir: str, dataset: str, network: str) -> Path:
    """The newest run of this set and network that has a checkpoint and no metrics.json.

    Raises:
        ValueError: there is none.
    """
    runs = Path(output_dir) / dataset / network
    unfinished = [p for p in runs.glob("*/checkpoints/last.ckpt") if not (p.parents[1] / FINISHED).exists()]
    if not unfinished:
        raise ValueError(f"ckpt_path=last: no unfinished run with a checkpoint in {runs}; leave it out to start one")
    return max(unfinished, key=lambda path: path.stat().st_mtime).parents[1]
