"""What is done to the pictures a network learns from: mirrored, degraded, joined from several folders."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, config
from kornia.augmentation import RandomAffine
from PIL import Image
from torch import Tensor

from colorize.build import instantiate
from colorize.color import rgb_to_l_ab, to_float
from colorize.data.datamodule import PhotoDataModule
from colorize.data.degrade import DEGRADATIONS
from colorize.data.duplicates import near_duplicates
from colorize.data.folder import load_pictures, split_set

KINDS = [name for name in DEGRADATIONS if name != "none"]


@pytest.fixture(scope="module")
def rgb(rendered: Path) -> Tensor:
    """uint8 RGB (6, 3, 48, 48)."""
    return load_pictures(sorted((rendered / "train").iterdir()), 48)[0]


@pytest.fixture
def lightness(rgb: Tensor) -> Tensor:
    return rgb_to_l_ab(to_float(rgb))[0]


def training(seed: int = 0, epoch: int = 0, step: int = 0, rank: int = 0, **settings: Any) -> PhotoDataModule:
    """A data module in the middle of a training."""
    data = PhotoDataModule("test", size=48, seed=seed, **settings)
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=step - 1))  # Lightning's counter is one behind here
    data.trainer = SimpleNamespace(training=True, current_epoch=epoch, global_rank=rank, fit_loop=loop)  # type: ignore[assignment]
    return data


def affine(rgb: Tensor, seed: int, epoch: int, step: int, rank: int) -> Tensor:
    """The augmentation as it was before flip and degrade came."""
    shear = math.degrees(0.2)
    augment = RandomAffine(20.0, shear=(-shear, shear), scale=(0.8, 1.2, 0.8, 1.2), padding_mode="border", p=1.0)
    with torch.random.fork_rng(devices=[]):
        draw = np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1, np.uint64)[0]
        torch.default_generator.manual_seed(int(draw))
        return augment(rgb).clamp(0.0, 1.0)


def same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, atol=0, rtol=0)


def near(one: Any, other: Any) -> None:
    """Up to rounding: mirroring, warping and conversion are one step while training."""
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


class TestDegradations:
    @pytest.mark.parametrize("name", DEGRADATIONS)
    @pytest.mark.parametrize("size", [(48, 48), (17, 31), (8, 8)])
    def test_shape_range_and_type_stay(self, name: str, size: tuple[int, int]):
        for l in (torch.rand(5, 1, *size), torch.zeros(5, 1, *size), torch.ones(5, 1, *size)):
            before = l.clone()
            out = DEGRADATIONS[name](l)
            assert out.shape == l.shape and out.dtype == torch.float32
            assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1
            assert torch.equal(l, before)

    def test_none_changes_nothing(self, lightness: Tensor):
        assert torch.equal(DEGRADATIONS["none"](lightness), lightness)

    @pytest.mark.parametrize(("name", "alike"), [("light", 0.9), ("film", 0.6)])
    def test_the_picture_can_still_be_seen(self, lightness: Tensor, name: str, alike: float):
        many = lightness.repeat(10, 1, 1, 1)
        pairs = zip(DEGRADATIONS[name](many), many, strict=True)
        found = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in pairs]
        assert alike < torch.stack(found).mean() < 0.999

    @pytest.mark.parametrize("name", KINDS)
    def test_every_picture_is_degraded_differently(self, lightness: Tensor, name: str):
        same = lightness[:1].repeat(32, 1, 1, 1)
        out = DEGRADATIONS[name](same)
        clean = (out == same).flatten(1).all(dim=1)
        assert len(out[~clean].flatten(1).unique(dim=0)) == 32 - int(clean.sum())
        assert out.mean((1, 2, 3)).std() > 0.01  # exposure too, not the noise alone
        assert 6 < int(clean.sum()) < 26 if name == "light" else not clean.any()  # half of them stay as they are

    def test_film_fades_and_light_does_not(self):
        black, white = torch.zeros(60, 1, 32, 32), torch.ones(60, 1, 32, 32)
        lifted = {name: DEGRADATIONS[name](black).mean() for name in KINDS}
        lowered = {name: 1 - DEGRADATIONS[name](white).mean() for name in KINDS}
        assert lifted["light"] < 0.05 < lifted["film"] < 0.2
        assert lowered["light"] + 0.1 < lowered["film"] < 0.4

    def test_film_is_grainy_in_clumps(self):
        middle = torch.full((60, 1, 64, 64), 0.5)
        grain = {name: DEGRADATIONS[name](middle) for name in KINDS}
        steps = {name: (out - out.roll(1, -1))[..., 8:-8, 8:-8].std() for name, out in grain.items()}
        assert steps["film"] > 1.2 * steps["light"]

    def test_specks_and_scratches_are_small_and_few(self):
        out = DEGRADATIONS["film"](torch.full((200, 1, 128, 128), 0.5))
        around = F.avg_pool2d(out, 31, stride=1, padding=15, count_include_pad=False)
        marked = ((out - around).abs() > 0.2)[:, 0]
        assert 0.0005 < marked.float().mean() < 0.003
        widest = marked.float().mean(1).gt(0.2).sum(1)  # columns in which a scratch runs
        assert 0.1 < (widest > 0).float().mean() < 0.4 and widest.max() <= 3

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    @pytest.mark.parametrize("name", KINDS)
    def test_a_gpu_draws_and_makes_the_same(self, lightness: Tensor, name: str):
        data = PhotoDataModule("test", degrade=name)
        here, there = (data.degraded(l, 0, 1, 0) for l in (lightness, lightness.cuda()))
        apart = (there.cpu() - here).abs()  # where JPEG rounds the other way, a block is another
        assert there.is_cuda and apart.mean() < 2e-3


class TestWhileTraining:
    @pytest.mark.parametrize("key", [(0, 0, 0, 0), (3, 1, 2, 1)])
    def test_as_it_was_where_neither_is_asked_for(self, rgb: Tensor, key: tuple[int, ...]):
        l, ab = rgb_to_l_ab(affine(to_float(rgb), *key))
        near(training(*key).on_after_batch_transfer(rgb), {"l": l, "ab": ab})

    @pytest.mark.parametrize("name", KINDS)
    def test_the_network_sees_degraded_lightness_and_the_target_stays(self, rgb: Tensor, name: str):
        clean = training().on_after_batch_transfer(rgb)
        batch = training(degrade=name).on_after_batch_transfer(rgb)
        same(batch["ab"], clean["ab"])
        assert any(not torch.equal(a, b) for a, b in zip(batch["l"], clean["l"], strict=True))

    @pytest.mark.parametrize("name", KINDS)
    def test_seed_epoch_step_and_rank_alone_decide(self, lightness: Tensor, name: str):
        def degraded(seed: int = 0, epoch: int = 1, step: int = 2, rank: int = 0) -> Tensor:
            return PhotoDataModule("test", seed=seed, degrade=name).degraded(lightness, epoch, step, rank)

        one = degraded()
        torch.manual_seed(5)  # the global generator neither matters nor changes
        state = torch.get_rng_state()
        same(degraded(), one)
        assert torch.equal(torch.get_rng_state(), state)
        for other in ({"seed": 1}, {"epoch": 0}, {"step": 3}, {"rank": 1}):
            assert not torch.equal(degraded(**other), one)

    def test_flip_mirrors_pictures_before_the_affine_and_moves_no_other_draw(self, rgb: Tensor):
        mirrored = affine(to_float(rgb).flip(-1), 0, 0, 1, 0)
        l, ab = rgb_to_l_ab(mirrored)
        near(training(step=1, flip=1.0).on_after_batch_transfer(rgb), {"l": l, "ab": ab})

    def test_flip_mirrors_lightness_and_colour_alike_and_never_top_to_bottom(self, rgb: Tensor):
        still = {"shear": 0, "rotation": 0, "zoom": 0}
        as_they_are = training(**still).on_after_batch_transfer(rgb)
        batches = [training(step=step, flip=0.5, **still).on_after_batch_transfer(rgb) for step in range(20)]
        flipped = []
        for batch in batches:
            for i in range(len(rgb)):
                is_flipped = not torch.allclose(batch["l"][i], as_they_are["l"][i], atol=1e-3)
                flipped.append(is_flipped)
                for part in ("l", "ab"):
                    expected = as_they_are[part][i].flip(-1) if is_flipped else as_they_are[part][i]
                    torch.testing.assert_close(batch[part][i], expected, atol=1e-3, rtol=0)
        assert 0.3 < np.mean(flipped) < 0.7

    def test_validation_sees_pictures_as_they_are(self, rgb: Tensor):
        data = training(flip=1.0, degrade="film")
        data.trainer.training = False  # type: ignore[union-attr]
        l, ab = rgb_to_l_ab(to_float(rgb))
        same(data.on_after_batch_transfer(rgb), {"l": l, "ab": ab})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"degrade": "flim"}, "dataset.degrade=flim is not one of: none, light, film"),
            ({"degrade": None}, "dataset.degrade=None is not one of"),
            ({"flip": 1.5}, "dataset.flip=1.5 is not in"),
            ({"flip": "yes"}, "dataset.flip=yes is not in"),
        ],
    )
    def test_settings_that_cannot_be_are_named(self, settings: dict[str, Any], message: str):
        with pytest.raises(ValueError, match=message):
            PhotoDataModule("test", **settings)


def noise(folder: Path, count: int, seed: int) -> Path:
    """Pictures that resemble nothing, in folder/{train,val,test}."""
    for i in range(count):
        for part in ("train", "val", "test"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([seed, i, len(part)])
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((40, 40)).save(folder / part / f"{i}.png")
    return folder


def copy(picture: Path, to: Path) -> None:
    """The same picture smaller, recompressed and under another name."""
    Image.open(picture).resize((40, 30)).save(to, quality=80)


def union(*folders: Path, **settings: Any) -> PhotoDataModule:
    data = PhotoDataModule("all", [str(folder) for folder in folders], **({"size": 32} | settings))
    data.prepare_data()
    return data


class TestUnion:
    def test_every_folder_is_split_by_its_own_rule(self, rendered: Path, tmp_path: Path):
        other = noise(tmp_path / "noise", 4, 0)
        data = union(rendered, other)
        for part in ("train", "val", "test"):
            assert getattr(data.files, part) == [
                f for root in (rendered, other) for f in getattr(split_set(root, 0.05), part)
            ]
        data.setup("fit")
        assert (len(data.pictures("train")), len(data.pictures("val"))) == (5 + 4, 1 + 4)
        assert data.rendered and not union(other, noise(tmp_path / "more", 1, 1)).rendered

    def test_what_one_folder_holds_out_no_other_trains_on(self, rendered: Path, tmp_path: Path, caplog):
        other = noise(tmp_path / "noise", 4, 0)
        held_out = split_set(rendered, 0.05)
        copy(held_out.val[0], other / "train/one.jpg")
        copy(held_out.test[0], other / "train/two.jpg")
        copy(held_out.train[0], other / "train/three.jpg")  # may stay
        with caplog.at_level(logging.INFO):
            data = union(rendered, other)
            data.setup("fit")
        assert len(data.files.train) == 5 + 7 and len(data.pictures("train")) == 5 + 5
        assert "2 of 12 training pictures left out" in caplog.text
        kept, _ = load_pictures([f for f in data.files.train if f.stem not in ("one", "two")], 32)
        same(data.pictures("train")[:], kept)

    def test_one_folder_is_taken_as_it_is(self, rendered: Path, tmp_path: Path):
        other = noise(tmp_path / "noise", 3, 0)
        copy(other / "val/0.png", other / "train/again.jpg")
        for root in (str(other), [str(other)]):
            data = PhotoDataModule("test", root, size=32)
            data.setup("fit")
            assert len(data.pictures("train")) == 4

    def test_near_duplicates_are_found_smaller_and_darker(self, rendered: Path, rgb: Tensor):
        files = sorted((rendered / "train").iterdir())
        small, _ = load_pictures(files[:3], 32)
        darker = (small * 0.7).to(torch.uint8)
        for held_out in (small, darker):
            assert near_duplicates(rgb, held_out).tolist() == [True] * 3 + [False] * 3

    def test_nothing_left_to_train_on_is_an_error(self, rendered: Path, tmp_path: Path):
        one, other = (tmp_path / name for name in ("one", "other"))
        for folder in (one, other):
            folder.mkdir()
            copy(next((rendered / "train").iterdir()), folder / "picture.jpg")
        data = union(one, other)
        with pytest.raises(ValueError, match="every training picture is also"):
            data.setup("fit")

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            (["there", "nowhere"], r"dataset.root=\S*nowhere does not exist"),
            (["there", "empty"], r"no pictures in \S*empty"),
            (["there", "there/../there"], "names .* twice"),
            ([], r"dataset.root=\[\] names no folder"),
        ],
    )
    def test_an_entry_that_cannot_be_is_named(self, tmp_path: Path, entries: list[str], message: str):
        noise(tmp_path / "there", 1, 0)
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match=message) as raised:
            union(*(tmp_path / entry for entry in entries)).setup("fit")
        assert "\n" not in str(raised.value)

    def test_the_set_of_all_is_a_union_from_yaml(self, tmp_path: Path):
        dataset = config("train", "dataset=all").dataset
        assert dataset.name == "all" and dataset.scene is None and "data/beach" in dataset.root
        folders = [noise(tmp_path / name, 2, i) for i, name in enumerate(("a", "b"))]
        dataset = config("train", "dataset=all", f"dataset.root=[{folders[0]},{folders[1]}]", "dataset.size=32").dataset
        data = instantiate({k: v for k, v in dataset.items() if k != "epochs"})
        data.setup("fit")
        summary = data.summary()
        assert summary["root"] == [str(folder) for folder in folders] and type(summary["root"]) is list
        assert {type(entry) for entry in summary["root"]} == {str}
        assert summary["flip"] == 0.0 and summary["degrade"] == "none"

    def test_a_run_on_a_union_is_judged_and_refuses_another_recipe(
        self, train: Callable[..., dict[str, Any]], rendered: Path, tmp_path: Path
    ):
        from colorize.evaluate import evaluate

        root = f"dataset.root=[{rendered},{noise(tmp_path / 'noise', 1, 0)}]"
        recipe = ["dataset=all", root, "dataset.flip=0.5", "dataset.degrade=film", *TINY]
        assert train(*recipe, root=None)["test"]["beta"]["pictures"] == 3 + 1
        path = tmp_path / "run/checkpoints/last.ckpt"
        again = [*recipe, f"ckpt_path={path}", "dataset.epochs=2"]
        with pytest.raises(ValueError, match=r"dataset\.degrade film there and light here"):
            train(*again, "dataset.degrade=light", root=None)

        content = torch.load(path, weights_only=True)
        for key in ("flip", "degrade"):  # as in a checkpoint from before them
            del content["hyper_parameters"]["data"][key]
        torch.save(content, path)
        rows = evaluate(config("evaluate", f"ckpt_path={path}", f"run_dir={tmp_path / 'judged'}", "eval.size=32"))
        assert {row["pictures"] for row in rows} == {3 + 1}
