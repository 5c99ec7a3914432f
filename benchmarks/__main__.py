"""Every benchmark by its name: python -m benchmarks train --help"""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "train": "data alone, step alone and whole; recipes against each other and against Keras",
    "infer": "pictures and GIF frames a second, peak memory, and what is not the network",
    "memory": "of a training step against batch and size, of a loader against the size of the set",
    "quality_time": "seconds of training until CIEDE2000 on validation is that of the baseline",
    "startup": "seconds until --help and until the first coloured picture or frame",
    "quality": "PSNR, SSIM, CIEDE2000 of recipes and checkpoints on test pictures",
    "temporal": "how steady clips are",
    "palette": "palettes of GIFs",
    "page": "the page under load: seconds, and whether anything grows",
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(__doc__, *(f"  {name:13} {what}" for name, what in NAMES.items()), sep="\n")
        return
    if name not in NAMES:
        sys.exit(f"no benchmark is called {name}; there are: {', '.join(NAMES)}")
    sys.argv = [f"python -m benchmarks {name}", *sys.argv[2:]]
    importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
