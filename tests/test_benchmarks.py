"""The benchmarks of speed and memory by their one entry, at sizes that take a moment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import __main__ as entry
from benchmarks import train as training
from benchmarks.machine import Limits, count
from benchmarks.quality_time import RECIPES

NETWORK = ["model.encoder=[4/2,4/2,8/2,8,8,4]", "model.decoder=[up,4,up,4,head,up]"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> dict[str, Any]:
    """What ``python -m benchmarks ...`` writes."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--out", str(out)])
    entry.main()
    return json.loads(out.read_text())


def test_the_entry_names_every_benchmark_and_refuses_others(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    entry.main()
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("train", "infer", "memory", "quality_time", "startup", "temporal"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "trian"])
    with pytest.raises(SystemExit, match=r"trian.*there are: train"):
        entry.main()


def test_flops_and_bytes_are_counted():
    a, b = torch.rand(10, 20), torch.rand(20, 30)
    assert count(lambda: a @ b) == {"flops": 2 * 10 * 20 * 30, "bytes": 4 * (10 * 20 + 20 * 30 + 10 * 30)}
    assert count(lambda: a.T) == {"flops": 0, "bytes": 0}  # a view moves nothing


def test_train_compares_recipes_in_turn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "Limits", FixedLimits)
    tiny = ["--size", "32", "--batch", "2", "--rounds", "2", "--steps", "1", "--recipes", "baseline"]
    found = run(monkeypatch, tmp_path / "train.json", "train", *tiny, "--overrides", *NETWORK)
    assert found["command"].startswith("python -m benchmarks train --size 32") and found["rounds"] == 2
    plain = found["rows"][0]
    assert plain["what"] == "baseline" and {f"{part}, ratio" for part in training.PARTS} < plain.keys()
    assert plain["whole, ratio"] == 1 and all(plain[f"{part}, pictures/s"] > 0 for part in training.PARTS)
    assert plain["GFLOP a step"] >= 0 and 0 < plain["share of sgemm"] < 1
    if sys.platform == "linux":
        assert found["rows"][1]["what"] == "baseline, trainer.malloc=true"
    assert "baseline" in capsys.readouterr().out


def test_what_a_share_is_made_of(monkeypatch):
    monkeypatch.setattr(training, "Limits", FixedLimits)
    counts = {"step": {"flops": 10e9, "bytes": 4e9}, "data": {"flops": 0, "bytes": 1e9}}
    workers = {"ours": Fake(counts, {"data": 0.5, "step": 2.0, "whole": 2.5}), "Keras": Fake({}, SLOW)}
    rows, limits = training.compare(workers, list(training.PARTS), batch=15, rounds=3)  # type: ignore[arg-type]
    ours, keras = rows
    assert limits == {"sgemm GFLOP/s": 10.0, "copy GB/s": 20.0}
    assert ours["share of sgemm"] == 0.5 and ours["share of copy, data"] == 0.1 and ours["GFLOP a step"] == 10
    assert keras["share of sgemm"] == 0.25  # the same network's
    assert (ours["data, ratio"], ours["step, ratio"], ours["whole, ratio"]) == (8, 2, 2.8) and keras[
        "whole, ratio"
    ] == 1
    assert ours["whole, pictures/s"] == 6


SLOW = {"data": 4.0, "step": 4.0, "whole": 7.0}


class FixedLimits:
    def measure(self) -> dict[str, float]:
        return {"sgemm GFLOP/s": 10.0, "copy GB/s": 20.0}


class Fake:
    def __init__(self, about: dict[str, Any], spent: dict[str, float]):
        self.about, self.spent = about, spent

    def ask(self, what: str) -> dict[str, float]:
        return {"seconds": self.spent[what]}


def test_the_machines_limits_are_plausible():
    assert all(1 < rate < 1e6 for rate in Limits().measure().values())


def test_infer_says_what_is_not_the_network(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.infer.SIZES", {"256": (48, 40)})
    monkeypatch.setattr("benchmarks.infer.Limits", FixedLimits)
    extra = ["--frames", "2", "--rounds", "1", "--sizes", "256", "--overrides", f"ckpt_path={checkpoint}"]
    rows = {row["what"]: row for row in run(monkeypatch, tmp_path / "infer.json", "infer", *extra)["rows"]}
    assert set(rows) == {"pictures, 256", "GIF, 256, temporal=none", "GIF, 256, temporal=smooth"}
    for row in rows.values():
        assert row["a second"] > 0 and row["network, ms"] > 0 and row["conversion, ms"] > 0
        assert 0 < row["not the network, share"] < 1
    assert rows["GIF, 256, temporal=smooth"]["steadying, ms"] > 0 == rows["GIF, 256, temporal=none"]["steadying, ms"]


@linux
@pytest.mark.slow
def test_memory_against_batch_and_set(tmp_path, monkeypatch):
    few = ["--variants", "--sizes", "--batches", "2", "--pictures", "30", "1500", "--size", "128"]
    rest = ["--steps", "1", "--rounds", "1", "--overrides", *NETWORK]
    rows = run(monkeypatch, tmp_path / "memory.json", "memory", *few, *rest)["rows"]
    named = {row["what"]: row for row in rows}
    sets = [f"pictures, cache={kind}: {number}" for kind in ("ram", "disk") for number in (30, 1500)]
    assert list(named) == ["batch: 2", *sets]
    assert named["batch: 2"]["seconds, ratio"] == 1
    pixels = 1500 * 3 * 128**2 / 2**20
    assert pixels - 1 < named["pictures, cache=ram: 1500"]["MiB"] < 1.5 * pixels
    assert named["pictures, cache=disk: 1500"]["MiB"] < 0.5 * pixels


def test_startup_against_import_torch(tmp_path, monkeypatch):
    found = run(monkeypatch, tmp_path / "s.json", "startup", "--rounds", "1", "--side", "16", "--only", "python")
    assert [row["what"] for row in found["rows"]] == ["import torch", "python"]
    assert found["rows"][0]["ratio to import torch"] == 1 > found["rows"][1]["ratio to import torch"]


def test_quality_time_stops_where_the_baseline_was(rendered, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.quality_time.BEST_STEPS", 2)
    # No shipped weights fit so small a network: both are from scratch here.
    monkeypatch.setitem(RECIPES, "best, from shipped weights", ["experiment=best", "finetune=null"])
    small = ["model.widths=[4,8,8]", "model.blocks=[0,0,0]"]
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, [*recipe, *small])
    monkeypatch.setattr("benchmarks.quality_time.BASELINE", ["experiment=baseline", *NETWORK])
    sizes = ["--root", str(rendered), "--size", "32", "--steps", "2", "--every", "1"]
    found = run(
        monkeypatch,
        tmp_path / "q.json",
        "quality_time",
        *sizes,
        "--overrides",
        "dataset.batch_size=2",
        "saturation=null",
    )
    baseline, *others = found["rows"]
    assert baseline["ratio"] == 1 and baseline["steps"] == 2
    assert [row["what"] for row in others] == list(RECIPES)
    for row in others:
        curve = found["curves"][row["what"]]
        reached = [value <= found["target"] for _, _, value in curve]
        assert not any(reached[:-1])  # it stops where it is reached
        assert ("ratio" in row) == reached[-1]
