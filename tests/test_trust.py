"""Files from strangers: nothing in them runs, asks for memory that it has not, or leads to other files."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import hydra.utils
import numpy as np
import pytest
import torch
from conftest import TINY, config
from omegaconf import OmegaConf
from PIL import Image

from colorize import build, cli
from colorize.checkpoint import load_checkpoint
from colorize.data import shards
from colorize.evaluate import evaluate
from colorize.media import MediaError, read_animation
from colorize.predict import predict


class Bomb:
    """Makes a file named by `ran` when it is unpickled."""

    ran: Path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.ran),)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    Bomb.ran = tmp_path / "ran"
    return Bomb()


def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, task: Any, *arguments: str
) -> tuple[int, str]:
    """(exit code, the one line of the error) of a command in this process."""
    monkeypatch.setattr(sys, "argv", [task.__name__, *arguments])
    monkeypatch.setattr(hydra.utils, "instantiate", hydra.utils.instantiate)  # cli.run's change ends with the test
    with pytest.raises(SystemExit) as stop:
        cli.run(task, task.__name__)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return int(stop.value.code or 0), lines[0]


class TestNothingRuns:
    @pytest.mark.parametrize("place", ["state_dict", "hyper_parameters", "optimizer_states", "callbacks", "everything"])
    def test_from_a_checkpoint(
        self, bomb: Bomb, place: str, checkpoint: Path, train, tmp_path: Path, monkeypatch, capsys
    ):
        content = torch.load(checkpoint, weights_only=True)
        torch.save(bomb if place == "everything" else {**content, place: bomb}, tmp_path / "bomb.ckpt")
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        found = typed(
            *(monkeypatch, capsys, predict, f"input={tmp_path / 'a.png'}", f"ckpt_path={tmp_path / 'bomb.ckpt'}"),
            "device=cpu",
        )
        assert found[0] == 2 and "bomb.ckpt is damaged or no checkpoint" in found[1]
        for override in ("ckpt_path", "finetune") if place == "optimizer_states" else ():  # read by Lightning alone
            with pytest.raises(ValueError, match=r"bomb\.ckpt"):
                train(*TINY, f"{override}={tmp_path / 'bomb.ckpt'}")
        with pytest.raises(ValueError, match=r"bomb\.ckpt"):
            evaluate(config("evaluate", f"ckpt_path={tmp_path / 'bomb.ckpt'}", f"run_dir={tmp_path / 'e'}"))
        assert not bomb.ran.exists()

    @pytest.mark.parametrize("name", ["old.ckpt", "bare.ckpt", "bare.safetensors", "picture.png", "clip.gif"])
    def test_from_a_bare_pickle_whatever_it_is_called(self, bomb: Bomb, name: str, tmp_path: Path):
        path = tmp_path / name
        if name == "old.ckpt":
            torch.save(bomb, path, _use_new_zipfile_serialization=False)
        else:
            path.write_bytes(pickle.dumps(bomb))
        with pytest.raises(ValueError, match=name):
            load_checkpoint(path)
        with pytest.raises(MediaError, match=name):
            read_animation(path)
        assert not bomb.ran.exists()

    def test_from_weights_of_a_backbone(self, bomb: Bomb, train, tmp_path: Path):
        torch.save(bomb, tmp_path / "backbone.pth")
        with pytest.raises(ValueError, match=r"backbone\.pth is damaged or no file of weights"):
            train("model=full", f"model.backbone_weights={tmp_path / 'backbone.pth'}", "dataset.size=64")
        assert not bomb.ran.exists()

    def test_from_a_run_that_is_to_be_repeated(self, bomb: Bomb, tmp_path: Path, monkeypatch, capsys):
        (tmp_path / "config.pickle").write_bytes(pickle.dumps(bomb))
        for flag in ("--experimental-rerun", "--exp"):
            code, line = typed(monkeypatch, capsys, predict, flag, str(tmp_path / "config.pickle"))
            assert code == 2 and "pickle" in line
        assert not bomb.ran.exists()

    @pytest.mark.parametrize("place", ["hydra/callbacks", "callbacks", "dataset", "trainer", "logger", "logging"])
    def test_from_a_strangers_config(self, place: str, tmp_path: Path, monkeypatch, capsys):
        """What `train --config-dir` is pointed at, even where the folder also holds a module of that name."""
        from colorize.train import train as task

        ran = tmp_path / "ran"
        (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(ran)!r})\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        yaml = f"x:\n  _target_: evil.run\n  path: {ran}\n" if place in ("callbacks", "logger") else ""
        yaml = (
            yaml
            or f"_target_: evil.run\npath: {ran}\nname: x\nepochs: 1\nsize: 32\nsteps_per_epoch: 1\nroot: {tmp_path}\n"
        )
        if place == "trainer":
            yaml = f"defaults: [auto, _self_]\n_target_: evil.run\npath: {ran}\n"
        group = {"logging": "hydra/job_logging", "hydra/callbacks": "experiment"}.get(place, place)
        if place == "hydra/callbacks":
            yaml = "# @package _global_\nhydra:\n  callbacks:\n    x:\n      _target_: evil.run\n"
        if place == "logging":
            yaml = f"version: 1\nhandlers:\n  x:\n    class: evil.run\n    path: {ran}\nroot:\n  handlers: [x]\n"
        path = tmp_path / "conf" / group / "evil.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml)
        arguments = [f"{group}=evil", f"hydra.run.dir={tmp_path / 'run'}"]
        root = [] if place == "dataset" else [f"dataset.root={tmp_path}"]
        code, line = typed(
            monkeypatch, capsys, task, "--config-dir", str(tmp_path / "conf"), *arguments, *root, *TINY[:2]
        )
        assert code == 2 and ("_target_: evil.run is refused" in line or place == "logging"), line
        assert not ran.exists(), "it was imported"


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("lightning.Trainer", True),
        ("lightning.pytorch.callbacks.ModelCheckpoint", True),
        ("lightning.pytorch.loggers.CSVLogger", True),
        ("colorize.callbacks.History", True),
        ("colorize.data.datamodule.PhotoDataModule", True),
        ("colorize.demo.subprocess.run", False),  # by way of what our own modules import
        ("colorize.data.folder.Path", False),
        ("colorize.cli.run", False),  # no class
        ("colorize.nothing.Here", False),
        ("lightning.pytorch.callbacks.model_checkpoint.os.system", False),
        ("lightning.pytorch.callbacks.os", False),
        ("os.system", False),
        ("builtins.eval", False),
        ("colorize_evil.Thing", False),
        ("", False),
        (["os.system"], False),
        (None, False),
    ],
)
def test_what_a_config_may_name(target: Any, allowed: bool):
    assert build.is_allowed(target) is allowed


def test_packages_of_ones_own_are_named_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert not build.is_allowed("fractions.Fraction")
    monkeypatch.setenv("COLORIZE_TARGETS", "fractions, mylab")
    assert build.is_allowed("fractions.Fraction")
    assert not build.is_allowed("fractions.gcd") and not build.is_allowed("os.system")
    assert build.instantiate({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}) == 0.5


@pytest.mark.parametrize(
    "hidden",
    [
        {"_target_": "colorize.callbacks.FadeWatch", "ratio": {"_target_": "os.getcwd"}},
        {"a": [{"b": {"_target_": "os.getcwd"}}]},
        {"a": "${x}", "x": {"_target_": "os.getcwd"}},
        {"_target_": "os.${x}", "x": "getcwd"},
        {"a": "${oc.decode:'{_target_: os.getcwd}'}"},
        {"a": "\\${oc.decode:'{_target_: os.getcwd}'}"},
    ],
)
def test_a_target_that_is_hidden_is_found(hidden: dict):
    with pytest.raises(ValueError, match="refused"):
        build.instantiate(OmegaConf.create(hidden))


def test_every_config_of_ours_may_be_built():
    for path in Path(cli.conf_dir()).rglob("*.yaml"):
        for key, value in build._walk(OmegaConf.to_container(OmegaConf.load(path))):
            assert key != "_target_" or build.is_allowed(value), f"{path}: {value}"


def change_model(**settings: Any) -> Callable[[dict], None]:
    return lambda content: content["hyper_parameters"]["model"].update(settings)


def change_data(**settings: Any) -> Callable[[dict], None]:
    return lambda content: content["hyper_parameters"]["data"].update(settings)


def nested(depth: int) -> list:
    """10 ** depth items by reference, in a file of a few bytes."""
    node: list = ["x"]
    for _ in range(depth):
        node = [node] * 10
    return node


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_model(encoder=[2000, "2000/2", "2000/2", "8/2", 8, 4]), "more weights than the file can hold"),
        (change_model(encoder=["4/2", "4/2", "8/2", *[8] * 9000]), "more weights than the file can hold"),
        (change_model(encoder=nested(30)), "endless"),
        (change_model(extra_layers="x" * 10**6), "not plain values"),
        (change_model(extra_layers=torch.zeros(1)), "not plain values"),
        (change_data(size=10**6), "its size"),
        (change_data(size="32"), "its size"),
        (change_data(mean_ab=["a", 0.0]), "its mean_ab"),
        (change_data(name=3), "its name"),
        (change_data(rendered=None), "its rendered"),
        (lambda content: content["hyper_parameters"].update(data=[1]), "another shape"),
        (lambda content: content.update(epoch="x"), "its epoch"),
        (lambda content: content["state_dict"].update(dict.fromkeys(content["state_dict"], 1)), "do not fit"),
        (lambda content: content["state_dict"].update({1: 2}), "damaged"),
    ],
)
def test_a_checkpoint_that_lies_is_one_short_line(
    checkpoint: Path, tmp_path: Path, change: Callable[[dict], None], says: str
):
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "lies.ckpt")
    with pytest.raises(ValueError, match=says) as error:
        load_checkpoint(tmp_path / "lies.ckpt")
    assert "lies.ckpt" in str(error.value) and len(str(error.value)) < 2000


class TestOtherFiles:
    """A clip is one file: what it names is not opened."""

    def film(self, path: Path, container: str) -> Path:
        with av.open(str(path), "w", format=container) as file:
            stream = file.add_stream("libx264", rate=25)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for i in range(5):
                rgb = np.full((32, 32, 3), 40 * i, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            file.mux(stream.encode(None))
        return path

    @pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat"])
    def test_a_playlist(self, name: str, tmp_path: Path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        private = self.film(tmp_path / "elsewhere/private.ts", "mpegts")
        monkeypatch.chdir(tmp_path / "elsewhere")
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{private.as_uri()}\n#EXT-X-ENDLIST\n"
        text = "ffconcat version 1.0\nfile private.ts\n" if name.endswith("ffconcat") else hls
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match=name):
            read_animation(tmp_path / name)

    def test_a_name_that_looks_like_a_protocol(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        self.film(Path("film.mp4"), "mp4").rename("12:30 film.mp4")
        assert len(list(read_animation("12:30 film.mp4").frames())) == 5


@pytest.mark.parametrize("manifest", [True, False])
def test_a_shard_of_a_few_bytes_that_stands_for_gigabytes(manifest: bool, tmp_path: Path):
    head = bytearray(512)  # a sparse file of old GNU tar: nothing stored, 8 GiB when read
    for place, field in {0: b"a.png", 124: b"0" * 11, 156: b"S", 257: b"ustar  ", 483: b"%011o" % (2**33 - 1)}.items():
        head[place : place + len(field)] = field
    head[148:156] = b"%06o\0 " % sum(head[:148] + b" " * 8 + head[156:])
    (tmp_path / "train.tar").write_bytes(bytes(head) + bytes(1024))
    if manifest:
        shard = {"file": "train.tar", "part": "train", "pictures": 1, "bytes": 1536}
        content = {"format": shards.FORMAT, "rendered": False, "shards": [shard]}
        (tmp_path / shards.MANIFEST).write_text(json.dumps(content))
    (found,) = shards.open_shards(str(tmp_path)).parts["train"]
    with pytest.raises(ValueError, match=r"a\.png is no picture"):
        list(shards.read_members(found))


def test_no_network(checkpoint: Path, train, tmp_path: Path, monkeypatch):
    """Training, judging and colouring connect to nothing; nor does importing them, which this suite has done."""

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    train(*TINY)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert predict(config("predict", f"input={tmp_path / 'a.png'}", f"ckpt_path={checkpoint}", "device=cpu"))
    with contextlib.suppress(KeyError):
        del os.environ["HF_HUB_OFFLINE"]
    assert evaluate(config("evaluate", f"ckpt_path={checkpoint}", f"run_dir={tmp_path / 'e'}", "device=cpu"))


def changed_onnx(checkpoint: Path, into: Path, **about: Any) -> Path:
    """The session's network, exported, with other words about itself; of ``elsewhere`` its weights are in a file."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from colorize.export import export

    export(config("export", f"ckpt_path={checkpoint}", f"output={into}"))
    model = onnx.load(into)
    (said,) = [prop for prop in model.metadata_props if prop.key == "about"]
    if about.pop("elsewhere", False):
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/hostname")
    said.value = about["text"] if "text" in about else json.dumps({**json.loads(said.value), **about})
    into.write_bytes(model.SerializeToString())
    return into


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"elsewhere": True}, "its weights are in another file"),
        ({"text": "no JSON"}, "what it says of itself cannot be read"),
        ({"text": "[" * 100_000}, "what it says of itself cannot be read"),
        ({"stride": "8"}, "what it says of itself cannot be read"),
        ({"data": []}, "what it says of itself cannot be read"),
        ({"epoch": None}, "damaged or no checkpoint"),
        ({"data": {"size": 10**9, "name": "x", "rendered": True, "mean_ab": [0.0, 0.0]}}, "rightly say its size"),
        ({"stride": 3}, "in place of ab (B, 2, H, W)"),
    ],
)
def test_an_exported_network_from_a_stranger(
    about: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path, monkeypatch, capsys
):
    path = changed_onnx(checkpoint, tmp_path / "x.onnx", **about)
    Image.new("L", (50, 40), 90).save(tmp_path / "a.png")
    given = [f"input={tmp_path / 'a.png'}", f"ckpt_path={path}", f"output={tmp_path / 'b.png'}"]
    code, line = typed(monkeypatch, capsys, predict, *given)
    assert code == 2 and message in line
    assert not (tmp_path / "b.png").exists()
