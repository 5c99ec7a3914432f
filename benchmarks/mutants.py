"""python -m benchmarks.mutants [--sample 300] [--seed 0] [--jobs 2]     would the tests notice? mutants they kill

A mutant is a source file with one change: a comparison, operator, number, boolean or condition becomes another, a
`return` gives None. Of all changes of the files below a seeded sample is tried with the tests that cover each file; one
that no test fails for has survived. Those that change nothing that can be seen (a safety margin) survive rightly: look
at them, and write a test for the others.

mutmut and cosmic-ray do the same with a fresh Python for each mutant, of which 5 seconds and more go into importing
PyTorch; here processes are forked after the imports.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = {  # the fastest that cover a file come first
    "colorize/color.py": [
        *("tests/test_color.py", "tests/test_properties.py", "tests/test_fast_path.py", "tests/test_heads.py")
    ],
    "colorize/metrics.py": ["tests/test_metrics.py", "tests/test_quality.py"],
    "colorize/pipeline.py": ["tests/test_properties.py", "tests/test_pipeline.py", "tests/test_big_pictures.py"],
    "colorize/data/folder.py": ["tests/test_data.py"],
    "colorize/data/datamodule.py": ["tests/test_data.py", "tests/test_degrade.py", "tests/test_fast_path.py"],
    "colorize/data/store.py": ["tests/test_store.py", "tests/test_data.py"],
    "colorize/data/duplicates.py": ["tests/test_degrade.py"],
    "colorize/data/degrade.py": ["tests/test_degrade.py"],
    "colorize/data/clips.py": ["tests/test_convlstm.py"],
    "colorize/media/gif.py": ["tests/test_media.py"],
    "colorize/media/palette.py": ["tests/test_media.py"],
    "colorize/media/pictures.py": ["tests/test_media.py"],
    "colorize/media/animation.py": ["tests/test_properties.py", "tests/test_video.py"],
    "colorize/media/apng.py": ["tests/test_properties.py", "tests/test_video.py"],
    "colorize/media/webp.py": ["tests/test_properties.py", "tests/test_video.py"],
    "colorize/media/kinds.py": ["tests/test_properties.py", "tests/test_video.py"],
    "colorize/media/folder.py": ["tests/test_video.py"],
    "colorize/media/video.py": ["tests/test_video.py"],
}
_COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_CHANGED = (ast.Compare, ast.BinOp, ast.AugAssign, ast.BoolOp, ast.Constant, ast.If, ast.IfExp, ast.Return)
_OPERATORS |= {ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift}


class Mutant(NamedTuple):
    """One change, by the place of its node in `ast.walk`."""

    file: str
    node: int
    line: int
    change: str


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Every change of a file. Annotations, assertions and text are left alone."""
    tree = ast.parse(source)
    skipped = {id(x) for node in ast.walk(tree) if isinstance(node, ast.Assert | ast.JoinedStr) for x in ast.walk(node)}
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            skipped |= {id(x) for x in ast.walk(part)} if part is not None else set()
    for number, node in enumerate(ast.walk(tree)):
        if id(node) not in skipped and isinstance(node, _CHANGED) and (words := _change(copy.deepcopy(node))):
            yield Mutant(file, number, getattr(node, "lineno", 0), words)


def mutated(source: str, mutant: Mutant) -> str:
    """The source with that change."""
    tree = ast.parse(source)
    _change(next(node for number, node in enumerate(ast.walk(tree)) if number == mutant.node))
    return ast.unparse(ast.fix_missing_locations(tree))


def _change(node: ast.AST) -> str:
    """Change a node in place, and say how; "" where nothing can be changed."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        was = type(node.ops[0])
        node.ops[0] = _COMPARISONS[was]()
        return f"{was.__name__} -> {_COMPARISONS[was].__name__}"
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _OPERATORS:
        kind = type(node.op)
        node.op = _OPERATORS[kind]()
        return f"{kind.__name__} -> {_OPERATORS[kind].__name__}"
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return "and <-> or"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return f"{not node.value} -> {node.value}"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value += 1
        return f"{node.value - 1} -> {node.value}"
    if isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition -> not"
    if isinstance(node, ast.Return) and node.value is not None:
        node.value = ast.Constant(None)
        return "return -> None"
    return ""


def killed(copy_of: Path, tests: list[str], seconds: float) -> str:
    """ "killed" by a failing test, "timeout", or "survived"; in a process of its own, forked."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.chdir(copy_of)
        sys.path[:0] = [str(copy_of), str(copy_of / "tests")]
        signal.alarm(int(seconds))
        import pytest

        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", f"--rootdir={copy_of}", *tests])
        os._exit(int(code))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    return "survived" if os.WEXITSTATUS(status) == 0 else "killed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600, help="no further mutant after that")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tried at once, each with one thread")
    parser.add_argument("--seconds", type=float, default=600, help="that the tests of one mutant may take")
    parser.add_argument("--again", type=Path, help="what a run wrote, of the same sources: try its survivors once more")
    parser.add_argument("--files", nargs="+", default=list(TESTS), choices=list(TESTS))
    parser.add_argument("--out", type=Path, default=ROOT / "outputs/mutants.json")
    args = parser.parse_args()
    assert not any(name.partition(".")[0] == "colorize" for name in sys.modules), "the originals would be tested"
    os.environ["OMP_NUM_THREADS"] = "1"
    for heavy in ("torch", "torchvision", "lightning.pytorch", "kornia.augmentation", "hydra", "av", "cv2", "skimage"):
        __import__(heavy)  # what every mutant's process would else import anew
    sys.modules.pop("benchmarks", None)

    everything = [m for file in args.files for m in mutants(file, (ROOT / file).read_text())]
    sample = random.Random(args.seed).sample(everything, min(args.sample, len(everything)))
    before: dict[Mutant, str] = {}
    if args.again:
        found = json.loads(args.again.read_text())["mutants"]
        before = {Mutant(*(row[name] for name in Mutant._fields)): row["happened"] for row in found}
        assert set(before) <= set(everything), "the sources have changed since"
        sample = list(before)
    print(f"{len(sample)} of {len(everything)} mutants, seed {args.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(args.jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for job in range(args.jobs):
            ignored = shutil.ignore_patterns(".venv*", ".git", "outputs", "__pycache__", ".*_cache")
            copies.put(shutil.copytree(ROOT, Path(temporary) / f"copy{job}", ignore=ignored, symlinks=True))

        def tried(mutant: Mutant) -> dict | None:
            if time.monotonic() - begun > 60 * args.minutes:
                return None
            if before.get(mutant, "survived") != "survived":
                return {**mutant._asdict(), "happened": before[mutant]}
            copied = copies.get()
            whole = (copied / mutant.file).read_text()
            (copied / mutant.file).write_text(mutated(whole, mutant))
            happened = killed(copied, TESTS[mutant.file], args.seconds)
            (copied / mutant.file).write_text(whole)
            copies.put(copied)
            print(f"{happened:9} {mutant.file}:{mutant.line} {mutant.change}", flush=True)
            return {**mutant._asdict(), "happened": happened}

        rows = [row for row in pool.map(tried, sample) if row]
    counts = Counter(row["happened"] for row in rows)
    share = 1 - counts["survived"] / max(1, len(rows))
    print(f"{len(rows)} mutants tried, seed {args.seed}: {dict(counts)}, {share:.0%} killed")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"seed": args.seed, "of": len(everything), "mutants": rows}, indent=1))


if __name__ == "__main__":
    main()
