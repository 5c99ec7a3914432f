"""Sweeps through the command line, in process: launchers, failing jobs, searches, and what a sweep ends with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import TINY, Command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colorize import compare


def the_sweep(folder: Path) -> Path:
    (sweep,) = (folder / "outputs/multirun").iterdir()
    return sweep


@pytest.mark.parametrize("launcher", ["basic", "joblib", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_a_job_that_fails_in_the_middle_sinks_no_other(command: Command, tmp_path: Path, capfd, launcher: str):
    pytest.importorskip({"basic": "hydra", "joblib": "joblib", "submitit_local": "submitit"}[launcher])
    code = command("-m", f"hydra/launcher={launcher}", "optimizer.lr=1e-2,-1,1e-3")
    said = capfd.readouterr()
    assert code == 1, said.err
    assert said.err.splitlines()[-1] == "error: Invalid learning rate: -1 (job 1)"
    sweep = the_sweep(tmp_path)
    rows = json.loads((sweep / "sweep.json").read_text())
    assert [row["job"] for row in rows[2:]] == ["1"] and "learning rate" in rows[2]["failed"]
    assert {row["job"] for row in rows[:2]} == {"0", "2"}
    assert [row["val/ciede2000"] for row in rows[:2]] == sorted(row["val/ciede2000"] for row in rows[:2])
    assert "Traceback" in (sweep / "1/failed.txt").read_text()

    # What every sweep ends with.
    assert "best val/ciede2000" in said.out and f"optimizer.lr={rows[0]['optimizer.lr']}" in said.out
    for name in ("sweep.md", "sweep.csv", "sweep.png", "sweep_pictures.png"):
        assert (sweep / name).stat().st_size > 0
    events = EventAccumulator(str(sweep / "tensorboard")).Reload().Tags()
    assert set(events["images"]) == {"sweep", "sweep_pictures"}
    assert {path.parent.name for path in (sweep / "tensorboard").rglob("events*")} >= {"0", "2"}
    if launcher == "joblib":  # a thread a job where there are as many jobs as cores
        assert all(
            "cpu, 1 threads" in json.loads((sweep / job / "metrics.json").read_text())["hardware"] for job in "02"
        )

    # and what compare rebuilds
    before = (sweep / "sweep.md").read_text()
    (sweep / "sweep.md").unlink()
    assert rebuild(sweep) == 0
    assert (sweep / "sweep.md").read_text() == before


def rebuild(*paths: Path) -> int:
    argv, sys.argv = sys.argv, ["colorize-compare", *map(str, paths)]
    try:
        compare.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = argv
    return 0


def test_compare_any_runs(train, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        train(*TINY, f"seed={'ab'.index(name)}", run_dir=tmp_path / "runs" / name)
    assert rebuild(tmp_path / "runs/a", tmp_path / "runs/b") == 0
    (folder,) = (tmp_path / "outputs/compare").iterdir()
    rows = json.loads((folder / "runs.json").read_text())
    assert len(rows) == 2 and rows[0]["val/ciede2000"] <= rows[1]["val/ciede2000"]
    assert (folder / "runs_pictures.png").exists()
    capsys.readouterr()
    assert rebuild(tmp_path / "nowhere") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nowhere" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "optimiser.lr=1,2"], ["optimiser"]),
        (["-m", "optimizer=adamw,adamant"], ["optimizer/adamant", "adamw", "rmsprop"]),
        (["-m", "optimizr=adamw,adagrad"], ["optimizr"]),
        (["-m", "hydra/launcher=jobli", "seed=0,1"], ["hydra/launcher/jobli", "basic"]),
        (["hparams_search=optune"], ["hparams_search/optune", "optuna"]),
        (["debug=quick"], ["debug/quick", "fast", "overfit"]),
    ],
)
def test_what_cannot_be_swept_is_one_line(
    command: Command, tmp_path: Path, capfd, arguments: list[str], says: list[str]
):
    assert command(*arguments) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    for words in says:
        assert words in error
    assert not list(tmp_path.glob("outputs/multirun/*/0")), "no job was begun"


def test_optuna_searches_and_names_the_best(command: Command, tmp_path: Path, capfd):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ("hparams_search=optuna", "hydra.sweeper.n_trials=2", "dataset.batch_size=choice(2,3)")
    assert command(*(s for s in search)) == 0
    rows = json.loads((the_sweep(tmp_path) / "sweep.json").read_text())
    assert len(rows) == 2 and all(1e-4 <= float(row["optimizer.lr"]) <= 3e-2 for row in rows)
    assert f"optimizer.lr={rows[0]['optimizer.lr']}" in capfd.readouterr().out
    found = (the_sweep(tmp_path) / "optimization_results.yaml").read_text()
    assert rows[0]["optimizer.lr"] in found, "Optuna was told the value that the table is sorted by"


def test_a_job_behind_the_median_is_stopped(train, tmp_path: Path):
    """Five epochs; the others of the sweep were good from their first one, or were only so later."""
    median = "+callbacks.median={_target_:colorize.median_stop.MedianStop,run_dir:${run_dir},jobs:3}"

    def others(value: float) -> None:
        for job in range(3):
            folder = tmp_path / "sweep" / str(job)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "metrics.json").write_text("{}")
            epochs = [{"epoch": epoch, "val/ciede2000": value} for epoch in range(5)]
            (folder / "history.json").write_text(json.dumps(epochs))

    others(0.001)
    settings = [*TINY, "dataset.epochs=5", median]
    assert train(*settings, run_dir=tmp_path / "sweep/3")["epochs"] == 2
    others(1000.0)
    assert train(*settings, run_dir=tmp_path / "sweep/4")["epochs"] == 5
