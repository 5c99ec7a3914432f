"""python -m colorize.demo          train a small network, colour pictures and a GIF: what `make demo` runs

Arguments, if any, are overrides of the training.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path("outputs/demo")
PICTURES = 4


def main() -> None:
    """Every step is a command that the user can type; this only prepares grey pictures for them."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(f"{__doc__}(python -m colorize.train --help lists them).")
        return
    command("train", "experiment=demo", f"output_dir={FOLDER}", *sys.argv[1:])

    # after the first command: nothing is imported, and nobody waits, before it starts
    from PIL import Image

    from colorize.checkpoint import load_checkpoint
    from colorize.choice import choose_checkpoint
    from colorize.data.datamodule import PhotoDataModule

    checkpoint = choose_checkpoint(None, "last", str(FOLDER))
    run = checkpoint.parents[1]
    data = load_checkpoint(checkpoint).data
    shutil.rmtree(FOLDER / "grey", ignore_errors=True)  # of an earlier demo
    (FOLDER / "grey").mkdir(parents=True)
    for path in PhotoDataModule(data["name"], data["root"]).files.test[:PICTURES]:
        with Image.open(path) as picture:
            picture.convert("L").save(FOLDER / "grey" / f"{path.stem}.png")
    write_grey_waves(FOLDER / "waves.gif")
    command("predict", f"ckpt_path={checkpoint}", f"input={FOLDER}/grey", f"output={FOLDER}/coloured", "overwrite=true")
    command("gif", f"ckpt_path={checkpoint}", f"input={FOLDER}/waves.gif", "overwrite=true")

    print("\nWhere everything is:")
    for what, where in {
        "real | grey | predicted": run / "sheet.png",
        "loss curve": run / "loss.png",
        "figures": run / "metrics.json",
        "coloured pictures": FOLDER / "coloured",
        "coloured GIF": f"{FOLDER}/waves_color.gif   (grey: {FOLDER}/waves.gif)",
        "curves in the browser": ".venv/bin/tensorboard --logdir outputs",
    }.items():
        print(f"  {what:<24}{where}")


def write_grey_waves(path: Path) -> None:
    """The rendered wave loop in grey: what the report coloured at the end."""
    import imageio.v3 as iio
    import numpy as np

    from colorize.data.scenes import render_waves

    frames = render_waves(frames=24, size=(240, 160), seed=3)
    grey = np.rint(frames @ [0.299, 0.587, 0.114]).astype(np.uint8)  # luma, ITU-R BT.601
    iio.imwrite(path, list(grey), plugin="pillow", extension=".gif", duration=80, loop=0)


def command(name: str, *arguments: str) -> None:
    """Run ``python -m colorize.<name>`` and show how to do so."""
    print(f"\n$ python -m colorize.{name} {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", f"colorize.{name}", *arguments])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
