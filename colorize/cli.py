"""What the commands share: where conf/ is, Hydra's start, and errors as one line with exit code 2."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from colorize import ranks
from colorize.build import confine

# No file that is loaded may run code, whoever loads it.
os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

TRACEBACK = "COLORIZE_TRACEBACK"
FINISHED = "metrics.json"  # a training run writes it last
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # in checkpoints/: what a killed run goes on from
LOCK = "lock"  # in the folder of a run that began: held while it is trained
PROVENANCE = "provenance.json"  # in a run's folder: what it was made with
FAILED = "failed.txt"  # in the folder of a sweep's job: why it failed


def conf_dir() -> str:
    """The folder of the YAML files: inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return str(package / "conf" if (package / "conf").is_dir() else package.parent / "conf")


def register_resolvers() -> None:
    """What the YAML files compute: ``run_dir`` (see `new_or_unfinished_run`) and ``basename`` of a path."""
    OmegaConf.register_new_resolver("run_dir", new_or_unfinished_run, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("basename", _basename, replace=True)


def _basename(path: str | ListConfig | None) -> str:
    if path is None:
        raise ValueError("dataset.root= is missing: the folder of pictures")
    if isinstance(path, ListConfig):
        return "+".join(_basename(entry) for entry in path)
    resolved = Path(str(path)).expanduser().resolve()  # a folder called 2023 comes as a number
    return resolved.stem if resolved.is_file() else resolved.name


def new_or_unfinished_run(output_dir: str, dataset: str, network: str, ckpt_path: str | None) -> str:
    """``<output_dir>/<set>/<network>/<date>_<time>``; for ``ckpt_path=last`` the folder of the run to go on with.

    In a Slurm job it is named by the job and the command instead, so that a requeued one finds it again.
    """
    if ckpt_path == "last":
        from colorize.choice import unfinished_run

        return ranks.agreed(str(unfinished_run(output_dir, dataset, network)))
    if job := ranks.slurm_job():  # a job that is requeued finds its folder; each of a job's commands has its own
        command = hashlib.sha1("\0".join(sys.argv[1:]).encode()).hexdigest()[:8]
        return str(Path(output_dir) / dataset / network / f"slurm_{job}_{command}")
    path = Path(output_dir) / dataset / network / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    # two runs may start in one second
    return ranks.agreed(str(path) if not path.exists() else f"{path}_{os.getpid()}")


def run(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose ``conf/<config_name>.yaml`` with the command line's overrides and call ``task``.

    Errors that the user can mend are one line on stderr and exit code 2 (in a sweep a line for each job that failed,
    after all others are done, and exit code 1); COLORIZE_TRACEBACK=1 shows them whole. Ctrl-C: exit code 130; SIGTERM
    while training: 143. Both leave a run that ckpt_path=last goes on with.
    """
    _prepare()
    confine()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and what is said and the exit code are ours
    folder: Path | None = None  # of the run, or of all jobs of a sweep
    sweep = False
    failed: list[Exception] = []

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        nonlocal folder, sweep
        _prepare()  # a launcher may have started another process, or machine, for this job
        settings = HydraConfig.get()
        sweep = settings.mode == RunMode.MULTIRUN
        folder = Path(settings.sweep.dir if sweep else settings.runtime.output_dir)
        try:
            _check_words(settings.overrides.task)
            return task(cfg)
        except Exception as error:
            # Raised here, Hydra would print lines of its own, and end a sweep without its table.
            failed.append(error)
            if sweep:
                reason = one_line(error) or f"{type(error).__name__}: {error}"
                trace = "".join(traceback.format_exception(error))
                (Path(settings.runtime.output_dir) / FAILED).write_text(f"{reason}\n\n{trace}", encoding="utf-8")
            return None

    try:
        if config_name == "train":
            sys.argv[1:] = repeated(sys.argv[1:])
        if any(argument.startswith("--e") for argument in sys.argv[1:]):  # Hydra takes the beginning of a flag for it
            raise ValueError(
                "--experimental-rerun would run whatever is in a pickle: repeat the command by its overrides"
            )
        hydra.main(version_base="1.3", config_path=conf_dir(), config_name=config_name)(job)()
        if failed:
            raise failed[0]
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit(1)
            _stopped(folder, "interrupted", 130)
        if type(stop).__name__ == "SIGTERMException":  # Lightning's, between two steps
            _stopped(folder, "terminated", 143)
        raise
    except KeyboardInterrupt:
        _stopped(folder, "interrupted", 130)
    except Exception as error:
        lines = [one_line(e) for e in failed or [error]]
        if None in lines or os.environ.get(TRACEBACK):
            raise
        if folder is not None and failed and not sweep:
            _remove_unused(folder)
        for line in lines:
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1 if sweep else 2)  # of a sweep the other jobs are done


def defaults(config_name: str, **settings: Any) -> DictConfig:
    """``conf/<config_name>.yaml``, of a command without groups, with some settings replaced and nothing of Hydra."""
    config = OmegaConf.load(Path(conf_dir()) / f"{config_name}.yaml")
    assert isinstance(config, DictConfig)
    plain = {key: config._get_node(key) for key in config if key not in ("defaults", "hydra")}
    merged = OmegaConf.create(plain)
    OmegaConf.set_struct(merged, True)  # a setting that is not there is a fault of the program
    merged.merge_with(_plain(settings))
    return merged


def _plain(value: Any) -> Any:
    """The same for OmegaConf: ${...} in the name of a file is a part of its name."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def check_files(cfg: DictConfig) -> None:
    """Refuse an ``input`` or ``output`` that is empty, and an ``overwrite`` or ``skip_existing`` that is no switch.

    Raises:
        ValueError: it names the setting.
    """
    for key in ("input", "output"):
        value = cfg.get(key)
        if "" in (value if isinstance(value, ListConfig) else [value]):
            raise ValueError(f"{key}= is empty: name a file or a folder")
    for key in ("overwrite", "skip_existing"):
        if not isinstance(cfg.get(key, False), bool):
            raise ValueError(f"{key}={cfg[key]} must be true or false")


def _check_words(overrides: Sequence[str]) -> None:
    """Refuse what other YAML takes for a switch and Hydra for a word, which would be as good as true."""
    for override in overrides:
        key, _, value = override.partition("=")
        if "." in key and value.strip("\"'").lower() in ("yes", "no", "on", "off"):
            raise ValueError(f"{override} must be true or false")


def _prepare() -> None:
    """What every process of a command needs before it reads settings or pictures."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limit is ours (max_pixels); Pillow would warn of a picture below it
    register_resolvers()


def repeated(arguments: list[str]) -> list[str]:
    """Command line arguments, with ``repeat=RUN`` preceded by what RUN was given; what is given now goes before that.

    Raises:
        ValueError: RUN is no folder of a run.
    """
    run = next((a.partition("=")[2].strip("\"'") for a in arguments if a.startswith("repeat=")), None)
    if run in (None, "null"):
        return arguments
    path = Path(run) / PROVENANCE
    if not path.exists():
        raise ValueError(f"repeat={run}: there is no {path.name} in it; give the folder of a run")
    given = {_key(argument) for argument in arguments} | {"ckpt_path", "run_dir"}
    before = json.loads(path.read_text(encoding="utf-8"))["overrides"]
    kept = [item for item in before if _key(item) not in given]
    at = next(i for i, argument in enumerate(arguments) if argument.startswith("repeat="))
    return [*arguments[:at], *kept, *arguments[at:]]  # after -m, which Hydra wants before all settings


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _stopped(folder: Path | None, how: str, code: int) -> None:
    hint = ""
    if folder is not None and any((folder / "checkpoints" / name).exists() for name in (LAST, PREVIOUS)):
        if not (folder / FINISHED).exists():
            hint = f"; the same command with ckpt_path=last goes on; so far: {folder}/checkpoints"
    elif folder is not None and (folder / LOCK).exists():
        hint = " before anything was saved: the same command begins anew"
    elif folder is not None and any(folder.glob(f"*/{FINISHED}")):  # of a sweep
        hint = f"; jobs that have finished: {folder} (python -m colorize.compare {folder})"
    logging.getLogger("torch").setLevel(logging.WARNING)  # or it says at the end how its caches did
    if ranks.is_first():
        print(f"{how}{hint}", file=sys.stderr)
    sys.exit(code)


def _remove_unused(folder: Path) -> None:
    """Remove the folder of a run that was refused before it began, and its empty parents."""
    if folder == Path.cwd() or {path.name for path in folder.glob("*")} - {".hydra", "train.log", "evaluate.log"}:
        return
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # as far up as they are empty
        for parent in folder.parents[:3]:
            parent.rmdir()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, PyTorch on a CPU, CUDA or MPS ran out of memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def one_line(error: BaseException) -> str | None:
    """What to tell the user of an error that comes from input or settings; None for a fault of the program."""
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read the override {error.override!r}: quote values with spaces, commas, brackets, '~' or '=', "
            "like this: 'input=\"cat (1).gif\"'"
        )
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError):  # the first alone says in which file
        return f"cannot read a config: {_flat(str(error))}"
    if isinstance(error, RecursionError) and (nested := re.findall(r"full_key: ([a-z]\w*)", str(error))):
        return f"cannot read a config: {nested[-1]} contains itself, or lists too deep to be meant"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}= is missing; --help shows the settings"
    if is_out_of_memory(error):
        return "out of memory: take smaller pictures, or lower size= or batch_size="
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return one_line(error.__cause__) or _flat(str(error))
    if unknown := re.match(r"Could not override '([^']+)'", str(error)):
        return f"there is no setting {unknown[1]}; --help shows them"
    if isinstance(error, OmegaConfBaseException | HydraException):
        text = str(error).partition("\n    full_key")[0].partition("\nConfig search path")[0]
        return _flat(re.sub(r"^\w+ raised while resolving interpolation: ", "", text))
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, for a trainer setting that cannot be
        return _flat(f"{error} (trainer=auto takes the device that is there)")
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f"{error.filename} is in the way: a folder is needed there"
    if isinstance(error, OSError):
        full = ": is the disk full?" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        return f"{error.filename}: {error.strerror}{full}" if error.filename else _flat(f"{error}{full}")
    if isinstance(error, ValueError):
        return _flat(str(error))
    return None


def _flat(message: str) -> str:
    return " ".join(message.split())
