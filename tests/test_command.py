"""`colorize`, the command for daily use, in process; and as a person has it: installed from a wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import colorize
from colorize.__main__ import _TEMPORAL, main
from colorize.data.scenes import render
from colorize.media import read_animation
from colorize.temporal import TEMPORAL

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a grey photo.jpg and a grey waves.gif of three frames."""
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(render("rural", size=64, seed=0)).convert("L")
    photo.crop((0, 0, 64, 48)).save("photo.jpg")
    frames = [photo.rotate(90 * i).resize((40, 40)) for i in range(3)]
    frames[0].save("waves.gif", save_all=True, append_images=frames[1:], duration=[50, 70, 90], loop=3)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def colourful(path: Path) -> float:
    with Image.open(path) as image:
        return float(np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=-1).mean())


def test_a_picture_and_a_gif(folder: Path):
    assert run("photo.jpg") == 0
    with Image.open("photo_color.jpg") as out:
        assert out.size == (64, 48)
    assert colourful(folder / "photo_color.jpg") > 5
    assert run("waves.gif", "-o", "out.gif", "--temporal", "none") == 0
    before, after = read_animation("waves.gif"), read_animation("out.gif")
    assert [t for _, t in after.timed()] == [t for _, t in before.timed()] and after.loop == before.loop
    assert colourful(folder / "out.gif") > 5


def test_a_folder_and_several_at_once(folder: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]):
    (folder / "photos/deep").mkdir(parents=True)
    shutil.copy("photo.jpg", "photos/deep/a.jpg")
    shutil.copy("waves.gif", "photos/deep/waves.gif")
    assert run("photos/", "--weights", str(checkpoint)) == 0
    assert "1 GIFs, videos and the like are left out: photos/deep/waves.gif;" in capfd.readouterr().err
    assert (folder / "photos_color/deep/a.jpg").exists()
    assert run("photo.jpg", "waves.gif", "photos", "-o", "out") == 0
    assert sorted(str(p.relative_to(folder / "out")) for p in (folder / "out").rglob("*.*")) == [
        "photo.jpg",
        "photos/deep/a.jpg",
        "waves.gif",
    ]


def test_what_moves_or_has_pages_is_no_still(folder: Path, capfd: pytest.CaptureFixture[str]):
    (folder / "mixed").mkdir()
    frames = [Image.open("photo.jpg"), Image.open("photo.jpg").rotate(180)]
    for name in ("moving.webp", "moving.png", "pages.tif"):
        frames[0].save(f"mixed/{name}", save_all=True, append_images=frames[1:])
    os.mkfifo("mixed/pipe.jpg")
    assert run("mixed") == 0
    assert [p.name for p in (folder / "mixed_color").iterdir()] == ["pages.tif"]
    said = capfd.readouterr().err
    assert "2 GIFs, videos and the like are left out: mixed/moving.png, mixed/moving.webp;" in said
    assert "mixed/pages.tif: the first of its 2 pages is coloured" in said
    assert run("mixed/pipe.jpg") == 2 and "mixed/pipe.jpg: cannot be read as a picture: it is no regular file" in (
        capfd.readouterr().err
    )


def test_the_rest_of_a_folder(folder: Path, capfd: pytest.CaptureFixture[str]):
    for name in ("a/b/1.jpg", "z/2.jpg", "z/3.jpg"):
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("photo.jpg", f"photos/{name}")
    (folder / "out/z").mkdir(parents=True)
    (folder / "out/z/2.jpg").write_text("there")
    assert run("photos", "-o", "out") == 2 and "--skip-existing does the rest" in capfd.readouterr().err
    assert run("photos", "-o", "out", "--skip-existing") == 0
    said = capfd.readouterr().err
    assert "1 of 3 are there already" in said and said.endswith("coloured 2 of 2: out\n")
    assert (folder / "out/z/2.jpg").read_text() == "there"
    assert run("photos", "-o", "out", "--skip-existing") == 0 and "3 of 3" in capfd.readouterr().err
    (folder / "out.gif").write_text("there")
    assert run("waves.gif", "-o", "out.gif", "--skip-existing") == 0 and (folder / "out.gif").read_text() == "there"


@pytest.mark.parametrize("name", ["${HOME}.jpg", "${hydra:run.dir}.jpg", "a\\${b}.jpg", "$.jpg"])
def test_a_name_is_a_name(folder: Path, name: str):
    shutil.copy("photo.jpg", name)
    assert run(name) == 0 and (folder / name.replace(".jpg", "_color.jpg")).exists()
    assert run(name, "photo.jpg", "-o", "${out}/") == 0
    assert sorted(p.name for p in (folder / "${out}").iterdir()) == sorted([name, "photo.jpg"])


