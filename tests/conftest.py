"""What tests share. Nothing here needs photographs or the network: pictures are rendered, small."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: a core each

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from colorize import cli
from colorize.data import scenes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"  # real photographs, where there are some

# A network of every part of beta that takes a moment to train.
TINY = [
    "model.encoder=[4/2,4/2,8/2,8,8,4]",
    "model.decoder=[up,4,up,4,head,up]",
    "dataset.size=32",
    "dataset.batch_size=2",
    "dataset.steps_per_epoch=1",
    "dataset.epochs=1",
    "trainer.accelerator=cpu",
    "trainer.malloc=false",  # of the process that runs the tests, too
    "logger.tensorboard.log_graph=false",  # half a second a run
]


def config(name: str, *overrides: str) -> DictConfig:
    """conf/<name>.yaml with overrides, as the command line composes it."""
    cli.register_resolvers()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that ran in process leaves Hydra's logging behind."""
    loggers = [logging.getLogger(name) for name in (None, "colorize", "lightning.pytorch", "lightning.fabric")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.disable(logging.NOTSET)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendered set: 6 pictures to train on, 3 to test."""
    folder = tmp_path_factory.mktemp("sets") / "beach"
    scenes.render_set("beach", folder, size=64, counts=(6, 3))
    return folder


@pytest.fixture
def train(rendered: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train in process through the Hydra entry; the run's folder is tmp_path/run unless given."""
    from colorize.train import train as entry

    def run(*overrides: str, run_dir: Path = tmp_path / "run", root: Path | None = rendered) -> dict[str, Any]:
        data = [f"dataset.root={root}"] if root else []
        return entry(config("train", f"run_dir={run_dir}", f"output_dir={tmp_path}", *data, *overrides))

    return run


@pytest.fixture(scope="session")
def checkpoint(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of a finished run, at outputs/beach/beta/first/checkpoints/best.ckpt."""
    from colorize.train import train as entry

    output_dir = tmp_path_factory.mktemp("outputs")
    run_dir = output_dir / "beach/beta/first"
    graph = "logger.tensorboard.log_graph=true"
    entry(config("train", "dataset=beach", f"dataset.root={rendered}", f"run_dir={run_dir}", *TINY, graph))
    return run_dir / "checkpoints/best.ckpt"


@pytest.fixture
def shared() -> Path:
    """The folder of real photographs; the test is skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data here")
    return SHARED


Command = Callable[..., int]


@pytest.fixture
def command(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``python -m colorize.train`` in tmp_path, tiny and rendered unless repeat= says otherwise; the exit code."""
    from colorize.train import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # which the command sets
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def run(*arguments: str) -> int:
        tiny = ("dataset=beach", f"dataset.root={rendered}", *TINY)
        again = any(argument.startswith("repeat=") for argument in arguments)
        flags = [argument for argument in arguments if argument.startswith("-")]  # Hydra wants them first
        settings = [argument for argument in arguments if argument not in flags]
        monkeypatch.setattr(sys, "argv", ["colorize-train", *flags, *(() if again else tiny), *settings])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run
