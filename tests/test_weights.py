"""Weights files: what ships, how it is written, chosen and read, and what is said of every file that is not right."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import colorize
from colorize.checkpoint import Checkpoint, check_resumable, load_checkpoint, save_weights, start_weights
from colorize.choice import GENERAL, SHIPPED, choose_checkpoint, shipped
from colorize.cli import one_line
from colorize.data import scenes
from colorize.evaluate import evaluate
from colorize.gif import gif
from colorize.metrics import colourfulness
from colorize.models import create_model
from colorize.pipeline import Colorizer
from colorize.predict import predict

CARD = "# tiny\n\nFor tests; «research» use only.\n"
MODEL: dict[str, Any] = {"name": "unet", "widths": [4, 8], "blocks": [0, 1]}
DATA = {"name": "beach", "rendered": True, "size": 32, "mean_ab": [0.125, -0.1]}


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    """A network with batch norm whose weights and statistics are not those it starts with."""
    torch.manual_seed(0)
    model = create_model(**MODEL)
    for _ in range(3):
        model.train()(torch.rand(2, 1, 16, 16))
    machine = {"root": "/home/someone/beach", "batch_size": 15}
    full = {"model": MODEL, "data": DATA | machine, "optimizer": {"name": "Adam"}}
    return Checkpoint(model.eval(), "unet", DATA | machine, 6, 350, full)


@pytest.fixture(scope="module")
def weights(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(trained, path, CARD)
    return path


@pytest.fixture
def installation(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installation that ships general and other, in the place of the real one."""
    folder = (tmp_path / "installed").resolve()
    folder.mkdir()
    for name in (GENERAL, "other"):
        (folder / f"{name}.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.setattr("colorize.choice.SHIPPED", folder)
    return folder


def changed(weights: Path, path: Path, **metadata: str | None) -> Path:
    """The same file with other metadata, None removing a key, and its checksum as it was."""
    with safe_open(weights, framework="pt") as file:
        header = file.metadata()
    save_file(load_file(weights), path, {key: v for key, v in {**header, **metadata}.items() if v is not None})
    return path


def picture(path: Path, side: int = 40) -> Path:
    Image.fromarray(scenes.render("beach", seed=1, size=side)).convert("L").save(path)
    return path


class TestFile:
    def test_what_is_read_is_what_was_written(self, trained: Checkpoint, weights: Path):
        read = load_checkpoint(weights)
        assert (read.name, read.epoch, read.steps) == ("unet", 6, 350)
        assert read.data == {**DATA, "root": None}, "no path of the machine it was trained on"
        assert read.settings["model"] == MODEL
        assert not read.model.training
        for (name, before), after in zip(
            trained.model.state_dict().items(), read.model.state_dict().values(), strict=True
        ):
            assert after.dtype == before.dtype
            torch.testing.assert_close(after, before, rtol=2**-11, atol=2**-24, msg=name)
        assert int(read.model.state_dict()["encoder.0.0.1.num_batches_tracked"]) == 3

    def test_it_is_half_the_size_and_says_what_it_is(self, trained: Checkpoint, weights: Path):
        tensors = load_file(weights)
        assert {str(value.dtype) for value in tensors.values()} == {"torch.float16", "torch.int64"}
        with safe_open(weights, framework="pt") as file:
            metadata = file.metadata()
        assert metadata["colorize.weights"] == "1" and metadata["card"] == CARD
        assert json.loads(metadata["about"])["colorize"] == colorize.__version__
        assert b"someone" not in weights.read_bytes()

    def test_it_can_be_written_again_from_itself(self, weights: Path, tmp_path: Path):
        save_weights(load_checkpoint(weights), tmp_path / "again.safetensors", CARD)
        again = load_file(tmp_path / "again.safetensors")
        assert all(torch.equal(value, again[name]) for name, value in load_file(weights).items())

    def test_of_a_training_checkpoint(self, checkpoint: Path, tmp_path: Path):
        before = load_checkpoint(checkpoint)
        save_weights(before, tmp_path / "a.safetensors", CARD)
        after = load_checkpoint(tmp_path / "a.safetensors")
        assert (after.name, after.epoch, after.steps) == ("beta", 0, 1) == (before.name, before.epoch, before.steps)
        assert after.data == {key: before.data[key] for key in DATA} | {"root": None}
        l = torch.rand(1, 1, 32, 32)
        torch.testing.assert_close(after.model(l), before.model(l), atol=2e-3, rtol=0)

    def test_colour_classes_survive(self, tmp_path: Path):
        model = create_model(**MODEL, head="classes").eval()
        model.prepare(torch.tensor(scenes.render("beach", seed=0, size=64)).permute(2, 0, 1)[None])
        before = Checkpoint(model, "unet", DATA, 0, 1, {"model": {**MODEL, "head": "classes"}, "data": DATA})
        save_weights(before, tmp_path / "classes.safetensors", CARD)
        l = torch.rand(1, 1, 32, 32)
        after = load_checkpoint(tmp_path / "classes.safetensors").model
        torch.testing.assert_close(after(l), model(l), atol=2e-3, rtol=0)

    def test_nothing_is_left_where_writing_fails(self, trained: Checkpoint, tmp_path: Path):
        with pytest.raises(ValueError, match=r"must end in \.safetensors"):
            save_weights(trained, tmp_path / "a.ckpt", CARD)
        diverged = create_model(**MODEL)
        torch.nn.init.constant_(next(diverged.parameters()), 1e5)
        with pytest.raises(ValueError, match=r"encoder\.0\.0\.0\.weight is not finite in half precision"):
            save_weights(trained._replace(model=diverged), tmp_path / "a.safetensors", CARD)
        assert not list(tmp_path.iterdir())


class TestWrongFiles:
    def refused(self, path: Path, *says: str) -> None:
        with pytest.raises(ValueError) as error:
            load_checkpoint(path)
        line = one_line(error.value)
        assert line is not None and path.name in line
        for words in says:
            assert words in line, line

    def test_no_weights_file_at_all(self, checkpoint: Path, tmp_path: Path):
        for content in (b"", b"hello, I am text", checkpoint.read_bytes()):
            (tmp_path / "a.safetensors").write_bytes(content)
            self.refused(tmp_path / "a.safetensors", "is damaged or no weights file")
        self.refused(tmp_path / "gone.safetensors", "no checkpoint")

    def test_somebody_elses(self, tmp_path: Path):
        for metadata in (None, {"format": "pt"}):
            save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata)
            self.refused(tmp_path / "a.safetensors", "no weights file of Colorize")

    def test_another_version(self, weights: Path, tmp_path: Path):
        newer = {"colorize.weights": "2", "about": "[something else]"}
        self.refused(
            changed(weights, tmp_path / "a.safetensors", **newer),
            "weights of another version (2; this colorize reads 1): update colorize or retrain",
        )

    @pytest.mark.parametrize("key", ["about", "card", "sha256"])
    def test_changed_after_it_was_written(self, weights: Path, tmp_path: Path, key: str):
        for value in (None, "{}"):
            self.refused(changed(weights, tmp_path / "a.safetensors", **{key: value}), "is damaged", "fetch it anew")

    def test_a_changed_number(self, weights: Path, tmp_path: Path):
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        (tmp_path / "a.safetensors").write_bytes(content)
        self.refused(tmp_path / "a.safetensors", "its checksum is another")

    def test_a_network_of_the_future(self, trained: Checkpoint, tmp_path: Path):
        path = tmp_path / "a.safetensors"
        for model, says in [({"name": "gamma"}, "no model is called 'gamma'"), ({**MODEL, "depth": 3}, "depth")]:
            save_weights(trained._replace(settings={"model": model}), path, CARD)
            self.refused(path, "this version of Colorize cannot build", says, "update colorize")

    def test_weights_of_another_network(self, trained: Checkpoint, tmp_path: Path):
        save_weights(trained._replace(settings={"model": {"name": "alpha"}}), tmp_path / "a.safetensors", CARD)
        self.refused(tmp_path / "a.safetensors", "do not fit the network it names", "they are of another network")

    def test_metadata_of_another_shape(self, trained: Checkpoint, tmp_path: Path):
        wrong = trained._replace(settings={"model": ["unet"]})
        save_weights(wrong, tmp_path / "a.safetensors", CARD)
        self.refused(tmp_path / "a.safetensors", "is damaged")


