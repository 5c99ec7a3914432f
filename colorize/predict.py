"""python -m colorize.predict input=photos/ [output=coloured/]     colour pictures at their own size
python -m colorize.predict input=photo.jpg ckpt_path=RUN/checkpoints/best.ckpt
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from colorize import cli

log = logging.getLogger(__name__)


def predict(cfg: DictConfig) -> list[Path]:
    """Colour a picture, the pictures of a folder or those that match a pattern.

    Returns:
        The files written.

    Raises:
        ValueError: nothing to colour, outputs that exist, no weights, or pictures that could not be read or written
            (then after all others were done).
    """
    jobs = plan(str(cfg.input), cfg.output, cfg.overwrite)

    from colorize.checkpoint import choose_checkpoint
    from colorize.media import MediaError, read_picture, write_picture
    from colorize.pipeline import Colorizer
    from colorize.progress import track

    checkpoint = choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    colorizer = Colorizer.from_checkpoint(checkpoint, size=cfg.size, device=cfg.device)
    written, failed = [], []
    for source, target in track(jobs.items(), "Colouring", total=len(jobs)):
        try:
            picture = read_picture(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_picture(target, replace(picture, rgb=colorizer(picture.rgb)))
            written.append(target)
        except (MediaError, OSError) as error:
            failed.append(str(error))
    if written:
        where = written[0] if len(written) == 1 else written[0].parent
        log.info("coloured %d of %d: %s", len(written), len(jobs), where)
    if failed:
        raise ValueError(f"could not colour {len(failed)} of {len(jobs)}: {'; '.join(failed)}")
    return written


def plan(source: str, output: str | None, overwrite: bool) -> dict[Path, Path]:
    """Which file is written for which input; everything that can be refused is refused here, before work starts.

    Raises:
        ValueError: no input, two inputs for one output, an output that exists (or is an input).
    """
    from glob import glob

    from colorize.data.folder import find_pictures
    from colorize.media import PICTURE_SUFFIXES

    path = Path(source)
    if path.is_dir():
        folder = Path(output) if output else path.resolve().with_name(path.resolve().name + "_color")
        files = [file for file in find_pictures(path) if not file.resolve().is_relative_to(folder.resolve())]
        jobs = {file: folder / file.relative_to(path) for file in files}
    elif path.exists() or not any(c in source for c in "*?["):
        if not path.exists():
            raise ValueError(f"input={source} does not exist")
        target = Path(output) if output else _beside(path)
        jobs = {path: target / path.name if target.is_dir() or not target.suffix else target}
    else:
        files = [Path(name) for name in sorted(glob(source, recursive=True)) if Path(name).is_file()]
        results = {_beside(file) for file in files}  # of an earlier run
        jobs = {f: Path(output) / f.name if output else _beside(f) for f in files if f not in results}
        if not jobs:
            raise ValueError(f"input={source} matches no file")

    sources = {file.resolve() for file in jobs}
    taken: dict[Path, Path] = {}
    for file, target in jobs.items():
        if target.suffix.lower() not in PICTURE_SUFFIXES:
            raise ValueError(
                f"{file} cannot become {target}: pictures are {' '.join(PICTURE_SUFFIXES)}; GIFs: colorize.gif"
            )
        if target.resolve() in sources:
            raise ValueError(f"{target} is an input and would be overwritten: choose another output=")
        if target in taken:
            raise ValueError(f"{file} and {taken[target]} would both be written to {target}")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists: overwrite=true replaces it, output= writes elsewhere")
        taken[target] = file
    return jobs


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_color{path.suffix}")


def main() -> None:
    cli.run(predict, "predict")


if __name__ == "__main__":
    main()
