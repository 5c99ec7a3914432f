"""The fast path computes what the plain one does: pictures on the device, compiled steps, a fused optimizer."""

from __future__ import annotations

import csv
import functools
import logging
from pathlib import Path

import pytest
import torch
from conftest import TINY, config
from torch.utils._python_dispatch import TorchDispatchMode

from colorize.color import _rgb_to_l_ab_by_planes, rgb_to_l_ab
from colorize.data.datamodule import PhotoDataModule
from colorize.module import ColorizeModule

STEPS = [
    *TINY,
    "dataset.steps_per_epoch=20",
    "dataset.flip=0.5",
    "trainer.log_every_n_steps=1",
]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch):
    """torch.compile that traces as ever, refuses whatever it cannot trace whole, and generates no code (slow)."""
    compile_ = torch.compile
    traced = functools.partial(compile_, backend="eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", lambda function, dynamic, mode=None: traced(function, dynamic=dynamic))
    yield
    torch._dynamo.reset()


def losses(run_dir: Path) -> list[float]:
    """Of each step."""
    with open(run_dir / "csv/version_0/metrics.csv") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_resident_pictures_give_the_same_numbers_and_bf16_ends_near(train, tmp_path: Path):
    settings = {
        "plain": ("dataset.resident=false",),
        "fast": ("dataset.resident=true",),
        "half": ("dataset.resident=true", "trainer.precision=bf16-mixed"),
    }
    plain, fast, half = (train(*STEPS, *each, run_dir=tmp_path / name) for name, each in settings.items())
    assert len(losses(tmp_path / "plain")) == 20
    assert losses(tmp_path / "fast") == losses(tmp_path / "plain")
    assert fast["val"] == plain["val"] and fast["test"] == plain["test"]
    assert half["val"]["loss"] == pytest.approx(plain["val"]["loss"], rel=0.03)
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "fast")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_compiled_steps_give_the_same_numbers(train, tmp_path: Path, eager):
    for mode in ("false", "default"):
        settings = [*STEPS, "dataset.resident=true", "trainer.fused=true", f"trainer.compile={mode}"]
        train(*settings, run_dir=tmp_path / mode)
    assert losses(tmp_path / "default") == pytest.approx(losses(tmp_path / "false"), abs=1e-4)


def test_the_recommended_network_compiles_whole_too(eager):
    cfg = config("train", "experiment=best", "run_dir=x", "model.dropout=0")
    settings = {part: dict(cfg[part]) for part in ("model", "loss", "optimizer")}
    module = ColorizeModule(**settings, scheduler=None, data={"size": 32}).train()
    l, ab = torch.rand(2, 1, 32, 32), torch.rand(2, 2, 32, 32) - 0.5
    found = []
    for compiled in (False, True):
        if compiled:
            module.compile_training("default")
        loss = module._train_loss(l, ab, 1)[1]
        found.append((loss.item(), *(g.norm().item() for g in torch.autograd.grad(loss, list(module.parameters())))))
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-6)


def test_a_set_that_does_not_fit_is_sent_batch_by_batch(train, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr("colorize.memory.available", lambda: 100_000)  # a tenth of it: three pictures
    with caplog.at_level(logging.INFO):
        assert train(*TINY, "dataset.resident=true", "dataset.cache=ram")["steps"] == 1
    said = [record.message for record in caplog.records if "dataset.resident" in record.message]
    assert len(said) == 1 and "each batch is sent there" in said[0]


@pytest.mark.parametrize("size", [64, 48])
def test_what_is_drawn_is_the_same(size: int):
    pictures = (torch.rand(6, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255).byte()
    module = PhotoDataModule("x", size=size, flip=0.5)
    plain = {at: module.augmented_l_ab(pictures, *at) for at in ((0, 0, 0), (0, 9, 0), (3, 17, 0), (3, 17, 1))}
    module.compiled = True  # the function that would be compiled
    for at in reversed(plain):
        for one, other in zip(plain[at], module.augmented_l_ab(pictures, *at), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert not torch.allclose(plain[0, 0, 0][0], plain[0, 9, 0][0], atol=0.01)
    assert not torch.allclose(plain[3, 17, 0][0], plain[3, 17, 1][0], atol=0.01)


def test_lab_by_planes_is_the_same():
    level = torch.linspace(0, 1, 52)
    rgb = torch.stack(torch.meshgrid(level, level, level, indexing="ij")).flatten(2)[None]
    for one, other in zip(rgb_to_l_ab(rgb), _rgb_to_l_ab_by_planes(rgb), strict=True):
        torch.testing.assert_close(one, other, atol=3e-6, rtol=0)


class Waits(TorchDispatchMode):
    """Notes every operation that a GPU's host would wait for."""

    found: list[str] = []  # noqa: RUF012 (of one test)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"):
            self.found.append(function.name())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("recipe", ["baseline", "best"])
def test_no_step_waits_for_a_number(recipe: str):
    """Batch, loss, gradients and the logging of the loss; the optimizer is PyTorch's."""
    cfg = config("train", f"experiment={recipe}", "run_dir=x", "dataset.size=32")
    settings = {part: dict(cfg[part]) for part in ("model", "loss", "optimizer")}
    module = ColorizeModule(**settings, scheduler=None, data={"size": 32}).train()
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    data = PhotoDataModule("x", size=32, flip=0.5)
    data.compiled = True
    pictures = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    data.augmented_l_ab(pictures, 0, 0, 0)  # draws ahead, on the CPU
    with Waits() as waits:
        l, ab = data.augmented_l_ab(pictures, 0, 1, 0)
        module.training_step({"l": l, "ab": ab}, 1).backward()
    assert waits.found == []


def test_a_fused_optimizer_where_there_is_one():
    for name, fused in {"Adagrad": True, "AdamW": True, "RMSprop": None}.items():
        optimizer = {"name": name, "lr": 1e-3}
        module = ColorizeModule({"name": "alpha"}, {"name": "mse"}, optimizer, None, {"size": 8})
        module.fused = True
        assert module.create_optimizer().param_groups[0].get("fused") is fused
        assert module.hparams["optimizer"] == optimizer, "no part of the recipe: the run goes on anywhere"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["trainer.compile=yes"], "trainer.compile=yes is not one of: false, default, reduce-overhead"),
        (["trainer.compile=default", "trainer.checkpointing=true"], "do not go together"),
        (["trainer.fused=2"], "trainer.fused=2 is not true or false"),
        (["dataset.resident=gpu"], "dataset.resident=gpu is not one of: auto, true, false"),
    ],
)
def test_a_setting_that_cannot_be_is_named(train, override: list[str], message: str):
    with pytest.raises(Exception, match=message):
        train(*TINY, *override)


def test_without_a_compiler_that_is_said(train, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ValueError, match=r"trainer.compile=default needs a C\+\+ compiler"):
        train(*TINY, "trainer.compile=default")
