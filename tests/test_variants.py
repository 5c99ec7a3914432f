"""dataset.variants with model=full: the backbone sees each augmented picture twice and never again."""

from __future__ import annotations

import torch
from conftest import TINY, config

from colorize.data.datamodule import PhotoDataModule
from colorize.models.fusion import Backbone


def test_variants_are_drawn_once_and_the_backbone_looks_them_up(train, rendered, tmp_path, monkeypatch):
    seen: list[int] = []
    see = Backbone._see

    def counted(self: Backbone, l: torch.Tensor) -> torch.Tensor:
        seen.append(len(l) * torch.is_grad_enabled())  # in training
        return see(self, l)

    monkeypatch.setattr(Backbone, "_see", counted)
    settings = ["experiment=full", *TINY, "model.backbone=mobilenet_v3_small", "model.backbone_weights=random"]
    settings += ["dataset.variants=2", "dataset.steps_per_epoch=10", "dataset.epochs=4", "dataset=beach"]
    result = train(*settings)
    assert result["steps"] == 40  # of 2 pictures
    data = PhotoDataModule("beach", str(rendered), variants=2, size=32)
    data.setup()
    pool, pictures = data.pictures("variants"), data.pictures("train")
    assert len(pool) == 2 * len(pictures) and not torch.equal(pool[0], pool[len(pictures)])
    assert sum(seen) == 2 * len(pool)  # in 40 training steps of 2 pictures
    assert "full (random backbone)" in result["test"] and result["network"] == "full (random backbone)"

    from colorize.evaluate import evaluate

    rows = evaluate(
        config("evaluate", f"ckpt_path={tmp_path / 'run/checkpoints/best.ckpt'}", f"run_dir={tmp_path / 'e'}")
    )
    assert rows[-1]["method"].endswith(" (random backbone)")
