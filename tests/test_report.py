"""Sheets, curves, tables and the atomic writing beneath them."""

import csv
import json
import math
import os

import numpy as np
import pytest
from PIL import Image

from colorize.files import atomic
from colorize.report import loss_curve, print_table, sheet, write_json, write_table

RED, GREEN, BLUE = (200, 30, 30), (30, 180, 60), (40, 60, 220)


def flat(colour, height, width):
    return np.full((height, width, 3), colour, dtype=np.uint8)


def read_png(path):
    with Image.open(path) as image:
        image.load()
        return image.convert("RGB")


# atomic


def test_atomic_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "picture.png"
    for text in ("first", "second"):
        with atomic(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".png" and temporary != path
            temporary.write_text(text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["picture.png"]


def test_atomic_keeps_the_old_file_after_an_exception(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


# sheet


@pytest.mark.parametrize("name", ["sheet.png", "sheet.JPG"])
def test_sheet_has_each_picture_in_its_place(tmp_path, name):
    rows = [tuple(flat(colour, 512, 768) for colour in (RED, GREEN, BLUE)), tuple(flat(RED, 8, 8) for _ in range(3))]
    sheet(rows, tmp_path / name)
    image = read_png(tmp_path / name)
    assert image.width == 2 * 16 + 3 * 384 + 2 * 6  # margins, 768 x 512 scaled to a height of 256, gaps
    bottom = image.height - 16
    for column, colour in enumerate((RED, GREEN, BLUE)):
        centre = 16 + column * (384 + 6) + 192
        for dx, dy in ((0, 0), (-188, -124), (188, 124)):  # the first row fills its cell
            assert np.allclose(
                image.getpixel((centre + dx, bottom - 256 - 6 - 128 + dy)), colour, atol=12
            )  # JPEG rings
        assert np.allclose(image.getpixel((centre, bottom - 128)), RED, atol=3)
        assert image.getpixel((centre - 190, bottom - 128)) == (255, 255, 255)  # a square in a wider column
        heading = image.crop((centre - 60, 16, centre + 60, bottom - 2 * 256 - 2 * 6))
        assert np.asarray(heading).min() < 80  # there is writing
    assert os.listdir(tmp_path) == [name]


def test_sheet_grows_for_title_and_captions_and_loses_no_text(tmp_path):
    rows = [(flat(RED, 40, 10), flat(RED, 40, 10))]
    sheet(rows, tmp_path / "plain.png", columns=("a", "b"))
    sheet(
        rows, tmp_path / "full.png", columns=("a", "b"), title="Café |[x]|", captions=["a long name\n\udcff.jpg " * 9]
    )
    plain, full = read_png(tmp_path / "plain.png"), read_png(tmp_path / "full.png")
    assert full.height > plain.height + 50 and full.width > 1000
    caption = np.asarray(full)[-35:, :, 0]
    assert (caption[:, :30] < 128).any() and (caption[:, -60:] < 128).any() and (caption[:, -14:] == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_sheet_of_extreme_shapes_stays_reasonable(tmp_path, size):
    sheet([(flat(BLUE, *size),) * 3], tmp_path / "s.png")
    image = read_png(tmp_path / "s.png")
    assert image.width < 2500 and image.height < 400


def test_sheet_refuses_rows_that_do_not_fit(tmp_path):
    picture = flat(RED, 4, 4)
    for rows, captions in (([], None), ([(picture,) * 2], None), ([(picture,) * 3], ["a", "b"])):
        with pytest.raises(ValueError):
            sheet(rows, tmp_path / "s.png", captions=captions)
    assert os.listdir(tmp_path) == []


# curves


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "history",
    [
        {"train": [(0, 0.5), (1, 0.4), (2, 0.35)], "val": [(0, 0.6), (1, 0.45), (2, 0.5)]},
        {"train": [(0, 0.5)], "val": [(0, 0.4)]},
        {"train": [(3, 0.5)], "val": []},
        {"train": [(0, 1.0), (1, 0.1)]},
        {"train": [(0, NAN), (1, 0.4)], "val": [(0, NAN), (1, INF)]},
        {"train": [(0, 1e4), (1, 1e-8)], "val": [(0, 20.0), (1, 0.5)]},
        {"train": [(0, 0.0), (1, -5.0)], "val": [(0, 0.0), (1, 0.0)]},
        {"train": [(i, 1 / (i + 1)) for i in range(500)], "val": [(i, 1 / (i + 1)) for i in range(0, 500, 50)]},
        {"train": [(0, NAN)], "val": []},
        {},
    ],
)
def test_loss_curve_of_any_history(tmp_path, history):
    loss_curve(history, tmp_path / "loss.png", title="100 $ of loss_x")
    image = read_png(tmp_path / "loss.png")
    assert image.size == (1280, 720) and np.asarray(image).std() > 5
    assert os.listdir(tmp_path) == ["loss.png"]


def test_loss_curve_marks_the_best_epoch(tmp_path):
    train = [(i, 1.0) for i in range(11)]
    ring = {}
    for best in (2, 8):
        val = [(i, 0.5 if i == best else 1.5) for i in range(11)]
        loss_curve({"train": train, "val": val}, tmp_path / "loss.png", title="t")
        pixels = np.asarray(read_png(tmp_path / "loss.png")).astype(int)
        blue = (np.abs(pixels - (5, 80, 174)).sum(-1) < 30)[400:640]  # below the legend and the lines
        ring[best] = np.median(np.nonzero(blue)[1]) / 1280
    assert 0.2 < ring[2] < 0.4 and 0.7 < ring[8] < 0.9


# tables


ROWS = [
    {"file": "a|b.jpg", "psnr": 24.123456789, "ssim": 0.91239, "ab_mse": 0.0012345678, "pictures": 3},
    {"file": "[red]ç.jpg", "psnr": NAN, "ssim": 1.0, "colourfulness_ratio": INF, "pictures": 12},
]


def test_write_table_round_trip(tmp_path):
    write_table(ROWS, tmp_path / "run.v2")
    assert sorted(os.listdir(tmp_path)) == ["run.v2.csv", "run.v2.json", "run.v2.md"]

    def refuse(constant):
        raise AssertionError(constant)

    loaded = json.loads((tmp_path / "run.v2.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert loaded == [ROWS[0], {**ROWS[1], "psnr": None, "colourfulness_ratio": None}]
    with open(tmp_path / "run.v2.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["file", "psnr", "ssim", "ab_mse", "pictures", "colourfulness_ratio"]
    assert float(lines[0]["psnr"]) == ROWS[0]["psnr"] and math.isnan(float(lines[1]["psnr"]))
    assert lines[0]["colourfulness_ratio"] == "" and lines[1]["file"] == "[red]ç.jpg"


def test_markdown_is_aligned(tmp_path):
    write_table(ROWS, tmp_path / "t")
    assert (tmp_path / "t.md").read_text(encoding="utf-8") == (
        "| file       |  psnr |  ssim |  ab_mse | pictures | colourfulness_ratio |\n"
        "| ---------- | ----: | ----: | ------: | -------: | ------------------: |\n"
        "| a\\|b.jpg   | 24.12 | 0.912 | 0.00123 |        3 |                     |\n"
        "| [red]ç.jpg |   n/a | 1.000 |         |       12 |                 n/a |\n"
    )


def test_tables_of_nothing_and_of_odd_names(tmp_path):
    write_table([], tmp_path / "empty")
    assert json.loads((tmp_path / "empty.json").read_text()) == []
    write_table([{"file": "not utf-8 \udcff\nsecond line.jpg"}], tmp_path / "odd")
    assert len((tmp_path / "odd.md").read_text(encoding="utf-8").splitlines()) == 3


def test_print_table_shows_names_as_they_are(capsys):
    print_table(ROWS, ["file", "psnr", "ab_mse"], title="test [set]")
    shown = capsys.readouterr().out
    for text in ("test [set]", "[red]ç.jpg", "a|b.jpg", "24.12", "0.00123", "n/a"):
        assert text in shown
    assert "0.912" not in shown


def test_print_table_cuts_no_number_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    values = {"psnr": 22.345678, "ssim": 0.91234, "ciede2000": 11.234, "ab_mse": 0.0123456}
    values |= {"colourfulness": 33.333, "colourfulness_real": 44.444, "colourfulness_ratio": 0.75}
    print_table([{"method": "mean colour of a data set", **values, "pictures": 1234}])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("22.35", "0.912", "11.23", "0.01235", "33.3", "44.4", "0.75", "1234"):
        assert f" {text} " in shown


def test_write_json_is_strict_and_atomic(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": [NAN, -INF, 1.5, {"y": (NAN, True, None)}], "name": "à"})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "x": [None, None, 1.5, {"y": [None, True, None]}],
        "name": "à",
    }
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "à" and os.listdir(tmp_path) == ["a.json"]
