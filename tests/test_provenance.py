"""What a run's folder says of how it was made, and making it once more."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import TINY, Command
from omegaconf import OmegaConf

from colorize.provenance import differences, fingerprint


def losses(run: Path) -> list[tuple[float, float]]:
    return [(row["train/loss"], row["val/loss"]) for row in json.loads((run / "history.json").read_text())]


def test_a_run_is_repeated_from_its_folder(command: Command, tmp_path: Path, capfd):
    assert command("seed=3", "dataset.epochs=2", "dataset.steps_per_epoch=2") == 0
    (first,) = (tmp_path / "outputs/beach/beta").iterdir()
    assert f"repeat={first.relative_to(tmp_path)}" in capfd.readouterr().err
    assert OmegaConf.load(first / "config.yaml").dataset.epochs == 2
    assert "torch==" in (first / "packages.txt").read_text()
    about = json.loads((first / "provenance.json").read_text())
    assert about["seed"] == 3 and about["data"]["train"].startswith("5 files")

    def once_more(*arguments: str) -> Path:
        assert command(f"repeat={first}", *arguments) == 0
        (run,) = {path.parent for path in (tmp_path / "outputs/beach/beta").glob("*/metrics.json")} - seen
        seen.add(run)
        return run

    seen = {first}
    second = once_more()
    assert losses(second) == losses(first)
    assert differences(first, second) == []
    assert "not as in" not in capfd.readouterr().err

    third = once_more("seed=4")
    assert losses(third) != losses(first)
    assert "seed: 3 -> 4" in differences(first, third) and "seed: 3 -> 4" in capfd.readouterr().err


def test_repeating_what_is_no_run_is_one_line(command: Command, tmp_path: Path, capfd):
    assert command("repeat=nowhere") == 2
    error = capfd.readouterr().err
    assert error.startswith("error: repeat=nowhere") and error.count("\n") == 1


def test_a_fingerprint_is_of_names_and_contents(rendered: Path, tmp_path: Path):
    shutil.copytree(rendered / "train", tmp_path / "copy")
    files = sorted((tmp_path / "copy").glob("*.jpg"))
    before = fingerprint(files)
    assert before == fingerprint(sorted((rendered / "train").glob("*.jpg"))), "wherever they are"
    content = bytearray(files[2].read_bytes())
    content[len(content) // 2] ^= 1
    files[2].write_bytes(content)
    assert fingerprint(files) != before


def test_the_state_of_the_checkout(train, tmp_path: Path):
    train(*TINY)
    git = json.loads((tmp_path / "run/provenance.json").read_text())["git"]
    root = Path(__file__).parents[1]
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("not a checkout")
    assert git["commit"] == head.stdout.strip()
    assert (tmp_path / "run/git.diff").exists() == ("diff" in git)
