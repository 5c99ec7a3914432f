"""The LightningDataModule: uint8 pictures, batches drawn by step, augmentation and Lab on the device."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from kornia.augmentation import RandomAffine, RandomHorizontalFlip
from kornia.geometry.conversions import normalize_homography
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from colorize.color import rgb_to_l_ab, to_float, to_uint8
from colorize.data import scenes
from colorize.data.degrade import DEGRADATIONS
from colorize.data.duplicates import near_duplicates
from colorize.data.folder import Split, split_set
from colorize.data.store import CACHES, Pictures, Rows, choose_cache, fits_on, in_memory, open_pictures, report_grey
from colorize.data.warp import send, warp_to_l_ab, warp_to_l_ab_on_cpu

log = logging.getLogger(__name__)

_AHEAD = 10  # steps whose augmentation is drawn at once: half the time of one after the other


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

    The loader hands over uint8 RGB (B, 3, size, size). On the device, `on_after_batch_transfer` converts to ``l``
    (B, 1, size, size) in [0, 1] and ``ab`` (B, 2, size, size) in (-1, 1); while training it first mirrors and
    transforms each picture and afterwards degrades its ``l`` alone. What is drawn depends on (seed, epoch, step, rank)
    alone and is drawn on the CPU: the same on every device and after resuming.

    Several folders are one set: each is split by its own rule and the parts are joined. Training pictures that are near
    duplicates of a validation or test picture of any of the folders are left out.

    Args:
        name: the set's name; ``data/<name>`` is its folder where ``root`` is None.
        root: folder or single picture, or a list of them. What is given must exist; nothing is ever rendered for it.
        scene: kind of scene to render where ``root`` is None and ``data/<name>`` is missing; None for never.
        scene_counts: how many to render for train and test; None for the kind's own numbers.
        on_missing: "error" refuses to render.
        size: side in pixels to which both sides of every picture are resized.
        batch_size: pictures a step and process; "auto" until `colorize.batch_size` has put a number there.
        steps_per_epoch: batches an epoch and process.
        val_fraction: share of the training pictures kept for validation where there is no ``val/``.
        shear, rotation, zoom: bounds of the augmentation in radians, degrees and as 1 +- zoom for each axis.
        flip: share of the training pictures that are mirrored, left to right, before that; the report has none.
        variants: draw so many augmentations of each training picture beforehand and use these, instead of new ones each
            step: what a frozen backbone sees in them is looked up (model=full), and a step augments nothing.
        degrade: what is done to ``l`` while training, one of `colorize.data.degrade.DEGRADATIONS`.
        cache: where the resized pictures are: "ram", "disk", "none" (`colorize.data.store.open_pictures`), or "auto":
            ram, or disk where they would fill a quarter of the free memory. Batches are the same with each.
        num_workers: loader processes; only ``cache="none"`` gains by them.
        resident: whether the pixels are on the device and batches drawn there: True, False or "auto": on a GPU. Where
            they would fill a tenth of its free memory they stay in ``cache``. Batches are the same.
        seed: of the order of the pictures and of the augmentation.
    """

    def __init__(
        self,
        name: str,
        root: str | Sequence[str] | None = None,
        *,
        scene: str | None = None,
        scene_counts: tuple[int, int] | None = None,
        on_missing: Literal["render", "error"] = "render",
        size: int = 256,
        batch_size: int | Literal["auto"] = 15,
        steps_per_epoch: int = 50,
        val_fraction: float = 0.05,
        shear: float = 0.2,
        rotation: float = 20.0,
        zoom: float = 0.2,
        flip: float = 0.0,
        variants: int | None = None,
        degrade: str = "none",
        cache: str = "auto",
        num_workers: int = 0,
        resident: bool | Literal["auto"] = "auto",
        seed: int = 0,
    ):
        super().__init__()
        for setting, value in {"size": size, "batch_size": batch_size, "steps_per_epoch": steps_per_epoch}.items():
            if (not isinstance(value, int) or value < 1) and not (setting == "batch_size" and value == "auto"):
                raise ValueError(f"dataset.{setting}={value} must be a whole number from 1 up")
        if on_missing not in ("render", "error"):
            raise ValueError(f"dataset.on_missing={on_missing} is not one of: render, error")
        if not 0 <= zoom < 1:
            raise ValueError(f"dataset.zoom={zoom} is not in [0, 1)")
        if not isinstance(flip, int | float) or not 0 <= flip <= 1:
            raise ValueError(f"dataset.flip={flip} is not in [0, 1]")
        if variants is not None and (not isinstance(variants, int) or variants < 1):
            raise ValueError(f"dataset.variants={variants} must be a whole number from 1 up, or null")
        if degrade not in DEGRADATIONS:
            raise ValueError(f"dataset.degrade={degrade} is not one of: {', '.join(DEGRADATIONS)}")
        if cache not in CACHES:
            raise ValueError(f"dataset.cache={cache} is not one of: {', '.join(CACHES)}")
        if variants is not None and cache in ("disk", "none"):
            raise ValueError(f"dataset.variants={variants} are in memory: give dataset.cache=ram, or variants=null")
        if resident not in ("auto", True, False):
            raise ValueError(f"dataset.resident={resident} is not one of: auto, true, false")
        self.name, self.on_missing, self.resident = name, on_missing, resident
        self.root: str | list[str] | None  # a folder called 2023 comes as a number
        if isinstance(root, Sequence) and not isinstance(root, str):
            self.root = [str(entry) for entry in root]
        else:
            self.root = None if root is None else str(root)
        self.scene, self.scene_counts = scene, scene_counts
        self.size, self.batch_size, self.steps_per_epoch = size, batch_size, steps_per_epoch
        self.val_fraction, self.cache, self.num_workers, self.seed = val_fraction, cache, num_workers, seed
        self._recipe: dict[str, Any] = {"size": size, "steps_per_epoch": steps_per_epoch, "seed": seed}
        self._recipe |= {"val_fraction": val_fraction, "shear": shear, "rotation": rotation, "zoom": zoom}
        self._recipe |= {"flip": float(flip), "degrade": degrade, "variants": variants}
        self.variants = variants
        shear_degrees = math.degrees(shear)
        self.augment = RandomAffine(
            degrees=rotation,
            shear=(-shear_degrees, shear_degrees),  # along x, as Keras does
            scale=(1 - zoom, 1 + zoom, 1 - zoom, 1 + zoom),  # each axis drawn on its own
            padding_mode="border",
            p=1.0,
        )
        self.mirror = RandomHorizontalFlip(p=flip)
        self.degrade = DEGRADATIONS[degrade]
        self._pictures: dict[str, Pictures] = {}
        self._on_device: dict[str, Tensor] = {}  # of each part that is there, uint8 (N, 3, size, size)
        self._ahead: tuple[Any, Tensor] = (None, torch.empty(0))  # which steps' augmentation is drawn, and as what
        self._warp = warp_to_l_ab
        self.compiled = False

    def compile(self) -> None:
        """Augment and convert by one compiled function from here on, on a CPU too."""
        self._warp, self.compiled = torch.compile(warp_to_l_ab, dynamic=False), True

    @property
    def folders(self) -> list[Path]:
        """Where the pictures are: one folder, or those of a union."""
        if self.root is None:
            return [Path("data") / str(self.name)]
        return [Path(entry).expanduser() for entry in ([self.root] if isinstance(self.root, str) else self.root)]

    @property
    def places(self) -> list[str]:
        """`folders` in words."""
        return [str(path.resolve()) for path in self.folders]

    @cached_property
    def rendered(self) -> bool:
        """Whether pictures of the set are rendered scenes instead of photographs; after `prepare_data`."""
        folders = {file.resolve().parent for part in (self.files.train, self.files.test) for file in part}
        return any((place / scenes.MARKER).exists() for folder in folders for place in (folder, folder.parent))

    def prepare_data(self) -> None:
        """Render the set where it was asked for by name and is not there. Once a machine; raises ValueError."""
        if not self.folders:
            raise ValueError("dataset.root=[] names no folder")
        for folder in self.folders if self.root is not None else ():
            if not folder.exists():
                raise ValueError(f"dataset.root={folder} does not exist")
            if sum(folder.resolve() == other.resolve() for other in self.folders) > 1:
                raise ValueError(f"dataset.root names {folder} twice")
        folder = self.folders[0]
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
        splits = [split_set(folder, self.val_fraction) for folder in self.folders]
        return Split(*([file for split in splits for file in getattr(split, p)] for p in ("train", "val", "test")))

    def setup(self, stage: str | None = None) -> None:
        """Decode the training and validation pictures, once. Raises ValueError."""
        if self._pictures:
            return
        cache = self.cache
        if cache == "auto":
            count = len(self.files.train) + len(self.files.val)
            cache = "ram" if self.variants else choose_cache(count, self.size)
        train, files = open_pictures(self.files.train, self.size, cache)
        report_grey(train, files)
        val, _ = open_pictures(self.files.val, self.size, cache)
        if len(self.folders) > 1:
            train = self._without_duplicates(train, val, cache)
        self._pictures = {"train": train, "val": val}
        if self.variants:
            drawn = [(k, i, part) for k in range(self.variants) for i, part in enumerate(train.split(32))]
            self._pictures["variants"] = in_memory(
                torch.cat([to_uint8(self.augmented(to_float(part), k, i, 0)) for k, i, part in drawn])
            )

    def _without_duplicates(self, train: Pictures, val: Pictures, cache: str) -> Pictures:
        """The training pictures of a union that no folder of it holds out, under whatever name."""
        test, _ = open_pictures(self.files.test, self.size, cache)  # to compare; they are judged from their files
        known = near_duplicates(train, val) | near_duplicates(train, test)
        if known.all():
            raise ValueError(f"dataset.root={self.root}: every training picture is also one to validate or test on")
        if known.any():
            what = "training pictures left out: a folder holds the same picture out to validate or test"
            log.info("%d of %d %s", int(known.sum()), len(known), what)
        return train.only(~known.numpy())

    def pictures(self, part: Literal["train", "val", "variants"]) -> Pictures:
        """uint8 RGB (N, 3, size, size) of one part, after `setup`."""
        return self._pictures[part]

    def count(self, part: Literal["train", "val"]) -> int:
        """How many pictures one part has, after `setup`."""
        return len(self.pictures(part))

    def mean_ab(self) -> list[float]:
        """Mean (a, b) / 128 over the training pictures, of a large set over a sample: the 'mean colour' baseline."""
        total, sample = torch.zeros(2, dtype=torch.float64), self.pictures("train").sample()
        for batch in sample.split(max(1, 2**18 // self.size**2)):  # Lab takes dozens of bytes a pixel
            total += rgb_to_l_ab(to_float(batch))[1].double().mean((2, 3)).sum(0)
        return (total / len(sample)).tolist()

    def summary(self) -> dict[str, Any]:
        """What a checkpoint remembers of its training set; plain values."""
        return {
            "name": self.name,
            "root": self._resolved_root(),
            "rendered": self.rendered,
            "mean_ab": self.mean_ab(),
            "batch_size": self.batch_size,
            **self._recipe,
        }

    def _resolved_root(self) -> str | list[str] | None:
        return None if self.root is None else self.places[0] if isinstance(self.root, str) else self.places

    def train_dataloader(self) -> DataLoader:
        assert self.batch_size != "auto"
        return self._loader("variants" if self.variants else "train", draws=self.steps_per_epoch * self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", draws=None)

    def _loader(self, part: Literal["train", "val", "variants"], draws: int | None) -> DataLoader:
        pictures = self.pictures(part)
        if not self._becomes_resident(pictures):
            return self._loader_of(pictures, draws)
        pixels = torch.empty(len(pictures), 3, self.size, self.size, dtype=torch.uint8, device=self._device)
        for whole, some in zip(pixels.split(256), pictures.split(256), strict=True):
            whole.copy_(some)
        self._on_device[part] = pixels
        return self._loader_of(Rows(len(pictures)), draws)

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _becomes_resident(self, pictures: Pictures) -> bool:
        if not self.resident or (self.resident == "auto" and self._device.type == "cpu"):
            return False
        return fits_on(self._device, len(pictures), self.size)

    def _loader_of(self, dataset: Any, draws: int | None) -> DataLoader:
        workers = 0 if isinstance(dataset, Rows) else self.num_workers
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,  # type: ignore[arg-type]  # a number by now
            sampler=PictureSampler(len(dataset), draws, self.seed, rank, world_size),
            collate_fn=_as_is,  # `__getitems__` has made the batch
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._device.type == "cuda",
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """uint8 RGB (B, 3, H, W) on the device -> {"l": (B, 1, H, W), "ab": (B, 2, H, W)}, float32, same device.

        Of a part that is resident the batch is rows, int64 (B,).
        """
        if not (isinstance(batch, Tensor) and batch.dtype in (torch.uint8, torch.int64)):
            return batch  # the network's example input, on its way to the TensorBoard graph
        if batch.dtype == torch.int64:
            learnt = "variants" if self.variants else "train"
            part = learnt if self.trainer is not None and self.trainer.training else "val"
            batch = self._on_device[part].index_select(0, batch)
        if self.trainer is None or not self.trainer.training:
            l, ab = rgb_to_l_ab(to_float(batch))
            return {"l": l, "ab": ab}
        step = self.trainer.fit_loop.epoch_loop.batch_idx + 1  # it counts a batch once it has been handed over
        when = (self.trainer.current_epoch, step, self.trainer.global_rank)
        l, ab = rgb_to_l_ab(to_float(batch)) if self.variants else self.augmented_l_ab(batch, *when)
        return {"l": self.degraded(l, *when), "ab": ab}

    def augmented(self, rgb: Tensor, epoch: int, step: int, rank: int) -> Tensor:
        """RGB (B, 3, H, W) in [0, 1] -> the same, each picture transformed as drawn from (seed, epoch, step, rank)."""
        with self._drawing("flip", epoch, step, rank):
            rgb = self.mirror(rgb)
        with self._drawing("affine", epoch, step, rank):
            return self.augment(rgb).clamp(0.0, 1.0)

    def augmented_l_ab(self, pictures: Tensor, epoch: int, step: int, rank: int) -> tuple[Tensor, Tensor]:
        """uint8 RGB (B, 3, H, W) -> l (B, 1, H, W) and ab (B, 2, H, W) of `augmented`, nearer to float64.

        What is drawn becomes one small matrix a picture, on the CPU and for some steps at once, so that a GPU's host
        waits for nothing; mirroring and warping are then one step instead of Kornia's two.
        """
        first = step - step % _AHEAD
        when = (epoch, first, rank, pictures.device, *pictures.shape)
        if when != self._ahead[0]:
            maps = self._maps(pictures.shape, [(epoch, at, rank) for at in range(first, first + _AHEAD)])
            self._ahead = when, send(maps, pictures.device)
        warp = warp_to_l_ab_on_cpu if pictures.device.type == "cpu" and not self.compiled else self._warp
        return warp(pictures, self._ahead[1][step - first])

    def _maps(self, shape: torch.Size, steps: list[tuple[int, int, int]]) -> Tensor:
        """What `augmented` draws for (epoch, step, rank)s, as maps (steps, B, 2, 3) for `warp_to_l_ab`, on the CPU."""
        drawn, mirrored = [], []
        for when in steps:
            with self._drawing("flip", *when):
                mirrored.append(self.mirror.forward_parameters(shape)["batch_prob"] > 0.5)
            with self._drawing("affine", *when):
                drawn.append(self.augment.forward_parameters(shape))
        joined = {name: torch.cat([values[name] for values in drawn]) for name in drawn[0]}
        affine = self.augment.compute_transformation(torch.empty(0), joined, self.augment.flags).double()
        sides = shape[-2], shape[-1]
        maps = torch.linalg.inv(normalize_homography(affine, sides, sides, align_corners=False))[:, :2].float()
        maps[torch.cat(mirrored), 0] *= -1  # x runs from -1 to 1: what is read from the right comes from the left
        return maps.unflatten(0, (len(steps), -1))

    def degraded(self, l: Tensor, epoch: int, step: int, rank: int) -> Tensor:
        """l (B, 1, H, W) in [0, 1] -> the same, each picture degraded as drawn from (seed, epoch, step, rank)."""
        with self._drawing("degrade", epoch, step, rank):
            return self.degrade(l)

    @contextmanager
    def _drawing(self, what: Literal["affine", "flip", "degrade"], *when: int) -> Iterator[None]:
        """Seed the global CPU generator, which Kornia draws from, anew for each kind of draw: none moves another."""
        seeds = np.random.SeedSequence([self.seed, *when]).generate_state(3, np.uint64)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seeds[("affine", "flip", "degrade").index(what)]))
            yield


def _as_is(batch: Any) -> Any:
    return batch
