"""Which weights file or checkpoint is meant, by its name alone: what is wrong is said before PyTorch is imported."""

from __future__ import annotations

from pathlib import Path

from colorize.cli import FINISHED, LAST, LOCK, PREVIOUS

SHIPPED = Path(__file__).resolve().parent / "weights"  # NAME.safetensors, and NAME.md: its card
GENERAL = "general"  # what weights=auto is


def is_weights_file(path: str | Path) -> bool:
    """Whether the name is that of a weights file."""
    return Path(path).suffix.lower() == ".safetensors"


def check_there(path: Path) -> None:
    """Raises ValueError where there is no such file."""
    if not path.is_file():
        raise ValueError(f"no checkpoint {path}" + (": it is a folder" if path.is_dir() else ""))


def shipped() -> dict[str, Path]:
    """The weights files that came with this installation, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def choose_checkpoint(ckpt_path: str | None, weights: str, output_dir: str) -> Path:
    """Which weights to colour with: ``ckpt_path`` first, then what ``weights`` says.

    That is the name of a shipped network; "auto", the general one; or "last", the best checkpoint of the newest
    finished run under ``output_dir``.

    Raises:
        ValueError: there is none; the message says how to get one.
    """
    if ckpt_path is not None:
        return Path(ckpt_path)
    return _newest_finished(output_dir) if weights == "last" else shipped_path("weights", weights)


def shipped_path(option: str, name: str) -> Path:
    """The weights file that ``option=name`` means. Raises ValueError that lists what there is."""
    there = shipped()
    path = there.get(GENERAL if name == "auto" else name)
    if path is not None:
        return path
    if name in ("auto", GENERAL):
        raise ValueError(
            f"{option}={name}: {SHIPPED / GENERAL}.safetensors is not in this installation; install colorize anew, or "
            "train a network (python -m colorize.train dataset=pradera experiment=quick) and take it with "
            + ("weights=last or ckpt_path=" if option == "weights" else f"{option}=PATH.ckpt")
        )
    names = ", ".join(["auto", *(["last"] if option == "weights" else []), *there])
    file = "(or give ckpt_path=)" if option == "weights" else "(or a .ckpt or .safetensors file)"
    raise ValueError(f"{option}={name} is not known; there is: {names} {file}")


def _newest_finished(output_dir: str) -> Path:
    debugged = Path(output_dir) / "debug"  # runs of debug=, no network to colour with
    finished = [
        path
        for path in Path(output_dir).rglob(FINISHED)
        if (path.parent / "checkpoints/best.ckpt").is_file() and not path.is_relative_to(debugged)
    ]
    if not finished:
        raise ValueError(
            f"no finished run under {Path(output_dir).resolve()}: train one (python -m colorize.train dataset=pradera "
            "experiment=quick) or give ckpt_path="
        )
    return max(finished, key=lambda path: path.stat().st_mtime).parent / "checkpoints/best.ckpt"


def unfinished_run(output_dir: str, dataset: str, network: str) -> Path:
    """The newest run of this set and network that has a checkpoint and no metrics.json, else one that only began.

    Raises:
        ValueError: there is none.
    """
    runs = Path(output_dir) / dataset / network
    saved = {path.parents[1] for name in (LAST, PREVIOUS) for path in runs.glob(f"*/checkpoints/{name}")}
    begun = {path.parent for path in runs.glob(f"*/{LOCK}")}  # and killed before there was a checkpoint
    for found in (saved, begun):
        unfinished = [run for run in found if not (run / FINISHED).exists()]
        if unfinished:
            return max(unfinished, key=_last_change)
    raise ValueError(f"ckpt_path=last: no unfinished run with a checkpoint in {runs}; leave it out to start one")


def _last_change(run: Path) -> float:
    return max(p.stat().st_mtime for p in (run, *run.glob("checkpoints/*"), *run.glob(LOCK)) if p.exists())