class TestDamage:
    """Whatever happens to a file on its way: one line, or the very same network."""

    @pytest.fixture(scope="class")
    def reads(self, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], bool]:
        """Whether a file of these bytes is read, then rightly; False: it is refused, in one line."""
        path = tmp_path_factory.mktemp("damage") / "a.safetensors"
        right = load_checkpoint(weights)

        def check(content: bytes) -> bool:
            path.unlink(missing_ok=True)  # the old one may still be mapped
            path.write_bytes(content)
            try:
                read = load_checkpoint(path)
            except ValueError as error:
                assert path.name in str(error) and "\n" not in str(error)
                return False
            assert (read.name, read.data, read.epoch, read.steps) == (right.name, right.data, right.epoch, right.steps)
            state = read.model.state_dict()
            assert all(torch.equal(value, state[name]) for name, value in right.model.state_dict().items())
            return True

        return check

    @settings(max_examples=60, deadline=None)
    @given(share=st.floats(0, 1, exclude_max=True))
    def test_cut_short(self, reads: Callable[[bytes], bool], weights: Path, share: float):
        whole = weights.read_bytes()
        assert reads(whole) and not reads(whole[: int(share * len(whole))])

    @pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1])
    def test_cut_at_the_edges(self, reads: Callable[[bytes], bool], weights: Path, length: int):
        assert not reads(weights.read_bytes()[:length])

    @settings(max_examples=300, deadline=None)
    @given(data=st.data())
    def test_bytes_of_the_header_changed(self, reads: Callable[[bytes], bool], weights: Path, data: st.DataObject):
        content = bytearray(weights.read_bytes())
        end = 8 + int.from_bytes(content[:8], "little")
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
        reads(bytes(content))  # what it asserts; spaces at the header's end may be other white space

    @settings(max_examples=60, deadline=None)
    @given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_bit_of_the_numbers_flipped(self, reads: Callable[[bytes], bool], weights: Path, share: float, bit: int):
        content = bytearray(weights.read_bytes())
        start = 8 + int.from_bytes(content[:8], "little")
        content[start + int(share * (len(content) - start))] ^= 1 << bit
        assert not reads(bytes(content))


