"""What is fuzzed: for each format its whole files, how they are damaged, and the command that is given them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mutations
import seeds
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

from colorize import cli
from colorize.gif import gif
from colorize.media import CLIP_SUFFIXES, PICTURE_SUFFIXES
from colorize.predict import predict

MAX_PIXELS = 2_000_000  # what is asked for, so that a file of a few bytes cannot lead to more work than that
OVERRIDES = ("device=cpu", f"max_pixels={MAX_PIXELS}")


class Format(NamedTuple):
    """One kind of file.

    Attributes:
        whole: writes undamaged files into a folder, and names them.
        mutations: how they are damaged.
        door: (damaged file, folder with good.png and good.ckpt) -> nothing; raises what the command raises, and
            AssertionError where it says that all is well and it is not.
        command: the same as arguments of ``python -m``; None: not tried so.
        real: suffixes of photographs and clips to be damaged, too.
    """

    whole: Callable[[Path], Iterator[Path]]
    mutations: tuple[mutations.Mutation, ...]
    door: Callable[[Path, Path], None]
    command: Callable[[Path, Path], list[str]] | None
    real: tuple[str, ...] = ()


def composed(command: str, **settings: Any) -> Any:
    if command not in _COMPOSED:
        cli.register_resolvers()
        with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
            _COMPOSED[command] = compose(command, overrides=["input=x", *OVERRIDES])
    return OmegaConf.merge(_COMPOSED[command], settings)


_COMPOSED: dict[str, Any] = {}


def _colour_picture(file: Path, folder: Path) -> None:
    _predict(file, folder / "good.ckpt", folder)


def _colour_with(file: Path, folder: Path) -> None:
    _predict(folder / "good.png", file, folder)


def _predict(picture: Path, weights: Path, folder: Path) -> None:
    out = folder / "out/result.png"
    predict(composed("predict", input=str(picture), output=str(out), ckpt_path=str(weights)))
    with Image.open(out) as image:
        image.load()


def _colour_clip(file: Path, folder: Path) -> None:
    out = folder / f"out/result{file.suffix}"
    gif(composed("gif", input=str(file), output=str(out), ckpt_path=str(folder / "good.ckpt")))
    seeds.opened(out)


def _read_shards(file: Path, folder: Path) -> None:
    """Counted and read to the end, as training does; nothing is unpacked."""
    from colorize.data.shards import open_shards, read_members

    (folder / "shards").mkdir(exist_ok=True)
    shutil.copy(file, folder / "shards/train.tar")
    for shard in open_shards(str(folder / "shards")).parts["train"]:
        assert sum(1 for _ in read_members(shard)) == shard.pictures


def _compose(file: Path, folder: Path) -> None:
    """As ``train --config-dir``: everything that a config says is built and checked; nothing is trained."""

    def build(cfg: Any) -> None:
        from colorize.build import instantiate
        from colorize.module import ColorizeModule
        from colorize.run import check

        check(cfg)
        parts: Any = OmegaConf.to_container(cfg, resolve=True)
        settings = {part: parts[part] for part in ("model", "loss", "optimizer")}
        ColorizeModule(**settings, scheduler=None, data={"size": cfg.dataset.size}).create_optimizer()
        for group in (cfg.callbacks, cfg.logger):
            instantiate(group)
        instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=cfg.seed)

    group = file.parent.name
    (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / "conf" / group / "damaged.yaml")
    root = [f"dataset.root={folder}"] if group != "dataset" else []
    sys.argv = ["train", "--config-dir", str(folder / "conf"), f"{group}=damaged", *root, f"run_dir={folder / 'out'}"]
    sys.argv += [f"hydra.run.dir={folder / 'out'}"]
    GlobalHydra.instance().clear()
    cli.run(build, "train")


def _by_predict(file: Path, folder: Path) -> list[str]:
    return ["colorize.predict", f"input={file}", f"output={folder}/out/result.png", f"ckpt_path={folder}/good.ckpt"]


def _by_weights(file: Path, folder: Path) -> list[str]:
    return ["colorize.predict", f"input={folder}/good.png", f"output={folder}/out/result.png", f"ckpt_path={file}"]


def _by_gif(file: Path, folder: Path) -> list[str]:
    out = f"output={folder}/out/result{file.suffix}"
    return ["colorize.gif", f"input={file}", out, f"ckpt_path={folder}/good.ckpt"]


_videos = tuple(suffix for suffix in CLIP_SUFFIXES if suffix not in (*PICTURE_SUFFIXES, ".gif", ".apng"))

FORMATS = {
    "pictures": Format(seeds.pictures, mutations.BINARY, _colour_picture, _by_predict, PICTURE_SUFFIXES),
    "animations": Format(seeds.animations, mutations.BINARY, _colour_clip, _by_gif, (".gif",)),
    "videos": Format(seeds.videos, mutations.BINARY, _colour_clip, _by_gif, _videos),
    "checkpoints": Format(seeds.checkpoints, mutations.BINARY, _colour_with, _by_weights),
    "weights": Format(seeds.weights, mutations.BINARY, _colour_with, _by_weights),
    "onnx": Format(seeds.exported, mutations.BINARY, _colour_with, _by_weights),
    "shards": Format(seeds.shards, mutations.BINARY, _read_shards, None),
    "configs": Format(seeds.configs, mutations.TEXT, _compose, None),
}
# of 100 cases; what is slow gets fewer
SHARES = {"pictures": 38, "animations": 20, "videos": 10, "checkpoints": 12, "weights": 6, "onnx": 4, "shards": 4}
SHARES["configs"] = 6