def test_without_a_terminal_progress_is_lines(folder: Path, monkeypatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr("colorize.progress._EVERY", 0.0)
    assert run("photo.jpg", "photo.jpg", "-o", "a/") == 0 and "Colouring: " not in capfd.readouterr().err
    shutil.copy("photo.jpg", "other.jpg")
    assert run("photo.jpg", "other.jpg", "-o", "b/") == 0
    assert re.search(r"Colouring: 1 of 2, [\d.]+ pictures/s, \d+ s left\n", capfd.readouterr().err)


def test_options(folder: Path):
    assert run("photo.jpg", "-o", "grey.png", "--saturation", "0") == 0
    assert run("photo.jpg", "-o", "bold.png", "--saturation", "2", "--size", "64") == 0
    assert colourful(folder / "grey.png") < 1 < 5 < colourful(folder / "bold.png")
    assert run("photo.jpg", "-o", "grey.png", "--overwrite") == 0
    assert colourful(folder / "grey.png") > 5
    assert run("photo.jpg", "-o", "new/") == 0 and (folder / "new/photo.jpg").exists()


def test_what_is_wrong_with_one_does_not_stop_the_others(folder: Path, capfd: pytest.CaptureFixture[str]):
    (folder / "broken.gif").write_bytes(b"GIF89a")
    assert run("broken.gif", "photo.jpg", "-o", "out") == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "broken.gif" in line
    assert [p.name for p in (folder / "out").iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: FILE; colorize --help has examples"),
        (["gone.jpg"], "error: gone.jpg does not exist"),
        (["gone.gif"], "error: gone.gif: no such file"),
        (["there.jpg", "-o", "there.jpg"], "there.jpg is an input"),
        (["photo.jpg", "-o", "there.jpg"], "there.jpg exists: --overwrite replaces it, --output writes elsewhere"),
        (["photo.jpg", "there.jpg", "-o", "one.jpg"], "--output one.jpg is one file for 2 inputs: name a folder"),
        ([""], "the name of a file is empty: name a file or a folder"),
        (["photo.jpg", "-o", ""], "--output is empty: name a file or a folder"),
        (["photo.jpg", "-o", "photo.jpg/x.jpg"], "photo.jpg is in the way: a folder is needed there"),
        (["photo.jpg", "--weights", "photo.jpg"], "photo.jpg"),
        (["photo.jpg", "--size", "4"], "--size 4 must be a whole number from 8 up"),
        (["photo.jpg", "--size", "big"], "argument --size: invalid int value: 'big'"),
        (["photo.jpg", "--saturation", "-1"], "--saturation -1.0 must be a number from 0"),
        (["photo.jpg", "--weights", "best"], "--weights best is not known; there is: auto, last"),
        (["photo.jpg", "--weights", "gone.ckpt"], "no checkpoint gone.ckpt"),
        (["waves.gif", "--temporal", "calm"], "invalid choice: 'calm'"),
        (["waves.gif", "--temporal", "convlstm"], "--temporal convlstm needs a network with a memory"),
        (["waves.gif", "-o", "x.txt"], "x.txt must end in .gif"),
    ],
)
def test_errors_are_one_line(folder: Path, arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]):
    shutil.copy("photo.jpg", "there.jpg")
    assert run(*arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("weights: ")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and says in lines[0], lines
    assert sorted(p.name for p in folder.iterdir()) == ["photo.jpg", "there.jpg", "waves.gif"], "nothing half done"


def test_help_and_completion_wait_for_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    code = "import sys\nfrom colorize.__main__ import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "colorize waves.gif -o out.gif" in done.stdout, done.stderr
    assert not {"torch", "hydra", "numpy", "PIL"} & set(done.stdout.split())
    assert run("--version") == 0 and capsys.readouterr().out == f"colorize {colorize.__version__}\n"
    assert set(_TEMPORAL) == set(TEMPORAL)
    monkeypatch.setattr(sys, "argv", ["colorize", "--print-completion", "bash"])
    assert run("--print-completion", "bash") == 0
    script = capsys.readouterr().out
    assert "--saturation" in script and "complete -" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.slow
def test_the_wheel_colours_in_an_empty_environment(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """checkout -> sdist -> wheel -> environment, which has the dependencies of this one and nothing of the checkout."""
    pytest.importorskip("hatchling")
    work = tmp_path_factory.mktemp("built")

    def build(kind: str, source: Path) -> Path:
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(work)],
            cwd=source,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return next(work.glob("*.tar.gz" if kind == "sdist" else "*.whl"))

    with tarfile.open(build("sdist", ROOT)) as archive:
        archive.extractall(work, filter="data")
    source = work / f"colorize-{colorize.__version__}"
    files = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()}
    for needed in (
        "tests/conftest.py",
        "conf/train.yaml",
        "conf/model/unet.yaml",
        "colorize/weights/general.safetensors",
    ):
        assert needed in files
    assert {"README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "hubconf.py", "Makefile"} <= files
    assert {name for name in files if name.startswith(("data/", "outputs/", "shared/", ".venv/"))} <= {"data/README.md"}
    assert sum(p.stat().st_size for p in source.rglob("*")) < 30e6

    wheel = build("wheel", source)
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {"colorize/conf/predict.yaml", "colorize/conf/export.yaml", "colorize/weights/general.safetensors"} <= inside
    assert not [name for name in inside if name.startswith("tests/")]

    environment = work / "env"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin/python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    assert subprocess.run(install).returncode == 0
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))

    where = subprocess.run(
        [python, "-I", "-c", "import colorize; print(colorize.__file__)"], capture_output=True, text=True
    )
    assert where.stdout.startswith(str(site)), where.stdout + where.stderr
    command = environment / "bin/colorize"
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(work), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([command, "photo.jpg", "waves.gif"], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert colourful(folder / "photo_color.jpg") > 5 and (folder / "waves_color.gif").exists()
    done = subprocess.run(
        [python, "-m", "colorize", "--version"], cwd=folder, env=clean, capture_output=True, text=True
    )
    assert done.stdout == f"colorize {colorize.__version__}\n"
