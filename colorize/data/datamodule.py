"""The LightningDataModule: uint8 pictures in memory, batches drawn by step, augmentation and Lab on the device."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from kornia.augmentation import RandomAffine
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from colorize.color import rgb_to_l_ab, to_float
from colorize.data import scenes
from colorize.data.folder import Split, load_pictures, split_set

log = logging.getLogger(__name__)


class Pictures(Dataset):
    """uint8 pictures (N, 3, H, W) that hand out a whole batch by one indexing, without Python per picture."""

    def __init__(self, pictures: Tensor):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitems__(self, indices: list[int]) -> Tensor:
        return self.pictures[indices]


class PictureSampler(DistributedSampler):
    """Picture indices of one process, in an order fixed by seed and epoch.

    For training an epoch is ``draws`` pictures a process, whatever the size of the set: the set is shuffled and gone
    through again and again. For evaluation (``draws`` None) each picture comes once over all processes, or once in each
    process where there are fewer pictures than processes.
    A DistributedSampler by type, so Lightning neither replaces it (by one that goes through the set once) nor pads it,
    and calls `set_epoch`.
    """

    def __init__(self, count: int, draws: int | None, seed: int, rank: int, world_size: int):
        self.count, self.draws, self.seed = count, draws, seed
        if draws is None and count < world_size:
            rank, world_size = 0, 1  # a rank with nothing to do would wait for ever; means are the same
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def __len__(self) -> int:
        return len(range(self.rank, self.count, self.world_size)) if self.draws is None else self.draws

    def __iter__(self) -> Iterator[int]:
        if self.draws is None:
            return iter(range(self.rank, self.count, self.world_size))
        total = self.draws * self.world_size
        rng = np.random.default_rng([self.seed, self.epoch])
        order = np.concatenate([rng.permutation(self.count) for _ in range(math.ceil(total / self.count))])
        return iter(order[self.rank : total : self.world_size].tolist())


class PhotoDataModule(L.LightningDataModule):
    """Photographs in ``root/{train,val,test}``, as batches ``{"l", "ab"}`` on the trainer's device.

    The loader hands over uint8 RGB (B, 3, size, size). On the device, `on_after_batch_transfer` draws one affine
    transform a picture (while training only) and converts to ``l`` (B, 1, size, size) in [0, 1] and ``ab``
    (B, 2, size, size) in (-1, 1). What is drawn depends on (seed, epoch, step, rank) alone and is drawn on the CPU:
    the same on every device and after resuming.

    Args:
        name: the set's name; ``data/<name>`` is its folder where ``root`` is None.
        root: folder or single picture. One that is given must exist; nothing is ever rendered for it.
        scene: kind of scene to render where ``root`` is None and ``data/<name>`` is missing; None for never.
        scene_counts: how many to render for train and test; None for the kind's own numbers.
        on_missing: "error" refuses to render.
        size: side in pixels to which both sides of every picture are resized.
        batch_size: pictures a step and process.
        steps_per_epoch: batches an epoch and process.
        val_fraction: share of the training pictures kept for validation where there is no ``val/``.
        shear, rotation, zoom: bounds of the augmentation in radians, degrees and as 1 +- zoom for each axis.
        num_workers: loader processes; indexing a tensor in memory needs none.
        seed: of the order of the pictures and of the augmentation.
    """

    def __init__(
        self,
        name: str,
        root: str | None = None,
        *,
        scene: str | None = None,
        scene_counts: tuple[int, int] | None = None,
        on_missing: Literal["render", "error"] = "render",
        size: int = 256,
        batch_size: int = 15,
        steps_per_epoch: int = 50,
        val_fraction: float = 0.05,
        shear: float = 0.2,
        rotation: float = 20.0,
        zoom: float = 0.2,
        num_workers: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        for setting, value in {"size": size, "batch_size": batch_size, "steps_per_epoch": steps_per_epoch}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"dataset.{setting}={value} must be a whole number from 1 up")
        if on_missing not in ("render", "error"):
            raise ValueError(f"dataset.on_missing={on_missing} is not one of: render, error")
        if not 0 <= zoom < 1:
            raise ValueError(f"dataset.zoom={zoom} is not in [0, 1)")
        self.name, self.on_missing = name, on_missing
        self.root = None if root is None else str(root)  # a folder called 2023 comes as a number
        self.scene, self.scene_counts = scene, scene_counts
        self.size, self.batch_size, self.steps_per_epoch = size, batch_size, steps_per_epoch
        self.val_fraction, self.num_workers, self.seed = val_fraction, num_workers, seed
        self._recipe: dict[str, Any] = {
            "size": size,
            "batch_size": batch_size,
            "steps_per_epoch": steps_per_epoch,
            "seed": seed,
        }
        self._recipe |= {"val_fraction": val_fraction, "shear": shear, "rotation": rotation, "zoom": zoom}
        shear_degrees = math.degrees(shear)
        self.augment = RandomAffine(
            degrees=rotation,
            shear=(-shear_degrees, shear_degrees),  # along x, as Keras does
            scale=(1 - zoom, 1 + zoom, 1 - zoom, 1 + zoom),  # each axis drawn on its own
            padding_mode="border",
            p=1.0,
        )
        self._pictures: dict[str, Tensor] = {}

    @property
    def folder(self) -> Path:
        """Where the pictures are."""
        return Path(self.root).expanduser() if self.root is not None else Path("data") / str(self.name)

    @property
    def rendered(self) -> bool:
        """Whether pictures of the set are rendered scenes instead of photographs; after `prepare_data`."""
        folders = {file.resolve().parent for part in (self.files.train, self.files.test) for file in part}
        return any((place / scenes.MARKER).exists() for folder in folders for place in (folder, folder.parent))

    def prepare_data(self) -> None:
        """Render the set where it was asked for by name and is not there. Once a machine; raises ValueError."""
        folder = self.folder
        if self.root is not None and not folder.exists():
            raise ValueError(f"dataset.root={self.root} does not exist")
        if folder.is_symlink() and not folder.exists():
            raise ValueError(f"{folder} is a link to {folder.readlink()}, which does not exist")
        if self.root is not None or (folder.exists() and not scenes.is_blank(folder)):
            return
        if self.scene is None:
            raise ValueError(f"no pictures in {folder.resolve()}: put photographs there or give dataset.root=FOLDER")
        if self.on_missing == "error":
            raise ValueError(f"no pictures in {folder.resolve()} and dataset.on_missing=error: put photographs there")
        if self.scene not in scenes.COUNTS:
            raise ValueError(f"dataset.scene={self.scene} cannot be rendered; there are: {', '.join(scenes.COUNTS)}")
        log.warning("no photographs in %s: RENDERING scenes there. Results from them are labelled 'rendered'.", folder)
        scenes.render_set(self.scene, folder, size=max(256, self.size), counts=self.scene_counts)

    @cached_property
    def files(self) -> Split:
        """The files of train, val and test; after `prepare_data`."""
        return split_set(self.folder, self.val_fraction)

    def setup(self, stage: str | None = None) -> None:
        """Decode the training and validation pictures, once. Raises ValueError."""
        for part in ("train", "val"):
            if part not in self._pictures:
                paths = getattr(self.files, part)
                self._pictures[part], _ = load_pictures(paths, self.size, report_grey=part == "train")

    def pictures(self, part: Literal["train", "val"]) -> Tensor:
        """uint8 RGB (N, 3, size, size) of one part, after `setup`."""
        return self._pictures[part]

    def mean_ab(self) -> list[float]:
        """Mean (a, b) / 128 over the training pictures: the 'mean colour' baseline."""
        total = torch.zeros(2, dtype=torch.float64)
        for batch in self.pictures("train").split(32):
            total += rgb_to_l_ab(to_float(batch))[1].double().mean((2, 3)).sum(0)
        return (total / len(self.pictures("train"))).tolist()

    def summary(self) -> dict[str, Any]:
        """What a checkpoint remembers of its training set; plain values."""
        return {
            "name": self.name,
            "root": None if self.root is None else str(self.folder.resolve()),
            "rendered": self.rendered,
            "mean_ab": self.mean_ab(),
            **self._recipe,
        }

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", draws=self.steps_per_epoch * self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", draws=None)

    def _loader(self, part: Literal["train", "val"], draws: int | None) -> DataLoader:
        pictures = self.pictures(part)
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            Pictures(pictures),
            batch_size=self.batch_size,
            sampler=PictureSampler(len(pictures), draws, self.seed, rank, world_size),
            collate_fn=_as_is,  # `__getitems__` has made the batch
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """uint8 RGB (B, 3, H, W) on the device -> {"l": (B, 1, H, W), "ab": (B, 2, H, W)}, float32, same device."""
        if not (isinstance(batch, Tensor) and batch.dtype == torch.uint8):
            return batch  # the network's example input, on its way to the TensorBoard graph
        rgb = to_float(batch)
        if self.trainer is not None and self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.batch_idx + 1  # it counts a batch once it has been handed over
            rgb = self.augmented(rgb, self.trainer.current_epoch, step, self.trainer.global_rank)
        l, ab = rgb_to_l_ab(rgb)
        return {"l": l, "ab": ab}

    def augmented(self, rgb: Tensor, epoch: int, step: int, rank: int) -> Tensor:
        """RGB (B, 3, H, W) in [0, 1] -> the same, each picture transformed as drawn from (seed, epoch, step, rank)."""
        draw = np.random.SeedSequence([self.seed, epoch, step, rank]).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[]):  # Kornia draws from the global CPU generator
            torch.default_generator.manual_seed(int(draw))
            return self.augment(rgb).clamp(0.0, 1.0)


def _as_is(batch: Any) -> Any:
    return batch
