"""The yardstick: its figures against the judge's own, seeds and means over sets, what is missing, recipes, red kept."""

from __future__ import annotations

import csv
import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, config
from PIL import Image
from skimage.color import rgb2lab

from benchmarks import quality
from colorize import report
from colorize.checkpoint import load_checkpoint
from colorize.data import scenes
from colorize.data.folder import split_set
from colorize.evaluation import judge, read_resized
from colorize.metrics import red_kept
from colorize.pipeline import Colorizer
from colorize.train import train


@pytest.fixture(scope="session")
def data(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five themed sets: strawberries, and four times the same beach."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("pradera", "rural", "banana", "beach"):
        (folder / name).symlink_to(rendered)
    scenes.render_set("maduixes", folder / "maduixes", size=64, counts=(3, 3))
    return folder


def copy_run(checkpoint: Path, run: Path, factor: float = 1.0, **changes: object) -> Path:
    """Another run beside the first: its last layer's weights times ``factor``, its data settings changed."""
    (run / "checkpoints").mkdir(parents=True)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {k: v * factor if v.is_floating_point() else v for k, v in content["state_dict"].items()}
    content["hyper_parameters"]["data"].update(changes)
    torch.save(content, run / "checkpoints/best.ckpt")
    shutil.copy(checkpoint.parents[1] / "metrics.json", run)
    return run / "checkpoints/best.ckpt"


def expected(path: Path, folder: Path) -> dict[str, float]:
    network = load_checkpoint(path)
    rows, _ = judge({"x": Colorizer(network.model, network.data["size"])}, split_set(folder, 0.05).test, size=32)
    return rows[0]


def red_by_hand(path: Path, folder: Path) -> float:
    colorizer = Colorizer.from_checkpoint(path)
    totals = np.zeros(2)
    for file in split_set(folder, 0.05).test:
        real = read_resized(file, 32)
        lab, lab_predicted = rgb2lab(real), rgb2lab(colorizer(real))
        red = (lab[..., 1] > 30) & (lab[..., 1] > abs(lab[..., 2]))
        totals += lab_predicted[red][:, 1].sum(), lab[red][:, 1].sum()
    return totals[0] / totals[1]


def test_table_of_seeds_sets_and_a_bar(data: Path, checkpoint: Path, tmp_path: Path, capsys, caplog):
    runs = tmp_path / "runs"
    for name in quality.THEMED:
        for seed, factor in ((0, 1.5), (3, 2.0)):
            copy_run(checkpoint, runs / f"seed{seed}/{name}/unet/first", factor)
    copy_run(checkpoint, runs / "bar/beach/beta/first", 0.5)
    old = copy_run(checkpoint, runs / "bar/beach/beta/older", 3.0)
    os.utime(old, (0, 0))
    copy_run(checkpoint, runs / "bar/rural/beta/first").parents[1].joinpath("metrics.json").unlink()

    patterns = {
        "everywhere": checkpoint,
        "ours": runs / "seed{seed}/{set}/*/*/checkpoints/best.ckpt",
        "bar": runs / "bar/{set}/*/*/checkpoints/best.ckpt",
    }
    arguments = ["--data", str(data), "--size", "32", "--bar", "bar", "--out", str(tmp_path / "docs/quality")]
    arguments += ["--sheets", str(tmp_path / "sheets"), "--runs", *(f"{k}={v}" for k, v in patterns.items())]
    rows = {(row["set"], row["method"]): row for row in quality.main(arguments)}
    assert list(rows)[:5] == [("pradera", m) for m in ("grey", "mean colour", "everywhere", "ours", "bar")]
    assert len(rows) == 6 * 5

    # seeds: mean and spread of what the judge says of each; of several runs the newest
    each = [expected(runs / f"seed{seed}/beach/unet/first/checkpoints/best.ckpt", data / "beach") for seed in (0, 3)]
    ours, bar, grey = (rows["beach", method] for method in ("ours", "bar", "grey"))
    assert ours["seeds"] == "0,3" and "std/psnr" not in bar
    for name in ("psnr", "ssim", "ciede2000", "colourfulness_ratio"):
        values = [one[name] for one in each]
        assert values[0] != values[1]
        assert ours[name] == pytest.approx(np.mean(values)) and ours[f"std/{name}"] == pytest.approx(
            statistics.stdev(values)
        )
        assert bar[name] == pytest.approx(
            expected(runs / "bar/beach/beta/first/checkpoints/best.ckpt", data / "beach")[name]
        )
    assert ours["CIEDE2000 to bar, %"] == pytest.approx(100 * (ours["ciede2000"] / bar["ciede2000"] - 1), abs=0.06)
    assert ours["PSNR to bar, dB"] == pytest.approx(ours["psnr"] - bar["psnr"], abs=0.006)
    assert ours["steps"] == 1 and "cpu" in ours["hardware"] and grey["colourfulness_ratio"] < 0.02

    # red kept of the strawberries alone; a mean over five sets only of what was judged on all five
    assert {key for key, row in rows.items() if "red_kept" in row} == {
        ("maduixes", m) for m in ("grey", "mean colour", "everywhere", "ours")
    }
    assert abs(rows["maduixes", "grey"]["red_kept"]) < 0.01 < rows["maduixes", "mean colour"]["red_kept"]
    assert rows["maduixes", "everywhere"]["red_kept"] == pytest.approx(
        red_by_hand(checkpoint, data / "maduixes"), abs=1e-4
    )
    for method in ("grey", "everywhere", "ours"):
        themed = [rows[name, method]["ciede2000"] for name in quality.THEMED]
        assert rows[quality.MEAN, method]["ciede2000"] == pytest.approx(np.mean(themed))
    assert rows[quality.MEAN, "ours"]["seeds"] == "0,3" and rows[quality.MEAN, "ours"]["std/psnr"] > 0
    assert "psnr" not in rows[quality.MEAN, "bar"] and "psnr" not in rows["rural", "bar"]
    assert (
        "its run has not finished" in caplog.text
        and "no checkpoint of bar for pradera, rural, banana, maduixes" in caplog.text
    )
    assert "general: left out" in caplog.text

    # the files
    said = json.loads((tmp_path / "docs/quality.json").read_text())
    assert said["size"] == "32 x 32" and said["trained on"] == said["tested on"] == "rendered scenes"
    assert len(said["rows"]) == 30 and said["networks"]["ours"]["beach"][1]["seed"] == 3
    with open(tmp_path / "docs/quality.csv", newline="") as file:
        assert [float(row["psnr"]) for row in csv.DictReader(file) if row["psnr"]] == [
            row["psnr"] for row in rows.values() if "psnr" in row
        ]
    markdown = (tmp_path / "docs/quality.md").read_text()
    assert "python -m benchmarks.quality --data" in markdown and "rendered scenes" in markdown and "| ours" in markdown
    assert "ours" in capsys.readouterr().out
    names = {f"{name}_{label}.png" for name in quality.THEMED for label in ("ours", "everywhere")}
    assert {path.name for path in (tmp_path / "sheets").iterdir()} == names
    with (
        Image.open(tmp_path / "sheets/beach_ours.png") as with_bar,
        Image.open(tmp_path / "sheets/rural_ours.png") as no,
    ):
        assert with_bar.height == no.height > 3 * 256 and with_bar.width - no.width >= 256


def test_rendered_and_real_do_not_share_a_table(data: Path, checkpoint: Path, tmp_path: Path, capsys):
    real = copy_run(checkpoint, tmp_path / "real", rendered=False)
    with pytest.raises(SystemExit):
        quality.main(["--data", str(data), "--runs", f"a={checkpoint}", f"b={real}", "--out", str(tmp_path / "t")])
    assert "evaluate them apart" in capsys.readouterr().err
    (tmp_path / "sets/rural/test").mkdir(parents=True)
    (tmp_path / "sets/beach").symlink_to(data / "beach")
    for part in ("train", "test"):
        shutil.copytree(data / "beach" / part, tmp_path / "sets/rural" / part, dirs_exist_ok=True)
    with pytest.raises(SystemExit):
        quality.main(["--data", str(tmp_path / "sets"), "--runs", f"a={checkpoint}"])
    assert "judge them apart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "nowhere/*.ckpt"], "is not LABEL=PATTERN"),
        (["--runs", "a=nowhere/*.ckpt"], "no pattern of --runs matches"),
        (["--runs", "a=x", "a=y"], "a label is given twice, or"),
        (["--runs", "grey=x"], "or a baseline's"),
        (["--runs", "a=x", "--bar", "b"], "--bar b is not in the table; there are: grey, mean colour, a"),
        (["--runs", "a=x", "--size", "4"], "from 8 up"),
        (["--runs", "a=x", "--data", "nowhere"], "--data nowhere has none of the folders pradera"),
    ],
)
def test_errors_in_one_line(data: Path, capsys, arguments: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        quality.main(["--data", str(data), *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_a_recipe_is_trained_once(rendered: Path, tmp_path: Path, monkeypatch, capsys):
    commands: list[list[str]] = []

    really = subprocess.run

    def in_process(command: list[str], **settings: Any) -> subprocess.CompletedProcess:
        """What `python -m colorize.train` would do, without the seconds that its imports take."""
        if command[0] == "git":  # what a run's folder says of the checkout
            return really(command, **settings)
        assert command[1:3] == ["-m", "colorize.train"]
        commands.append(command[3:])
        overrides = [item for item in command[3:] if item != "ckpt_path=last"]
        cfg = config("train", *overrides, "run_dir=")
        cfg.run_dir = f"{cfg.output_dir}/{cfg.dataset.name}/{cfg.model.name}/first"
        metrics = Path(cfg.run_dir) / "metrics.json"
        report.write_json(metrics, {**train(cfg), "overrides": command[3:]})
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", in_process)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/beach").symlink_to(rendered)
    tiny = ",".join(setting for setting in TINY if not setting.startswith("dataset.size"))
    arguments = ["--data", str(tmp_path / "data"), "--size", "32", "--seeds", "4", "--out", str(tmp_path / "table")]
    arguments += ["--output-dir", str(tmp_path / "runs"), "--train", f"tiny=baseline,{tiny}"]
    first = quality.main(arguments)
    assert [(row["method"], row["seeds"]) for row in first if row["set"] == "beach"][2:] == [("tiny", "4")]
    metrics = tmp_path / "runs/tiny/seed4/beach/beta/first/metrics.json"
    trained = json.loads(metrics.read_text())
    assert trained["seed"] == 4 and trained["steps"] == 1
    assert load_checkpoint(metrics.parent / "checkpoints/best.ckpt").data["val_fraction"] == 0.15

    assert quality.main(arguments) == first and len(commands) == 1  # done is done

    with pytest.raises(SystemExit):
        quality.main([*arguments[:-1], "tiny=baseline,loss=smooth_l1"])
    assert "is of another recipe" in capsys.readouterr().err

    metrics.unlink()  # a run that was stopped goes on, and one that fails is said to

    def failing(command: list[str]) -> subprocess.CompletedProcess:
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(SystemExit):
        quality.main(arguments)
    assert commands[1] == [*commands[0], "ckpt_path=last"]
    assert "training failed: python -m colorize.train dataset=beach" in capsys.readouterr().err


def test_red_kept_against_skimage():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 2, 3, 6, 6, generator=generator)
    coarse[1, :, 0] = coarse[1, :, 0] * 0.3 + 0.7  # reddish originals
    coarse[1, :, 1:] *= 0.4
    size = (200, 400)  # several strips
    pred, real = (torch.nn.functional.interpolate(x, size, mode="bilinear") for x in coarse)
    pred, real = ((x * 255).round().to(torch.uint8) for x in (pred, real))
    sums = red_kept(pred, real)
    for i in range(2):
        lab_pred, lab = (rgb2lab(x[i].permute(1, 2, 0).numpy()) for x in (pred, real))
        red = (lab[..., 1] > 30) & (lab[..., 1] > abs(lab[..., 2]))
        assert 0.1 < red.mean() < 0.99
        assert sums[0][i].item() == pytest.approx(lab_pred[..., 1][red].sum(), rel=1e-3)
        assert sums[1][i].item() == pytest.approx(lab[..., 1][red].sum(), rel=1e-3)


def test_red_kept_of_the_original_of_grey_and_of_no_red():
    red = torch.tensor([200, 30, 40], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    blue, grey = red.flip(1), torch.full_like(red, 90)
    kept, there = red_kept(red, red)
    assert kept == there and there.shape == (1,) and there > 64 * 30
    assert red_kept(grey, red)[0].abs() < 1e-4 * there
    assert [float(total) for total in red_kept(red, blue)] == [0, 0]
    with pytest.raises(ValueError, match="differ in shape"):
        red_kept(red[..., :4], red)
