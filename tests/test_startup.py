"""Nobody waits for a library that is not needed: what each command imports, and when."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEAVY = ("torch", "lightning", "torchvision", "torchmetrics", "kornia", "matplotlib", "tensorboard", "cv2", "scipy")

# Run a command as `python -m` does, and say at its end which of the heavy libraries it has imported.
RUN = """
import json, runpy, sys
command, heavy, sys.argv = sys.argv[1], json.loads(sys.argv[2]), sys.argv[1:2] + sys.argv[3:]
code = 0
try:
    runpy.run_module(f"colorize.{command}", run_name="__main__")
except SystemExit as stop:
    code = stop.code or 0
print("\\n" + json.dumps([code, [name for name in heavy if name in sys.modules]]))
"""


def imported(command: str, *arguments: str, cwd: Path) -> tuple[int, set[str], str]:
    """The exit code, the heavy libraries, and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, command, json.dumps(HEAVY), *arguments], cwd=cwd, capture_output=True, text=True
    )
    code, names = json.loads(done.stdout.splitlines()[-1])
    return code, set(names), done.stdout + done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "gif", "demo"])
def test_help_imports_nothing_heavy(command: str, tmp_path: Path):
    code, names, said = imported(command, "--help", cwd=tmp_path)
    assert code == 0 and f"python -m colorize.{command}" in said
    assert command == "demo" or "ckpt_path: null" in said, "every setting is listed"
    assert names == set()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("predict", ["input=photo.png", "ckpt_path=gone.ckpt"], "no checkpoint gone.ckpt"),
        ("gif", ["input=photo.png", "ckpt_path=gone.ckpt"], "no checkpoint gone.ckpt"),
        ("evaluate", ["ckpt_path=gone.ckpt"], "no checkpoint gone.ckpt"),
        ("train", ["dataset=beach", "ckpt_path=last"], "no unfinished run"),
    ],
)
def test_what_can_be_refused_at_once_is(command: str, arguments: list[str], says: str, tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    code, names, said = imported(command, *arguments, cwd=tmp_path)
    assert code == 2 and says in said, said
    assert "torch" not in names


@pytest.mark.parametrize(("command", "name"), [("predict", "photo.png"), ("gif", "waves.gif")])
def test_colouring_imports_what_it_needs_alone(command: str, name: str, tmp_path: Path):
    frames = [Image.fromarray(np.full((16, 16), shade, np.uint8)) for shade in (60, 160)]
    if name.endswith(".gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    else:
        frames[0].save(tmp_path / name)
    code, names, said = imported(command, f"input={name}", "size=32", "device=cpu", cwd=tmp_path)
    assert code == 0, said
    assert "torch" in names
    assert names.isdisjoint({"lightning", "torchvision", "torchmetrics", "matplotlib", "tensorboard", "scipy"})
