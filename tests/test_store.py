"""Sets on disk and sets that are decoded again and again: the same batches, without the memory."""

from __future__ import annotations

import logging
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from colorize.data.datamodule import PhotoDataModule
from colorize.data.store import Pictures, cache_dir, choose_cache, in_memory, open_pictures, report_grey

CACHES = ("ram", "disk", "none")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_dir()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """13 readable pictures of several sizes, a text and a picture cut short among them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(13):
        rgb = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{i:02}.png")
    (folder / "03a.jpg").write_text("no picture")
    (folder / "09a.png").write_bytes((folder / "00.png").read_bytes()[:300])
    return sorted(folder.iterdir())


def batches(root: Path, cache: str, **settings: Any) -> tuple[list[torch.Tensor], PhotoDataModule]:
    settings |= {"size": 16, "batch_size": 4, "steps_per_epoch": 5, "val_fraction": 0.3}
    data = PhotoDataModule("test", str(root), cache=cache, **settings)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    return [*loader, *data.val_dataloader()], data


def written(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("workers", [0, 1])
def test_every_cache_gives_the_same_batches_bit_for_bit(photos: list[Path], cache: Path, workers: int):
    root = photos[0].parent
    expected, ram = batches(root, "ram")
    for kind in ("disk", "none", "disk"):  # built, and used again
        got, data = batches(root, kind, num_workers=workers)
        assert len(got) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        assert data.mean_ab() == ram.mean_ab()
    assert {path.suffix for path in cache.iterdir()} == {".lock", ".json", ".rgb"}


def test_a_union_leaves_out_the_same_pictures(photos: list[Path], tmp_path: Path, caplog):
    other = tmp_path / "other/train"
    other.mkdir(parents=True)
    for path in photos:
        (other / path.name).write_bytes(path.read_bytes())
    roots = [str(photos[0].parent), str(other.parent)]
    kept = []
    for kind in CACHES:
        data = PhotoDataModule("both", roots, size=32, cache=kind)
        data.setup("fit")
        kept.append(data.pictures("train")[:])
    assert 0 < len(kept[0]) < len(data.files.train) - 4
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[0], kept[2])


@pytest.mark.parametrize("kind", CACHES)
def test_what_cannot_be_read_is_said_each_time(photos: list[Path], kind: str, caplog):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            pictures, files = open_pictures(photos, 8, kind)
        assert len(pictures) == len(files) == 13 and not {"03a.jpg", "09a.png"} & {f.name for f in files}
        (record,) = caplog.records
        assert record.getMessage().startswith("skipped 2 of 15 files") and "09a.png" in record.getMessage()
    with pytest.raises(ValueError, match="none of the 1 picture files"):
        open_pictures([photos[4]], 8, kind)


def test_a_cache_is_built_once_and_anew_when_a_file_changes(photos: list[Path], cache: Path):
    open_pictures(photos, 8, "disk")
    first = written(cache)
    open_pictures(photos, 8, "disk")
    assert written(cache) == first
    Image.new("RGB", (30, 20), "red").save(photos[0])
    pictures, _ = open_pictures(photos, 8, "disk")
    assert pictures[0].float().mean((1, 2)).tolist() == [255, 0, 0]
    assert len(written(cache)) == 2 * len(first)
    os.utime(photos[1], ns=(1, 1))
    open_pictures(photos, 8, "disk")
    assert len(written(cache)) == 3 * len(first)


def test_a_cache_that_is_not_whole_is_built_anew(photos: list[Path], cache: Path):
    expected = open_pictures(photos, 8, "disk")[0][:]
    (pixels,) = cache.glob("*.rgb")
    pixels.write_bytes(pixels.read_bytes()[:-1])
    assert torch.equal(open_pictures(photos, 8, "disk")[0][:], expected)
    next(iter(cache.glob("*.json"))).write_text("{")
    (cache / pixels.with_suffix(".part").name).write_text("left by a run that was killed")
    assert torch.equal(open_pictures(photos, 8, "disk")[0][:], expected)
    assert not list(cache.glob("*.part"))


def build(paths: list[Path], results: multiprocessing.Queue) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not outlive a fork: the child would wait for them for ever
    pictures, _ = open_pictures(paths, 64, "disk")
    results.put((pictures[:].sum().item(), next(iter(cache_dir().glob("*.rgb"))).stat().st_mtime_ns))


def test_of_processes_that_build_at_once_one_does(photos: list[Path]):
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue = context.Queue()
    processes = [context.Process(target=build, args=(photos, results)) for _ in range(3)]
    for process in processes:
        process.start()
    got = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(got) == 1, "the same pixels, written once"


def test_a_disk_without_room_is_said_before_anything_is_written(photos: list[Path], cache: Path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ValueError, match=r"dataset.cache=disk needs 0.0 GB in .*colorize.* or give dataset.cache=none"):
        open_pictures(photos, 8, "disk")
    assert not written(cache)


def test_a_picture_that_is_damaged_meanwhile_is_named(photos: list[Path]):
    pictures, files = open_pictures(photos, 8, "none")
    files[2].write_text("gone")
    with pytest.raises(ValueError, match=rf"{files[2].name}: cannot be read as a picture"):
        pictures[[1, 2]]


def test_auto_is_memory_while_the_set_fits(cache: Path):
    assert choose_cache(1104, 256) == "ram"
    assert choose_cache(10**9, 256) == "disk"
    assert not cache.exists()


def test_a_large_set_is_sampled_always_alike():
    pictures = in_memory(torch.arange(5000).remainder(256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2))
    one, two = pictures.sample(), pictures.sample()
    assert len(one) == 4096 and len(set(one.rows.tolist())) == 4096 and torch.equal(one[:], two[:])
    assert pictures.only(np.arange(10)).sample()[:].shape == (10, 3, 2, 2)


def test_grey_pictures_of_a_sample_have_their_own_names(caplog):
    class Grey:
        def __call__(self, rows: np.ndarray) -> torch.Tensor:
            pixels = torch.zeros(len(rows), 3, 2, 2, dtype=torch.uint8)
            pixels[:, 0] = torch.from_numpy(np.where(rows % 1000 == 7, 0, 200)).view(-1, 1, 1)
            return pixels

    report_grey(Pictures(Grey(), np.arange(9000)), [Path(f"{i}.jpg") for i in range(9000)])
    names = caplog.text.rpartition(": ")[2].partition(" and ")[0].split(", ")
    assert "of 4096 training pictures looked at" in caplog.text
    assert {int(name.partition(".")[0]) % 1000 for name in names} == {7}


@pytest.mark.parametrize("kind", ["disk", "none"])
def test_a_run_ends_as_one_from_memory(train, tmp_path: Path, kind: str):
    steps = [*TINY, "dataset.steps_per_epoch=3", "model.head=classes", "loss=cross_entropy", "saturation=auto"]
    ram = train(*steps, "dataset.cache=ram", run_dir=tmp_path / "ram")
    other = train(*steps, f"dataset.cache={kind}", run_dir=tmp_path / kind)
    assert ram["val"] == other["val"] and ram["test"] == other["test"]
    (tmp_path / kind / "metrics.json").unlink()
    again = [*steps, "dataset.epochs=2", "ckpt_path=last", "dataset.cache=ram"]  # where pictures are is no recipe
    assert train(*again, run_dir=tmp_path / kind)["steps"] == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": "dsk"}, "dataset.cache=dsk is not one of: auto, ram, disk, none"),
        ({"cache": "disk", "variants": 2}, "cache=ram"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        PhotoDataModule("test", **settings)
