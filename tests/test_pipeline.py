"""The Colorizer, predict, gif and evaluate: from files to files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colorize.checkpoint import load_checkpoint
from colorize.choice import choose_checkpoint
from colorize.color import rgb_to_l_ab, to_float
from colorize.evaluate import evaluate
from colorize.evaluation import ConstantColour
from colorize.gif import gif
from colorize.media import read_gif
from colorize.models.base import Network
from colorize.pipeline import Colorizer, pick_device
from colorize.predict import predict


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def lightness(rgb: np.ndarray) -> torch.Tensor:
    return 100 * rgb_to_l_ab(to_float(torch.tensor(rgb).permute(2, 0, 1)[None]))[0]


class Strong(Network):
    """Far out of the gamut nearly everywhere, and different from pixel to pixel."""

    stride = 8

    def forward(self, l: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.sin(40 * l), torch.cos(40 * l)], 1)


class TestColorizer:
    @settings(max_examples=30, deadline=None)
    @given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 9))
    def test_any_size_comes_back_in_that_size_with_its_lightness(self, height: int, width: int, seed: int):
        rgb = random_picture(height, width, seed)
        out = Colorizer(Strong(), 32, "cpu")(rgb)
        assert out.shape == rgb.shape and out.dtype == np.uint8
        assert float((lightness(out) - lightness(rgb)).abs().max()) <= 0.3

    @pytest.mark.parametrize("shape", [(3, 1000), (1000, 3), (500, 700), (1, 1)])
    def test_odd_shapes(self, checkpoint: Path, shape: tuple[int, int]):
        rgb = random_picture(*shape)
        out = Colorizer.from_checkpoint(checkpoint, device="cpu")(rgb)
        assert out.shape == rgb.shape
        assert float((lightness(out) - lightness(rgb)).abs().max()) <= 0.3

    def test_a_batch_is_its_pictures(self, checkpoint: Path):
        colorizer = Colorizer.from_checkpoint(checkpoint, device="cpu")
        batch = np.stack([random_picture(40, 60, seed) for seed in range(3)])
        apart = np.stack([colorizer(rgb) for rgb in batch])
        assert np.abs(colorizer(batch).astype(int) - apart.astype(int)).max() <= 1  # sums in another order

    def test_only_the_lightness_is_used(self):
        colorizer = Colorizer(ConstantColour([0.2, 0.1]), 32, "cpu")
        grey = Colorizer(ConstantColour([0.0, 0.0]), 32, "cpu")
        rgb = random_picture(30, 30)
        assert np.ptp(grey(rgb).astype(int), axis=-1).max() <= 1  # a half may be rounded either way
        assert np.abs(colorizer(rgb).astype(int) - colorizer(grey(rgb)).astype(int)).mean() < 2

    def test_constant_colour_is_that_colour(self):
        out = Colorizer(ConstantColour([0.1, -0.05]), 32, "cpu")(np.full((8, 8, 3), 128, np.uint8))
        _, ab = rgb_to_l_ab(to_float(torch.tensor(out).permute(2, 0, 1)[None]))
        np.testing.assert_allclose(ab.mean((0, 2, 3)).numpy(), [0.1, -0.05], atol=0.005)

    def test_colour_is_resized_smoothly(self):
        """A step in the network's output becomes a ramp in the picture, without blocks."""

        class Halves(Network):
            stride = 8

            def forward(self, l: torch.Tensor) -> torch.Tensor:
                left = (torch.arange(l.shape[-1]) < l.shape[-1] // 2).float() * 0.2
                return left.expand(len(l), 2, *l.shape[-2:])

        ab = Colorizer(Halves(), 16, "cpu").predict_ab(torch.full((1, 1, 160, 160), 0.5))
        assert float(ab.diff(dim=-1).abs().max()) < 0.2 / 5

    def test_a_device_that_is_not_there_lists_those_that_are(self):
        assert pick_device("auto").type in ("cpu", "cuda", "mps")
        with pytest.raises(ValueError, match=r"device=tpu is not on this machine; there is: auto, .*cpu"):
            pick_device("tpu")

    def test_a_network_that_diverged_is_said_and_not_shown(self):
        with pytest.raises(ValueError, match="not finite"):
            Colorizer(ConstantColour([float("nan"), 0.0]), 32, "cpu")(random_picture(8, 8))

    def test_strips_are_the_whole(self, monkeypatch):
        rgb, colorizer = random_picture(50, 31), Colorizer(Strong(), 32, "cpu")
        whole = colorizer(rgb)
        monkeypatch.setattr("colorize.pipeline._STRIP_PIXELS", 100)
        np.testing.assert_array_equal(colorizer(rgb), whole)

    def test_a_working_size_that_is_too_small(self, checkpoint: Path):
        with pytest.raises(ValueError, match="size=4 must be a whole number from 8 up"):
            Colorizer.from_checkpoint(checkpoint, size=4)


class TestCheckpoint:
    def test_truncated_foreign_and_missing(self, checkpoint: Path, tmp_path: Path):
        (tmp_path / "short.ckpt").write_bytes(checkpoint.read_bytes()[:5000])
        (tmp_path / "text.ckpt").write_text("hello")
        torch.save({"a": 1}, tmp_path / "foreign.ckpt")
        spanning = bytearray(checkpoint.read_bytes())
        spanning[spanning.rindex(b"PK\x06\x07") + 16] = 2  # disks, says the ZIP
        (tmp_path / "spanning.ckpt").write_bytes(spanning)
        for name in ("short", "text", "foreign", "spanning"):
            with pytest.raises(ValueError, match=rf"{name}.ckpt is damaged or no checkpoint"):
                load_checkpoint(tmp_path / f"{name}.ckpt")
        with pytest.raises(ValueError, match=r"no checkpoint .*gone.ckpt"):
            load_checkpoint(tmp_path / "gone.ckpt")
        with pytest.raises(ValueError, match="it is a folder"):
            load_checkpoint(tmp_path)

    def test_a_file_that_would_run_code_runs_none(self, tmp_path: Path):
        class Bomb:
            def __reduce__(self):
                return (Path(tmp_path / "ran").touch, ())

        torch.save({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
        with pytest.raises(ValueError, match="damaged or no checkpoint"):
            load_checkpoint(tmp_path / "bomb.ckpt")
        assert not (tmp_path / "ran").exists()

    def test_weights_of_another_network(self, checkpoint: Path, tmp_path: Path):
        content = torch.load(checkpoint, weights_only=True)
        content["hyper_parameters"]["model"]["extra_layers"] = 0
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(ValueError, match="do not fit the network it names"):
            load_checkpoint(tmp_path / "other.ckpt")

    def test_which_weights(self, checkpoint: Path, tmp_path: Path):
        outputs = checkpoint.parents[4]
        assert choose_checkpoint("x.ckpt", "last", str(outputs)) == Path("x.ckpt")
        assert choose_checkpoint(None, "last", str(outputs)) == checkpoint
        with pytest.raises(ValueError, match=r"no finished run under .*experiment=quick"):
            choose_checkpoint(None, "last", str(tmp_path))
        with pytest.raises(ValueError, match="weights=best is not known"):
            choose_checkpoint(None, "best", str(outputs))


class TestPredict:
    def run(self, checkpoint: Path, source: object, *overrides: str) -> list[Path]:
        return predict(config("predict", f"input='{source}'", f"ckpt_path={checkpoint}", *overrides))

    def test_a_picture_lands_beside_itself(self, checkpoint: Path, tmp_path: Path):
        Image.fromarray(random_picture(50, 70)).convert("L").save(tmp_path / "a b.png")
        before = (tmp_path / "a b.png").read_bytes()
        assert self.run(checkpoint, tmp_path / "a b.png") == [tmp_path / "a b_color.png"]
        with Image.open(tmp_path / "a b_color.png") as out:
            assert out.size == (70, 50) and out.mode == "RGB"
        assert (tmp_path / "a b.png").read_bytes() == before

    def test_a_folder_keeps_names_and_depth(self, checkpoint: Path, tmp_path: Path):
        for name in ("x.png", "deep/y.jpg"):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random_picture(20, 20)).save(tmp_path / "in" / name)
        written = self.run(checkpoint, tmp_path / "in")
        assert sorted(written) == [tmp_path / "in_color/deep/y.jpg", tmp_path / "in_color/x.png"]
        self.run(checkpoint, tmp_path / "in", f"output={tmp_path / 'out'}")
        assert (tmp_path / "out/deep/y.jpg").exists()

    def test_a_pattern(self, checkpoint: Path, tmp_path: Path):
        for name in ("x1.png", "x2.png", "y.png"):
            Image.fromarray(random_picture(9, 9)).save(tmp_path / name)
        assert len(self.run(checkpoint, tmp_path / "x*.png", f"output={tmp_path / 'out'}")) == 2

    def test_alpha_is_kept(self, checkpoint: Path, tmp_path: Path):
        rgba = np.dstack([random_picture(20, 20), np.arange(400).reshape(20, 20).astype(np.uint8)])
        Image.fromarray(rgba).save(tmp_path / "a.png")
        self.run(checkpoint, tmp_path / "a.png")
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a_color.png"))[..., 3], rgba[..., 3])

    def test_exif_orientation_is_applied(self, checkpoint: Path, tmp_path: Path):
        exif = Image.Exif()
        exif[0x0112] = 6  # turn right
        Image.fromarray(random_picture(20, 30)).save(tmp_path / "a.jpg", exif=exif)
        self.run(checkpoint, tmp_path / "a.jpg")
        with Image.open(tmp_path / "a_color.jpg") as out:
            assert out.size == (20, 30) and out.getexif().get(0x0112, 1) == 1

    def test_a_clip_is_not_cut_down_to_its_first_frame(self, checkpoint: Path, tmp_path: Path):
        frames = [Image.fromarray(random_picture(9, 9)) for _ in range(2)]
        frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match=r"a\.png is a clip: python -m colorize\.gif"):
            self.run(checkpoint, tmp_path / "a.png")

    def test_existing_outputs_and_inputs_are_safe(self, checkpoint: Path, tmp_path: Path):
        Image.fromarray(random_picture(9, 9)).save(tmp_path / "a.png")
        (tmp_path / "a_color.png").write_text("mine")
        with pytest.raises(ValueError, match=r"a_color.png exists: overwrite=true"):
            self.run(checkpoint, tmp_path / "a.png")
        for word in ("no", "off", "flase", "1"):
            with pytest.raises(ValueError, match=f"overwrite={word} must be true or false"):
                self.run(checkpoint, tmp_path / "a.png", f"overwrite={word}")
        assert (tmp_path / "a_color.png").read_text() == "mine"
        self.run(checkpoint, tmp_path / "a.png", "overwrite=true")
        assert (tmp_path / "a_color.png").read_bytes()[:4] == b"\x89PNG"
        for output in (tmp_path / "a.png", tmp_path):
            with pytest.raises(ValueError, match="is an input and would be overwritten"):
                self.run(checkpoint, tmp_path / "a.png", f"output={output}", "overwrite=true")

    def test_bad_files_are_named_after_the_good_ones_are_done(self, checkpoint: Path, tmp_path: Path):
        Image.fromarray(random_picture(9, 9)).save(tmp_path / "z.png")
        (tmp_path / "a.png").write_text("no picture")
        with pytest.raises(ValueError, match=r"could not colour 1 of 2: .*a\.png"):
            self.run(checkpoint, tmp_path, f"output={tmp_path / 'out'}")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["z.png"]

    @pytest.mark.parametrize(
        ("source", "message"), [("gone.png", "does not exist"), ("*.png", "nothing to colour"), ("", "no pictures in")]
    )
    def test_nothing_to_colour(self, checkpoint: Path, tmp_path: Path, source: str, message: str):
        with pytest.raises(ValueError, match=message):
            self.run(checkpoint, tmp_path / source)

    def test_results_are_not_coloured_again(self, checkpoint: Path, tmp_path: Path):
        Image.fromarray(random_picture(9, 9)).save(tmp_path / "x.png")
        for _ in range(2):
            assert len(self.run(checkpoint, tmp_path / "*.png", "overwrite=true")) == 1
            assert len(self.run(checkpoint, tmp_path, f"output={tmp_path / 'out'}", "overwrite=true")) <= 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.png", "x_color.png"]

    def test_two_inputs_for_one_output(self, checkpoint: Path, tmp_path: Path):
        for folder in "ab":
            (tmp_path / folder).mkdir()
            Image.fromarray(random_picture(9, 9)).save(tmp_path / folder / "x.png")
        with pytest.raises(ValueError, match="would both be written"):
            self.run(checkpoint, tmp_path / "?/x.png", f"output={tmp_path / 'out'}")


class TestGif:
    @pytest.fixture
    def waves(self, tmp_path: Path) -> Path:
        frames = [Image.fromarray(random_picture(24, 36, i // 2)).convert("L") for i in range(5)]  # neighbours alike
        frames[0].save(
            tmp_path / "waves.gif", save_all=True, append_images=frames[1:], duration=[50, 200, 30, 100, 400], loop=3
        )
        return tmp_path / "waves.gif"

    def test_size_timing_and_loop_stay(self, checkpoint: Path, waves: Path):
        target = gif(config("gif", f"input={waves}", f"ckpt_path={checkpoint}", "batch_size=2"))
        assert target == waves.with_name("waves_color.gif")
        before, after = read_gif(waves), read_gif(target)
        assert (after.size, after.durations, after.loop) == (before.size, before.durations, before.loop)
        frames = list(after.frames())
        assert len(frames) == len(before)
        assert np.ptp(frames[0][..., :3].astype(int), axis=-1).max() > 0, "there is colour"

    def test_one_frame(self, checkpoint: Path, tmp_path: Path):
        Image.fromarray(random_picture(11, 7)).convert("L").save(tmp_path / "one.gif")
        assert len(read_gif(gif(config("gif", f"input={tmp_path / 'one.gif'}", f"ckpt_path={checkpoint}")))) == 1

    def test_refusals(self, checkpoint: Path, waves: Path, tmp_path: Path):
        (tmp_path / "text.gif").write_text("no picture")
        gif(config("gif", f"input={waves}", f"ckpt_path={checkpoint}"))
        for overrides, message in [
            ([f"input={tmp_path / 'gone.gif'}"], "gone.gif"),
            ([f"input={tmp_path / 'text.gif'}"], "text.gif"),
            ([f"input={waves}"], "waves_color.gif exists: overwrite=true"),
            ([f"input={waves}", "overwrite=no"], "overwrite=no must be true or false"),
            (["input="], "input= is empty: name a file or a folder"),
            ([f"input={waves}", f"output={waves}"], "is the input"),
            ([f"input={waves}", f"output={tmp_path / 'out.txt'}"], "must end in .gif"),
        ]:
            with pytest.raises(ValueError, match=message):
                gif(config("gif", f"ckpt_path={checkpoint}", *overrides))

    def test_the_real_clip(self, checkpoint: Path, shared: Path, tmp_path: Path):
        source = shared / "video/beach_waves_gray.gif"
        target = gif(config("gif", f"input={source}", f"output={tmp_path / 'out.gif'}", f"ckpt_path={checkpoint}"))
        before, after = read_gif(source), read_gif(target)
        assert (after.size, after.durations, after.loop) == (before.size, before.durations, before.loop)


class TestEvaluate:
    def run(self, tmp_path: Path, *overrides: str) -> list[dict]:
        return evaluate(config("evaluate", f"run_dir={tmp_path / 'out'}", *overrides))

    def test_the_checkpoint_alone_says_what_to_judge_on(self, checkpoint: Path, tmp_path: Path):
        rows = self.run(tmp_path, f"ckpt_path={checkpoint}")
        assert [row["method"] for row in rows] == ["grey", "mean colour of beach", "beach/beta/first"]
        assert json.loads((tmp_path / "out/table.json").read_text()) == rows
        assert {"table.csv", "table.md", "pictures.csv", "sheet.png", "best.png", "worst.png"} <= {
            path.name for path in (tmp_path / "out").iterdir()
        }
        ours = json.loads((checkpoint.parents[1] / "metrics.json").read_text())["test"]["beta"]
        assert rows[-1]["psnr"] == ours["psnr"], "the run itself judged in the same way"

    def test_a_baseline_is_what_it_says(self, checkpoint: Path, rendered: Path, tmp_path: Path):
        """Grey against scikit-image's CIEDE2000, from files to the table."""
        from skimage import color as skcolor

        rows = self.run(tmp_path, f"ckpt_path={checkpoint}", "eval.size=64")
        expected = []
        for path in sorted((rendered / "test").iterdir()):
            lab = skcolor.rgb2lab(np.asarray(Image.open(path)))
            grey = np.rint(255 * skcolor.lab2rgb(lab * [1, 0, 0])) / 255
            expected.append(skcolor.deltaE_ciede2000(lab, skcolor.rgb2lab(grey)).mean())
        assert rows[0]["ciede2000"] == pytest.approx(np.mean(expected), abs=0.01)

    def test_several_checkpoints_share_a_table(self, checkpoint: Path, tmp_path: Path):
        rows = self.run(tmp_path, f"ckpt_path=[{checkpoint},{checkpoint.with_name('last.ckpt')}]")
        assert [row["method"] for row in rows[2:]] == ["beach/beta/first best", "beach/beta/first last"]
        with pytest.raises(ValueError, match="named twice"):
            self.run(tmp_path, f"ckpt_path=[{checkpoint},{checkpoint}]")

    def test_every_picture_has_its_scores(self, checkpoint: Path, tmp_path: Path):
        rows = self.run(tmp_path, f"ckpt_path={checkpoint}")
        pictures = json.loads((tmp_path / "out/pictures.json").read_text())
        assert len(pictures) == 3 * 3
        ours = [picture["psnr"] for picture in pictures if picture["method"] == rows[-1]["method"]]
        assert np.mean(ours) == pytest.approx(rows[-1]["psnr"])

    def test_rendered_and_real_do_not(self, checkpoint: Path, tmp_path: Path):
        content = torch.load(checkpoint, weights_only=True)
        content["hyper_parameters"]["data"]["rendered"] = False
        torch.save(content, tmp_path / "real.ckpt")
        with pytest.raises(ValueError, match=r"on rendered scenes: .*beach/beta/first"):
            self.run(tmp_path, f"ckpt_path=[{checkpoint},{tmp_path / 'real.ckpt'}]")

    def test_another_set(self, checkpoint: Path, rendered: Path, tmp_path: Path, caplog):
        with caplog.at_level(logging.WARNING):
            rows = self.run(
                tmp_path, f"ckpt_path={checkpoint}", "dataset=folder", f"dataset.root={rendered}", "eval.size=32"
            )
        assert rows[0]["pictures"] == 3 and rows[0]["size"] == "32 x 32"
        assert rows[0]["tested on"] == "rendered scenes"
