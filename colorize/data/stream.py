"""Batches from shards: shuffled, each picture once an epoch over all processes and loader workers, resumable anywhere.

WebDataset's own splitting hands whole shards to processes and workers, which then end their epochs at different times,
and its shuffle cannot be resumed. Both become simple where one knows how many pictures each shard has: the shards in
the epoch's order are one long row of pictures, and each worker reads a stretch of it that follows from (seed, epoch,
process, worker) alone. So nothing has to be exchanged, and going on somewhere is to begin reading there.
"""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from colorize.data.shards import Shard, read_members
from colorize.media import MediaError, decode_picture, resize
from colorize.media.common import reading

log = logging.getLogger(__name__)

_NAMED = 5  # broken pictures that are named one by one


class Part(NamedTuple):
    """What one worker reads in an epoch: so many batches, from a place in the row of pictures on."""

    start: int
    sizes: list[int]  # of its batches


def steps_for(pictures: int, batch_size: int, world_size: int) -> int:
    """Batches of a process in which each picture comes once: all have as many, of at most one picture more or less."""
    return max(1, min(-(-pictures // (batch_size * world_size)), pictures // world_size))


def share(total: int, steps: int, rank: int, world_size: int, worker: int, workers: int) -> Part:
    """The stretch of ``total`` pictures that a worker reads; its batches are every ``workers``-th of its process'."""
    start, end = rank * total // world_size, (rank + 1) * total // world_size
    edges = [step * (end - start) // steps for step in range(steps + 1)]
    sizes = [b - a for a, b in itertools.pairwise(edges)]
    before = sum(sum(sizes[other::workers]) for other in range(worker))
    return Part(start + before, sizes[worker::workers])


class PictureStream(IterableDataset):
    """Batches of one process, each with what was wrong with pictures that it lacks.

    Yields:
        (uint8 RGB (B, 3, size, size), errors), or an exception: what ends the epoch, handed over since what a loader's
        worker raises arrives with a page of text.

    Args:
        shards: what to read.
        size: side in pixels to which both sides of every picture are resized.
        batch_size: pictures a batch.
        steps: batches an epoch; None: as many as go through the set once.
        shuffle: pictures that are kept, encoded, to be shuffled among each other; the shards are shuffled as well. 0:
            everything in order.
        seed, rank, world_size: of all processes, and which this is.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        size: int,
        batch_size: int,
        steps: int | None,
        *,
        shuffle: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.shards, self.size, self.batch_size, self.shuffle, self.seed = shards, size, batch_size, shuffle, seed
        pictures = sum(shard.pictures for shard in shards)
        if pictures < world_size:
            rank, world_size = 0, 1  # a process with nothing to do would wait for ever
        self.rank, self.world_size = rank, world_size
        self.steps = steps_for(pictures, batch_size, world_size) if steps is None else steps
        self.total = pictures if steps is None else steps * batch_size * world_size
        # (epoch, batches of it that were handed over before); shared with workers that live for several epochs
        self.position = torch.zeros(2, dtype=torch.int64).share_memory_()

    def __iter__(self) -> Iterator[tuple[Tensor, list[str]] | Exception]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        epoch, done = self.position.tolist()
        # the loader asks worker 0 first, so worker 0 takes over whoever's turn it is
        turn = (worker + done) % workers
        part = share(self.total, self.steps, self.rank, self.world_size, turn, workers)
        begun = len(range(turn, done, workers))
        try:
            yield from self._batches(epoch, part, begun)
        except ValueError as error:
            yield error

    def _batches(self, epoch: int, part: Part, begun: int) -> Iterator[tuple[Tensor, list[str]]]:
        with closing(self._raw(epoch, part.start, sum(part.sizes), sum(part.sizes[:begun]))) as raw:
            for size in part.sizes[begun:]:
                pictures, errors = [], []
                for name, content in itertools.islice(raw, size):
                    try:
                        pictures.append(decode(name, content, self.size))
                    except MediaError as error:
                        errors.append(str(error))
                if not pictures:
                    raise ValueError(f"no picture of a batch of {size} can be read: {errors[0]}")
                yield torch.from_numpy(np.stack(pictures)), errors

    def _raw(self, epoch: int, start: int, count: int, skip: int) -> Generator[tuple[str, bytes], None, None]:
        """Pictures of a stretch, block by block of ``shuffle``, each block shuffled, without the first ``skip``."""
        block = self.shuffle or count
        first = skip // block * block
        with closing(self._row(epoch, start + first, start + count)) as row:
            if not self.shuffle:
                yield from itertools.islice(row, skip, None)
                return
            for at in range(first, count, block):
                content = list(itertools.islice(row, min(block, count - at)))
                order = np.random.default_rng([self.seed, epoch, start + at]).permutation(len(content))
                yield from (content[i] for i in order[skip - at if at == first else 0 :])

    def _row(self, epoch: int, start: int, end: int) -> Generator[tuple[str, bytes], None, None]:
        """Pictures number ``start`` to ``end`` of the epoch's row: all shards, and where it is longer all once more."""
        at = 0
        for turn in itertools.count():
            order = np.arange(len(self.shards))
            if self.shuffle:
                np.random.default_rng([self.seed, epoch, turn, len(order)]).shuffle(order)
            for shard in (self.shards[int(i)] for i in order):
                skip, last = max(0, start - at), min(shard.pictures, end - at)
                if skip < last:
                    with closing(read_members(shard, skip)) as members:
                        for name, content in itertools.islice(members, last - skip):
                            yield f"{shard.url}/{name}", content
                at += shard.pictures
                if at >= end:
                    return


def decode(name: str, content: bytes, size: int) -> np.ndarray:
    """A picture file's content as uint8 RGB (3, size, size). Raises MediaError that gives its name."""
    with reading(Path(name), "picture"):
        return resize(decode_picture(io.BytesIO(content)).rgb, size).transpose(2, 0, 1)


class StreamLoader:
    """Hands batches of a `PictureStream` over, read by ``num_workers`` processes, and can go on within an epoch.

    To Lightning it is a loader of known length with a state, and, under the name of ``sampler``, with an epoch.
    """

    def __init__(self, stream: PictureStream, num_workers: int, persistent: bool, pin_memory: bool = False):
        self.stream, self.num_workers = stream, num_workers
        self.sampler, self.batch_sampler = self, None
        self.loader = DataLoader(
            stream,
            batch_size=None,  # the stream makes them
            collate_fn=_as_is,
            num_workers=num_workers,
            persistent_workers=persistent and num_workers > 0,
            pin_memory=pin_memory,
        )
        self._epoch, self._done = 0, 0
        self._said: set[str] = set()

    def __len__(self) -> int:
        return self.stream.steps

    def set_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._done = epoch, 0

    def __iter__(self) -> Iterator[Tensor]:
        """Batches (B, 3, size, size), uint8. Only with the first one reading begins, for Lightning sets the epoch late.

        Raises:
            ValueError: a shard cannot be read.
        """
        if self._done >= len(self):
            self._done = 0
        self.stream.position.copy_(torch.tensor([self._epoch, self._done]))
        for found in self.loader:
            if isinstance(found, Exception):
                raise found
            batch, errors = found
            self._say(errors)
            self._done += 1
            yield batch

    def _say(self, errors: list[str]) -> None:
        for error in set(errors) - self._said:
            self._said.add(error)
            if len(self._said) <= _NAMED:
                log.warning("skipped: %s", error)
            if len(self._said) == _NAMED:
                log.warning("more pictures that cannot be read are skipped without a word")

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "batches": self._done, "read_by": self._read_by()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another was. Raises ValueError: within an epoch that was dealt out in another way."""
        there, here = state["read_by"], self._read_by()
        within = 0 < state["batches"] < there["steps"]
        if within and there != here:
            other = ", ".join(f"{key}={there[key]} and not {here[key]}" for key in there if there[key] != here.get(key))
            raise ValueError(f"the checkpoint stands within an epoch that was read with {other}: give the same again")
        self._epoch, self._done = state["epoch"], state["batches"] if within else len(self)

    def _read_by(self) -> dict[str, int]:
        stream = self.stream
        return {
            "processes": stream.world_size,
            "dataset.num_workers": max(1, self.num_workers),  # none reads as one does
            "dataset.batch_size": stream.batch_size,
            "steps": stream.steps,
            "dataset.shuffle": stream.shuffle,
            "seed": stream.seed,
            "pictures": sum(shard.pictures for shard in stream.shards),
        }


def _as_is(batch: Any) -> Any:
    return batch
