"""Colour hints: honoured where they are, followed by their region, and nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config
from skimage.color import deltaE_ciede2000, rgb2lab

from colorize.color import l_ab_to_rgb, rgb_to_l_ab
from colorize.data import scenes
from colorize.media import Picture, read_picture, write_picture
from colorize.predict import predict


def save(path: Path, rgb: np.ndarray) -> Path:
    write_picture(path, Picture(rgb, None, {}))
    return path


def coloured(source: Path, *hints: str) -> np.ndarray:
    listed = ",".join(f'"{hint}"' for hint in hints)
    target = source.with_name("out.png")
    predict(config("predict", f"input={source}", f"output={target}", "overwrite=true", f"hints=[{listed}]"))
    return read_picture(target).rgb


def wanted(rgb: np.ndarray, x: int, y: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Lab of the hint's hue and chroma at the picture's lightness, as far as sRGB goes."""
    l, _ = rgb_to_l_ab(torch.tensor(rgb[y, x] / 255.0).float().reshape(1, 3, 1, 1))
    _, ab = rgb_to_l_ab(torch.tensor(colour).float().reshape(1, 3, 1, 1) / 255)
    return rgb2lab(l_ab_to_rgb(l, ab).flatten().numpy())


@pytest.mark.parametrize(("kind", "size"), [("rural", 64), ("beach", 300), ("maduixes", 1000)])
def test_a_hint_is_honoured_at_its_point(tmp_path: Path, kind: str, size: int):
    source = save(tmp_path / "in.png", scenes.render(kind, seed=1, size=size))
    rgb = read_picture(source).rgb
    hints = {(0, 0): (170, 51, 17), (size // 2, size // 3): (40, 90, 200), (size - 1, size - 5): (60, 140, 50)}
    out = coloured(source, *(f"{x},{y},#{bytes(colour).hex()}" for (x, y), colour in hints.items()))
    for (x, y), colour in hints.items():
        assert deltaE_ciede2000(rgb2lab(out[y, x]), wanted(rgb, x, y, colour)) < 3, (x, y)
    assert np.abs(rgb2lab(out)[..., 0] - rgb2lab(rgb)[..., 0]).max() < 0.5


def test_the_region_follows_and_others_are_left_alone(tmp_path: Path):
    rgb = np.full((120, 200, 3), 80, np.uint8)
    rgb[:, 100:] = 170
    rgb += np.random.default_rng(0).integers(0, 6, rgb.shape[:2], dtype=np.uint8)[..., None]  # grain is no edge
    source = save(tmp_path / "in.png", rgb)
    plain = rgb2lab(coloured(source))
    hinted = rgb2lab(coloured(source, "40,60,#aa3311"))
    differs = deltaE_ciede2000(plain, hinted)
    assert differs[:, 104:].max() < 2
    region = hinted[20:100, 10:90]
    assert np.abs(region - hinted[60, 40])[..., 1:].mean() < 8 and differs[20:100, 10:90].min() > 5
    # A hint in the colour that is there already shields its own place from the other.
    there = "#{:02x}{:02x}{:02x}".format(*coloured(source)[60, 85])
    shielded = deltaE_ciede2000(plain, rgb2lab(coloured(source, "40,60,#aa3311", f"85,60,{there}")))
    assert shielded[60, 85] < 2 < differs[60, 85]


def test_hints_are_written_in_several_ways(tmp_path: Path):
    source = save(tmp_path / "in.png", scenes.render("rural", seed=1, size=64))
    first = coloured(source, "10,20,#808000")
    target = tmp_path / "other.png"
    predict(config("predict", f"input={source}", f"output={target}", "hints=[{x: 10, y: 20, color: olive}]"))
    assert np.array_equal(read_picture(target).rgb, first)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ('["64,3,red"]', "64,3,#ff0000 is outside the picture, which is 64 x 64 pixels: x is from 0 to 63"),
        ('["3,-1,red"]', "outside the picture"),
        ('["3,4,reddish"]', "reddish is no colour"),
        ('["3,red"]', 'is not understood: write "x,y,color"'),
        ("[{x: 3, y: 4}]", "is not understood"),
        ('"3,4,red"', 'must be a list, like hints=\\["10,20,#aa3311"\\]'),
    ],
)
def test_a_wrong_hint_is_named_and_nothing_is_written(tmp_path: Path, hints: str, message: str):
    source = save(tmp_path / "in.png", scenes.render("rural", seed=1, size=64))
    with pytest.raises(ValueError, match=message):
        predict(config("predict", f"input={source}", f"hints={hints}"))
    assert list(tmp_path.iterdir()) == [source]


def test_hints_are_for_one_picture(tmp_path: Path):
    for name in ("a.png", "b.png"):
        save(tmp_path / name, scenes.render("rural", seed=1, size=32))
    with pytest.raises(ValueError, match="hints= are places in one picture"):
        predict(config("predict", f"input={tmp_path}", 'hints=["1,1,red"]'))
