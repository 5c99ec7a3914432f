"""colorize photo.jpg: colours pictures, GIFs and videos, for daily use; `python -m colorize` is the same.

What it does is what `colorize.predict` and `colorize.gif` do, with plain options in place of settings.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import colorize

# Nothing else is imported here: --help and completion must not wait for PyTorch.

_EXAMPLES = """examples:
  colorize photo.jpg                     writes photo_color.jpg beside it
  colorize waves.gif -o out.gif          a GIF: same size, timing and loop
  colorize film.mp4 -o film.gif          a video, here made a GIF
  colorize photos/                       every picture in it, into photos_color/
  colorize *.jpg waves.gif -o coloured/  several at once
  colorize photo.jpg --saturation 1.5    bolder
  colorize old.jpg --weights last        by the network you trained last (python -m colorize.train)

tab completion:
  colorize --print-completion bash > ~/.local/share/bash-completion/completions/colorize
  (also zsh and tcsh)
"""

_TEMPORAL = ("smooth", "none", "convlstm")  # colorize.temporal.TEMPORAL, which needs PyTorch


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; colorize --help has examples", file=sys.stderr)
        sys.exit(2)


def create_parser() -> argparse.ArgumentParser:
    """The command line, described."""
    parser = _Parser(
        prog="colorize",
        description="Colour greyscale pictures, GIFs and videos. Their size, lightness and timing stay as they are.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    files = parser.add_argument("files", nargs="+", metavar="FILE", help="pictures, GIFs, videos, folders of pictures")
    output = parser.add_argument(
        "-o", "--output", metavar="PATH", help="a file, or a folder; default: NAME_color beside the input"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave out what has its output already: go on after Ctrl-C"
    )
    parser.add_argument(
        "--saturation", type=float, metavar="X", help="strength of the colours: 0 grey, 2 bold; default: what suits"
    )
    weights = parser.add_argument(
        "--weights",
        default="auto",
        metavar="NAME|FILE",
        help="auto (the network that comes with colorize), last (the one you trained last), or a .ckpt, .safetensors "
        "or .onnx file",
    )
    parser.add_argument(
        "--temporal", choices=_TEMPORAL, default="smooth", help="how colour is kept steady in GIFs and videos"
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="pixels at which the network works; default: what it was trained at"
    )
    parser.add_argument("--version", action="version", version=f"colorize {colorize.__version__}")
    if "--print-completion" in " ".join(sys.argv):
        import shtab

        shtab.add_argument_to(parser, help="print a script of tab completion for a shell")
        for action in (files, output, weights):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    else:
        parser.add_argument("--print-completion", metavar="SHELL", help="print a script of tab completion for a shell")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Colour what the command line names; see ``colorize --help``. Errors are a line each, then exit code 2."""
    args = create_parser().parse_args(arguments)
    try:
        errors = run(args)
    except KeyboardInterrupt:
        logging.getLogger("torch").setLevel(logging.WARNING)  # or it says at the end how its caches did
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(2 if errors else 0)


def run(args: argparse.Namespace) -> list[str]:
    """Colour everything that can be.

    Returns:
        What could not be coloured, a line for each.
    """
    from PIL import Image

    from colorize import cli
    from colorize.gif import gif
    from colorize.media import is_clip
    from colorize.predict import predict

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours (max_pixels)
    own = Path(args.weights).suffix.lower() in (".ckpt", ".safetensors", ".onnx") or Path(args.weights).is_file()
    settings: dict[str, Any] = {
        "overwrite": args.overwrite,
        "skip_existing": args.skip_existing,
        "saturation": args.saturation,
        "size": args.size,
        **({"ckpt_path": args.weights} if own else {"weights": args.weights}),
    }
    clips = [file for file in args.files if is_clip(file)]
    pictures = [file for file in args.files if file not in clips]
    errors = []

    def attempt(task: Any, name: str, **given: Any) -> None:
        try:
            task(cli.defaults(name, **settings, **given))
        except Exception as error:
            line = cli.one_line(error)
            if line is None or os.environ.get(cli.TRACEBACK):
                raise
            errors.append(_as_options(line))

    if pictures:
        only = pictures[0] if len(args.files) == 1 else pictures
        attempt(predict, "predict", input=only, output=args.output)
    for clip in clips:
        output = args.output
        if output and (len(args.files) > 1 or output.endswith("/") or Path(output).is_dir()):
            output = str(Path(output) / Path(clip).name)
        attempt(gif, "gif", input=clip, output=output, temporal=args.temporal)
    return errors


def _as_options(line: str) -> str:
    """An error in the words of this command: "overwrite=true" is "--overwrite" here."""
    line = line.replace("overwrite=true", "--overwrite").replace("skip_existing=true", "--skip-existing")
    line = line.replace("input= is empty", "the name of a file is empty").replace("input=", "")
    line = re.sub(r"\bckpt_path=", "weights=", line).replace(" or batch_size=", "")  # which is no option here
    return re.sub(r"\b(size|saturation|temporal|weights|output)=(?=([\w./'\"-])?)", _option, line)


def _option(setting: re.Match[str]) -> str:
    return f"--{setting[1]}{' ' if setting[2] else ''}"


if __name__ == "__main__":
    main()
