"""The commands as a person types them: subprocesses, exit codes, one line for an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY

ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "ignore"}


def colorize(command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"colorize.{command}", *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_train_predict_and_gif_from_another_folder(tmp_path: Path):
    """Nothing but a folder: the set is rendered there, and relative data/ and outputs/ mean that folder."""
    done = colorize("train", "dataset=beach", "dataset.scene_counts=[4,2]", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs/beach/beta").iterdir()
    assert json.loads((run / "metrics.json").read_text())["rendered"] is True
    assert f"results: {run}" in done.stderr
    assert "RENDERING" in done.stderr and (tmp_path / "data/beach/RENDERED.txt").exists()

    done = colorize("predict", "input=data/beach/test/0000.jpg", "output=out.png", "weights=last", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").exists() and "trained on beach (rendered scenes)" in done.stderr


def test_the_demo(tmp_path: Path):
    tiny = [setting for setting in TINY if not setting.startswith("model.")]  # its network is the one that ships
    done = colorize("demo", "dataset.scene_counts=[4,2]", *tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    places = [line.split()[-1] for line in done.stdout.partition("Where everything is:")[2].splitlines() if line]
    for name in ("outputs/demo/waves.gif", "outputs/demo/waves_color.gif", "outputs/demo/coloured/0001.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert len(places) == 6


def test_a_sweep_ends_with_a_table(rendered: Path, tmp_path: Path):
    done = colorize(
        *("train", "-m", "dataset=beach", f"dataset.root={rendered}", *TINY),
        *("optimizer.lr=1e-2,1e-3", "dataset.batch_size=2,3"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs/multirun").iterdir()
    rows = json.loads((sweep / "sweep.json").read_text())
    assert {(row["optimizer.lr"], row["dataset.batch_size"]) for row in rows} == {
        (lr, size) for lr in ("0.01", "0.001") for size in ("2", "3")
    }
    assert "model.encoder" not in rows[0], "only what differs between the jobs"
    scores = [row["val/ciede2000"] for row in rows]
    assert scores == sorted(scores)
    assert (sweep / "0/loss.png").exists() and "sweep.md" in done.stdout


def test_two_processes_take_exactly_the_steps_of_one(rendered: Path, tmp_path: Path):
    done = colorize(
        *("train", "dataset=beach", f"dataset.root={rendered}", *TINY),
        *("trainer=ddp", "dataset.steps_per_epoch=7", "dataset.epochs=2", "dataset.resident=true"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs/beach/beta").iterdir()
    result = json.loads((run / "metrics.json").read_text())
    assert result["steps"] == 14 and result["epochs"] == 2
    assert result["test"]["beta"]["pictures"] == 3


def test_a_job_that_fails_does_not_sink_the_sweep(rendered: Path, tmp_path: Path):
    done = colorize(
        *("train", "-m", "dataset=beach", f"dataset.root={rendered}", *TINY, "optimizer.lr=1e-2,-1,1e-3"), cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ") and "learning rate" in done.stderr
    (sweep,) = (tmp_path / "outputs/multirun").iterdir()
    rows = json.loads((sweep / "sweep.json").read_text())
    assert [row["optimizer.lr"] for row in rows][-1] == "-1" and "learning rate" in rows[-1]["failed"]
    assert all("val/ciede2000" in row for row in rows[:2])


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("train", ["dataset=meadow"], ["dataset/meadow", "pradera"]),
        ("train", ["dataset=folder", "dataset.root=nowhere"], ["nowhere", "does not exist"]),
        ("train", ["dataset=folder"], ["dataset.root= is missing"]),
        ("train", ["dataset=beach", "model.name=gamma"], ["no model is called 'gamma'; there are: alpha, beta"]),
        ("train", ["optimiser.lr=1"], ["there is no setting optimiser.lr; --help shows them"]),
        ("train", ["dataset=beach", "ckpt_path=last"], ["no unfinished run"]),
        ("train", ["dataset=beach", "dataset.on_missing=error"], ["on_missing=error"]),
        ("gif", ["input=cat (1).gif"], ["quote", "'input=\"cat (1).gif\"'"]),
        ("gif", ["input=a=b.gif"], ["quote"]),
        ("gif", [], ["input= is missing", "--help"]),
        ("gif", ["input=gone.gif"], ["gone.gif"]),
        ("predict", ["input=photo.png", "weights=last"], ["no finished run", "experiment=quick"]),
        ("predict", ["input=photo.png", "weights=best"], ["weights=best is not known; there is: auto, last"]),
        ("evaluate", ["ckpt_path=gone.ckpt"], ["no checkpoint gone.ckpt"]),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(command: str, arguments: list[str], says: list[str], tmp_path: Path):
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    done = colorize(command, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    for words in says:
        assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"], "nothing is left behind"


@pytest.mark.parametrize("inside", [True, False])
def test_the_configs_are_found_in_a_wheel_and_in_a_checkout(inside: bool, tmp_path: Path):
    package = Path(__file__).parents[1] / "colorize"
    shutil.copytree(package, tmp_path / "colorize", ignore=shutil.ignore_patterns("scenes", "__pycache__"))
    conf = tmp_path / ("colorize/conf" if inside else "conf")
    shutil.copytree(package.parent / "conf", conf)
    code = "from colorize.cli import conf_dir; print(conf_dir())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()) == conf.resolve(), done.stderr


@pytest.mark.parametrize("name", ["train", "gif", "predict", "evaluate"])
def test_console_scripts(name: str, tmp_path: Path):
    script = Path(sys.executable).with_name(f"colorize-{name}")
    done = subprocess.run([script, "--cfg", "job"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0 and "ckpt_path" in done.stdout, done.stderr


def test_a_config_that_contains_itself_is_named(tmp_path: Path):
    (tmp_path / "conf/scheduler").mkdir(parents=True)
    (tmp_path / "conf/scheduler/loop.yaml").write_text("name: OneCycleLR\nbase_momentum: &a [*a, *a]\n")
    done = colorize("train", "--config-dir", "conf", "scheduler=loop", *TINY, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: cannot read a config: base_momentum contains itself" in done.stderr
    assert "Traceback" not in done.stderr
