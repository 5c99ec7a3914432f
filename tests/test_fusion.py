"""The fusion network: what reaches its decoder, what learns, where the backbone's weights come from."""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import TINY
from safetensors.torch import save_file
from torch import nn

from colorize.checkpoint import load_checkpoint
from colorize.cli import one_line
from colorize.color import l_ab_to_rgb, rgb_to_l_ab, to_float
from colorize.data import scenes
from colorize.models import create_model
from colorize.models.fusion import Backbone, Full

SMALL: dict[str, Any] = {"encoder": ["4/2", "4/2", "8/2"], "decoder": ["up", 4, "up", 4, "head", "up"]}
SMALL |= {"backbone": "mobilenet_v3_small", "backbone_weights": "random"}
FUSIONS = pytest.mark.parametrize("fusion", ["scores", "features"])


def full(**settings: Any) -> Full:
    return cast(Full, create_model("full", **(SMALL | settings)))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """What a download would bring: torchvision's own classifier, with statistics that differ from a new one's."""
    torch.manual_seed(5)
    classifier = torchvision.models.mobilenet_v3_small()
    classifier(torch.randn(4, 3, 64, 64))
    return classifier.state_dict()


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.stack([torch.tensor(scenes.render("beach", seed=i, size=64)).permute(2, 0, 1) for i in range(2)])


def test_the_reports_layers():
    model = cast(Full, create_model("full"))
    layers = [m for m in model.layers.modules() if isinstance(m, nn.Conv2d | nn.Upsample)]
    said = [f"{m.out_channels}/{m.stride[0]}" if isinstance(m, nn.Conv2d) else "up" for m in layers]
    encoder, decoder = "64/2 128/1 128/2 256/1 256/2 512/1 512/1 256/1", "128/1 up 64/1 up 32/1 16/1 2/1 up"
    assert " ".join(said) == f"{encoder} {decoder}"
    assert (model.fuse.in_channels, model.fuse.out_channels, model.fuse.kernel_size) == (256 + 1000, 256, (1, 1))
    assert model.stride == 8


@FUSIONS
def test_it_is_the_join_and_the_convolution_of_the_report(fusion: str, pictures: torch.Tensor):
    """The 1x1 convolution is computed in two parts; this is the report's way."""
    model = full(fusion=fusion, init="glorot").eval()
    l = rgb_to_l_ab(to_float(pictures))[0][..., :48]
    x = model.layers[:6](l)
    seen = model.backbone(l)
    if fusion == "scores":
        assert seen.shape == (2, 1000, 1, 1)
        torch.testing.assert_close(seen.sum(1), torch.ones(2, 1, 1))
        spread = seen.expand(-1, -1, 8, 6)
    else:
        assert seen.shape == (2, 576, 7, 7)
        spread = F.interpolate(seen, (8, 6), mode="bilinear")
    joined = F.relu(model.fuse(torch.cat([x, spread], dim=1)))
    torch.testing.assert_close(model(l), model.layers[6:](joined), rtol=1e-4, atol=1e-5)


@FUSIONS
@pytest.mark.parametrize("frozen", [True, False])
def test_size_range_and_what_learns(fusion: str, frozen: bool):
    torch.manual_seed(0)
    model = full(fusion=fusion, frozen=frozen).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    ab = model(torch.rand(2, 1, 24, 40))
    assert ab.shape == (2, 2, 24, 40) and ab.abs().max() < 1
    (ab - 0.5).square().mean().backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    backbone = {name for name, _ in model.named_parameters() if name.startswith("backbone.")}
    everything = {name for name, _ in model.named_parameters()}
    assert backbone and learns == (everything - backbone if frozen else everything)
    same = [torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items()]
    assert all(same) == frozen, "the batch norms' statistics"
    assert any(module.training for module in model.backbone.modules()) != frozen


def test_the_backbone_is_given_what_torchvision_would_give_it(weights: Path):
    """Torchvision's own preprocessing of the grey picture, and its own classifier, end in the same scores."""
    backbone = Backbone("mobilenet_v3_small", "scores", frozen=True, cache=False)
    backbone.load(str(weights))
    own = torchvision.models.mobilenet_v3_small()
    own.load_state_dict(torch.load(weights, weights_only=True))
    l = torch.rand(2, 1, 256, 256)
    grey = l_ab_to_rgb(l, torch.zeros(2, 2, 256, 256))
    preset = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.transforms(resize_size=224)
    expected = own.eval()(preset(grey)).softmax(1)
    torch.testing.assert_close(backbone(l)[:, :, 0, 0], expected, rtol=1e-3, atol=1e-7)


@FUSIONS
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_weights(fusion: str, suffix: str, state, pictures: torch.Tensor, tmp_path: Path):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    model = full(fusion=fusion, backbone_weights=str(path))
    model.prepare(pictures)
    loaded = model.backbone.net.state_dict()
    assert loaded and all(torch.equal(value, state[name]) for name, value in loaded.items())
    assert model.label == f"full (backbone weights{suffix})"


