"""Activations computed twice instead of kept: the same gradients, statistics and runs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY

from colorize.models import create_model
from colorize.models.base import Network

NETWORKS: dict[str, dict[str, Any]] = {
    "alpha": {},
    "beta": {"encoder": [8, "8/2", 16, "16/2", 16], "extra_layers": 1, "decoder": ["up", 8, "head", "up"]},
    "beta, classes": {"encoder": [8, "8/2"], "extra_layers": 0, "decoder": ["head", "up"], "head": "classes"},
    "unet": {"widths": [8, 16, 16], "blocks": [1, 1, 0]},
    "full": {"backbone": "mobilenet_v3_small", "encoder": ["8/2", 16, "16/2"], "decoder": ["up", 8, "head", "up"]},
}


def step(network: Network, l: torch.Tensor) -> tuple[list[torch.Tensor], int]:
    """The gradients of a step, and the bytes of activations that autograd kept for it."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network.output(l)
    output.square().mean().backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None], sum(kept.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_checkpointing_changes_no_gradient_and_no_statistic(name: str):
    torch.manual_seed(0)
    plain = create_model(name.partition(",")[0], **NETWORKS[name]).train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.checkpointing = True
    for seed in range(2):
        l = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
        expected, kept = step(plain, l)
        got, kept_now = step(checkpointed, l)
        assert len(got) == len(expected) > 0
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
        assert kept_now < kept / 2
    for (key, a), (_, b) in zip(checkpointed.state_dict().items(), plain.state_dict().items(), strict=True):
        assert torch.equal(a, b), key  # running means of batch norm and the batches they counted
    with torch.no_grad():
        assert torch.equal(checkpointed.eval()(l), plain.eval()(l))


def test_a_run_with_checkpointing_is_the_run_without(train, tmp_path: Path):
    unet = ["model=unet", "model.widths=[8,16]", "model.blocks=[0,1]", *(s for s in TINY if not s.startswith("model."))]
    results = [
        train(*unet, "dataset.steps_per_epoch=3", f"trainer.checkpointing={on}", run_dir=tmp_path / on)
        for on in ("false", "true")
    ]
    assert results[0]["val"] == pytest.approx(results[1]["val"], rel=1e-4)
    # It is in no checkpoint: a run may go on without it.
    (tmp_path / "true/metrics.json").unlink()
    again = [*unet, "dataset.steps_per_epoch=3", "dataset.epochs=2", "ckpt_path=last"]
    assert train(*again, run_dir=tmp_path / "true")["steps"] == 6
