"""One table for any list of checkpoints and recipes, on the test pictures of every set, at one size.

python -m benchmarks.quality --data PHOTOS --runs 'beta=outputs/{set}/beta/*/checkpoints/best.ckpt' --out docs/quality
python -m benchmarks.quality --data PHOTOS --bar base --train base=quick --train mine=quick,model=unet

PHOTOS holds a folder a set. Grey and the mean colour of the set's own training pictures are always in the table.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import logging
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import colorize
from colorize import report
from colorize.checkpoint import load_checkpoint
from colorize.cli import FINISHED
from colorize.data.datamodule import PhotoDataModule
from colorize.evaluation import ConstantColour, compare, judge, judge_red, refuse_mixture
from colorize.pipeline import Colorizer

log = logging.getLogger(__name__)  # warnings go to stderr

THEMED = ("pradera", "rural", "banana", "beach", "maduixes")
SETS = (*THEMED, "general")
RED_SET = "maduixes"  # strawberries, whose red a network that plays safe turns brown
MEAN = "mean of five"  # in the column of the sets
MEASURES = ("psnr", "ssim", "ciede2000", "colourfulness_ratio", "red_kept")
BASELINES = ("grey", "mean colour")
UNSEEN = ("hardware", "minutes", "steps", "std/ssim", "std/colourfulness_ratio", "std/red_kept")  # in a terminal
RESUME = "ckpt_path=last"
SEEDS = range(10)  # that {seed} in a pattern stands for

Figures = dict[str, Any]  # of one network on one set: the measures, its seed and what its training cost
BySet = dict[str, list[Figures]]  # of one method, one a seed


class Run(NamedTuple):
    """A checkpoint to judge, for which method and on which set."""

    label: str
    set: str
    seed: int | None
    path: Path


def label_and_rest(argument: str) -> tuple[str, str]:
    """'label=rest' in two. Raises ValueError."""
    label, _, rest = argument.partition("=")
    if not label or not rest:
        raise ValueError(f"{argument!r} is not LABEL=PATTERN (--runs) or LABEL=EXPERIMENT[,OVERRIDE...] (--train)")
    return label, rest


def find_runs(label: str, pattern: str, sets: Iterable[str], seeds: Iterable[int] = SEEDS) -> list[Run]:
    """The newest match of the pattern for each set and seed; runs that have not finished are left out, aloud."""
    runs: list[Run] = []
    for name in sets:
        for seed in seeds if "{seed}" in pattern else [None]:
            filled = pattern.replace("{set}", name).replace("{seed}", str(seed))
            found = [Path(match) for match in glob.glob(filled)]
            unfinished = [p for p in found if p.parent.name == "checkpoints" and not (p.parents[1] / FINISHED).exists()]
            for path in unfinished:
                log.warning("left out, its run has not finished: %s", path)
            if finished := set(found) - set(unfinished):
                runs.append(Run(label, name, seed, max(finished, key=lambda path: path.stat().st_mtime)))
    if missing := [name for name in sets if name not in {run.set for run in runs}]:
        log.warning("no checkpoint of %s for %s: %s", label, ", ".join(missing), pattern)
    return runs


def train(label: str, recipe: str, args: argparse.Namespace, sets: Iterable[str]) -> list[Run]:
    """Train a recipe for each set and seed unless that is done; a run that was stopped goes on. Raises ValueError."""
    experiment, *overrides = re.split(r",(?=[^,\[\]{}]+=)", recipe)  # not at the commas inside [4/2,4]
    for name, seed in itertools.product(sets, args.seeds):
        output_dir = args.output_dir / label / f"seed{seed}"
        command = [f"dataset={name}", f"dataset.root={args.data / name}", f"experiment={experiment}"]
        command += [f"dataset.size={args.size}", "dataset.val_fraction=0.15", f"seed={seed}"]
        command += [f"output_dir={output_dir}", *overrides]
        done = list((output_dir / name).glob(f"*/*/{FINISHED}"))
        for path in done:
            before = json.loads(path.read_text(encoding="utf-8"))["overrides"]
            if differing := (set(before) - {RESUME}) ^ set(command):
                raise ValueError(f"{path} is of another recipe: {sorted(differing)}; choose another label than {label}")
        command += [RESUME] if any((output_dir / name).glob("*/*/checkpoints/last.ckpt")) else []
        if not done and subprocess.run([sys.executable, "-m", "colorize.train", *command]).returncode:
            raise ValueError(f"training failed: python -m colorize.train {shlex.join(command)}")
    return find_runs(label, f"{args.output_dir}/{label}/seed{{seed}}/{{set}}/*/*/*/best.ckpt", sets, args.seeds)


def training_cost(run: Run) -> Figures:
    """Seed, minutes, steps and hardware as metrics.json has them; of a file in no run's folder at most the seed."""
    metrics = run.path.parent.parent / FINISHED
    said = json.loads(metrics.read_text(encoding="utf-8")) if metrics.exists() else {}
    cost = {key: said[key] for key in ("seed", "minutes", "steps", "hardware") if key in said}
    return cost if run.seed is None else {**cost, "seed": run.seed}


