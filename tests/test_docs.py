"""Every command of README and the documentation runs, on something small in place of what it names; the site builds."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import TINY, config
from PIL import Image

from colorize.data import scenes
from colorize.pack import run as pack
from colorize.train import train

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
TABLES = {
    "quality.md",
    "temporal.md",
    "temporal_convlstm.md",
    "scaling.md",
}  # of benchmarks and clusters, which have their own tests

# No command of ours, one that sets up what the tests run in, or that asks the network (tests/test_collect.py).
NOT_OURS = (
    "make ",
    "tensorboard ",
    "mkdir ",
    ". .venv",
    "pip ",
    "python -m benchmarks",
    "mkdocs ",
    "docker ",
    "torchrun ",
    "srun ",
    "python -m colorize.collect",
    "sbatch ",
)

SMALL = [setting for setting in TINY if not setting.startswith("model.")]


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of every line of every code block that has no language, comments and continuations resolved."""
    for page in PAGES:
        if page.name in TABLES:
            continue
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            if language:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s{2,}#.*$|^#.*$", "", line).strip()
                if command:
                    yield str(page.relative_to(ROOT)), command


ALL = sorted({command: page for page, command in commands()}.items())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A folder with what the commands name: photographs, clips, sets, runs."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("data/beach", "data/rural"):
        scenes.render_set("beach", folder / name, size=40, counts=(4, 2))
    for name in ("photos", "old", "data/cats", "photos_or_films"):
        shutil.copytree(folder / "data/beach/train", folder / name)
    Image.fromarray(scenes.render("beach", 1, 40)).convert("L").save(folder / "photo.jpg")
    for name in ("old.jpg", "cat (1).jpg", "my photo (1).jpg"):
        shutil.copy(folder / "photo.jpg", folder / name)
    waves = scenes.render_waves(frames=3, size=(40, 32))
    iio.imwrite(folder / "waves.gif", waves, duration=80, loop=0)
    for name in ("film.mp4", "clip_in_colour.mp4"):
        iio.imwrite(folder / name, waves, fps=10, codec="libx264", plugin="pyav")
    with contextlib.chdir(folder):
        memory = ["experiment=convlstm", "dataset.root=photos", "run_dir=MEMORY", "output_dir=."]
        train(config("train", *memory, *SMALL))
        killed = ["dataset=rural", "dataset.scene_counts=[4,2]", "run_dir=outputs/rural/beta/killed", "output_dir=."]
        train(config("train", *killed, *SMALL))
        Path("outputs/rural/beta/killed/metrics.json").unlink()  # while it was judged
        pack(config("pack", "input=photos", "output=shards"))
    shutil.copytree(folder / "shards", folder / "packed")
    shutil.copytree(checkpoint.parents[1], folder / "RUN")
    for name in ("A.ckpt", "B.ckpt", "outputs/rural/unet/DATE/checkpoints/best.ckpt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkpoint, folder / name)
    shutil.copytree(checkpoint.parents[3], folder / "outputs/beach")
    shutil.copytree(checkpoint.parents[1], folder / "outputs/multirun/DATE/0")
    return folder


def small(name: str, arguments: list[str]) -> list[str]:
    """Overrides that make a command quick, but for what it says itself."""
    given = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    if name == "train":
        streamed = {"dataset=shards", "experiment=convlstm"} & set(arguments)
        extra = [*SMALL, *([] if streamed else ["dataset.scene_counts=[4,2]"])]
        extra += ["hydra.sweeper.n_trials=2"] if "hparams_search=optuna" in arguments else []
    else:
        overwrite = {"predict": "overwrite=true", "gif": "overwrite=true", "__main__": "--overwrite"}
        extra = [overwrite[name]] if name in overwrite else []
    if "debug=limit" in arguments:  # a tenth of the steps
        extra = [setting.replace("steps_per_epoch=1", "steps_per_epoch=10") for setting in extra]
    return [setting for setting in extra if setting.partition("=")[0] not in given]


@pytest.mark.parametrize(("command", "page"), ALL, ids=[command[:60] for command, _ in ALL])
def test_a_command_of_the_documentation_runs(
    command: str, page: str, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command.startswith(NOT_OURS):
        return
    for placeholder, value in {"=SET": "=beach", "=SEED": "=0"}.items():
        command = command.replace(placeholder, value)
    if "temporal=convlstm" in command:
        command = command.replace("=RUN/", "=MEMORY/")
    command = re.sub(r" (dataset.size|dataset.epochs|trainer.precision)=\S+", "", command)  # of days on a GPU
    if "colorize.pack" in command:
        command = re.sub(r"output=(\w+)/", r"output=another_\1/", command)  # which is there, for the next command
    program, *arguments = shlex.split(command)
    if program == "colorize":
        name = "__main__"
    else:
        assert program == "python" and arguments[0] == "-m", f"{page}: {command}: neither ours nor in NOT_OURS"
        name = arguments[1].removeprefix("colorize.")
        arguments = arguments[2:]
    monkeypatch.chdir(prepared)
    monkeypatch.setattr(sys, "argv", [name, *arguments, *small(name, arguments)])
    try:
        importlib.import_module(f"colorize.{name}").main()
    except SystemExit as stop:
        assert not stop.code, f"{page}: {command}"


@pytest.mark.skipif(shutil.which("mkdocs", path=os.path.dirname(sys.executable)) is None, reason="needs the docs extra")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("**/*.html")}
    assert "tutorial/index.html" in pages
    for page in tmp_path.glob("**/*.html"):
        loaded = re.findall(
            r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert [url for url in loaded if "canonical" not in url] == [], f"{page.name} loads from elsewhere"


def test_the_figures_are_made_by_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    figures = importlib.import_module("figures")
    monkeypatch.setattr(figures, "IMAGES", tmp_path)
    figures.lab()
    figures.pale()
    for name in ("lab", "pale"):
        made, kept = (
            np.asarray(Image.open(folder / f"{name}.png").convert("RGB")) for folder in (tmp_path, ROOT / "docs/img")
        )
        assert abs(made.shape[0] - kept.shape[0]) < 20 and abs(made.mean() - kept.mean()) < 5


def test_the_notebook_runs_from_top_to_bottom() -> None:
    notebook = json.loads((ROOT / "docs/colorize.ipynb").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "kept without outputs"
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in code:
        exec(compile(cell, "colorize.ipynb", "exec"), names)
    assert np.asarray(names["coloured"]).std(axis=2).mean() > 2, "in colour"
