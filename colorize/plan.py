"""Which file is written for which picture, and what is refused before work starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from colorize.data.folder import files_below, find_pictures, some
from colorize.media import CLIP_SUFFIXES, PICTURE_SUFFIXES, is_clip
from colorize.ranks import share

log = logging.getLogger(__name__)


def plan(
    source: str | Sequence[str], output: str | None, overwrite: bool, skip_existing: bool = False
) -> dict[Path, Path]:
    """Which file is written for which input; everything that can be refused is refused here, before work starts.

    Of several processes (`colorize.ranks`) each gets its share.

    Args:
        source: a picture, a folder of pictures or a pattern; or several of these, ``output`` then being a folder.
        output: a file or folder; None: beside the input.
        overwrite: whether files that exist may be replaced.
        skip_existing: leave out inputs whose output exists; there may be none left.

    Raises:
        ValueError: no input, two inputs for one output, an output that exists (or is an input).
    """
    if isinstance(source, str):
        jobs = _jobs(source, output)
    else:
        if output and Path(output).suffix and not Path(output).is_dir():
            raise ValueError(f"output={output} is one file for {len(source)} inputs: name a folder")
        jobs = {}
        for one in source:
            inside = str(Path(output) / Path(one).resolve().name) if output and Path(one).is_dir() else output
            jobs |= _jobs(one, inside)
        jobs = _without_results(jobs)
    if not jobs:
        raise ValueError(f"input={source}: there is nothing to colour")

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
        taken[target] = file
    jobs = dict(share(sorted(jobs.items())))
    if skip_existing:
        left = {file: target for file, target in jobs.items() if not target.exists()}
        log.info("%d of %d are there already", len(jobs) - len(left), len(jobs))
        return left
    for target in jobs.values():  # of the others some may be written by now
        if target.exists() and not overwrite:
            raise ValueError(
                f"{target} exists: overwrite=true replaces it, output= writes elsewhere, "
                "skip_existing=true does the rest"
            )
    return jobs


def common_folder(files: Sequence[Path]) -> Path:
    """The folder that all of these files are in or below; relative where it can be, and one of them is."""
    folder = Path(os.path.commonpath([file.absolute().parent for file in files]))
    relative = folder.is_relative_to(Path.cwd()) and not all(file.is_absolute() for file in files)
    return folder.relative_to(Path.cwd()) if relative else folder


def _jobs(source: str, output: str | None) -> dict[Path, Path]:
    path = Path(source)
    if path.is_dir():
        folder = Path(output) if output else path.resolve().with_name(path.resolve().name + "_color")
        inside = folder.resolve() != path.resolve() and folder.resolve().is_relative_to(path.resolve())
        files = [f for f in find_pictures(path) if not (inside and f.resolve().is_relative_to(folder.resolve()))]
        return {file: folder / file.relative_to(path) for file in _without_clips(files, path)}
    if path.exists() or not any(c in source for c in "*?["):
        if not path.exists():
            raise ValueError(f"input={source} does not exist")
        if path.suffix.lower() in PICTURE_SUFFIXES and is_clip(path):
            raise ValueError(f"{path} is a clip: python -m colorize.gif colours all of its frames")
        target = Path(output) if output else _beside(path)
        return {path: target / path.name if target.is_dir() or not target.suffix else target}
    files = [Path(name) for name in sorted(glob(source, recursive=True)) if Path(name).is_file()]
    files = _without_clips(files)
    return _without_results({f: Path(output) / f.name if output else _beside(f) for f in files})


def _without_clips(files: list[Path], folder: Path | None = None) -> list[Path]:
    """The stills among these; what else moves in the folder is counted with the others."""
    others = files_below(folder, CLIP_SUFFIXES) if folder else []
    clips = {file for file in {*files, *others} if is_clip(file)}
    if clips:
        names = some([str(clip) for clip in sorted(clips)])
        log.warning("%d GIFs, videos and the like are left out: %s; name each to have it coloured", len(clips), names)
    return [file for file in files if file not in clips]


def _without_results(jobs: dict[Path, Path]) -> dict[Path, Path]:
    results = [file for file in jobs if file in jobs.values()]  # of an earlier run
    if results:
        log.info("left out: %s, results of an earlier run", some([str(result) for result in results]))
    return {file: target for file, target in jobs.items() if file not in results}


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_color{path.suffix}")