def average(figures: Sequence[Figures]) -> Figures:
    """Means of the measures that all have, and with several their standard deviation (n - 1) as std/<measure>."""
    values = {key: [f[key] for f in figures] for key in MEASURES if figures and all(key in f for f in figures)}
    spreads = {f"std/{key}": stdev(v) for key, v in values.items() if len(v) > 1}
    return {key: fmean(v) for key, v in values.items()} | spreads


def over_themed_sets(by_set: BySet) -> list[Figures]:
    """Means over the five sets, one a seed where all have the same seeds, else one; none where a set is missing."""
    if not all(by_set.get(name) for name in THEMED):
        return []
    several = [by_set[name] for name in THEMED]
    if len({tuple(figures["seed"] for figures in one) for one in several}) > 1:
        several = [[average(one)] for one in several]
    return [{**average(same), "seed": same[0].get("seed")} for same in zip(*several, strict=True)]


def table(results: Mapping[str, BySet], sets: Iterable[str], bar: str | None) -> list[dict[str, Any]]:
    """A row for each set and method, empty where there is no checkpoint, then the means over the themed sets."""
    rows: list[dict[str, Any]] = []
    for name in (*sets, MEAN):
        block = {}
        for label, by_set in results.items():
            figures = over_themed_sets(by_set) if name == MEAN else by_set.get(name, [])
            seeds = [str(f["seed"]) for f in figures if f.get("seed") is not None]
            block[label] = row = {"set": name, "method": label, "seeds": ",".join(seeds), **average(figures)}
            if trained := [f for f in figures if "minutes" in f]:
                row |= {key: fmean(f[key] for f in trained) for key in ("minutes", "steps")}
                row["hardware"] = "; ".join(dict.fromkeys(f["hardware"] for f in trained))
        for label, row in block.items():
            if bar and label != bar and "psnr" in row and "psnr" in block[bar]:
                row[f"CIEDE2000 to {bar}, %"] = round(100 * (row["ciede2000"] / block[bar]["ciede2000"] - 1), 1)
                row[f"PSNR to {bar}, dB"] = round(row["psnr"] - block[bar]["psnr"], 2)
        rows += block.values()
    return rows


def judge_set(
    module: PhotoDataModule, runs: Sequence[Run], networks: Mapping[str, Colorizer], args: argparse.Namespace
) -> dict[str, list[Figures]]:
    """The figures of every method on the test pictures of one set, by label; sheets where they are asked for."""
    module.setup("fit")
    baselines = zip(BASELINES, ([0.0, 0.0], module.mean_ab()), strict=True)
    methods = {label: Colorizer(ConstantColour(ab), 8) for label, ab in baselines}
    methods |= {str(run.path): networks[str(run.path)] for run in runs}
    rows, scores = judge(methods, module.files.test, size=args.size)
    figures = {row.pop("method"): {"seed": None, **row} for row in rows}
    for key, colorizer in methods.items() if module.name == RED_SET else ():
        red = judge_red(colorizer, list(scores[key]), size=args.size)
        figures[key] |= {"red_kept": red} if math.isfinite(red) else {}
    results = {label: [figures[label]] for label in BASELINES}
    for run in runs:
        results.setdefault(run.label, []).append({**figures[str(run.path)], **training_cost(run)})
    first = {run.label: str(run.path) for run in reversed(runs)}  # of several seeds the first is shown
    for label in first.keys() - {args.bar} if args.sheets else ():
        shown = {name: first.get(name, name) for name in ("grey", args.bar, label) if name in (*first, *BASELINES)}
        title = f"{label} on {module.name} ({report.kind(module.rendered)})"
        path = args.sheets / (re.sub(r"[^\w.-]+", "_", f"{module.name}_{label}") + ".png")
        compare({k: methods[v] for k, v in shown.items()}, {k: scores[v] for k, v in shown.items()}, path, title)
    return results


