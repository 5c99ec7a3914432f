"""What a run was made with, kept in its folder, so that it can be repeated and one knows what has changed since."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colorize import report
from colorize.cli import PROVENANCE
from colorize.data.datamodule import PhotoDataModule
from colorize.files import atomic

log = logging.getLogger(__name__)

_HEAD = 2**16  # bytes of each file that are looked at
_PLACES = ("run_dir", "output_dir", "repeat", "ckpt_path")  # settings that say where, not what


def record(cfg: DictConfig, run_dir: Path, datamodule: PhotoDataModule, trainer: L.Trainer) -> None:
    """Write config.yaml (resolved), packages.txt, git.diff where the checkout is not clean, and provenance.json.

    With ``repeat=RUN`` what differs from that run is said in a warning.
    """
    if not trainer.is_global_zero:
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    git, diff = _git()
    about = {
        "repeat": f"python -m colorize.train repeat={run_dir}",
        "command": " ".join(sys.argv),
        "folder": os.getcwd(),
        "overrides": list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [],
        "seed": cfg.seed,
        "git": git,
        "data": {part: fingerprint(getattr(datamodule.files, part)) for part in ("train", "val", "test")},
        "hardware": _hardware(),
        "python": platform.python_version(),
    }
    _write(run_dir / "config.yaml", OmegaConf.to_yaml(resolved))
    _write(run_dir / "packages.txt", _installed())
    if diff:
        _write(run_dir / "git.diff", diff)
    report.write_json(run_dir / PROVENANCE, about)
    if cfg.repeat is not None:
        changed = differences(Path(str(cfg.repeat)), run_dir)
        if changed:
            log.warning("not as in %s: %s", cfg.repeat, "; ".join(changed))


def fingerprint(files: Sequence[Path]) -> str:
    """How many files, and a digest of their names, sizes and first 64 KiB, in the order of their names.

    Of a folder (a clip as frames) its files. Pictures that are compressed anew or cropped never begin alike.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
            with open(file, "rb") as stream:
                digest.update(stream.read(_HEAD))
    return f"{len(files)} files, sha256 {digest.hexdigest()[:16]}"


def differences(before: Path, now: Path) -> list[str]:
    """What of settings, code, packages, data and machine is not as it was, each as ``what: before -> now``."""
    pairs = []
    for name, flat in ((PROVENANCE, _provenance), ("config.yaml", _settings), ("packages.txt", _packages)):
        pairs.append([flat(folder / name) if (folder / name).exists() else {} for folder in (before, now)])
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for old, new in pairs
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _provenance(path: Path) -> dict[str, Any]:
    about = json.loads(path.read_text(encoding="utf-8"))
    return _flat({key: about[key] for key in ("git", "data", "hardware", "python")})


def _settings(path: Path) -> dict[str, Any]:
    settings = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(settings, dict)
    # The parts that hold paths below the run's folder differ with it.
    run_dir = str(settings["run_dir"])
    flat = _flat({str(key): value for key, value in settings.items() if key not in _PLACES})
    return {k: v.replace(run_dir, "RUN") if isinstance(v, str) else v for k, v in flat.items()}


def _packages(path: Path) -> dict[str, str]:
    return dict(line.split("==", 1) for line in path.read_text(encoding="utf-8").splitlines())


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


@functools.cache  # a sweep's jobs share a process, and this reads hundreds of files
def _installed() -> str:
    return "".join(sorted({f"{d.name}=={d.version}\n" for d in distributions()}, key=str.lower))


def _git() -> tuple[dict[str, Any] | None, str]:
    """Commit, files that differ from it and their diff; None where the package does not run from its checkout."""
    package = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, errors="replace")
        return done.stdout if done.returncode == 0 else ""

    try:
        if not git("ls-files", "__init__.py"):
            return None, ""
        diff = git("diff", "HEAD")
        changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    except OSError:  # there is no git
        return None, ""
    state = {"commit": git("rev-parse", "HEAD").strip(), "changed": changed}
    if diff:
        state["diff"] = hashlib.sha256(diff.encode()).hexdigest()[:16]
    return state, diff


def _hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        **({"gpus": gpus, "cuda": torch.version.cuda} if gpus else {}),
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
