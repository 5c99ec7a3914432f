"""python -m colorize.pack input=photos/ output=shards/ [size=256]     a set as a few large files, to be streamed
python -m colorize.train dataset=shards dataset.root=shards/
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from colorize import cli

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Write shards and their manifest.

    Returns:
        What the manifest holds.

    Raises:
        ValueError: settings, no pictures, an output that exists, a disk that is full.
    """
    from colorize.data.packing import GREY, pack

    if cfg.size is not None and (not isinstance(cfg.size, int) or cfg.size < 1):
        raise ValueError(f"size={cfg.size} must be a whole number from 1 up, or null")
    if not isinstance(cfg.shard_size, int | float) or cfg.shard_size <= 0:
        raise ValueError(f"shard_size={cfg.shard_size} must be a number of MB above 0")
    if cfg.workers is not None and (not isinstance(cfg.workers, int) or cfg.workers < 1):
        raise ValueError(f"workers={cfg.workers} must be a whole number from 1 up, or null")
    if cfg.grey not in GREY:
        raise ValueError(f"grey={cfg.grey} is not one of: {', '.join(GREY)}")
    roots = list(cfg.input) if isinstance(cfg.input, ListConfig) else [cfg.input]
    output = Path(str(cfg.output)).expanduser()
    manifest = pack(
        [Path(str(root)).expanduser() for root in roots],
        output,
        size=cfg.size,
        shard_size=cfg.shard_size,
        val_fraction=cfg.val_fraction,
        grey=cfg.grey,
        workers=cfg.workers or os.cpu_count() or 1,
    )
    counts = ", ".join(f"{count} {part}" for part, count in manifest["pictures"].items())
    log.info("%s pictures in %d shards, %.1f MB: %s", counts, len(manifest["shards"]), manifest["bytes"] / 1e6, output)
    return manifest


def main() -> None:
    cli.run(run, "pack")


if __name__ == "__main__":
    main()
