"""Whole rendered data sets on disk: train and test folders of JPEG pictures, and a note on what they are."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import Image
from rich.progress import Progress

from .painters import check_kind, render

COUNTS: dict[str, tuple[int, int]] = {  # pictures to train on, pictures to test on
    "pradera": (54, 10),
    "rural": (36, 10),
    "banana": (43, 10),
    "beach": (110, 15),
    "maduixes": (60, 10),
    "paisatge": (200, 20),
    "balenes": (1104, 252),
}
MARKER = "RENDERED.txt"
QUALITY = 92
_LONG = 100  # pictures from which on a progress bar is worth showing
_SEEDS_PER_SET = 1_000_000  # train counts up from the set's first seed, test from the middle
_PLACEHOLDERS = (".gitkeep", ".gitignore", "README", "README.md", "README.txt")

_Job = tuple[str, int, int, Path]


def render_set(
    kind: str, folder: Path, *, seed: int = 0, size: int = 256, counts: tuple[int, int] | None = None
) -> None:
    """Render `folder`/train and `folder`/test (0000.jpg ...), `counts` pictures each, COUNTS[kind] by default.

    The pictures grow in a temporary sibling that is renamed into place at the end, so an interruption leaves no
    `folder`; of two processes rendering at once the later one keeps the earlier one's result. A `folder` that
    is empty but for placeholders is replaced, and one already rendered is left alone. Raises ValueError for an
    unknown kind, and FileExistsError where `folder` holds anything else (photographs are never overwritten).
    """
    check_kind(kind)
    folder = Path(folder)
    if (folder / MARKER).exists():
        return
    if folder.exists() and not is_blank(folder):
        raise FileExistsError(f"{folder} already holds files; give a folder that is empty or does not exist")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)  # mkdtemp makes it private
        _write_pictures(_jobs(kind, draft, seed, size, counts or COUNTS[kind]), kind)
        (draft / MARKER).write_text(_note(kind, seed), encoding="utf-8")
        _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _jobs(kind: str, root: Path, seed: int, size: int, counts: tuple[int, int]) -> list[_Job]:
    """(kind, picture seed, size, file) of every picture; makes the folders."""
    first = seed * _SEEDS_PER_SET
    jobs: list[_Job] = []
    for split, start, count in zip(("train", "test"), (first, first + _SEEDS_PER_SET // 2), counts, strict=True):
        if count:  # an empty test/ would look like a set whose pictures are lost
            (root / split).mkdir()
        jobs += [(kind, start + k, size, root / split / f"{k:04d}.jpg") for k in range(count)]
    return jobs


def _write_pictures(jobs: list[_Job], kind: str) -> None:
    """Render in threads, as NumPy works outside the interpreter's lock; an error or Ctrl-C stops the rest."""
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        _show(pool.map(_write_picture, jobs), len(jobs), f"rendering {kind}")
    finally:
        pool.shutdown(cancel_futures=True)


def _show(done: Iterable[None], total: int, title: str) -> None:
    with Progress(transient=True, disable=total < _LONG) as progress:
        for _ in progress.track(done, total=total, description=title):
            pass


def _write_picture(job: _Job) -> None:
    kind, seed, size, path = job
    Image.fromarray(render(kind, seed, size)).save(path, quality=QUALITY)


def _note(kind: str, seed: int) -> str:
    try:
        made_by = f"colorize {version('colorize')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        made_by = "colorize"
    return (
        f"The pictures in this folder are rendered by {made_by} (kind {kind}, seed {seed}); they are not photographs.\n"
        "Delete this folder and put your own photographs in its place: train/ and test/.\n"
    )


def is_blank(folder: Path) -> bool:
    """Whether `folder` holds nothing but empty folders and placeholder files."""
    return folder.is_dir() and all(
        (path.is_dir() and not path.is_symlink()) or path.name in _PLACEHOLDERS for path in folder.rglob("*")
    )


def _put_in_place(draft: Path, folder: Path) -> None:
    """Rename `draft` to `folder` unless somebody else has filled it meanwhile."""
    if folder.exists() and is_blank(folder):
        _clear(folder)
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir() or is_blank(folder):  # not a lost race: a real failure
            raise


def _clear(folder: Path) -> None:
    """Remove placeholders, and folders only while empty: a rival's pictures that just arrived are safe."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()
        elif path.name in _PLACEHOLDERS:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
