"""python -m colorize.collect query="meadow" dataset=pradera count=64     openly licensed photographs into data/pradera/
python -m colorize.train dataset=folder dataset.root=data/pradera
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from colorize import cli

if TYPE_CHECKING:
    from colorize.data.collecting import Collection


def run(cfg: DictConfig) -> Collection:
    """Gather photographs from Openverse, with who made them and under which license.

    Raises:
        ValueError: settings, an API that refuses or does not answer, a folder with other pictures.
    """
    from colorize.data.collecting import collect
    from colorize.data.openverse import LICENSES, TYPES

    for setting in ("count", "max_bytes", "max_pixels", "min_side"):
        if not isinstance(cfg[setting], int) or cfg[setting] < 1:
            raise ValueError(f"{setting}={cfg[setting]} must be a whole number from 1 up")
    if not isinstance(cfg.wait, int | float) or cfg.wait < 0:
        raise ValueError(f"wait={cfg.wait} must be a number of seconds, 0 or more")
    for setting, known in (("license", LICENSES), ("license_type", TYPES)):
        for value in (cfg[setting] or "").split(","):
            if value and value not in known:
                raise ValueError(f"{setting}={value} is not one of: {', '.join(known)}")
    if not str(cfg.query).strip() or len(str(cfg.query)) > 200:
        raise ValueError("query= must have 1 to 200 characters")
    if cfg.name is None and cfg.output is None:
        raise ValueError("dataset=NAME is missing: the pictures go to data/NAME/")
    return collect(
        Path("data") / str(cfg.name) if cfg.output is None else Path(str(cfg.output)).expanduser(),
        str(cfg.query),
        cfg.count,
        api=str(cfg.api),
        license=cfg.license,
        license_type=cfg.license_type,
        wait=cfg.wait,
        max_bytes=cfg.max_bytes,
        max_pixels=cfg.max_pixels,
        min_side=cfg.min_side,
    )


def main() -> None:
    cli.run(run, "collect")


if __name__ == "__main__":
    main()
