"""Motion, steady colour and its measures, on clips whose motion is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from benchmarks import temporal as benchmark
from benchmarks.clips import Clip, join, make_clips
from colorize.clip_evaluation import REAL, judge_clip, plot_mean_ab
from colorize.color import rgb_to_l_ab, rgb_to_lab, to_float
from colorize.data import scenes
from colorize.evaluation import ConstantColour
from colorize.models.base import Network
from colorize.motion import Motion, estimate_motion, is_cut, optical_flow, warp
from colorize.pipeline import Colorizer
from colorize.temporal import Smooth, create_temporal
from colorize.video_metrics import ClipMetrics, colour_histograms, colour_shift, flicker, still, warp_error

FRAMES = 12


def to_tensor(rgb: np.ndarray) -> Tensor:
    return torch.tensor(rgb).permute(0, 3, 1, 2)


def lightness(rgb: np.ndarray) -> Tensor:
    return rgb_to_l_ab(to_float(to_tensor(rgb)))[0]


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    kinds = ("rural", "beach", "pradera", "banana")
    photographs = [scenes.render(kind, seed, size=144) for seed, kind in enumerate(kinds)]
    return {clip.name: clip for clip in make_clips(photographs, frames=FRAMES, size=(64, 96))}


@pytest.fixture(scope="module")
def moving(clips: dict[str, Clip]) -> list[Clip]:
    return [clips[name] for name in ("pan", "zoom", "hand-held", "subject", "subject and pan")]


class Flickering(Network):
    """Of every picture another ab, the same all over it, around a mean of (0.2, 0.1)."""

    stride = 1

    def output(self, l: Tensor) -> Tensor:
        phase = 1e5 * l.mean((1, 2, 3))  # the least change in the picture turns it
        ab = torch.stack([0.2 + 0.07 * phase.sin(), 0.1 + 0.07 * phase.cos()], dim=1)
        return ab[:, :, None, None].expand(-1, -1, *l.shape[-2:])


def test_a_still_sky_full_of_grain_counts_as_seen():
    """Where nothing shows but grain, which the flow follows in vain; half of it was lost for steady colour once."""
    random = np.random.default_rng(0)
    slope = np.linspace(0.6, 0.8, 64)[:, None] + np.zeros((64, 96))
    slope[40:] = scenes.render("rural", 1, size=96)[40:64, :, 1] / 255
    l = [torch.tensor(slope + random.normal(0, 0.03, slope.shape), dtype=torch.float32)[None, None] for _ in range(2)]
    motion = estimate_motion(*l)
    assert motion.visible[..., :36, :].float().mean() > 0.9


class TestClips:
    def test_the_known_motion_leads_back_to_the_same_things(self, moving: list[Clip]):
        for clip in moving:
            frames = to_tensor(clip.frames).float()
            for i in range(1, len(frames)):
                flow, visible = clip.motion[i]
                gap = (warp(frames[i - 1 : i], flow) - frames[i : i + 1]).abs().mean(1, keepdim=True)
                unmoved = (frames[i - 1 : i] - frames[i : i + 1]).abs().mean(1, keepdim=True)
                assert visible.float().mean() > 0.6
                # what is left is a second interpolation of fine detail
                assert gap[visible].mean() < 3 or gap[visible].mean() < 0.5 * unmoved[visible].mean()

    def test_what_the_subject_uncovers_was_the_subject(self, clips: dict[str, Clip]):
        clip = clips["subject"]
        for i in range(1, FRAMES):
            assert clip.uncovered[i].any()
            assert not (clip.uncovered[i] & clip.motion[i].visible[0, 0].numpy()).any()
            # the camera is still: background is what stays the same, but where the subject was it was different
            changed = np.abs(clip.frames[i].astype(int) - clip.frames[i - 1]).max(-1) > 0
            assert changed[clip.uncovered[i]].mean() > 0.95

    def test_same_arguments_same_clips(self, clips: dict[str, Clip]):
        photographs = [scenes.render("rural", 0, size=96)]
        first, second = (make_clips(photographs, frames=3, size=(32, 48)) for _ in range(2))
        assert [clip.name for clip in first] == list(clips)
        assert all(np.array_equal(a.frames, b.frames) for a, b in zip(first, second, strict=True))


class TestMotion:
    def test_flow_is_the_known_one(self, moving: list[Clip]):
        errors = []
        for clip in moving:
            l = lightness(clip.frames)
            for i in range(1, FRAMES):
                flow, visible = clip.motion[i]
                gap = (optical_flow(l[i - 1 : i], l[i : i + 1]) - flow).norm(dim=1, keepdim=True)
                errors.append(gap[visible].median())
        assert torch.stack(errors).median() < 0.15

    def test_what_was_hidden_is_not_visible(self, clips: dict[str, Clip]):
        clip = clips["subject"]
        l = lightness(clip.frames)
        visible = torch.cat([estimate_motion(l[i - 1 : i], l[i : i + 1]).visible for i in range(1, FRAMES)])
        known = torch.cat([motion.visible for motion in clip.motion[1:]])
        assert visible[known].float().mean() > 0.8
        assert visible[:, 0][torch.tensor(clip.uncovered[1:])].float().mean() < 0.6

    @pytest.mark.parametrize("size", [(1, 1), (8, 8), (15, 200), (16, 16), (17, 33), (200, 16)])
    def test_any_size(self, size: tuple[int, int]):
        l = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
        motion = estimate_motion(l, l)
        assert motion.flow.shape == (2, 2, *size) and motion.visible.shape == l.shape
        assert motion.flow.isfinite().all() and motion.visible.float().mean() > 0.9

    def test_cuts(self, clips: dict[str, Clip]):
        for clip in clips.values():
            l = lightness(clip.frames)
            found = [i for i in range(1, FRAMES) if is_cut(l[i - 1 : i], l[i : i + 1])]
            assert found == list(clip.cuts), clip.name

    def test_threads_make_no_difference(self, clips: dict[str, Clip]):
        l = lightness(clips["hand-held"].frames[:2])
        threads = cv2.getNumThreads()
        try:
            flows = [cv2.setNumThreads(n) or optical_flow(l[:1], l[1:]) for n in (1, 3)]  # type: ignore[func-returns-value]
        finally:
            cv2.setNumThreads(threads)
        assert torch.equal(*flows)


def noisy(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """ab of noise around (0.2, 0.1), one value a frame: flicker of the worst kind, which no blur takes out."""
    noise = 0.05 * torch.randn(shape[0], 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    return (torch.tensor([0.2, 0.1]).view(1, 2, 1, 1) + noise).expand(-1, -1, *shape[-2:]).contiguous()


class TestSmooth:
    def test_flicker_goes_and_colour_stays_where_nothing_moves(self, clips: dict[str, Clip]):
        l = lightness(clips["grain"].frames).repeat(3, 1, 1, 1)
        ab = noisy(l.shape)
        out = Smooth()(l, ab)
        assert out.diff(dim=0).abs().mean() < 0.15 * ab.diff(dim=0).abs().mean()

    def test_colour_is_the_mean_of_a_pixels_past(self, clips: dict[str, Clip]):
        l = lightness(clips["pan"].frames[:1]).repeat(10, 1, 1, 1)
        ab = noisy(l.shape)
        out, mean = Smooth()(l, ab), ab[0]
        for i in range(1, 10):  # what is past counts 1.5 to 1
            mean = (1.5 * i * mean + ab[i]) / (1.5 * i + 1)
            torch.testing.assert_close(out[i], mean, atol=1e-4, rtol=0)

    def test_flicker_goes_along_the_motion(self, moving: list[Clip]):
        for clip in moving:
            l = lightness(clip.frames)
            ab = noisy(l.shape)
            error = [
                sum(float(warp_error(x[i - 1 : i], x[i : i + 1], clip.motion[i])[0]) for i in range(1, FRAMES))
                for x in (Smooth()(l, ab), ab)
            ]
            assert error[0] < 0.4 * error[1], clip.name

    def test_steady_colour_passes_unchanged(self, moving: list[Clip]):
        l = lightness(moving[0].frames)
        ab = torch.full((FRAMES, 2, *l.shape[-2:]), 0.25)
        torch.testing.assert_close(Smooth()(l, ab), ab)

    def test_after_a_cut_the_first_frame_is_frame_by_frame(self, clips: dict[str, Clip]):
        clip = clips["cut"]
        l, (cut,) = lightness(clip.frames), clip.cuts
        ab = noisy(l.shape)
        out = Smooth()(l, ab)
        assert torch.equal(out[0], ab[0]) and torch.equal(out[cut], ab[cut])
        assert torch.equal(out[cut:], Smooth()(l[cut:], ab[cut:]))
        assert not torch.equal(out[cut - 1], ab[cut - 1]) and not torch.equal(out[cut + 1], ab[cut + 1])

    def test_beside_what_was_hidden_little_is_kept(self):
        """Ground that rests, and a bright patch that comes from nowhere: the nearer to it, the less of the past."""
        l = 0.4 + 0.1 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).repeat(6, 1, 1, 1)
        l[5, :, 20:44, 20:44] = 0.9
        ab = torch.full((6, 2, 64, 64), 0.3)
        ab[5] = -0.3  # all of the past is told from all of the present
        kept = (Smooth()(l, ab)[5, 0] + 0.3) / 0.6
        assert kept[24:40, 24:40].max() < 0.05
        beside, away = kept[26:38, 46:49].mean(), kept[:8].mean()
        assert away > 0.8 and beside < 0.8 * away

    def test_no_ghosts(self):
        """A dark red square moves over a light blue ground: what it uncovers is blue at once."""
        side, count = 96, 10
        red, blue = torch.tensor([0.4, 0.3]).view(2, 1, 1), torch.tensor([-0.1, -0.3]).view(2, 1, 1)
        texture = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
        texture = 0.1 * torch.nn.functional.avg_pool2d(texture, 3, 1, 1)
        ls, abs_, uncovered = [], [], []
        mask = torch.zeros(1, side, side, dtype=torch.bool)
        for i in range(count):
            before, mask = mask, torch.zeros_like(mask)
            mask[:, 30:62, 6 + 5 * i : 38 + 5 * i] = True
            moved = texture[1].roll(5 * i, dims=-1)
            ls.append(torch.where(mask, 0.2 + moved, 0.7 + texture[0]))
            abs_.append(torch.where(mask, red, blue))
            uncovered.append(before & ~mask)
        l, ab = torch.stack(ls), torch.stack(abs_)
        wrong = (Smooth()(l, ab) - ab).abs().mean(1)
        where = torch.cat(uncovered)
        assert where.sum() > 1000
        assert wrong[where].mean() < 0.01  # dragged along it would be half of 0.55
        assert wrong.mean() < 0.005

    def test_how_frames_are_batched_makes_no_difference(self, clips: dict[str, Clip]):
        l = lightness(clips["hand-held"].frames)
        ab = noisy(l.shape)
        whole, smooth = Smooth()(l, ab), Smooth()
        assert torch.equal(torch.cat([smooth(*pair) for pair in zip(l.split(5), ab.split(5), strict=True)]), whole)
        assert torch.equal(Smooth()(l, ab), whole)

    def test_clips_do_not_mix(self, clips: dict[str, Clip]):
        ls = [lightness(clips[name].frames) for name in ("pan", "grain")]
        abs_ = [noisy(l.shape, seed) for seed, l in enumerate(ls)]
        states, out = [Smooth(), Smooth()], [[], []]  # type: ignore[var-annotated]
        for i in range(FRAMES):
            for clip in (0, 1):
                out[clip].append(states[clip](ls[clip][i : i + 1], abs_[clip][i : i + 1]))
        for clip in (0, 1):
            assert torch.equal(torch.cat(out[clip]), Smooth()(ls[clip], abs_[clip]))

    def test_reset_and_another_size_start_anew(self, clips: dict[str, Clip]):
        l = lightness(clips["grain"].frames[:3])
        ab, smooth = noisy(l.shape), Smooth()
        smooth(l, ab)
        smooth.reset()
        assert torch.equal(smooth(l[:1], ab[:1]), ab[:1])
        assert torch.equal(smooth(l[:1, :, :32], ab[:1, :, :32]), ab[:1, :, :32])

    def test_memory_does_not_grow(self, clips: dict[str, Clip]):
        l = lightness(clips["grain"].frames)
        ab, smooth, sizes = noisy(l.shape), Smooth(), []
        for _ in range(4):
            smooth(l, ab)
            kept = [t for value in vars(smooth).values() for t in value]
            sizes.append(sum(t.untyped_storage().nbytes() for t in kept))
        # of one frame: not views into the batches that it came in
        assert sizes == [sizes[0]] * 4 and sizes[0] <= 4 * l[0].numel() * 4

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="no temporal is called 'smoth'; there are: convlstm, none, smooth"):
            create_temporal("smoth")


class TestColorizer:
    @pytest.fixture
    def make(self) -> Callable[[], Colorizer]:
        return lambda: Colorizer(Flickering(), 64, "cpu")

    def test_none_is_picture_by_picture(self, make: Callable[[], Colorizer], clips: dict[str, Clip]):
        frames = clips["grain"].frames
        one, other = make(), make()
        (out,) = one.colour_clip([frames], "none")
        assert np.array_equal(out, np.stack([other(frame) for frame in frames]))

    def test_smooth_is_steady_and_its_first_frames_are_those_of_none(
        self, make: Callable[[], Colorizer], clips: dict[str, Clip]
    ):
        clip = clips["cut"]
        none, smooth = (np.concatenate(list(make().colour_clip([clip.frames], m))) for m in ("none", "smooth"))
        for first in (0, *clip.cuts):
            assert np.array_equal(none[first], smooth[first])
        change = [np.abs(np.diff(out.astype(float).mean((1, 2)), axis=0))[1:4].mean() for out in (none, smooth)]
        assert change[1] < 0.5 * change[0]

    def test_one_batch_at_a_time(self, make: Callable[[], Colorizer], clips: dict[str, Clip]):
        read = []

        def batches() -> Iterator[np.ndarray]:
            for i in range(0, FRAMES, 4):
                read.append(i)
                yield clips["pan"].frames[i : i + 4]

        out = make().colour_clip(batches(), "smooth")
        assert not read
        next(out)
        assert read == [0]

    def test_unknown_mode_is_said_before_any_work(self, make: Callable[[], Colorizer]):
        with pytest.raises(ValueError, match="none, smooth"):
            make().colour_clip(iter([]), "convlstm3")


class TestMeasures:
    def test_warp_error_against_loops(self):
        rng = np.random.default_rng(0)
        previous, ab = rng.normal(size=(2, 2, 2, 6, 7))
        flow = rng.integers(-2, 3, (2, 2, 6, 7))
        visible = rng.random((2, 1, 6, 7)) < 0.6
        sums, counts = warp_error(
            torch.tensor(previous), torch.tensor(ab), Motion(torch.tensor(flow).double(), torch.tensor(visible))
        )
        for b in range(2):
            total = 0.0
            for y, x in zip(*np.nonzero(visible[b, 0]), strict=True):
                dx, dy = flow[b, :, y, x]
                there = previous[b, :, np.clip(y + dy, 0, 5), np.clip(x + dx, 0, 6)]
                total += np.abs(ab[b, :, y, x] - there).mean()
            assert counts[b] == visible[b].sum() and float(sums[b]) == pytest.approx(total)

    def test_flicker_against_numpy(self):
        rng = np.random.default_rng(0)
        previous, ab = rng.normal(size=(2, 3, 2, 5, 6))
        mask = rng.random((3, 1, 5, 6)) < 0.5
        sums, counts = flicker(*(torch.tensor(x) for x in (previous, ab, mask)))
        for b in range(3):
            assert float(sums[b] / counts[b]) == pytest.approx(np.abs(ab - previous)[b][:, mask[b, 0]].mean())

    def test_still(self, clips: dict[str, Clip]):
        def share(name: str) -> float:
            l = rgb_to_lab(to_float(to_tensor(clips[name].frames)))[:, :1]
            flow = torch.cat([motion.flow for motion in clips[name].motion])
            return float(still(l[:-1], l[1:], flow[1:]).float().mean())

        assert share("grain") > 0.6  # of what 4 of 255 do to L
        assert share("hand-held") < 0.1
        flat = torch.full((1, 1, 20, 20), 50.0)
        assert still(flat, flat + 0.9, torch.zeros(1, 2, 20, 20)).all()
        assert not still(flat, flat + 1.1, torch.zeros(1, 2, 20, 20)).any()
        assert not still(flat, flat, torch.ones(1, 2, 20, 20)).any()  # flat, and it moves

    def test_cdc_against_scipy(self):
        rng = np.random.default_rng(0)
        frames = [rng.integers(0, high, (9, 11, 3), dtype=np.uint8) for high in (256, 128, 40)]
        histograms = colour_histograms(to_tensor(np.stack(frames)))
        for i, j in ((0, 1), (1, 2), (2, 2)):
            expected = np.mean(
                [
                    jensenshannon(*(np.bincount(frames[k][..., c].ravel(), minlength=256) / 99 for k in (i, j))) ** 2
                    for c in range(3)
                ]
            )
            got = float(colour_shift(histograms[i : i + 1], histograms[j : j + 1]))
            assert got == pytest.approx(np.nan_to_num(expected), abs=1e-6)


class TestClipMetrics:
    def judged(self, clip: Clip, pred: np.ndarray) -> dict[str, float]:
        metrics = ClipMetrics()
        real, pred_ = to_tensor(clip.frames), to_tensor(pred)
        for i in range(len(real)):
            uncovered = torch.tensor(clip.uncovered[i])[None, None]
            metrics.update(pred_[i : i + 1], real[i : i + 1], clip.motion[i], uncovered)
        return {name: float(value) for name, value in metrics.compute().items()}

    def test_grey_is_steady_and_the_other_figures_tell(self, clips: dict[str, Clip]):
        clip = clips["subject"]
        grey = Colorizer(ConstantColour([0.0, 0.0]), 8, "cpu")(clip.frames)
        figures = self.judged(clip, grey)
        assert figures["flicker"] < 0.05 and figures["warp_error"] < 0.05
        assert figures["colourfulness_ratio"] < 0.05 and figures["ciede2000"] > 3 and figures["ghosts"] > 3
        assert figures["frames"] == FRAMES and 0.3 < figures["still"] < 1

    def test_noise_in_colour_is_seen(self, clips: dict[str, Clip]):
        clip = clips["pan"]
        real = self.judged(clip, clip.frames)
        rng = np.random.default_rng(0)
        noise = rng.integers(-20, 21, (FRAMES, 1, 1, 3))
        noisy = self.judged(clip, (clip.frames.astype(int) + noise).clip(0, 255).astype(np.uint8))
        assert real["psnr"] == 100 and real["ciede2000"] == 0
        assert noisy["warp_error"] > 3 * real["warp_error"] and noisy["cdc"] > 2 * real["cdc"]
        assert np.isnan(real["ghosts"])  # nothing was uncovered

    def test_nothing_is_compared_across_a_cut_or_between_clips(self, clips: dict[str, Clip]):
        two = [clips["pan"], clips["exposure drift"]]  # of two photographs
        apart = ClipMetrics()
        for clip in two:
            apart.new_clip()
            for frame in to_tensor(clip.frames).split(1):
                apart.update(frame, frame)
        joined = ClipMetrics()  # finds the cut by itself
        for frame in to_tensor(join("both", two).frames).split(1):
            joined.update(frame, frame)
        for name, value in apart.compute().items():
            torch.testing.assert_close(joined.compute()[name], value, equal_nan=True)
        assert float(apart.cdc_pairs[0]) == 2 * (FRAMES - 1) and float(apart.cdc_pairs[2]) == 2 * (FRAMES - 4)

    def test_memory_does_not_grow_and_reset_forgets(self, clips: dict[str, Clip]):
        metrics = ClipMetrics()
        for frame in to_tensor(clips["pan"].frames).split(1):
            metrics.update(frame, frame)
        assert len(metrics._histograms) == 4
        metrics.reset()
        assert float(metrics.frames) == 0 and not metrics._histograms


class TestJudging:
    def test_rows_and_curves(self, clips: dict[str, Clip], tmp_path: Path):
        clip = clips["grain"]
        shown = []
        rows, curves = judge_clip(
            Colorizer(Flickering(), 64, "cpu"),
            [clip.frames[:5], clip.frames[5:]],
            motion=clip.motion,
            uncovered=clip.uncovered,
            show=lambda frame, pictures: shown.append((frame, sorted(pictures))),
        )
        by = {row["temporal"]: row for row in rows}
        assert list(by) == list(curves) == [REAL, "none", "smooth"]
        assert by[REAL]["psnr"] == 100 and by["smooth"]["frames"] == FRAMES
        assert by["smooth"]["flicker"] < 0.5 * by["none"]["flicker"]
        assert by["smooth"]["warp_error"] < 0.5 * by["none"]["warp_error"]
        assert all(len(curve) == FRAMES for curve in curves.values())
        steadiness = {name: np.abs(np.diff(np.array(curve), axis=0)).mean() for name, curve in curves.items()}
        assert steadiness["smooth"] < 0.5 * steadiness["none"]
        assert shown == [(i, ["none", REAL, "smooth"]) for i in range(FRAMES)]
        plot_mean_ab(curves, tmp_path / "ab.png", title="grain")
        assert (tmp_path / "ab.png").read_bytes()[:4] == b"\x89PNG"

    def test_motion_is_estimated_where_it_is_not_known(self, clips: dict[str, Clip]):
        colorizer = Colorizer(ConstantColour([0.1, 0.1]), 8, "cpu")
        frames = clips["cut"].frames
        (real, row), _ = judge_clip(colorizer, [frames], ["smooth"])
        assert np.isfinite([row["warp_error"], real["cdc"]]).all() and np.isnan(row["ghosts"])

    def test_bad_clips(self, clips: dict[str, Clip]):
        colorizer = Colorizer(ConstantColour([0.1, 0.1]), 8, "cpu")
        with pytest.raises(ValueError, match="no frames"):
            judge_clip(colorizer, [])
        frames = clips["grain"].frames
        with pytest.raises(ValueError, match=r"frame 2 is \(64, 90\)"):
            judge_clip(colorizer, [frames[:2], frames[:2, :, :90]])

    def test_the_benchmark(self, checkpoint: Path, rendered: Path, tmp_path: Path):
        out = tmp_path / "table"
        arguments = ["--ckpt", str(checkpoint), "--photos", str(rendered / "test"), "--frames", "4", "--out", str(out)]
        table = benchmark.main([*arguments, "--device", "cpu"])
        assert len(table) == 9 and table[-1]["clip"] == "mean" and table[-1]["after a cut"] == 0
        assert out.with_suffix(".md").exists() and (tmp_path / "table_beach_pan.png").exists()