class TestChoice:
    def test_the_order(self, installation: Path, checkpoint: Path):
        outputs = str(checkpoint.parents[4])
        general, other = (installation / f"{name}.safetensors" for name in (GENERAL, "other"))
        for weights in ("auto", "last", "other", "nonsense"):
            assert choose_checkpoint("x.ckpt", weights, outputs) == Path("x.ckpt"), "ckpt_path comes first"
        assert choose_checkpoint(None, "auto", outputs) == general, "though there is a finished run"
        assert choose_checkpoint(None, "last", outputs) == checkpoint
        assert choose_checkpoint(None, GENERAL, outputs) == general
        assert choose_checkpoint(None, "other", outputs) == other
        assert shipped() == {GENERAL: general, "other": other}

    @pytest.mark.parametrize("command", ["predict", "gif"])
    def test_general_is_the_default(self, command: str):
        cfg = config(command, "input=x")
        assert (cfg.ckpt_path, cfg.weights) == (None, "auto")

    @pytest.mark.parametrize("name", ["best", "../general", "general.safetensors", "", "None"])
    def test_an_unknown_name_lists_what_there_is(self, installation: Path, name: str, tmp_path: Path):
        with pytest.raises(ValueError, match="is not known; there is: auto, last, general, other"):
            choose_checkpoint(None, name, str(tmp_path))

    @pytest.mark.parametrize("weights", ["auto", GENERAL])
    def test_an_installation_without_weights_says_how_to_get_some(
        self, monkeypatch: pytest.MonkeyPatch, weights: str, tmp_path: Path
    ):
        monkeypatch.setattr("colorize.choice.SHIPPED", tmp_path / "gone")
        with pytest.raises(ValueError) as error:
            choose_checkpoint(None, weights, str(tmp_path))
        for words in (f"weights={weights}", "general.safetensors", "colorize.train", "weights=last", "ckpt_path="):
            assert words in str(error.value)
        with pytest.raises(ValueError, match="there is: auto, last \\(or give ckpt_path=\\)"):
            choose_checkpoint(None, "other", str(tmp_path))


