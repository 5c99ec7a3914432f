"""Which of several processes this one is: what torchrun, srun and Lightning's own launcher tell by the environment."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def launched() -> tuple[int, int, str]:
    """(rank, how many processes there are, who started them: "torchrun", "srun", or "" for a process by itself)."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return int(env["RANK"]), int(env["WORLD_SIZE"]), "torchrun"
    if slurm_job() and "SLURM_NTASKS" in env and "SLURM_PROCID" in env:
        return int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"]), "srun"
    return 0, 1, ""


def local() -> int:
    """The number of this process among those on its machine."""
    return int(os.environ["LOCAL_RANK" if launched()[2] == "torchrun" else "SLURM_LOCALID"]) if launched()[2] else 0


def is_first() -> bool:
    """Whether this is the process that speaks for all; under Lightning's launcher, too."""
    alone = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
    return launched()[0] == 0 and (alone or launched()[2] != "")


def share(items: Sequence[T]) -> Sequence[T]:
    """Those of ``items`` that are this process' to do: each belongs to one process."""
    rank, count, _ = launched()
    return items[rank::count]


def slurm_job() -> str | None:
    """The id of the Slurm job this runs in, which it keeps when it is requeued; None in an interactive one."""
    env = os.environ
    if "SLURM_JOB_ID" not in env or env.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    array = env.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{env['SLURM_ARRAY_TASK_ID']}" if array else env["SLURM_JOB_ID"]


def agreed(value: str) -> str:
    """The first process' ``value``, in every process that torchrun started: each has a clock of its own."""
    rank, count, by = launched()
    if by != "torchrun" or count == 1:
        return value
    if rank == 0:
        _store().set("colorize", value)
    return _store().get("colorize").decode()


@functools.cache  # where the first process hosts it, it lives as long as this reference
def _store() -> Any:
    from torch.distributed import PrefixStore, rendezvous

    store, *_ = next(iter(rendezvous("env://")))
    return PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
