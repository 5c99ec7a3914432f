"""The network with a memory, the clips that train it, and colouring with it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import config
from PIL import Image
from torch import Tensor

from benchmarks.clips import make_clips
from colorize.checkpoint import load_checkpoint, start_weights
from colorize.clip_evaluation import judge_clip
from colorize.color import rgb_to_l_ab, to_float
from colorize.data import scenes
from colorize.data.clips import DRIFT, GRAIN, ClipBatch, ClipDataModule, draw_cameras, draw_film, known_motion, look
from colorize.gif import gif
from colorize.media import read_animation, write_gif
from colorize.models import create_model
from colorize.models.base import Network
from colorize.models.convlstm import ConvLSTM
from colorize.models.unet import UNet
from colorize.motion import is_cut, warp
from colorize.pipeline import Colorizer
from colorize.temporal import Recurrent
from colorize.video_metrics import warp_error

SMALL: dict[str, Any] = {"widths": [4, 8], "blocks": [0, 0]}
TINY = ["dataset.size=32", "dataset.batch_size=2", "dataset.frames=3", "dataset.epochs=1", "dataset.steps_per_epoch=1"]
TINY += ["trainer.accelerator=cpu"]


def create(hidden: int = 4, **settings: Any) -> ConvLSTM:
    torch.manual_seed(0)
    model = create_model("convlstm", hidden=hidden, **settings)
    assert isinstance(model, ConvLSTM)
    return model


@pytest.fixture
def model() -> ConvLSTM:
    """A network whose memory has an effect."""
    model = create(**SMALL)
    for module in model.picture.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.running_var, 0.02)  # type: ignore[arg-type]  # so that its colours are not all the same
    torch.nn.init.normal_(model.remembered.weight, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def moving() -> Tensor:
    """l (10, 1, 48, 64) of a photograph seen by a moving camera."""
    clip = next(clip for clip in make_clips([scenes.render("rural", 0, size=96)], frames=10, size=(48, 64)))
    return rgb_to_l_ab(to_float(torch.tensor(clip.frames).permute(0, 3, 1, 2)))[0]


@pytest.fixture(scope="module")
def other() -> Tensor:
    """l (2, 1, 48, 64) of another scene."""
    clip = make_clips([scenes.render("banana", 5, size=96)], frames=2, size=(48, 64))[0]
    return rgb_to_l_ab(to_float(torch.tensor(clip.frames).permute(0, 3, 1, 2)))[0].flip(-1)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(4):
        Image.fromarray(scenes.render("beach", seed, size=64)).save(folder / f"{seed}.jpg")
    return folder


def film(seed: int = 0, frames: int = 6) -> np.ndarray:
    """The beginning of a slow pan, uint8 (T, 48, 64, 3)."""
    return make_clips([scenes.render("rural", seed, size=96)], frames=24, size=(48, 64))[0].frames[:frames]


def save_gif(path: Path, frames: np.ndarray) -> Path:
    from colorize.media import gif_palette

    opaque = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in frames]
    write_gif(path, iter(opaque), palette=gif_palette(iter(opaque)), durations=iter([40] * len(frames)), loop=0)
    return path


def save_frames(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i}.png")
    return folder


def loaded(root: Path | list[str], **settings: object) -> ClipDataModule:
    settings = {"frames": 4, "size": 32, "batch_size": 2, **settings}
    data = ClipDataModule("clips", str(root) if isinstance(root, Path) else root, **settings)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


class TestNetwork:
    def test_a_picture_gets_the_picture_networks_colours(self, model: ConvLSTM, moving: Tensor):
        assert torch.equal(model(moving), model.picture(moving))
        assert torch.equal(model.step(moving[:1], None)[0], model.picture(moving[:1]))

    def test_it_begins_without_effect_and_all_of_it_learns(self, moving: Tensor):
        model = create(**SMALL)
        before = {name: value.clone() for name, value in model.picture.state_dict().items()}
        model.train()
        output = model.clip_output(moving, 5)
        torch.testing.assert_close(model.decode(output), model.picture(moving))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):  # at first the gradient ends at the weights that are zero
            optimizer.zero_grad()
            (model.clip_output(moving, 5) - 0.5).square().mean().backward()
            optimizer.step()
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in learning.values())
        assert {name.split(".")[0] for name in learning} == {"cell", "remembered"}
        assert all(torch.equal(value, before[name]) for name, value in model.picture.state_dict().items())

    def test_clips_in_training_are_what_steps_give(self, model: ConvLSTM, moving: Tensor):
        clips = torch.cat([moving[:5], moving[5:]])
        together = model.decode(model.clip_output(clips, 5))
        for clip, outputs in zip(moving.split(5), together.split(5), strict=True):
            torch.testing.assert_close(Recurrent().run(model, clip), outputs, atol=1e-5, rtol=1e-4)

    def test_later_frames_change_nothing_and_earlier_ones_do(self, model: ConvLSTM, moving: Tensor):
        out = Recurrent().run(model, moving)
        changed = moving.clone()
        changed[6:] = changed[6:].flip(-1)
        torch.testing.assert_close(Recurrent().run(model, changed)[:6], out[:6], atol=1e-6, rtol=0)
        assert not torch.allclose(out[5], Recurrent().run(model, moving[5:6])[0], atol=1e-4)

    def test_how_frames_are_batched_makes_no_difference(self, model: ConvLSTM, moving: Tensor):
        whole, state = Recurrent().run(model, moving), Recurrent()
        parts = torch.cat([state.run(model, part) for part in moving.split(3)])
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)

    def test_a_cut_and_another_size_begin_anew(self, model: ConvLSTM, moving: Tensor, other: Tensor):
        assert is_cut(moving[3:4], other[:1])
        state = Recurrent()
        state.run(model, moving[:4])
        assert torch.equal(state.run(model, other), Recurrent().run(model, other))
        both = Recurrent().run(model, torch.cat([moving[:4], other]))
        assert torch.equal(both[4], model(torch.cat([moving[:4], other]))[4])  # frame by frame, to the bit
        assert not torch.equal(both[3], model(moving[:4])[3])
        state.run(model, moving[:4])
        smaller = moving[:, :, :32]
        assert torch.equal(state.run(model, smaller), Recurrent().run(model, smaller))
        state.reset()
        assert torch.equal(state.run(model, smaller), Recurrent().run(model, smaller))

    def test_memory_does_not_grow_and_long_clips_stay_sound(self, model: ConvLSTM, moving: Tensor):
        state, sizes = Recurrent(), []
        still = moving[:1].expand(20, -1, -1, -1)
        for _ in range(5):
            out = state.run(model, still)
            sizes.append(sum(part.untyped_storage().nbytes() for part in state._state or ()))
        assert sizes == [sizes[0]] * 5
        assert state._state is not None and state._state.cell.abs().max() < 1 + 1e-5
        # what does not change keeps the picture network's colours, however long
        torch.testing.assert_close(out, model.picture(still), atol=1e-5, rtol=0)

    def test_with_gates_of_zero_weight_the_cell_is_the_mean_over_the_past(self, model: ConvLSTM):
        for parameter in model.cell.gates.parameters():
            torch.nn.init.zeros_(parameter)
        x = torch.rand(12, 4, 24, 32, generator=torch.Generator().manual_seed(0))
        cell = hidden = torch.zeros(1, 4, 24, 32)
        new = []
        for i in range(12):
            new.append(
                model.cell(x[i : i + 1], hidden, cell, torch.zeros(1, 1, 24, 32))[1]
            )  # at age 0: the frame's own
            hidden, cell, _ = model.cell(x[i : i + 1], hidden, cell, torch.full((1, 1, 24, 32), float(i)))
            torch.testing.assert_close(cell, torch.stack(new).mean(0), atol=1e-5, rtol=0)

    def test_a_wrong_setting(self):
        with pytest.raises(ValueError, match=r"model.hidden=0 must be"):
            create_model("convlstm", hidden=0)

    def test_it_starts_from_a_unet_or_from_one_of_its_own(self, tmp_path: Path):
        torch.manual_seed(0)
        data = {"name": "x", "rendered": True, "size": 32, "mean_ab": [0.0, 0.0], "root": None}
        networks: dict[str, Network] = {"unet": UNet(**SMALL), "convlstm": create(**SMALL)}
        for name, network in networks.items():
            settings = {"name": name, **SMALL} | ({"hidden": 4} if name == "convlstm" else {})
            state = {f"model.{key}": value for key, value in network.state_dict().items()}
            content = {"hyper_parameters": {"model": settings, "data": data}, "state_dict": state}
            torch.save({**content, "epoch": 0, "global_step": 1}, tmp_path / f"{name}.ckpt")
            fresh = create(**SMALL)
            start_weights(fresh, {"name": "convlstm", "hidden": 4, **SMALL}, str(tmp_path / f"{name}.ckpt"))
            there = network if name == "convlstm" else fresh.picture
            expected = there.state_dict() if name == "convlstm" else network.state_dict()
            own = (fresh if name == "convlstm" else fresh.picture).state_dict()
            assert all(torch.equal(own[key], value) for key, value in expected.items())
        with pytest.raises(ValueError, match=r"holds unet with widths \[4, 8\] there|holds unet with widths"):
            wide: dict[str, Any] = {"name": "convlstm", "widths": [4, 16], "blocks": [0, 0]}
            start_weights(create_model(**wide), wide, str(tmp_path / "unet.ckpt"))


class TestSimulatedMotion:
    def test_the_known_motion_leads_back_to_the_same(self):
        torch.manual_seed(0)
        soft = torch.nn.functional.interpolate(torch.rand(3, 3, 8, 8), 91, mode="bicubic", align_corners=False)
        rgb = soft.clamp(0, 1)[:, None].expand(-1, 6, -1, -1, -1)
        cameras = draw_cameras(3, 6, torch.zeros(3, dtype=torch.bool))
        frames, motion = look(rgb, cameras, 64), known_motion(cameras, 64)
        back = warp(frames.roll(1, 0), motion.flow, "bicubic")
        seen = motion.visible.expand_as(back)
        assert motion.visible.unflatten(0, (3, 6))[:, 1:].float().mean() > 0.8
        assert not motion.visible.unflatten(0, (3, 6))[:, 0].any()
        gap, unmoved = ((x - frames).abs()[seen].mean() for x in (back, frames.roll(1, 0)))
        assert gap < 0.1 * unmoved, (gap, unmoved)

    def test_cameras_are_smooth_stay_inside_and_some_stand_still(self):
        torch.manual_seed(1)
        cameras = draw_cameras(200, 8, torch.arange(200) < 10)
        moving = (cameras.diff(dim=1).abs().amax((1, 2, 3)) > 0).float()
        assert moving[:10].sum() == 0 and 0.5 < moving[10:].mean() < 0.9
        corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
        assert (cameras @ corners).abs().quantile(0.99) <= 1.05
        jerk = cameras[..., 2].diff(n=2, dim=1).abs().amax()
        assert jerk < 0.05

    def test_exposure_drifts_gently_and_three_quarters_have_grain(self):
        torch.manual_seed(2)
        factor, grain = draw_film(400, 6, 16, torch.device("cpu"))
        swing = (factor - 1).view(400, 6)
        assert 0.8 * DRIFT < swing.abs().max() <= DRIFT and swing.diff(dim=1).abs().max() < 1.3 * DRIFT
        assert abs(swing.mean()) < 0.02 and (swing.diff(dim=1) != 0).any(1).all()
        strength = grain.view(400, -1).std(1)
        assert 0.18 < (strength == 0).float().mean() < 0.32
        assert 0.9 * GRAIN < strength.max() < 1.1 * GRAIN and strength[strength > 0].min() < 0.1 * GRAIN

    def test_the_seed_decides(self, photographs: Path):
        batches = []
        for seed in (0, 0, 1):
            data = loaded(photographs, seed=seed)
            batches.append(data.on_after_batch_transfer(next(iter(data.val_dataloader()))))
        assert torch.equal(batches[0]["l"], batches[1]["l"])
        assert not torch.equal(batches[0]["l"], batches[2]["l"])


class TestClips:
    def test_photographs(self, photographs: Path):
        data = loaded(photographs)
        batch = next(iter(data.train_dataloader()))
        assert isinstance(batch, ClipBatch) and batch.rgb.shape == (2, 4, 3, 46, 46) and not batch.filmed.any()
        out = data.on_after_batch_transfer(batch)
        assert out["l"].shape == (8, 1, 32, 32) and out["ab"].shape == (8, 2, 32, 32) and out["frames"] == 4
        assert data.pictures("train")[:].shape[1:] == (3, 32, 32) and data.summary()["frames"] == 4
        assert len(data.files.test) == 1 and not {*data.files.train} & {*data.files.val, *data.files.test}

    def test_films_folders_of_frames_and_photographs_together(self, photographs: Path):
        save_gif(photographs / "waves.gif", film(1, 9))
        save_frames(photographs / "shot", film(2, 5))
        save_frames(photographs / "val" / "shot", film(3, 4))
        data = loaded(photographs)
        assert {path.name for path in data.files.train + data.files.test} <= {*"0123", "waves.gif", "shot"} | {
            f"{i}.jpg" for i in range(4)
        }
        assert [path.parent.name for path in data.files.val] == ["val"]
        filmed = sum(len(item) > 1 for item in data._clips["train"].items)
        expected = 2 * any(p.name == "waves.gif" for p in data.files.train) + any(
            p.name == "shot" for p in data.files.train
        )
        assert filmed == expected

    def test_a_video(self, tmp_path: Path):
        import av

        path = tmp_path / "pan.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for frame in film(0, 10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())
        data = loaded(path)  # one film alone
        assert len(data._clips["train"]) == len(data._clips["val"]) == 2
        assert next(iter(data.val_dataloader())).filmed.all()

    def test_a_film_is_cut_at_its_scene_cuts(self, tmp_path: Path):
        save_frames(tmp_path / "films" / "two", np.concatenate([film(0, 5), film(3, 4)[:, :, ::-1]]))
        items = loaded(tmp_path / "films")._clips["train"].items
        assert len(items) == 2
        for item in items:
            l = rgb_to_l_ab(to_float(item))[0]
            assert len(l) == 4 and not any(is_cut(l[i - 1 : i], l[i : i + 1]) for i in range(1, 4))

    def test_a_films_motion_is_estimated_and_its_camera_stands_still(self, tmp_path: Path):
        save_frames(tmp_path / "films" / "pan", film(0, 8))
        data = loaded(tmp_path / "films", size=64)
        out = data.on_after_batch_transfer(next(iter(data.val_dataloader())))
        motion = out["motion"]
        assert not motion.visible[0].any() and motion.visible[1].float().mean() > 0.5
        change, pixels = warp_error(out["ab"].roll(1, 0), out["ab"], motion)
        unmoved, _ = warp_error(out["ab"].roll(1, 0), out["ab"], motion._replace(flow=0 * motion.flow))
        assert change.sum() < 0.7 * unmoved.sum() and pixels.sum() > 0

    def test_all_frames_of_a_clip_are_augmented_alike_and_clips_are_not(self, photographs: Path):
        data = loaded(photographs)
        rgb = torch.rand(1, 1, 3, 46, 46, generator=torch.Generator().manual_seed(0)).expand(3, 4, -1, -1, -1)
        out = data.augmented(rgb.flatten(1, 2), 0, 1, 0).unflatten(1, (4, 3))
        assert all(torch.equal(out[:, 0], out[:, i]) for i in range(1, 4))
        assert not torch.allclose(out[0], out[1]) and not torch.allclose(out[0], rgb[0])

    def test_grain_and_exposure_are_of_l_alone(self, photographs: Path):
        data = loaded(photographs, batch_size=3)
        batch = next(iter(data.train_dataloader()))
        still = ClipBatch(batch.rgb, torch.ones(len(batch.rgb), dtype=torch.bool))  # as if filmed: no camera moves
        out = data.on_after_batch_transfer(still)
        l, ab = (out[name].unflatten(0, (-1, 4)) for name in ("l", "ab"))
        torch.testing.assert_close(ab[:, 1:], ab[:, :-1])
        assert not torch.allclose(l[:, 1:], l[:, :-1], atol=1e-3)
        assert l.min() >= 0 and l.max() <= 1

    def test_bad_input(self, photographs: Path, tmp_path: Path):
        (tmp_path / "nothing").mkdir()
        with pytest.raises(ValueError, match=r"no clips in .*nothing: dataset.root= takes photographs"):
            loaded(tmp_path / "nothing")
        short = save_gif(tmp_path / "short.gif", film(0, 3))
        with pytest.raises(
            ValueError, match=r"short.gif has no scene of dataset.frames=4 frames \(the longest has 3\)"
        ):
            loaded(short)
        with pytest.raises(ValueError, match=r"dataset.frames=1 must be a whole number from 2 up"):
            ClipDataModule("x", str(photographs), frames=1)
        with pytest.raises(ValueError, match="does not exist"):
            loaded(tmp_path / "gone")

    def test_one_clip_is_said_to_be_validated_on_itself(self, tmp_path: Path, caplog: pytest.LogCaptureFixture):
        with caplog.at_level(logging.WARNING):
            loaded(save_gif(tmp_path / "one.gif", film(0, 5)))
        assert "trained and validated on the same" in caplog.text


class TestTraining:
    def test_train_and_colour(self, train, photographs: Path, tmp_path: Path):
        result = train("experiment=convlstm", *TINY, "dataset.steps_per_epoch=2", root=photographs)
        assert result["network"] == "convlstm" and result["steps"] == 2 and result["val"]["unsteady"] > 0
        assert result["dataset"] == "photographs"
        ckpt = tmp_path / "run/checkpoints/best.ckpt"
        network = load_checkpoint(ckpt).model
        assert isinstance(network, ConvLSTM) and network.remembered.weight.abs().max() > 0
        start = create(24)
        start_weights(start, {"name": "convlstm"}, "auto")
        for name, value in start.picture.state_dict().items():
            assert torch.equal(network.picture.state_dict()[name], value), name

        clip = save_gif(tmp_path / "in.gif", film(0, 4))
        outputs = {}
        for mode in ("none", "smooth", "convlstm"):
            arguments = (f"input={clip}", f"output={tmp_path / mode}.gif", f"ckpt_path={ckpt}", f"temporal={mode}")
            target = gif(config("gif", *arguments, "device=cpu"))
            outputs[mode] = np.stack(list(read_animation(target).frames()))
        assert outputs["convlstm"].shape == outputs["none"].shape == (4, 48, 64, 4)
        rows, _ = judge_clip(Colorizer.from_checkpoint(ckpt, device="cpu"), [film(0, 4)])
        assert [row["temporal"] for row in rows] == ["real", "none", "smooth", "convlstm"]

    def test_one_film_is_enough(self, train, tmp_path: Path):
        result = train("experiment=convlstm", *TINY, root=save_gif(tmp_path / "waves.gif", film(0, 6)))
        assert result["dataset"] == "waves" and result["steps"] == 1 and result["test"] == {}
        assert (tmp_path / "run/metrics.json").exists()

    def test_without_a_picture_network_or_clips(self, train, photographs: Path):
        with pytest.raises(ValueError, match="finetune=auto"):
            train("experiment=convlstm", *TINY, "finetune=null", root=photographs)
        with pytest.raises(ValueError, match="give dataset=clips"):
            train("model=convlstm", "dataset=beach", "dataset.size=32", "finetune=auto", root=photographs)

    def test_a_network_without_memory_is_refused_before_anything_is_written(self, checkpoint: Path, tmp_path: Path):
        clip = save_gif(tmp_path / "in.gif", film(0, 4))
        with pytest.raises(ValueError, match=r"temporal=convlstm needs a network with a memory.*experiment=convlstm"):
            gif(config("gif", f"input={clip}", f"ckpt_path={checkpoint}", "temporal=convlstm", "device=cpu"))
        assert sorted(path.name for path in tmp_path.glob("*.gif")) == ["in.gif"]
