"""From a folder of files to batches on the device."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colorize.color import rgb_to_l_ab, rgb_to_lab, to_float
from colorize.data.datamodule import PhotoDataModule, PictureSampler
from colorize.data.folder import find_pictures, load_pictures, split_set
from colorize.data.store import is_nearly_grey, open_pictures, report_grey


def picture(path: Path, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(rgb).convert(mode).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(20):
        picture(tmp_path / "photos" / f"{i:02}.png", i)
    return tmp_path / "photos"


def module(root: Path, **settings: object) -> PhotoDataModule:
    return PhotoDataModule("test", str(root), **({"size": 16, "batch_size": 4} | settings))  # type: ignore[arg-type]


class TestSplit:
    def test_a_folder_without_train_and_test_is_split_without_overlap(self, photos: Path):
        split = split_set(photos, 0.1)
        parts = [set(split.train), set(split.val), set(split.test)]
        assert [len(p) for p in parts] == [15, 2, 3]
        assert set().union(*parts) == set(find_pictures(photos))

    def test_it_depends_on_names_alone_and_moves_little_when_one_is_added(self, photos: Path, tmp_path: Path):
        shutil.copytree(photos, tmp_path / "copy")
        before, copy = split_set(photos, 0.1), split_set(tmp_path / "copy", 0.1)
        assert [p.name for p in before.test] == [p.name for p in copy.test]
        picture(photos / "new.png")
        assert len(set(split_set(photos, 0.1).test) & set(before.test)) >= 2

    def test_folders_that_are_there_are_used(self, photos: Path, tmp_path: Path):
        for part, names in {"train": range(10), "val": range(10, 12), "test": range(12, 20)}.items():
            for i in names:
                (tmp_path / "set" / part).mkdir(parents=True, exist_ok=True)
                shutil.copy(photos / f"{i:02}.png", tmp_path / "set" / part)
        split = split_set(tmp_path / "set", 0.05)
        assert [len(split.train), len(split.val), len(split.test)] == [10, 2, 8]
        shutil.rmtree(tmp_path / "set" / "val")
        split = split_set(tmp_path / "set", 0.05)
        assert [len(split.train), len(split.val), len(split.test)] == [9, 1, 8]  # at least one to validate on

    def test_val_pictures_of_a_flat_folder_are_in_no_other_part(self, photos: Path):
        for i in range(4):
            picture(photos / "val" / f"v{i}.png")
        split = split_set(photos, 0.1)
        assert {path.parent.name for path in split.val} == {"val"} and len(split.val) == 4
        assert not set(split.val) & (set(split.train) | set(split.test))
        assert len(split.train) + len(split.test) == 20

    def test_an_empty_test_folder_is_as_good_as_none(self, photos: Path, tmp_path: Path):
        (tmp_path / "set").mkdir()
        photos.rename(tmp_path / "set/train")
        (tmp_path / "set/test").mkdir()
        assert len(split_set(tmp_path / "set", 0.1).test) == 3

    def test_linked_folders_are_followed_and_loops_end(self, photos: Path, tmp_path: Path):
        (tmp_path / "set").mkdir()
        (tmp_path / "set/train").symlink_to(photos)
        (photos / "again").symlink_to(tmp_path / "set")
        assert len(find_pictures(tmp_path / "set")) == 20

    def test_one_picture_is_trained_on_itself(self, photos: Path):
        one = photos / "00.png"
        assert split_set(one, 0.05) == split_set(one, 0.5)
        assert split_set(one, 0.05).train == split_set(one, 0.05).test == [one]

    @pytest.mark.parametrize(
        ("prepare", "message"),
        [
            (lambda root: None, "does not exist"),
            (lambda root: root.mkdir(), r"no pictures in .*set.*\.jpg .*\.tif"),
            (lambda root: (root / "train").mkdir(parents=True), "no pictures in .*train"),
            (lambda root: [picture(root / f"{i}.png") for i in range(2)], "at least 3 are needed"),
        ],
    )
    def test_nothing_to_train_on_says_where_it_looked_and_for_what(self, tmp_path: Path, prepare, message: str):
        root = tmp_path / "set"
        prepare(root)
        with pytest.raises(ValueError, match=message):
            split_set(root, 0.05)

    @settings(max_examples=25, deadline=None)
    @given(count=st.integers(3, 40), fraction=st.floats(0, 0.95))
    def test_no_picture_is_in_two_parts(self, tmp_path_factory, count: int, fraction: float):
        root = tmp_path_factory.mktemp("split")
        for i in range(count):
            (root / f"{i}.jpg").touch()
        split = split_set(root, fraction)
        assert len(set(split.train) | set(split.val) | set(split.test)) == count
        assert len(split.train) + len(split.val) + len(split.test) == count
        assert split.train and split.val and split.test


class TestLoading:
    def test_any_kind_of_picture_becomes_uint8_rgb(self, tmp_path: Path):
        names = ["a.png", "b.jpg", "c.webp", "d.bmp", "e.tif", "F.JPEG"]
        files = [picture(tmp_path / name) for name in names]
        files += [picture(tmp_path / f"{mode}.png", mode=mode) for mode in ("L", "LA", "P", "RGBA", "1", "I;16")]
        files.append(picture(tmp_path / "cmyk.jpg", mode="CMYK"))
        pictures, found = load_pictures(files, 16)
        assert pictures.shape == (len(files), 3, 16, 16) and pictures.dtype == torch.uint8
        assert found == files

    def test_files_that_are_no_picture_are_named_once_and_left_out(self, photos: Path, caplog):
        (photos / "bad.jpg").write_text("no picture")
        (photos / "short.png").write_bytes((photos / "00.png").read_bytes()[:200])
        with caplog.at_level(logging.WARNING):
            pictures, files = load_pictures(find_pictures(photos), 16)
        assert len(pictures) == len(files) == 20
        assert len(caplog.records) == 1
        message = caplog.records[0].getMessage()
        assert message.startswith("skipped 2 of 22 files") and "bad.jpg" in message and "short.png" in message

    def test_none_left_is_an_error_that_names_the_folder(self, tmp_path: Path):
        (tmp_path / "bad.jpg").write_text("no picture")
        with pytest.raises(ValueError, match=f"none of the 1 picture files in {tmp_path}"):
            load_pictures(find_pictures(tmp_path), 16)

    def test_what_is_hidden_is_passed_over_and_a_link_back_up_is_no_circle(self, photos: Path):
        before = find_pictures(photos)
        (photos / ".thumbs/deep").mkdir(parents=True)
        for name in (".00.png", ".thumbs/00.png", ".thumbs/deep/00.png"):
            (photos / name).write_bytes((photos / "00.png").read_bytes())
        (photos / "up").symlink_to(photos)
        assert find_pictures(photos) == before

    def test_nearly_grey_is_told_from_pale(self):
        grey = np.random.default_rng(0).integers(0, 256, (90, 70, 1), np.uint8).repeat(3, axis=2)
        pale = np.clip(grey.astype(int) + np.array([12, 0, -12]), 0, 255).astype(np.uint8)
        assert is_nearly_grey(grey) is True and is_nearly_grey(pale) is False

    @pytest.mark.parametrize(("count", "end"), [(5, "p4.png"), (6, "and 1 more"), (9, "and 4 more")])
    def test_many_names_are_not_all_listed(self, photos: Path, caplog, count: int, end: str):
        for number in range(count):
            (photos / f"p{number}.png").write_text("no picture")
        with caplog.at_level(logging.WARNING):
            load_pictures(find_pictures(photos), 16)
        assert end in caplog.text and ("more" in caplog.text) == (count > 5)

    def test_near_grey_training_pictures_are_reported(self, photos: Path, caplog):
        picture(photos / "grey.png", mode="L")
        report_grey(*open_pictures(find_pictures(photos), 16, "ram"))
        assert "1 of 21 training pictures are nearly grey" in caplog.text and "grey.png" in caplog.text


class TestSampler:
    @pytest.mark.parametrize("count", [3, 54, 1104])
    def test_an_epoch_is_that_many_draws_whatever_the_size_of_the_set(self, count: int):
        sampler = PictureSampler(count, 750, seed=0, rank=0, world_size=1)
        draws = np.bincount(list(sampler), minlength=count)
        assert draws.sum() == 750 == len(sampler)
        assert draws.max() - draws.min() <= 1  # again and again through the whole set

    def test_epochs_differ_and_repeat_with_the_seed(self):
        one, same, other = (PictureSampler(54, 60, seed=s, rank=0, world_size=1) for s in (0, 0, 1))
        assert list(one) == list(same) != list(other)
        first = list(one)
        one.set_epoch(1)
        assert list(one) != first

    def test_ranks_draw_different_pictures(self):
        ranks = [list(PictureSampler(100, 50, seed=0, rank=r, world_size=2)) for r in (0, 1)]
        assert not set(ranks[0]) & set(ranks[1])

    @given(count=st.integers(1, 50), world=st.integers(1, 5))
    def test_evaluation_sees_each_picture_once_over_all_ranks(self, count: int, world: int):
        ranks = [PictureSampler(count, None, seed=0, rank=r, world_size=world) for r in range(world)]
        seen = [list(rank) for rank in ranks]
        assert [len(rank) for rank in ranks] == [len(indices) for indices in seen]
        if count >= world:
            assert sorted(i for indices in seen for i in indices) == list(range(count))
        else:  # no rank may be idle: every one sees them all, which leaves means as they are
            assert seen == [list(range(count))] * world


class TestHook:
    def test_outside_training_pictures_are_converted_and_not_augmented(self, photos: Path):
        data = module(photos)
        data.setup("fit")
        rgb = next(iter(data.val_dataloader()))
        batch = data.on_after_batch_transfer(rgb)
        l, ab = rgb_to_l_ab(to_float(rgb))
        torch.testing.assert_close(batch, {"l": l, "ab": ab}, atol=0, rtol=0)

    def test_same_draw_same_batch_bit_for_bit(self, photos: Path):
        rgb = torch.rand(4, 3, 16, 16)
        one, two = module(photos, seed=3), module(photos, seed=3)
        torch.manual_seed(5)  # the global generator neither matters nor changes
        state = torch.get_rng_state()
        torch.testing.assert_close(one.augmented(rgb, 1, 2, 0), two.augmented(rgb, 1, 2, 0), atol=0, rtol=0)
        assert torch.equal(torch.get_rng_state(), state)
        for other in ((0, 2, 0), (1, 3, 0), (1, 2, 1)):
            assert not torch.equal(one.augmented(rgb, 1, 2, 0), one.augmented(rgb, *other))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    def test_a_gpu_draws_and_makes_the_same(self, photos: Path):
        rgb, data = torch.rand(4, 3, 16, 16), module(photos)
        here = data.augmented(rgb, 0, 0, 0)
        drawn = {key: value.clone() for key, value in data.augment._params.items()}
        there = data.augmented(rgb.cuda(), 0, 0, 0)
        for key, value in drawn.items():
            torch.testing.assert_close(data.augment._params[key].cpu(), value, atol=0, rtol=0)
        torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=0)

    def test_pictures_of_a_batch_are_transformed_differently(self, photos: Path):
        rgb = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1)
        out = module(photos).augmented(rgb, 0, 0, 0)
        assert not torch.equal(out[0], out[1])

    def test_what_is_drawn_stays_within_the_references_bounds(self, photos: Path):
        data = module(photos)
        matrices = []
        for step in range(100):
            data.augmented(torch.rand(8, 3, 16, 16), 0, step, 0)
            matrices.append(data.augment._params)
        drawn = {key: torch.cat([p[key] for p in matrices]) for key in ("angle", "scale", "shear_x", "shear_y")}
        assert 18 < drawn["angle"].abs().max() <= 20
        assert 0.8 <= drawn["scale"].min() < 0.82 and 1.18 < drawn["scale"].max() <= 1.2
        assert not torch.equal(drawn["scale"][:, 0], drawn["scale"][:, 1])  # each axis on its own
        assert 11 < drawn["shear_x"].abs().max() <= 11.4592  # 0.2 rad
        assert not drawn["shear_y"].any()

    def test_edges_are_repeated_and_nothing_is_flipped(self, photos: Path):
        ramp = torch.linspace(0.2, 1, 64).expand(8, 3, 64, 64)  # dark left, bright right
        out = module(photos).augmented(ramp, 0, 0, 0)
        assert out.min() >= 0.2 - 1e-6  # zero padding would be darker
        assert (out[..., 48:].mean((1, 2, 3)) > out[..., :16].mean((1, 2, 3))).all()

    @pytest.mark.parametrize("flip", [0.0, 0.5])
    def test_the_fast_path_of_a_cpu_is_the_plain_one(self, flip: float, rendered: Path):
        # 9 pictures of 200 x 200: pieces of 3. Smooth pictures and noise, on which rounded coordinates show most.
        files = find_pictures(rendered / "train") + find_pictures(rendered / "test")
        smooth, _ = load_pictures(files, 200)
        data = PhotoDataModule("beach", str(rendered), size=200, flip=flip)
        for rgb, bound in (smooth, 2e-5), (torch.randint(256, smooth.shape, dtype=torch.uint8), 2e-4):
            for step in range(3):
                plain = rgb_to_lab(data.augmented(to_float(rgb), 0, step, 0))
                l, ab = data.augmented_l_ab(rgb, 0, step, 0)
                torch.testing.assert_close(l, plain[:, :1] / 100, atol=bound, rtol=0)
                torch.testing.assert_close(ab, plain[:, 1:] / 128, atol=bound, rtol=0)
        still = rgb_to_l_ab(to_float(rgb))[0]
        assert (l - still).abs().mean() > 0.01  # something was done at all

    def test_a_training_batch_is_augmented_by_epoch_step_and_rank(self, rendered: Path, train, monkeypatch):
        seen = []
        plain = PhotoDataModule.augmented_l_ab

        def spy(self, pictures: torch.Tensor, *when: int):
            seen.append(when)
            return plain(self, pictures, *when)

        monkeypatch.setattr(PhotoDataModule, "augmented_l_ab", spy)
        train("dataset=beach", *TINY, "dataset.steps_per_epoch=2", "dataset.epochs=2")
        assert seen == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]

    def test_mean_colour_of_the_training_pictures(self, photos: Path):
        data = module(photos)
        data.setup("fit")
        expected = rgb_to_l_ab(to_float(data.pictures("train")[:]))[1].mean((0, 2, 3))
        torch.testing.assert_close(torch.tensor(data.mean_ab()), expected)


class TestRendering:
    def test_only_a_set_asked_for_by_name_is_rendered(self, tmp_path: Path, monkeypatch, caplog):
        monkeypatch.chdir(tmp_path)
        data = PhotoDataModule("beach", scene="beach", scene_counts=(4, 2), size=32)
        data.prepare_data()
        assert "RENDERING" in caplog.text
        assert data.rendered and data.folders == [Path("data/beach")]
        assert len(data.files.train) == 3 and len(data.files.test) == 2
        caplog.clear()
        data.prepare_data()  # there now
        assert not caplog.text

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"root": "nowhere", "scene": "beach"}, "dataset.root=nowhere does not exist"),
            ({"scene": "beach", "on_missing": "error"}, "on_missing=error"),
            ({}, "give dataset.root=FOLDER"),
        ],
    )
    def test_otherwise_a_missing_set_is_an_error(self, tmp_path: Path, monkeypatch, settings: dict, message: str):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=message):
            PhotoDataModule("beach", **settings).prepare_data()
        assert not list(tmp_path.iterdir())

    def test_an_empty_root_is_an_error(self, tmp_path: Path):
        data = PhotoDataModule("beach", str(tmp_path), scene="beach")
        data.prepare_data()
        with pytest.raises(ValueError, match="no pictures in"):
            data.setup("fit")
        assert not list(tmp_path.iterdir())

    def test_every_part_of_a_rendered_set_is_called_rendered(self, rendered: Path):
        for place in (rendered, rendered / "train", rendered / "train/0000.jpg", rendered.parent):
            assert module(place).rendered

    def test_photographs_in_place_are_not_called_rendered(self, photos: Path):
        assert not module(photos).rendered

    def test_a_dangling_link_is_an_error(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data").mkdir()
        (tmp_path / "data/beach").symlink_to(tmp_path / "gone")
        with pytest.raises(ValueError, match=r"link to .*gone"):
            PhotoDataModule("beach", scene="beach").prepare_data()

    def test_a_readme_alone_is_no_set(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data/beach").mkdir(parents=True)
        (tmp_path / "data/beach/README.md").touch()
        data = PhotoDataModule("beach", scene="beach", scene_counts=(3, 0), size=32)
        data.prepare_data()
        assert data.rendered and not (tmp_path / "data/beach/test").exists()


@pytest.mark.parametrize(
    "settings", [{"size": 0}, {"batch_size": 0}, {"steps_per_epoch": -1}, {"on_missing": "eror"}, {"zoom": 1.5}]
)
def test_settings_that_cannot_be_are_named(settings: dict):
    with pytest.raises(ValueError, match=rf"dataset.{next(iter(settings))}="):
        PhotoDataModule("test", **settings)
