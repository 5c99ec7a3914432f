"""Sets in shards: packed, streamed, each picture once an epoch, resumed within one, and what is wrong with them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import resource
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import TINY, config
from PIL import Image

from colorize import cli, pack
from colorize.data import stream
from colorize.data.shards import Shard, open_shards, read_members
from colorize.data.stream import PictureStream, StreamLoader

COUNT = 61


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """61 pictures of one colour each, in folders of folders, none like another."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(COUNT):
        path = folder / ("a" if i % 2 else "b/c") / f"my photo {i}.v1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (4 * i, 250 - 4 * i, 0)).save(path)
    return folder


@pytest.fixture(scope="module")
def shards(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("packed") / "shards"
    run_pack(photos, output, "shard_size=0.0005")
    return output


def run_pack(photos: Path, output: Path, *overrides: str) -> dict[str, Any]:
    return pack.run(config("pack", f"input={photos}", f"output={output}", "workers=1", *overrides))


class Worker(NamedTuple):
    id: int
    num_workers: int


def names(
    shards: list[Shard], world_size: int, workers: int, batch_size: int, epoch: int = 0, done: int = 0
) -> list[list[list[str]]]:
    """What each process' batches hold, without processes: by process, batch and picture."""
    read = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "decode", lambda name, content, size: name)
        patch.setattr(stream.np, "stack", list)
        patch.setattr(stream.torch, "from_numpy", list)
        for rank in range(world_size):
            taken = []
            for worker in range(workers):
                patch.setattr(stream, "get_worker_info", functools.partial(Worker, worker, workers))
                one = PictureStream(shards, 8, batch_size, None, shuffle=7, seed=3, rank=rank, world_size=world_size)
                one.position.copy_(torch.tensor([epoch, done]))
                taken.append([batch for batch, _ in one])  # type: ignore[misc]
            turns = itertools.zip_longest(*taken)  # as a loader asks its workers
            read.append([batch for turn in turns for batch in turn if batch is not None])
    return read  # type: ignore[return-value]  # names take the place of pictures


class TestEpoch:
    @pytest.mark.parametrize(
        "world_size, workers, batch_size", [(2, 2, 4), (2, 2, 1), (1, 1, 8), (3, 4, 5), (2, 2, 99)]
    )
    def test_every_picture_comes_exactly_once(self, shards: Path, world_size: int, workers: int, batch_size: int):
        train = open_shards(str(shards)).parts["train"]
        assert len(train) > 5
        read = names(train, world_size, workers, batch_size)
        every = [name for process in read for batch in process for name in batch]
        assert len(every) == len(set(every)) == sum(shard.pictures for shard in train)
        assert len({len(process) for process in read}) == 1, "processes wait for each other at every step"
        assert max(len(batch) for process in read for batch in process) <= max(2, batch_size)

    def test_order_is_drawn_anew_each_epoch_and_shuffled_beyond_shards(self, shards: Path):
        train = open_shards(str(shards)).parts["train"]
        first, again, other = (names(train, 1, 1, 4, epoch=epoch)[0] for epoch in (0, 0, 1))
        assert first == again and first != other
        assert {name for batch in first for name in batch} == {name for batch in other for name in batch}
        assert len({name.rpartition("/")[0] for name in first[0] + first[1]}) > 1

    @pytest.mark.parametrize("world_size, workers", [(1, 1), (2, 2), (1, 3)])
    def test_going_on_within_an_epoch_reads_exactly_the_rest(self, shards: Path, world_size: int, workers: int):
        train = open_shards(str(shards)).parts["train"]
        whole = names(train, world_size, workers, 4, epoch=2)
        for done in range(1, len(whole[0])):
            assert names(train, world_size, workers, 4, epoch=2, done=done) == [rest[done:] for rest in whole]

    def test_fewer_pictures_than_an_epoch_takes_are_gone_through_again(self, shards: Path):
        train = open_shards(str(shards)).parts["train"]
        loader = StreamLoader(PictureStream(train, 8, 10, 20, shuffle=7), 0, persistent=False)
        read = torch.cat(list(loader))
        pictures, times = read[:, :, 0, 0].unique(dim=0, return_counts=True)
        assert len(read) == 200 and len(pictures) == sum(shard.pictures for shard in train)
        assert times.max() - times.min() == 1

    def test_real_workers_and_a_state_that_goes_on(self, shards: Path):
        train = open_shards(str(shards)).parts["train"]

        def loader() -> StreamLoader:
            return StreamLoader(PictureStream(train, 8, 4, None, shuffle=7), 2, persistent=True)

        whole = loader()
        epochs = []
        for epoch in range(2):
            whole.set_epoch(epoch)
            epochs.append(list(whole))
        assert len(torch.cat(epochs[1])[:, :, 0, 0].unique(dim=0)) == sum(shard.pictures for shard in train)

        stopped = loader()
        stopped.set_epoch(1)
        begun = list(itertools.islice(stopped, 5))
        state = stopped.state_dict()
        resumed = loader()
        resumed.load_state_dict(state)
        resumed.set_epoch(1)
        assert all(torch.equal(a, b) for a, b in zip([*begun, *resumed], epochs[1], strict=True))

        other = StreamLoader(PictureStream(train, 8, 4, None, shuffle=7), 1, persistent=False)
        with pytest.raises(ValueError, match=r"dataset\.num_workers=2 and not 1: give the same again"):
            other.load_state_dict(state)


