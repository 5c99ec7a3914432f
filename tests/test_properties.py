"""What holds for every input, looked for by Hypothesis where the other tests look at examples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from colorize import pipeline
from colorize.color import l_ab_to_rgb, rgb_to_l_ab, to_float, to_uint8
from colorize.data import scenes
from colorize.data.datamodule import PhotoDataModule
from colorize.data.folder import split_set
from colorize.media import Flipbook, Timing, gif_palette, read_animation, write_animation
from colorize.models.base import Network
from colorize.models.heads import ClassHead
from colorize.pipeline import Colorizer

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sides = st.integers(1, 70)


class Local(Network):
    """Colours that depend on the lightness around: what a wrong order, tile or batch would show in."""

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Conv2d(1, 2, 5, padding=2)

    def output(self, l: Tensor) -> Tensor:
        return torch.tanh(3 * self.layers(l))


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(Local(), 32, "cpu")


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@few
@given(seed=st.integers(0, 2**32 - 1), height=sides, width=sides)
def test_every_picture_survives_lab_and_back(seed: int, height: int, width: int):
    rgb = torch.from_numpy(noise(seed, 1, 3, height, width))
    l, ab = rgb_to_l_ab(to_float(rgb))
    assert l.min() >= 0 and l.max() <= 1.0001 and ab.abs().max() < 1
    torch.testing.assert_close(to_uint8(l_ab_to_rgb(l, ab)), rgb, atol=1, rtol=0)


@few
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5), height=sides, width=sides)
def test_a_batch_of_any_size_is_its_pictures(colorizer: Colorizer, seed: int, count: int, height: int, width: int):
    rgb = noise(seed, count, height, width, 3)
    together = colorizer(rgb)
    assert together.shape == rgb.shape and together.dtype == np.uint8
    apart = np.stack([colorizer(picture) for picture in rgb])
    np.testing.assert_allclose(together.astype(int), apart, atol=1)


@few
@given(seed=st.integers(0, 2**32 - 1), height=sides, width=sides, strip=st.integers(1, 5000))
def test_strips_of_any_height_are_the_whole(colorizer: Colorizer, seed: int, height: int, width: int, strip: int):
    rgb = noise(seed, height, width, 3)
    whole = colorizer(rgb)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "_STRIP_PIXELS", strip)
        np.testing.assert_array_equal(colorizer(rgb), whole)


@dataclass
class Numbered(Flipbook):
    """Frames that tell their number by their brightness."""

    kind = "numbered"

    def _play(self) -> Iterator[np.ndarray]:
        for number in range(len(self)):
            frame = np.full((*self.size[::-1], 4), 255, np.uint8)
            frame[..., :3] = 20 * (number % 12) + 10
            yield frame


@few
@given(
    suffix=st.sampled_from([".gif", ".png", ".webp", ".mkv"]),
    durations=st.lists(st.integers(2, 300).map(lambda n: 10 * n), min_size=1, max_size=12),
    loop=st.sampled_from([None, 0, 3]),
    batch=st.integers(1, 5),
    temporal=st.sampled_from(["none", "smooth"]),
)
def test_a_clip_keeps_its_frames_order_and_times(
    colorizer: Colorizer, suffix: str, durations: list[int], loop: int | None, batch: int, temporal: str
):
    """However it is cut into batches; lightness stays, and with it what number a frame has."""
    with tempfile.TemporaryDirectory() as folder:
        source = Numbered(Path(folder), (16, 12), loop, "", durations)

        def coloured(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
            pictures = [frame[..., :3] for frame in frames]
            parts = (np.stack(pictures[i : i + batch]) for i in range(0, len(pictures), batch))
            for part in colorizer.colour_clip(parts, temporal):
                yield from part

        path = Path(folder) / f"clip{suffix}"
        palette = gif_palette(list(coloured(source.frames()))) if suffix == ".gif" else None
        write_animation(path, source.through(coloured), source, palette=palette)
        clip = read_animation(path)
        found = list(clip.timed())
        assert len(found) == len(durations)
        start = Fraction(0)
        for number, (frame, timing) in enumerate(found):
            expected = Timing(start, Fraction(durations[number], 1000))
            assert all(abs(a - b) <= Fraction(2, 1000) for a, b in zip(timing, expected, strict=True))
            start += expected.duration
            assert abs(float(frame[..., :3].mean()) - (20 * (number % 12) + 10)) < 16  # 20 apart
        if suffix != ".mkv":
            assert clip.loop == loop


@few
@given(
    own=st.lists(st.sampled_from(["train", "val", "test"]), unique=True, max_size=3),
    count=st.integers(3, 20),
    fraction=st.floats(0, 0.9),
)
def test_a_split_never_overlaps_whatever_folders_there_are(own: list[str], count: int, fraction: float):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        places = [root / name for name in own] if "train" in own else [root, *(root / name for name in own)]
        for place in places:
            place.mkdir(exist_ok=True)
            for number in range(count):
                (place / f"{number}.jpg").touch()
        split = split_set(root, fraction)
        parts = [set(part) for part in (split.train, split.val, split.test)]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
        assert split == split_set(root, fraction)
        for name, part in zip(("train", "val", "test"), parts, strict=True):
            if name in own and name != "train":
                assert part == set((root / name).iterdir())


@settings(max_examples=3, deadline=None)
@given(counts=st.tuples(st.integers(3, 5), st.integers(1, 2)))
def test_preparing_twice_is_preparing_once(counts: tuple[int, int]):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        data = PhotoDataModule("beach", scene="beach", scene_counts=counts, size=16)
        patched.setattr(
            scenes, "render_set", lambda *a, size, counts, real=scenes.render_set: real(*a, size=32, counts=counts)
        )
        data.prepare_data()
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path("data").rglob("*.*")}
        data.prepare_data()
        assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path("data").rglob("*.*")}
        data.setup("fit")
        pictures = data.pictures("train")[:]
        data.setup("fit")
        assert torch.equal(pictures, data.pictures("train")[:])
        head = ClassHead(2)
        head.prepare(pictures)
        prior = head.prior.clone()
        head.prepare(pictures)
        assert torch.equal(head.prior, prior) and prior.sum() == pytest.approx(1, abs=1e-5)