class TestCommands:
    def test_predict_takes_general_and_says_so(self, installation: Path, checkpoint: Path, tmp_path: Path, caplog):
        source, outputs = picture(tmp_path / "a.png"), checkpoint.parents[4]
        with caplog.at_level(logging.INFO):
            (written,) = predict(config("predict", f"input={source}", f"output_dir={outputs}"))
        said = (
            f"general, shipped with colorize {colorize.__version__}; research use only, see colorize/weights/general.md"
        )
        assert f"weights: {said}" in caplog.messages
        assert np.asarray(Image.open(written)).shape == (40, 40, 3)

    @pytest.mark.parametrize(
        ("choice", "said"),
        [
            ("weights=other", "weights: other, shipped with colorize"),
            ("weights=last", "weights: beta, trained on beach (rendered scenes): "),
            ("ckpt_path={tiny}", "weights: unet, trained on beach (rendered scenes): "),
        ],
    )
    def test_gif_says_which_it_took(
        self, installation: Path, checkpoint: Path, weights: Path, tmp_path: Path, caplog, choice: str, said: str
    ):
        source = picture(tmp_path / "a.gif", side=16)
        with caplog.at_level(logging.INFO):
            gif(config("gif", f"input={source}", f"output_dir={checkpoint.parents[4]}", choice.format(tiny=weights)))
        assert next(line for line in caplog.messages if line.startswith("weights: ")).startswith(said)

    def test_no_weights_no_output(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setattr("colorize.choice.SHIPPED", tmp_path / "gone")
        with pytest.raises(ValueError, match="is not in this installation"):
            predict(config("predict", f"input={picture(tmp_path / 'a.png')}"))
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

    def test_evaluate_judges_a_weights_file(self, weights: Path, checkpoint: Path, rendered: Path, tmp_path: Path):
        rows = evaluate(
            config(
                *("evaluate", f"ckpt_path=[{weights},{checkpoint}]", "dataset=folder", f"dataset.root={rendered}"),
                *("eval.size=32", f"run_dir={tmp_path / 'out'}"),
            )
        )
        assert rows[-2]["method"] == str(weights) and rows[-2]["pictures"] == 3

    def test_training_does_not_go_on_from_it(self, weights: Path):
        with pytest.raises(
            ValueError, match=r"no state of a training; start from it with finetune=.*tiny\.safetensors"
        ):
            check_resumable(weights, {"model": MODEL, "data": DATA}, max_epochs=9)


class TestFinetune:
    def test_a_new_network_starts_with_them(self, installation: Path, weights: Path, checkpoint: Path, caplog):
        expected = load_checkpoint(weights).model.state_dict()
        for source in ("auto", "other", str(weights)):
            network = create_model(**MODEL).to(memory_format=torch.channels_last)
            with caplog.at_level(logging.INFO):
                start_weights(network, MODEL, source)
            assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
            assert caplog.messages[-1].startswith("starting from ")
            assert network.training and all(p.requires_grad for p in network.parameters())
        theirs = load_checkpoint(checkpoint)
        network = create_model(**theirs.settings["model"])
        start_weights(network, theirs.settings["model"], str(checkpoint))
        assert torch.equal(next(network.parameters()), next(theirs.model.parameters()))

    def test_settings_that_change_nothing_may_differ(self, checkpoint: Path, weights: Path):
        start_weights(create_model(**MODEL), {**MODEL, "widths": (4, 8), "head": "ab"}, str(weights))
        theirs = load_checkpoint(checkpoint).settings["model"]
        network = create_model(**{**theirs, "init": "glorot"})
        start_weights(network, {**theirs, "init": "glorot"}, str(checkpoint))
        assert torch.equal(next(network.parameters()), next(load_checkpoint(checkpoint).model.parameters()))

    @pytest.mark.parametrize(
        ("model", "says"),
        [
            ({"name": "alpha"}, "holds unet, and model=alpha is another network: give model=unet"),
            ({**MODEL, "widths": [4, 6]}, "holds unet with widths [4, 8] and model.widths=[4, 6] is asked for"),
            ({"name": "unet", "head": "classes"}, "its settings are {'name': 'unet', 'widths': [4, 8]"),
        ],
    )
    def test_another_network(self, installation: Path, model: dict, says: str):
        network = create_model(**model)
        before = [p.clone() for p in network.parameters()]
        with pytest.raises(ValueError) as error:
            start_weights(network, model, "auto")
        assert str(error.value).startswith("finetune=auto ") and says in str(error.value)
        if "head" not in model:
            assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))

    def test_what_is_not_there(self, installation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        for source, says in [
            ("last", "finetune=last is not known; there is: auto, general, other (or a .ckpt or .safetensors file)"),
            ("gone.ckpt", "no checkpoint gone.ckpt"),
            ("gone.safetensors", "no checkpoint gone.safetensors"),
        ]:
            with pytest.raises(ValueError) as error:
                start_weights(create_model(**MODEL), MODEL, source)
            assert says in str(error.value)
        monkeypatch.setattr("colorize.choice.SHIPPED", tmp_path / "gone")
        with pytest.raises(ValueError, match=r"finetune=auto: .* finetune=PATH\.ckpt"):
            start_weights(create_model(**MODEL), MODEL, "auto")


@pytest.fixture(scope="module")
def shipping() -> ModuleType:
    """benchmarks/ship.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("ship", Path(__file__).parents[1] / "benchmarks/ship.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestShip:
    def test_as_it_is_typed(self, checkpoint: Path, tmp_path: Path):
        (tmp_path / "card.md").write_text(CARD, encoding="utf-8")
        script = Path(__file__).parents[1] / "benchmarks/ship.py"
        command = [sys.executable, str(script), str(checkpoint), "out.safetensors", "card.md"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "out.safetensors: 0.0" in done.stdout and "half precision changes ab by 0.0" in done.stdout
        assert (tmp_path / "out.md").read_text(encoding="utf-8") == CARD
        assert load_checkpoint(tmp_path / "out.safetensors").name == "beta"

    @pytest.mark.parametrize(("limit", "says"), [("MEGABYTES", "MB is more than 0"), ("VISIBLE", "that is visible")])
    def test_what_must_not_ship(
        self,
        shipping: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        weights: Path,
        tmp_path: Path,
        limit: str,
        says: str,
    ):
        monkeypatch.setattr(shipping, limit, 0)
        with pytest.raises(ValueError, match=says):
            shipping.ship(weights, tmp_path / "out.safetensors", CARD)
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not (SHIPPED / f"{GENERAL}.safetensors").is_file(), reason="no colorize/weights/general.safetensors"
)
class TestGeneral:
    """The real file."""

    PATH = SHIPPED / f"{GENERAL}.safetensors"

    def test_size_and_card(self):
        assert self.PATH.stat().st_size <= 10e6
        with safe_open(self.PATH, framework="pt") as file:
            card = file.metadata()["card"]
        assert card == self.PATH.with_suffix(".md").read_text(encoding="utf-8")
        assert "research" in card.lower()
        assert load_checkpoint(self.PATH).data["rendered"] is False

    @pytest.mark.parametrize("scene", ["pradera", "beach"])
    def test_it_colours(self, scene: str):
        grey = np.asarray(Image.fromarray(scenes.render(scene, seed=0)).convert("L").convert("RGB"))
        out = Colorizer.from_checkpoint(choose_checkpoint(None, "auto", "outputs"), device="cpu")(grey)
        assert out.shape == grey.shape
        assert float(colourfulness(torch.tensor(out).permute(2, 0, 1)[None])) > 8, "plainly not grey"