def open_sets(data: Path, size: int) -> dict[str, PhotoDataModule]:
    """The sets there are under ``data``. Raises ValueError: none, or rendered scenes beside photographs."""
    sets = [name for name in SETS if (data / name).is_dir()]
    if not sets:
        raise ValueError(f"--data {data} has none of the folders {', '.join(SETS)}")
    for name in sorted(set(SETS) - set(sets)):
        log.warning("no folder %s: left out", data / name)
    modules = {name: PhotoDataModule(name, str(data / name), size=size) for name in sets}
    rendered = [name for name, module in modules.items() if module.rendered]
    if rendered and len(rendered) < len(sets):
        raise ValueError(f"rendered scenes: {', '.join(rendered)}; the others are photographs: judge them apart")
    return modules


def quality(args: argparse.Namespace, command: str) -> list[dict[str, Any]]:
    """Train what is to be trained, judge everything, print and write the table. Raises ValueError."""
    recipes, patterns = (dict(map(label_and_rest, arguments)) for arguments in (args.train, args.runs))
    labels = [*BASELINES, *patterns, *recipes]
    if len(set(labels)) < len(BASELINES) + len(args.train) + len(args.runs):
        raise ValueError(f"a label is given twice, or a baseline's: {', '.join(args.runs + args.train)}")
    if args.bar not in (None, *labels):
        raise ValueError(f"--bar {args.bar} is not in the table; there are: {', '.join(labels)}")
    if args.size < 8:
        raise ValueError(f"--size {args.size} must be a whole number from 8 up")
    modules = open_sets(args.data, args.size)
    for folder in (args.out.parent, *([args.sheets] if args.sheets else [])):
        folder.mkdir(parents=True, exist_ok=True)
    runs = [run for label, recipe in recipes.items() for run in train(label, recipe, args, modules)]
    runs += [run for label, pattern in patterns.items() for run in find_runs(label, pattern, modules)]
    if not runs:
        raise ValueError("no pattern of --runs matches a checkpoint of a finished run")
    checkpoints = {path: load_checkpoint(path) for path in dict.fromkeys(str(run.path) for run in runs)}
    refuse_mixture(checkpoints)
    networks = {path: Colorizer.of(checkpoint) for path, checkpoint in checkpoints.items()}
    results: dict[str, BySet] = {label: {} for label in labels}
    for name, module in modules.items():
        for label, figures in judge_set(module, [run for run in runs if run.set == name], networks, args).items():
            results[label][name] = figures
    rows = table(results, modules, args.bar)
    about = {
        "command": command,
        "date": str(date.today()),
        "size": f"{args.size} x {args.size}",
        "trained on": report.kind(any(checkpoint.data["rendered"] for checkpoint in checkpoints.values())),
        "tested on": report.kind(any(module.rendered for module in modules.values())),
        "colorize": colorize.__version__,
        MEAN: f"over {', '.join(THEMED)}",
    }
    report.print_table(rows, [column for column in dict.fromkeys(itertools.chain(*rows)) if column not in UNSEEN])
    report.write_table(rows, args.out, {**about, "networks": results})
    print(f"table: {args.out}.md, .csv and .json" + (f"; sheets: {args.sheets}" if args.sheets else ""))
    return rows


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with a folder for each set")
    add("--size", type=int, default=128, help="both sides of every picture, to judge and to train at (128)")
    add("--runs", nargs="+", default=[], metavar="LABEL=PATTERN", help="checkpoints; {seed} is 0 to 9, * the newest")
    add("--train", action="append", default=[], metavar="LABEL=EXPERIMENT[,OVERRIDE...]", help="recipe to train first")
    add("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1, 2], help="of --train (0,1,2)")
    add("--output-dir", type=Path, default=Path("outputs/quality"), help="where --train trains (outputs/quality)")
    add("--bar", metavar="LABEL", help="what the others are compared with")
    add("--out", type=Path, default=Path("outputs/quality/table"), help="table as OUT.md, OUT.csv and OUT.json")
    add("--sheets", type=Path, metavar="FOLDER", help="write sheets real | grey | bar | method there")
    args = parser.parse_args(arguments)
    try:
        return quality(args, f"python -m benchmarks.quality {shlex.join(arguments)}")
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
