"""The LightningDataModule of sets in shards: what it needs in memory does not grow with the set."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from colorize.data.datamodule import PhotoDataModule
from colorize.data.folder import Split, find_pictures
from colorize.data.shards import Shard, ShardSet, is_url, open_shards, read_members, unpack
from colorize.data.store import Pictures, choose_cache, in_memory, open_pictures
from colorize.data.stream import PictureStream, StreamLoader, decode, steps_for
from colorize.media import MediaError

_SAMPLE = 512  # pictures that stand for the set where all would be too many: for its mean colour, say
_SAMPLED = 8  # shards they come from: a URL is opened for each


class ShardDataModule(PhotoDataModule):
    """Pictures in shards, streamed from a folder or URL, as the batches of `PhotoDataModule`, augmented likewise.

    An epoch goes through the training pictures once, or is ``steps_per_epoch`` batches. Each picture is read by one
    loader worker of one process; order and augmentation follow from the seed, the number of processes and of workers,
    and a checkpoint from within an epoch goes on behind the picture it stopped at. A picture that cannot be read is
    named and left out; a shard that cannot be read to its end stops the run.

    Args:
        name: of the results.
        root: a folder or URL with what `colorize.pack` has written, or a folder of tar files.
        val_root, test_root: a folder of pictures to validate or test on instead of the shards val-... or test-...
        size, batch_size, shear, rotation, zoom, flip, degrade, seed: as in `PhotoDataModule`.
        steps_per_epoch: None: as many as go through the set once.
        shuffle: pictures that are kept in each worker, as they are in the file, and shuffled among each other; the
            order of the shards is drawn anew each epoch as well.
        num_workers: loader processes, which read and decode.
    """

    def __init__(
        self,
        name: str,
        root: str,
        *,
        val_root: str | None = None,
        test_root: str | None = None,
        size: int = 256,
        batch_size: int | Literal["auto"] = 15,
        steps_per_epoch: int | None = None,
        shear: float = 0.2,
        rotation: float = 20.0,
        zoom: float = 0.2,
        flip: float = 0.0,
        degrade: str = "none",
        shuffle: int = 1000,
        num_workers: int = 2,
        seed: int = 0,
    ):
        if root is None:
            raise ValueError("dataset.root= is missing: a folder or URL of shards")
        for setting, value, least in (("shuffle", shuffle, 1), ("num_workers", num_workers, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"dataset.{setting}={value} must be a whole number from {least} up")
        super().__init__(
            name,
            str(root),
            size=size,
            batch_size=batch_size,
            steps_per_epoch=1 if steps_per_epoch is None else steps_per_epoch,
            shear=shear,
            rotation=rotation,
            zoom=zoom,
            flip=flip,
            degrade=degrade,
            num_workers=num_workers,
            seed=seed,
        )
        self._steps = steps_per_epoch
        self._recipe |= {"steps_per_epoch": steps_per_epoch, "shuffle": shuffle}
        self.shuffle = shuffle
        self.val_root, self.test_root = val_root, test_root

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch and process; after `setup` and with a batch size that is settled."""
        if self._steps is not None:
            return self._steps
        assert self.batch_size != "auto"
        return steps_for(self.shards.count("train"), self.batch_size, self.trainer.world_size if self.trainer else 1)

    @steps_per_epoch.setter
    def steps_per_epoch(self, steps: int) -> None:
        self._steps = steps

    @property
    def places(self) -> list[str]:
        root = str(self.root)
        return [root if is_url(root) else str(Path(root).expanduser().resolve())]

    @cached_property
    def shards(self) -> ShardSet:
        """Raises ValueError."""
        try:
            import webdataset  # noqa: F401
        except ImportError as error:
            raise ValueError("dataset=shards needs WebDataset: pip install 'colorize[shards]'") from error
        shards = open_shards(str(self.root))
        for part, other in (("train", None), ("val", self.val_root)):
            if not shards.parts[part] and other is None:
                remedy = "give dataset.val_root=FOLDER" if part == "val" else "there is nothing to train on"
                raise ValueError(f"{self.places[0]} has no shards of {part} pictures: {remedy}")
        return shards

    @property
    def rendered(self) -> bool:
        return self.shards.rendered

    def prepare_data(self) -> None:
        """Open the set, and unpack the pictures to test on where they are in shards. Once a machine; ValueError."""
        _ = self.files

    @cached_property
    def files(self) -> Split:
        """The files to validate and to test on, where there are any."""
        val = find_pictures(Path(self.val_root).expanduser()) if self.val_root is not None else []
        if self.test_root is not None:
            return Split([], val, find_pictures(Path(self.test_root).expanduser()))
        return Split([], val, unpack(self.shards.parts["test"]))

    def setup(self, stage: str | None = None) -> None:
        """Read a sample of the pictures, and all to validate on where they are a folder. Raises ValueError."""
        if self._pictures:
            return
        self._pictures["train"] = in_memory(_sample(self.shards.parts["train"], self.size))
        if self.files.val:
            cache = choose_cache(len(self.files.val), self.size)
            self._pictures["val"], _ = open_pictures(self.files.val, self.size, cache)
        else:
            self._pictures["val"] = in_memory(_sample(self.shards.parts["val"], self.size))

    def pictures(self, part: Literal["train", "val", "variants"]) -> Pictures:
        """uint8 RGB (N, 3, size, size): a sample of what is in shards, up to 512, after `setup`."""
        return super().pictures(part)

    def count(self, part: Literal["train", "val"]) -> int:
        return len(self.pictures("val")) if part == "val" and self.files.val else self.shards.count(part)

    def summary(self) -> dict[str, Any]:
        others = {"val_root": self.val_root, "test_root": self.test_root}
        return super().summary() | {key: str(Path(value).resolve()) for key, value in others.items() if value}

    def _resolved_root(self) -> str:
        return self.places[0]

    def train_dataloader(self) -> Any:
        return self._stream("train", self._steps, self.shuffle)

    def val_dataloader(self) -> Any:
        return self._loader("val", None) if self.files.val else self._stream("val", None, 0)

    def _stream(self, part: str, steps: int | None, shuffle: int) -> StreamLoader:
        assert self.batch_size != "auto"
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        stream = PictureStream(
            self.shards.parts[part],
            self.size,
            self.batch_size,
            steps,
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        pin = self._device.type == "cuda"
        return StreamLoader(stream, self.num_workers, persistent=part == "train", pin_memory=pin)


def _sample(shards: list[Shard], size: int) -> Tensor:
    """uint8 RGB (N, 3, size, size): the first pictures of some of the shards. Raises ValueError: none can be read."""
    chosen = [shards[i] for i in np.unique(np.linspace(0, len(shards) - 1, _SAMPLED).round().astype(int))]
    each = -(-_SAMPLE // len(chosen))
    pictures, error = [], ""
    for shard in chosen:
        for _, (name, content) in zip(range(each), read_members(shard), strict=False):
            try:
                pictures.append(torch.from_numpy(np.ascontiguousarray(decode(f"{shard.url}/{name}", content, size))))
            except MediaError as broken:
                error = str(broken)
    if not pictures:
        raise ValueError(f"none of the pictures looked at can be read: {error}")
    return torch.stack(pictures)
