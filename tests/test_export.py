"""Export: the graphs colour as PyTorch does, at any batch and size; onnxruntime in the place of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import config

from colorize import Colorizer
from colorize.color import AB_SCALE, rgb_to_l_ab, to_float
from colorize.data.scenes import render
from colorize.evaluation import ConstantColour
from colorize.export import export, load, parity
from colorize.graphs import trace
from colorize.models import create_model
from colorize.models.base import Network
from colorize.predict import predict

pytest.importorskip("onnxruntime")

SMALL: dict[str, dict[str, Any]] = {
    "alpha": {"encoder": ["4/2", "8/2"], "decoder": ["up", 4, "up", "head"]},
    "beta": {"encoder": ["4/2", "8/2"], "extra_layers": 1, "decoder": ["up", 4, "head", "up"]},
    "unet": {"widths": [4, 8], "blocks": [0, 1]},
    "unet classes": {"widths": [4, 8], "blocks": [0, 1], "head": "classes"},
    "full": {
        "encoder": ["4/2", "8/2"],
        "decoder": ["up", "head", "up"],
        "backbone": "mobilenet_v3_small",
        "backbone_weights": "random",
    },
}


def network(name: str) -> Network:
    torch.manual_seed(0)
    return create_model(name.split()[0], **SMALL[name]).eval()


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's checkpoint as ONNX."""
    target = tmp_path_factory.mktemp("exported") / "deep/model.onnx"
    assert export(config("export", f"ckpt_path={checkpoint}", f"output={target}")) == target
    return target


def test_onnx_colours_as_pytorch_does(exported: Path, checkpoint: Path, tmp_path: Path, caplog):
    rgb = render("beach", size=64, seed=1)[:50]
    with caplog.at_level("INFO"):
        by_onnx = Colorizer.from_pretrained(exported, device="cpu")
    assert "trained on beach (rendered scenes)" in caplog.text
    by_torch = Colorizer.from_pretrained(checkpoint, device="cpu")
    assert (by_onnx.size, by_onnx.saturation) == (by_torch.size, by_torch.saturation)
    for count in (1, 3):
        l = rgb_to_l_ab(to_float(torch.tensor(rgb).permute(2, 0, 1)[None]))[0].expand(count, -1, -1, -1)
        want = by_torch.predict_ab(l)
        assert want.std() > 1e-4, "else the comparison says nothing"
        assert float((by_onnx.predict_ab(l) - want).abs().max()) <= 1e-3
    assert np.abs(by_onnx(rgb).astype(int) - by_torch(rgb)).max() <= 1

    from PIL import Image

    Image.fromarray(rgb).save(tmp_path / "a.png")
    (written,) = predict(config("predict", f"input={tmp_path / 'a.png'}", f"ckpt_path={exported}"))
    np.testing.assert_array_equal(np.asarray(Image.open(written)), by_onnx(rgb))
    with pytest.raises(ValueError, match="cannot be saved: it is an exported one"):
        by_onnx.save_pretrained(tmp_path / "x")
    with pytest.raises(ValueError, match="is exported already"):
        export(config("export", f"ckpt_path={exported}", f"output={tmp_path / 'b.onnx'}"))


@pytest.mark.slow
def test_the_backend_of_a_network_in_memory(checkpoint: Path):
    rgb = render("beach", size=64, seed=2)
    by_torch, by_onnx = (
        Colorizer.from_pretrained(checkpoint, device="cpu", backend=name) for name in ("torch", "onnxruntime")
    )
    assert np.abs(by_onnx(rgb).astype(int) - by_torch(rgb)).max() <= 1
    assert type(by_onnx.model) is not type(by_torch.model)
    with pytest.raises(ValueError, match="backend=tensorflow is not one of: torch, onnxruntime"):
        Colorizer.from_pretrained(checkpoint, backend="tensorflow")


@pytest.mark.parametrize("graph", ["ab", pytest.param("picture", marks=pytest.mark.slow)])
def test_torch_export(checkpoint: Path, graph: str, tmp_path: Path, caplog):
    with caplog.at_level("INFO"):
        target = export(
            config(
                "export", f"ckpt_path={checkpoint}", "format=torch_export", f"graph={graph}", f"output={tmp_path}/m.pt2"
            )
        )
    assert "difference from PyTorch in ab / 128" in caplog.text and str(target) in caplog.text
    most, mean = parity(Colorizer.from_pretrained(checkpoint, device="cpu"), load(target), graph)
    assert mean <= most <= 1e-3


@pytest.mark.slow
def test_whole_pictures_in_onnx(checkpoint: Path, tmp_path: Path):
    """Any size in, the same out, coloured, its lightness kept: nothing of this package is needed to run it."""
    target = export(config("export", f"ckpt_path={checkpoint}", "graph=picture", f"output={tmp_path}/p.onnx"))
    run, colorizer = load(target), Colorizer.from_pretrained(checkpoint, device="cpu")
    rgb = to_float(torch.tensor(render("beach", size=96, seed=3)).permute(2, 0, 1)[None])
    grey = rgb_to_l_ab(rgb)[0]
    for batch in (grey, grey[..., :33], grey[..., :17, :].expand(2, -1, -1, -1)):
        made, want = run(batch), colorizer.colour(batch.expand(-1, 3, -1, -1))
        assert made.shape == want.shape
        for ours, theirs in zip(rgb_to_l_ab(made), rgb_to_l_ab(want), strict=True):
            assert float((ours - theirs).abs().max()) <= 1e-3
    with pytest.raises(ValueError, match="holds the graph of whole pictures"):
        Colorizer.from_pretrained(target)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_network(name: str):
    model = network(name)
    by_torch, by_onnx = (Colorizer(model, 32, "cpu", backend=backend) for backend in ("torch", "onnxruntime"))
    most, _ = parity(by_torch, by_onnx.model, "ab")
    assert most <= 1e-3
    l = torch.rand(1, 1, 8 * model.stride, 4 * model.stride)
    assert float((by_onnx.model(l) * AB_SCALE).std()) > 1e-3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["format=tflite"], "format=tflite is not one of: onnx, torch_export"),
        (["graph=rgb"], "graph=rgb is not one of: ab, picture"),
        (["output=x.pt2"], "must end in .onnx"),
        (["tolerance=0"], "must be a number above 0"),
        (["ckpt_path=gone.ckpt"], "no checkpoint gone.ckpt"),
        (["output=there.onnx"], "there.onnx exists: overwrite=true"),
        (["output=there.onnx", "overwrite=no"], "overwrite=no must be true or false"),
        (["ckpt_path=there.onnx"], "damaged or no ONNX"),
    ],
)
def test_refusals(settings: list[str], says: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("something")
    with pytest.raises(ValueError, match=says) as caught:
        export(config("export", *settings))
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["there.onnx"], "nothing is left behind"


def test_above_the_tolerance_nothing_is_written(checkpoint: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("colorize.export.load", lambda path: ConstantColour([0.3, 0.3]))
    with pytest.raises(ValueError, match=r"difference from PyTorch .* above tolerance=0.001, so .* was not written"):
        export(config("export", f"ckpt_path={checkpoint}", "format=torch_export", f"output={tmp_path}/m.pt2"))
    assert list(tmp_path.iterdir()) == []


def test_a_memory_is_not_exported():
    model = create_model("convlstm", hidden=2, widths=[4, 4], blocks=[0, 0])
    with pytest.raises(ValueError, match="a convlstm cannot be exported: its memory"):
        trace(model, "ab", 32, 1.0)
