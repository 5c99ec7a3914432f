"""python tests/fuzz [--cases 20000] [--command-line 200] [--seed 0]     damaged files of every format, see what happens

Each case is one file, damaged, given to a command. Right is: coloured, and what was written can be read; or refused by
one line. Wrong: a traceback, a hang, memory beyond the limit, a crash, anything half written. Exit code 1 where there
was any; the files that led to it are kept. The cases are a function of the seed alone.

Processes are forked after the imports; each does a few cases under limits of time and address space.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", HYDRA_FULL_ERROR="1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import mutations  # noqa: E402
import seeds  # noqa: E402
import torch  # noqa: E402
from doors import FORMATS, OVERRIDES, SHARES, Format  # noqa: E402
from PIL import Image  # noqa: E402

from colorize import cli, memory  # noqa: E402

RIGHT = ("coloured", "refused")
BATCH = 40  # cases a process


class Case(NamedTuple):
    """One damaged file, to be made when its turn comes."""

    number: int
    format: str
    whole: Path
    seed: str

    def damaged(self) -> bytes:
        return mutations.mutate(self.whole.read_bytes(), random.Random(self.seed), FORMATS[self.format].mutations)


def cases(corpus: dict[str, list[Path]], count: int, seed: int) -> list[Case]:
    made: list[Case] = []
    for name, files in corpus.items():
        for i in range(math.ceil(count * SHARES[name] / sum(SHARES[n] for n in corpus))):
            made.append(Case(len(made), name, files[i % len(files)], f"{seed} {name} {i}"))
    random.Random(seed).shuffle(made)
    return made


def judge(case: Case, folder: Path, limit: int) -> tuple[str, str]:
    """(what happened, in which words) of one case, in this process."""
    door = FORMATS[case.format].door
    file = prepare(case, folder)
    said = io.StringIO()
    happened, words = "coloured", ""
    start = memory_now()
    peak = 0

    def work() -> None:
        nonlocal happened, words
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                door(file, folder)
        except SystemExit as stop:  # of cli.run, which has said why
            errors = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
            happened = "refused" if stop.code == 2 and len(errors) == 1 else "traceback"
            words = errors[0] if errors else said.getvalue()[-500:]
        except AssertionError as error:
            happened, words = "wrong", str(error)
        except Exception as error:
            line = cli.one_line(error)
            happened, words = ("traceback", repr(error)) if line is None or "\n" in line else ("refused", line)
            if line is not None and (cli.is_out_of_memory(error) or "MemoryError" in line):
                happened = "memory"

    peak = memory.peak(work)
    if happened in RIGHT and peak - start > limit:
        happened, words = "memory", f"{(peak - start) >> 20} MiB ({words})"
    left = {path.name for path in (folder / "out").rglob("*") if path.is_file()} - {f"result{file.suffix}"}
    if case.format != "configs" and left - {"result.png"}:
        happened, words = "left behind", ", ".join(left)
    if (
        happened == "refused"
        and case.format != "configs"
        and any((folder / "out").glob("*"))
        and "coloured" not in words
    ):
        happened, words = "left behind", f"a result, though refused: {words}"
    return happened, words


def prepare(case: Case, folder: Path) -> Path:
    shutil.rmtree(folder / "out", ignore_errors=True)
    file = folder / "in" / (case.whole.parent.name if case.format == "configs" else "") / f"damaged{case.whole.suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(case.damaged())
    return file


def memory_now() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def work(part: list[Case], folder: Path, args: argparse.Namespace) -> Iterator[tuple[Case, str, str]]:
    """All cases of a part, a batch a process; one that dies or hangs is followed by another for the rest."""
    waiting = list(part)
    while waiting:
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            _child(waiting[:BATCH], folder, theirs, args)
        os.close(theirs)
        with os.fdopen(ours, "rb") as results:
            while waiting:
                ready = select.select([results], [], [], 10 * args.seconds)[0]  # where it sleeps instead
                line = results.readline() if ready else b""
                if not ready:
                    os.kill(child, signal.SIGKILL)
                if not line:
                    break
                yield waiting.pop(0), *json.loads(line)
        _, status = os.waitpid(child, 0)
        if waiting and not (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0):
            hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGPROF)
            yield waiting.pop(0), "hang" if hung else "crash", f"status {status}"


def _child(batch: list[Case], folder: Path, results: int, args: argparse.Namespace) -> None:
    limit = args.megabytes << 20
    space = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (space + 8 * limit, space + 8 * limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # FFmpeg's and libtiff's own words
    try:
        for case in batch:
            signal.setitimer(signal.ITIMER_PROF, args.seconds)  # ends the process
            os.write(results, json.dumps(judge(case, folder, limit)).encode() + b"\n")
            if _address_space() - space > 4 * limit:  # worn: the next case starts in a process that is not
                break
        os._exit(0)
    except BaseException as error:
        os.write(results, json.dumps(("traceback", f"of the harness: {error!r}")).encode() + b"\n")
        os._exit(1)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def command_line(case: Case, folder: Path, args: argparse.Namespace) -> tuple[str, str]:
    """The same as a person types it: exit code 0 or 2, and one line."""
    command = FORMATS[case.format].command
    assert command is not None
    said = [sys.executable, "-m", *command(prepare(case, folder), folder), *OVERRIDES]
    try:
        done = subprocess.run(
            said, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=10 * args.seconds
        )
    except subprocess.TimeoutExpired:
        return "hang", ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode == 0 and not errors:
        return "coloured", ""
    if done.returncode == 2 and len(errors) == 1 and "Traceback" not in done.stderr:
        return "refused", errors[0]
    return "traceback", f"exit code {done.returncode}: {done.stderr[-500:]}"


def make_corpus(folder: Path, formats: dict[str, Format], shared: Path) -> dict[str, list[Path]]:
    corpus: dict[str, list[Path]] = {}
    for name, kind in formats.items():
        (folder / name).mkdir(parents=True)
        corpus[name] = [*kind.whole(folder / name), *(seeds.real(shared, kind.real) if kind.real else [])]
    return corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument(
        "--command-line", type=int, default=200, help="further cases that start a command: seconds each"
    )
    parser.add_argument("--real", type=Path, default=seeds.SHARED, help="a folder of photographs and clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--seconds", type=float, default=60, help="of a processor that one case may take")
    parser.add_argument("--megabytes", type=int, default=512, help="that one case may take beyond what it began with")
    parser.add_argument("--keep", type=Path, default=ROOT / "outputs/fuzz", help="report.json, and what failed")
    args = parser.parse_args()

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = None  # as cli.run has it
    args.keep.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        corpus = make_corpus(top / "corpus", {name: FORMATS[name] for name in args.formats}, args.real)
        files = {name: len(paths) for name, paths in corpus.items()}
        print(f"seed {args.seed}; {sum(files.values())} whole files: {files}", flush=True)
        todo = cases(corpus, args.cases, args.seed)
        typed = {name: paths for name, paths in corpus.items() if FORMATS[name].command is not None}
        typing = cases(typed, args.command_line, args.seed + 1) if typed else []
        children = []
        for job in range(args.jobs):
            if (child := os.fork()) == 0:
                code = 1
                with contextlib.suppress(KeyboardInterrupt):
                    _job(top / f"job{job}", todo[job :: args.jobs], typing[job :: args.jobs], args)
                    code = 0
                os._exit(code)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        rows = [json.loads(line) for path in sorted(top.glob("job*.jsonl")) for line in path.open()]
    report(rows, files, args, time.time() - begun)
    sys.exit(any(codes) or any(row["happened"] not in RIGHT for row in rows))


def _job(folder: Path, part: list[Case], typed: list[Case], args: argparse.Namespace) -> None:
    folder.mkdir()
    Image.fromarray(seeds.pixels(20, 30)).save(folder / "good.png")
    seeds.tiny_checkpoint(folder / "good.ckpt")

    def done() -> Iterator[tuple[Case, str, str]]:
        yield from work(part, folder, args)
        for case in typed:
            yield case, *command_line(case, folder, args)

    with open(f"{folder}.jsonl", "w") as log:
        for number, (case, happened, words) in enumerate(done()):
            by = "in process" if number < len(part) else "command line"
            row = {"format": case.format, "by": by, "happened": happened, "words": words[:500], "seed": case.seed}
            print(json.dumps(row), file=log, flush=True)
            if happened not in RIGHT:
                name = f"{happened.replace(' ', '_')}_{case.format}_{case.seed.replace(' ', '_')}_{case.whole.name}"
                (args.keep / name).write_bytes(case.damaged())
                print(f"{happened}: {name}: {words[:300]}", flush=True)


def report(rows: list[dict[str, Any]], files: dict[str, int], args: argparse.Namespace, seconds: float) -> None:
    counts = Counter((row["by"], row["format"], row["happened"]) for row in rows)
    table = [{"by": by, "format": name, "happened": what, "cases": n} for (by, name, what), n in sorted(counts.items())]
    for row in table:
        print(f"{row['by']:13} {row['format']:12} {row['happened']:12} {row['cases']:6}")
    failed = [row for row in rows if row["happened"] not in RIGHT]
    print(f"{len(rows)} cases, seed {args.seed}, {seconds:.0f} s: {len(failed)} failed")
    content = {"seed": args.seed, "whole files": files, "seconds": round(seconds), "counts": table, "failed": failed}
    (args.keep / "report.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
