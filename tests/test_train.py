"""Training through the Hydra entry: every YAML composes and trains, what a run leaves behind, resuming, sweeps."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY, config
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colorize.cli import conf_dir, new_or_unfinished_run, one_line
from colorize.data import scenes
from colorize.module import ColorizeModule

CONF = Path(conf_dir())


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "gif", "pack", "collect"])
def test_every_command_composes(name: str):
    assert config(name)


NEEDED = {"full": ("model.backbone_weights=random",), "convlstm": ("dataset=clips", "finetune=auto")}
# cross_entropy needs model.head=classes: tests/test_heads.py; shards need packing: tests/test_shards.py
NO_TRAINING = [
    ("dataset", "photographs"),
    ("dataset", "shards"),
    ("loss", "cross_entropy"),
    ("trainer", "gpu"),
    ("trainer", "ddp"),
]


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group in ("dataset", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger")
        for choice in choices(group)
        if (group, choice) not in NO_TRAINING
    ],
)
def test_every_choice_trains_a_step(train, group: str, choice: str):
    result = train(f"{group}={choice}", *TINY)
    assert result["steps"] == 1
    assert result["val"]["loss"] > 0


def test_alpha_without_a_picture_learns_a_rendered_one(train, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [setting for setting in TINY if not setting.startswith("model.")]
    result = train("experiment=alpha", *small, "dataset.batch_size=1", root=None)
    assert result["rendered"] is True and result["test"]["alpha"]["pictures"] == 1


@pytest.mark.parametrize(("group", "choice"), NO_TRAINING)
def test_the_others_compose(group: str, choice: str):
    assert config("train", f"{group}={choice}")[group]


@pytest.mark.parametrize("choice", choices("model"))
def test_every_network_trains_a_step(train, choice: str):
    small = [setting for setting in TINY if not setting.startswith("model.")]
    network = train(f"model={choice}", *small, *NEEDED.get(choice, ()))["network"]
    assert network == choice + (" (random backbone)" if choice == "full" else "")


@pytest.mark.parametrize("choice", choices("experiment"))
def test_every_experiment_trains_a_step(train, rendered: Path, choice: str):
    is_beta = config("train", f"experiment={choice}", "run_dir=x").model.name == "beta"
    tiny = TINY if is_beta else [s for s in TINY if not s.startswith("model.")]
    data = [f"input={rendered / 'train/0000.jpg'}"] if choice == "alpha" else []
    settings = [*tiny, *data, *NEEDED.get(choice, ())]
    assert train(f"experiment={choice}", *settings, root=None if data else rendered)["steps"] == 1


def test_plain_train_is_the_customers_recipe():
    cfg = config("train", "dataset=rural", "run_dir=x")
    assert cfg.model.name == "beta" and cfg.model.extra_layers == 3
    assert (cfg.loss.name, cfg.optimizer.name, cfg.optimizer.lr) == ("mse", "Adagrad", 1e-3)
    assert (cfg.dataset.batch_size, cfg.dataset.steps_per_epoch, cfg.dataset.size) == (15, 50, 256)
    assert cfg.trainer.max_epochs == 350
    assert config("train", "dataset=beach", "run_dir=x").trainer.max_epochs == 150


def test_reference_and_baseline_are_as_named():
    reference, baseline = (config("train", f"experiment={name}", "run_dir=x") for name in ("reference", "baseline"))
    assert (reference.optimizer.initial_accumulator_value, reference.optimizer.eps) == (0.1, 1e-7)
    assert reference.model.init == "glorot" and baseline.model.init == "torch"
    assert (baseline.optimizer.initial_accumulator_value, baseline.optimizer.eps) == (0.0, 1e-10)


def test_what_a_run_leaves_behind(checkpoint: Path):
    run = checkpoint.parents[1]
    result = json.loads((run / "metrics.json").read_text())
    assert result["rendered"] is True and result["dataset"] == "beach" and result["steps"] == 1
    assert set(result["test"]) == {"grey", "mean colour of beach", "beta"}
    assert {row["tested on"] for row in result["test"].values()} == {"rendered scenes"}
    assert result["test"]["grey"]["colourfulness"] < 1 < result["test"]["grey"]["colourfulness_real"]
    for name in ("loss.png", "sheet.png", "best.png", "worst.png", "test.md", "test.csv", "test.json"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "checkpoints/last.ckpt").exists()
    assert not [path for path in run.rglob(".*") if path.is_file()], "no temporary file is left"

    with open(run / "csv/version_0/metrics.csv") as file:
        columns = set(csv.DictReader(file).fieldnames or [])
    assert {"train/loss_epoch", "val/loss", "val/ciede2000", "val/colourfulness_ratio"} <= columns

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert {"train/loss_epoch", "val/loss", "val/psnr"} <= set(tags["scalars"])
    assert tags["images"] == ["real, grey, predicted (rendered scenes)"]
    assert tags["graph"]
    assert any("hparams" in tag for tag in tags["scalars"])


def test_a_checkpoint_is_plain_and_loads_without_running_code(checkpoint: Path):
    content = torch.load(checkpoint, weights_only=True)
    assert content["hyper_parameters"]["model"]["name"] == "beta"
    assert content["hyper_parameters"]["data"]["rendered"] is True

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(map(plain, value.values()))
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert plain(content["hyper_parameters"])


def test_same_seed_same_numbers(train, tmp_path: Path):
    one, two, other = (
        train(*TINY, "dataset.steps_per_epoch=3", f"seed={seed}", run_dir=tmp_path / str(i))
        for i, seed in enumerate((7, 7, 8))
    )
    assert one["val"] == two["val"] and one["test"] == two["test"]
    assert one["val"] != other["val"]


@pytest.mark.parametrize("steps", [1, 20, 21])
def test_a_warm_up_of_a_step_or_less_is_none(train, steps: int):
    result = train(*TINY, "scheduler=warmup_cosine", f"dataset.steps_per_epoch={steps}")
    assert result["steps"] == steps


@pytest.mark.parametrize(
    "settings",
    [
        ["dataset.steps_per_epoch=3"],
        ["dataset.steps_per_epoch=3", "callbacks=ema"],
        ["dataset.steps_per_epoch=12", "dataset.resident=true", "trainer.fused=true"],  # more than is drawn ahead
    ],
    ids=["default", "ema", "resident"],
)
def test_a_run_that_is_resumed_ends_as_one_that_was_not(train, tmp_path: Path, settings: list[str]):
    steps = [*TINY, "model.init=glorot", *settings]
    whole = train(*steps, "dataset.epochs=4", run_dir=tmp_path / "whole")
    train(*steps, "dataset.epochs=2", run_dir=tmp_path / "parts")
    (tmp_path / "parts/metrics.json").unlink()
    rest = train(*steps, "dataset.epochs=4", "ckpt_path=last", run_dir=tmp_path / "parts")
    assert rest["steps"] == whole["steps"] >= 12
    assert rest["val"] == whole["val"] and rest["test"] == whole["test"]

    def epochs(run: str) -> dict:
        content = torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True)
        assert content["epoch"] == 3, "the last epoch's, not the best one's"
        return content["callbacks"]["History"]["epochs"]

    assert epochs("whole") == epochs("parts")
    assert list(epochs("parts")) == [0, 1, 2, 3]


def test_last_is_the_newest_unfinished_run_of_the_set_and_network(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / "beach/beta" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "beach/beta" / name / "checkpoints/last.ckpt").touch()
    (tmp_path / "beach/beta/b/metrics.json").touch()
    assert new_or_unfinished_run(str(tmp_path), "beach", "beta", "last") == str(tmp_path / "beach/beta/a")
    with pytest.raises(ValueError, match=r"no unfinished run with a checkpoint in .*rural/beta"):
        new_or_unfinished_run(str(tmp_path), "rural", "beta", "last")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.size=64", "dataset.size 32 there and 64 here"),
        ("optimizer.lr=0.5", "optimizer.lr 0.001 there and 0.5 here"),
        ("seed=3", "dataset.seed 0 there and 3 here"),
        ("dataset.epochs=1", "has its 1 epochs: raise dataset.epochs"),
    ],
)
def test_a_run_goes_on_by_its_own_recipe_only(train, checkpoint: Path, override: str, message: str):
    with pytest.raises(ValueError, match=message):
        train(*TINY, "dataset=beach", "dataset.epochs=2", f"ckpt_path={checkpoint.with_name('last.ckpt')}", override)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_lower_precision(train, precision: str):
    assert train(*TINY, f"trainer.precision={precision}")["val"]["loss"] > 0


def test_gradient_accumulation_and_a_cosine_over_the_optimizers_steps(train, tmp_path: Path):
    result = train(*TINY, "dataset.steps_per_epoch=4", "trainer.accumulate_grad_batches=2", "scheduler=cosine")
    assert result["steps"] == 2
    (schedule,) = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["lr_schedulers"]
    assert schedule["T_max"] == 2 and schedule["_last_lr"] == [pytest.approx(0, abs=1e-9)]


def test_early_stopping_stops(train):
    stopping = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=0"]
    assert train(*TINY, *stopping, "dataset.epochs=9")["epochs"] == 2


def test_a_loss_that_is_no_number_stops_the_run(train, tmp_path: Path):
    with pytest.raises(ValueError, match=r"the loss became nan in epoch \d: lower optimizer.lr"):
        train(*TINY, "dataset.epochs=3", "dataset.steps_per_epoch=3", "optimizer.lr=1e30")
    assert not (tmp_path / "run/metrics.json").exists()
    assert (tmp_path / "run/not_finite.pt").exists()


def test_validation_every_other_epoch(train, tmp_path: Path):
    result = train(*TINY, "dataset.epochs=4", "+trainer.check_val_every_n_epoch=2")
    content = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    validated = [e for e, values in content["callbacks"]["History"]["epochs"].items() if "val/loss" in values]
    assert validated == [1, 3] and result["best_epoch"] in validated


def test_a_damaged_checkpoint_is_refused_before_anything_is_written(train, tmp_path: Path):
    (tmp_path / "bad.ckpt").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match=r"bad.ckpt is damaged or no checkpoint"):
        train(*TINY, f"ckpt_path={tmp_path / 'bad.ckpt'}")
    assert not (tmp_path / "run").exists()


def test_colour_that_fades_is_noticed(caplog):
    from types import SimpleNamespace
    from typing import Any

    from colorize.callbacks import FadeWatch

    watch, trainer = FadeWatch(), SimpleNamespace(sanity_checking=False, current_epoch=0, callback_metrics={})
    module: Any = None
    with caplog.at_level(logging.WARNING):
        for epoch, ratio in enumerate([0.02, 0.3, 0.8, 0.7, 0.5, 0.1, 0.05]):
            trainer.current_epoch, trainer.callback_metrics = epoch, {"val/colourfulness_ratio": torch.tensor(ratio)}
            watch.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert len(caplog.records) == 1
    assert "epoch 5: predictions are falling back to grey" in caplog.text


def test_time_left_is_said_before_step_ten(train, caplog):
    with caplog.at_level(logging.INFO):
        train(*TINY, "dataset.steps_per_epoch=12")
    assert "to go" in caplog.text and "4 steps" in caplog.text


def test_hours_on_a_cpu_name_the_quick_experiment(train, caplog):
    with caplog.at_level(logging.WARNING):
        train(*TINY, "dataset.steps_per_epoch=12", "callbacks.time_estimate.long=0")
    assert "experiment=quick" in caplog.text


def test_out_of_memory_says_what_to_lower(train, monkeypatch):
    def no_memory(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("colorize.module.ColorizeModule.forward", no_memory)
    with pytest.raises(ValueError, match=r"out of memory with dataset.batch_size=2 dataset.size=32 model=beta: lower"):
        train(*TINY)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=gamma", "no model is called 'gamma'"),
        ("optimizer.name=Adagard", "no optimizer is called 'Adagard'; there are: .*Adagrad"),
        ("optimizer.lr=-1", "learning rate"),
        ("dataset.batch_size=0", "batch_size=0 must be a whole number from 1 up"),
        ("ckpt_path=nowhere.ckpt", "no checkpoint nowhere.ckpt"),
        ("dataset.size=36", "dataset.size=36 must be a multiple of 8"),
        ("seed=-1", "seed=-1 must be a whole number from 0 up"),
        ("input=photo.jpg", "input= is the picture of experiment=alpha"),
        ("dataset.epochs=many", "dataset.epochs=many must be a whole number"),
    ],
)
def test_a_setting_that_cannot_be_is_named(train, override: str, message: str):
    with pytest.raises(Exception, match=message) as error:
        train(*TINY, override)
    line = one_line(error.value)
    assert line is not None and "\n" not in line


def test_a_word_is_no_switch(command, capsys):
    assert command("trainer.fast_convolutions=no") == 2
    assert capsys.readouterr().err == "error: trainer.fast_convolutions=no must be true or false\n"


def test_alpha_learns_one_picture_by_heart(train, tmp_path: Path):
    Image.fromarray(scenes.render("rural", seed=1, size=64)).save(tmp_path / "one.png")
    result = train("experiment=alpha", f"input={tmp_path / 'one.png'}", "dataset.size=64", root=None)
    assert result["steps"] == 1000
    assert result["test"]["alpha"]["psnr"] > result["test"]["grey"]["psnr"] + 6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_network_that_was_logged_as_a_graph_is_let_go(tmp_path: Path):
    """A sweep trains many in one process."""
    import gc

    from colorize.tensorboard import TensorBoardLog

    def held() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def log(number: int) -> None:
        module = ColorizeModule({"name": "alpha"}, {"name": "mse"}, {"name": "Adagrad"}, None, {"size": 32})
        logger = TensorBoardLog(str(tmp_path), version=str(number), log_graph=True)
        logger.log_graph(module)
        logger.finalize("success")
        assert list(Path(logger.log_dir).glob("events*"))

    for number in range(3):
        log(number)
    before = held()
    for number in range(3, 13):
        log(number)
    assert held() - before < 20 * 2**20, "4 MiB each otherwise"
