"""What the commands share: where conf/ is, Hydra's start, and errors as one line with exit code 2."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

# No file that is loaded may run code, whoever loads it.
os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

TRACEBACK = "COLORIZE_TRACEBACK"


def conf_dir() -> str:
    """The folder of the YAML files: inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return str(package / "conf" if (package / "conf").is_dir() else package.parent / "conf")


def register_resolvers() -> None:
    """What the YAML files compute: ``run_dir`` (see `new_or_unfinished_run`), ``basename`` of a path, ``product``."""
    OmegaConf.register_new_resolver("run_dir", new_or_unfinished_run, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("basename", lambda path: Path(str(path)).resolve().stem, replace=True)
    OmegaConf.register_new_resolver("product", lambda a, b: a * b, replace=True)


def new_or_unfinished_run(output_dir: str, dataset: str, network: str, ckpt_path: str | None) -> str:
    """``<output_dir>/<set>/<network>/<date>_<time>``; for ``ckpt_path=last`` the folder of the run to go on with."""
    if ckpt_path == "last":
        from colorize.checkpoint import unfinished_run

        return str(unfinished_run(output_dir, dataset, network))
    path = Path(output_dir) / dataset / network / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return str(path) if not path.exists() else f"{path}_{os.getpid()}"  # two runs started in one second


def run(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose ``conf/<config_name>.yaml`` with the command line's overrides and call ``task``.

    Errors that the user can mend are one line on stderr and exit code 2; COLORIZE_TRACEBACK=1 shows them whole.
    """
    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and what is said and the exit code are ours
    failed: list[Exception] = []

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra says which job failed and goes on with the others
            failed.append(error)  # raised inside, Hydra would print lines of its own

    try:
        hydra.main(version_base="1.3", config_path=conf_dir(), config_name=config_name)(job)()
        for error in failed:
            raise error
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit(1)
            _interrupted()
        raise
    except KeyboardInterrupt:
        _interrupted()
    except Exception as error:
        line = one_line(error)
        if line is None or os.environ.get(TRACEBACK):
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


def _interrupted() -> None:
    print("interrupted; a training run goes on with ckpt_path=last", file=sys.stderr)
    sys.exit(130)


def one_line(error: BaseException) -> str | None:
    """What to tell the user of an error that comes from input or settings; None for a fault of the program."""
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read the override {error.override!r}: quote values with spaces, commas, brackets or '=', "
            "like this: 'input=\"cat (1).gif\"'"
        )
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}= is missing; --help shows the settings"
    if type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        return one_line(error.__cause__) or _flat(str(error))
    if isinstance(error, OmegaConfBaseException) and isinstance(error.__cause__, ValueError):
        return _flat(str(error.__cause__))  # raised in a resolver
    if isinstance(error, OmegaConfBaseException | HydraException):
        return _flat(str(error).partition("\n    full_key")[0].partition("\nSet the environment variable")[0])
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, for a trainer setting that cannot be
        return _flat(str(error))
    if isinstance(error, ValueError | OSError):
        return _flat(str(error))
    return None


def _flat(message: str) -> str:
    return " ".join(message.split())