def test_the_download(state, pictures: torch.Tensor, tmp_path: Path, monkeypatch):
    """Torchvision finds a file that it has downloaded before; without one and without a network, one line."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: (_ for _ in ()).throw(urllib.error.URLError("offline")))
    model = full(backbone_weights="imagenet")
    with pytest.raises(ValueError, match=r"cannot be downloaded .*offline.*https://.*backbone_weights=FILE") as error:
        model.prepare(pictures)
    assert len(str(error.value).splitlines()) == 1

    url = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url
    (tmp_path / "hub/checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(state, tmp_path / "hub/checkpoints" / url.rpartition("/")[2])
    model.prepare(pictures)
    assert torch.equal(model.backbone.net.state_dict()["features.0.0.weight"], state["features.0.0.weight"])
    assert model.label == "full"


@FUSIONS
def test_a_checkpoint_has_the_backbone_in_it(fusion: str, train, weights: Path, tmp_path: Path):
    """Neither a file nor the network is there any more when it is loaded."""
    used = tmp_path / "used.pth"
    used.write_bytes(weights.read_bytes())
    settings = [f"model.fusion={fusion}", "model.backbone=mobilenet_v3_small", f"model.backbone_weights={used}"]
    result = train("experiment=full", *TINY, *settings)
    assert result["steps"] == 1 and result["network"].startswith("full")
    used.unlink()
    loaded = cast(Full, load_checkpoint(tmp_path / "run/checkpoints/best.ckpt").model)
    expected = torch.load(weights, weights_only=True)
    for name, value in loaded.backbone.net.state_dict().items():
        assert torch.equal(value, expected[name]), name
    loaded.prepare(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))  # finetune=: what it brought stays
    assert torch.equal(loaded.backbone.net.state_dict()["features.0.0.weight"], expected["features.0.0.weight"])


def test_a_frozen_backbone_looks_up_what_it_has_seen_twice(pictures: torch.Tensor, weights: Path):
    model = full().eval()
    calls = []
    model.backbone.net.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    l = rgb_to_l_ab(to_float(pictures))[0]
    with torch.inference_mode():
        first, second, third = (model.backbone(l) for _ in range(3))
    assert calls == [2, 2]
    assert torch.equal(first, second) and torch.equal(second, third)
    model.train()(torch.cat([l.flip(0), 1 - l[:1]])).mean().backward()  # outside inference mode, in another order
    assert calls == [2, 2, 1]
    assert model.fuse.weight.grad is not None and model.fuse.weight.grad.abs().max() > 0
    torch.testing.assert_close(model.backbone(l.flip(0)), third.flip(0))
    model.backbone.load(str(weights))
    assert not torch.equal(model.backbone(l), third), "other weights see other things"
    assert calls == [2, 2, 1, 2]


def test_the_cache_stays_within_its_bytes(monkeypatch):
    monkeypatch.setattr("colorize.models.fusion._KEPT_BYTES", 3 * 4000)
    backbone = full().backbone
    l = torch.rand(5, 1, 16, 16)
    for _ in range(2):
        backbone(l)
    assert len(backbone._kept) == 3


@pytest.mark.filterwarnings("ignore")  # of the tracer
def test_a_trace_holds_the_network_and_not_what_it_saw():
    model = full().eval()
    one, other = torch.rand(2, 1, 1, 24, 24)
    for _ in range(2):
        model(one)
    traced = torch.jit.trace(model, (one,), check_trace=False)
    torch.testing.assert_close(traced(other), model(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_a_backbone_with_a_second_classifier(name: str):
    """It has no part here, and the file of the whole classifier loads all the same."""
    backbone = Backbone(name, "scores", frozen=False, cache=True)
    assert not [key for key in backbone.state_dict() if "aux" in key.lower()]
    assert [key for key in backbone._tensors if "aux" in key.lower()]
    assert backbone(torch.rand(2, 1, 16, 16)).shape == (2, 1000, 1, 1)


def test_what_is_wrong_with_weights_is_one_line(weights: Path, tmp_path: Path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pth")
    torch.save({"model": {}, "epoch": 3}, tmp_path / "nested.pth")
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=10).state_dict(), tmp_path / "ten.pth")
    for file, backbone, message in [
        ("gone.pth", "mobilenet_v3_small", "is no file; give one, or imagenet"),
        ("text.pth", "mobilenet_v3_small", "is damaged or no file of weights"),
        ("pickled.pth", "mobilenet_v3_small", "is damaged or no file of weights"),
        ("nested.pth", "mobilenet_v3_small", "torch.save(model.state_dict(), FILE)"),
        ("ten.pth", "mobilenet_v3_small", "size mismatch for classifier.3.weight"),
        ("resnet34.pth", "resnet18", "another network than model.backbone=resnet18: layer1.2.conv1.weight and "),
    ]:
        with pytest.raises(ValueError) as error:
            Backbone(backbone, "scores", frozen=True, cache=True).load(str(tmp_path / file))
        line = one_line(error.value)
        assert line and message in line and file in line and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "sum"}, "model.fusion=sum is not one of: scores, features"),
        ({"encoder": [], "decoder": ["head"]}, "model.encoder=[] is empty"),
        ({"backbone": "vit_b_32", "fusion": "features"}, "vit_b_32 has no map of features"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str):
    with pytest.raises(ValueError) as error:
        full(**settings)
    assert message in str(error.value)


def test_without_timm_an_unknown_backbone_names_near_ones_and_how_to_get_more(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for name, near in {"resnet81": "resnet18", "inception_resnet_v2": "inception_v3"}.items():
        with pytest.raises(ValueError, match=rf"{name} is no .* torchvision; near: .*{near}.*'colorize\[timm\]'"):
            full(backbone=name)


def test_backbones_of_timm():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = full(backbone="mobilenetv3_small_050", fusion="features", frozen=False)
    model(torch.rand(2, 1, 16, 16)).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(ValueError, match=r"torchvision or timm; near: .*inception_resnet_v2"):
        full(backbone="inception_resnet_v3")


@pytest.mark.parametrize(
    ("settings", "label"),
    [({}, "full (random backbone)"), ({"frozen": False}, "full (random backbone, fine-tuned)")],
)
def test_the_label_says_that_a_backbone_is_not_imagenets(settings: dict, label: str):
    assert full(**settings).label == label