class TestTrain:
    def test_a_run_stopped_within_an_epoch_ends_as_one_that_was_not(self, shards: Path, tmp_path: Path):
        """With augmentation, and saved after every step."""
        from colorize.train import train

        saved = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, every_n_train_steps: 1, save_top_k: -1"
        tiny = [setting for setting in TINY if "steps_per_epoch" not in setting and "epochs" not in setting]
        common = ["dataset=shards", f"dataset.root={shards}", *tiny, "dataset.batch_size=9", "dataset.epochs=2"]
        common += ["dataset.num_workers=0", "scheduler=cosine", f"output_dir={tmp_path}", "dataset.shuffle=20"]

        def run(name: str, *more: str) -> dict[str, Any]:
            return train(config("train", f"run_dir={tmp_path / name}", *common, *more))

        whole = run("whole", f"+callbacks.each={saved}, dirpath: {tmp_path}/each, filename: 's{{step}}'}}")
        assert whole["steps"] == 2 * 6 and whole["dataset"] == "shards"
        assert {"beta", "grey"} < set(whole["test"]) and whole["test"]["beta"]["pictures"] == 9
        resumed = run("resumed", f"ckpt_path='{tmp_path}/each/sstep=4.ckpt'")  # in the first epoch
        assert resumed["val"] == whole["val"] and resumed["test"] == whole["test"]

    def test_judged_by_its_checkpoint_alone_and_validated_on_a_folder(self, shards: Path, photos: Path, tmp_path: Path):
        from colorize.evaluate import evaluate
        from colorize.train import train

        few = tmp_path / "few"
        shutil.copytree(photos / "a", few)
        common = ["dataset=shards", f"dataset.root={shards}", f"dataset.val_root={few}", *TINY]
        run = [f"run_dir={tmp_path / 'run'}", f"output_dir={tmp_path}", "dataset.num_workers=0"]
        result = train(config("train", *common, *run))
        assert result["steps"] == 1 and "val/" not in result["val"] and result["rendered"] is False
        ckpt = tmp_path / "run/checkpoints/best.ckpt"
        rows = evaluate(config("evaluate", f"ckpt_path={ckpt}", f"run_dir={tmp_path / 'eval'}", "device=cpu"))
        assert rows[-1]["pictures"] == 9


class TestPack:
    def test_the_manifest_says_what_is_there(self, shards: Path, photos: Path):
        manifest = json.loads((shards / "manifest.json").read_text())
        assert manifest["pictures"] == {"train": 49, "val": 3, "test": 9} and manifest["skipped"] == []
        assert {path.name for path in shards.iterdir()} == {"manifest.json"} | {s["file"] for s in manifest["shards"]}
        contents = []
        for entry in manifest["shards"]:
            file = shards / entry["file"]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
            members = list(read_members(Shard(str(file), entry["pictures"])))
            assert len(members) == entry["pictures"] and all(name.count(".") == 1 for name, _ in members)
            contents += [content for _, content in members]
        originals = sorted(path.read_bytes() for path in photos.rglob("*.png"))
        assert sorted(contents) == originals, "every file as it is"

    def test_any_number_of_processes_writes_the_same_bytes(self, shards: Path, photos: Path, tmp_path: Path):
        run_pack(photos, tmp_path / "again", "shard_size=0.0005", "workers=2")
        for file in shards.iterdir():
            assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()

    def test_sizes_and_every_kind_of_picture(self, tmp_path: Path):
        rgb = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        image = Image.fromarray(rgb).resize((120, 80))
        turned = Image.Exif()
        turned[274] = 6  # to be turned by 90 degrees
        folder = tmp_path / "in"
        folder.mkdir()
        image.save(folder / "turned.jpg", exif=turned)
        image.convert("CMYK").save(folder / "cmyk.jpg")
        image.quantize(16).save(folder / "palette.png")
        image.resize((30, 20)).save(folder / "small.webp")
        image.convert("RGBA").save(folder / "alpha.tif")
        manifest = run_pack(folder, tmp_path / "out", "size=40")
        sizes = set()
        for entry in manifest["shards"]:
            with tarfile.open(tmp_path / "out" / entry["file"]) as tar:
                for member in tar:
                    picture = Image.open(tar.extractfile(member))  # type: ignore[arg-type]
                    sizes.add((member.name.split("_", 1)[1], picture.mode, picture.size))
        assert sizes == {
            ("turned.jpg", "RGB", (40, 60)),
            ("cmyk.jpg", "RGB", (60, 40)),
            ("palette.jpg", "RGB", (60, 40)),
            ("alpha.jpg", "RGB", (60, 40)),
            ("small.webp", "RGB", (30, 20)),  # never enlarged
        }

    def test_bad_files_are_skipped_and_named(self, photos: Path, tmp_path: Path, caplog):
        folder = tmp_path / "in"
        shutil.copytree(photos, folder)
        (folder / "text.jpg").write_text("no picture")
        (folder / "cut.png").write_bytes((folder / "a/my photo 1.v1.png").read_bytes()[:60])
        Image.new("L", (30, 20), 99).save(folder / "grey.png")
        with caplog.at_level(logging.WARNING):
            manifest = run_pack(folder, tmp_path / "out")
        assert {entry["file"] for entry in manifest["skipped"]} == {"text.jpg", "cut.png", "grey.png"}
        assert sum(manifest["pictures"].values()) == COUNT
        assert (
            "skipped 3 of 64 files" in caplog.text and "nearly grey" in caplog.text and str(folder) not in caplog.text
        )
        assert sum(run_pack(folder, tmp_path / "kept", "grey=keep")["pictures"].values()) == COUNT + 1

    def test_nothing_is_overwritten_and_nothing_is_left_of_a_full_disk(self, photos: Path, tmp_path: Path):
        output = tmp_path / "out"
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # stands in for a disk with 3000 bytes left
        try:
            with pytest.raises(ValueError, match=r"out cannot be written \(File too large\); nothing was"):
                run_pack(photos, output)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(tmp_path.iterdir()) == []
        output.mkdir()
        (output / "mine.txt").write_text("mine")
        with pytest.raises(ValueError, match="out exists: give another output="):
            run_pack(photos, output)
        assert [path.name for path in output.iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize(
        "override, message",
        [
            ("size=0", "size=0 must be a whole number"),
            ("shard_size=0", "shard_size=0 must be a number of MB above 0"),
            ("grey=no", "is not one of: skip, keep"),
            ("workers=-1", "workers=-1 must be a whole number"),
            ("val_fraction=2", "val_fraction=2 is not in"),
            ("input=/nowhere", "input=/nowhere is no folder"),
        ],
    )
    def test_settings(self, photos: Path, tmp_path: Path, override: str, message: str):
        with pytest.raises(ValueError, match=message):
            run_pack(photos, tmp_path / "out", override)


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


@pytest.fixture
def server(shards: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shards)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()


def read_all(root: object) -> list[torch.Tensor]:
    train = open_shards(str(root)).parts["train"]
    return list(StreamLoader(PictureStream(train, 8, 8, None, shuffle=10), 0, persistent=False))


class TestBadInput:
    def test_a_url_gives_what_the_folder_does(self, shards: Path, server: str):
        assert all(torch.equal(a, b) for a, b in zip(read_all(shards), read_all(server + "/"), strict=True))

    def test_a_url_that_does_not_answer(self, server: str, shards: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(
            ValueError, match=r"manifest.json cannot be read \(nobody answers there\): check dataset.root"
        ):
            open_shards(f"http://127.0.0.1:{port}/set")
        with pytest.raises(ValueError, match=r"cannot be read \(the server does not have it or refuses it\)"):
            open_shards(f"{server}/elsewhere")
        with pytest.raises(ValueError, match=r"train.tar cannot be read \(nobody answers there\): copy it again"):
            list(read_members(Shard(f"http://127.0.0.1:{port}/train.tar", 3)))
        with pytest.raises(ValueError, match="shards are read from a folder or from"):
            open_shards("ftp://127.0.0.1/set")

    def test_a_broken_picture_is_skipped_and_said_once(self, copy: Path, caplog):
        file = sorted(copy.glob("train-*.tar"))[1]
        with tarfile.open(file) as tar:
            member = next(iter(tar))
        content = bytearray(file.read_bytes())
        content[member.offset_data : member.offset_data + 8] = b"garbage!"
        file.write_bytes(content)
        train = open_shards(str(copy)).parts["train"]
        loader = StreamLoader(PictureStream(train, 8, 8, None, shuffle=10), 0, persistent=False)
        with caplog.at_level(logging.WARNING):
            for epoch in range(2):
                loader.set_epoch(epoch)
                assert len(torch.cat(list(loader))) == sum(shard.pictures for shard in train) - 1
        assert caplog.text.count("skipped: ") == 1 and f"{file.name}/{member.name}" in caplog.text

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_shard_cut_short_stops_in_one_line(self, copy: Path, workers: int):
        file = sorted(copy.glob("train-*.tar"))[1]
        train = open_shards(str(copy)).parts["train"]
        file.write_bytes(file.read_bytes()[:3000])
        with pytest.raises(ValueError, match=rf"{file.name} .*copy it again, or pack again") as caught:
            list(StreamLoader(PictureStream(train, 8, 8, None, shuffle=10), workers, persistent=False))
        assert "Traceback" not in str(cli.one_line(caught.value))
        with pytest.raises(ValueError, match=f"{file.name} has 3000 bytes and not .*: it was cut short"):
            open_shards(str(copy))
        file.unlink()
        with pytest.raises(ValueError, match=f"{file.name} is missing"):
            open_shards(str(copy))

    def test_nothing_there(self, tmp_path: Path):
        with pytest.raises(ValueError, match=f"no shards in {tmp_path}: python -m colorize.pack"):
            open_shards(str(tmp_path))
        with pytest.raises(ValueError, match="nowhere does not exist"):
            open_shards(str(tmp_path / "nowhere"))
        (tmp_path / "a.tar").write_text("no tar file")
        with pytest.raises(ValueError, match=r"a.tar cannot be read"):
            open_shards(str(tmp_path))

    @pytest.mark.parametrize("name", ["../other.tar", "pipe:touch /tmp/x", "/etc/passwd", "http://host/a.tar"])
    def test_a_manifest_reaches_nothing_but_its_folder(self, copy: Path, name: str):
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["shards"][0]["file"] = name
        (copy / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match="is damaged or no manifest of"):
            open_shards(str(copy))

    def test_tar_files_of_others(self, copy: Path, tmp_path: Path, photos: Path):
        (copy / "manifest.json").unlink()
        with tarfile.open(copy / "train-99999.tar", "w") as tar:
            tar.add(next(photos.rglob("*.png")), "../../evil.png")
            (tmp_path / "label.txt").write_text("cat")
            tar.add(tmp_path / "label.txt", "evil.txt")
        found = open_shards(str(copy))
        assert [found.count(part) for part in ("train", "val", "test")] == [50, 3, 9]
        assert len(torch.cat(read_all(copy))) == 50
