"""Kill a run at random moments and go on with it: does it end as the run that nobody killed?

    python -m benchmarks.kills --kills 20 [--out kills.csv]
    python -m benchmarks.kills --kills 2 --command-line       each start a fresh interpreter

A tiny unet with dropout, an average of the weights, augmentation and a cosine schedule is trained for six epochs,
once undisturbed. Each trial trains it anew in a folder of its own, is ended by SIGKILL after a random part of that
time, from its start to the last table, and goes on with ckpt_path=last. Compared are, bit by bit, both checkpoints
(network, average, optimizer, schedule, every epoch's figures, the best score), the CSV and TensorBoard logs and the
judgement in metrics.json. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colorize import cli
from colorize.data import scenes

RECIPE = [
    *("model=unet", "model.widths=[4,8]", "model.blocks=[0,1]", "model.dropout=0.2", "callbacks=ema"),
    *("scheduler=cosine", "optimizer=adamw", "callbacks.best.monitor=val/loss", "dataset.flip=0.5"),
    *("dataset=beach", "dataset.size=32", "dataset.batch_size=2", "dataset.steps_per_epoch=8", "dataset.epochs=6"),
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=3", "callbacks.picture_grid.every_n_epochs=2"),
    "logger.tensorboard.log_graph=false",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--command-line", action="store_true", help="start python -m colorize.train instead of a fork")
    parser.add_argument("--out", type=Path, help="CSV with a row a kill")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = trials(Path(folder), args.kills, args.seed, command if args.command_line else forked)
    if args.out:
        with open(args.out, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    identical = sum(not row["differs"] for row in rows)
    print(f"{identical} of {len(rows)} resumed and identical")
    sys.exit(identical < len(rows))


def trials(folder: Path, kills: int, seed: int, start: Any) -> list[dict[str, Any]]:
    scenes.render_set("beach", folder / "beach", size=64, counts=(6, 3))
    recipe = [*RECIPE, f"dataset.root={folder / 'beach'}"]
    for name in ("first", "whole"):  # the first is slower: it brings files into the cache
        begin = time.perf_counter()
        if code := wait(start([*recipe, f"output_dir={folder / name}"], folder / f"{name}.log")):
            sys.exit(f"the undisturbed run ended with {code}:\n{(folder / f'{name}.log').read_text()}")
        seconds = time.perf_counter() - begin
    expected = outcome(folder / "whole")
    if expected != outcome(folder / "first"):
        sys.exit("two undisturbed runs differ: there is nothing to compare with")
    moments = random.Random(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < kills:
        moment, output = moments.random() * seconds, folder / f"kill{len(rows)}"
        log = output.with_suffix(".log")
        process = start([*recipe, f"output_dir={output}"], log)
        time.sleep(moment)
        os.kill(process.pid, signal.SIGKILL)
        wait(process)
        state = where(output)
        if state == "finished":  # this one was faster than the first
            shutil.rmtree(output)
            continue
        last = ["ckpt_path=last"] if state != "nothing" else []  # not even a folder to go on in
        code = wait(start([*recipe, f"output_dir={output}", *last], log))
        found = outcome(output) if code == 0 else {"exit code": code}
        differs = [name for name in expected | found if expected.get(name) != found.get(name)]
        row = {"kill": len(rows), "after, s": round(moment, 2), "of, s": round(seconds, 2), "killed in": state}
        rows.append({**row, "differs": " ".join(differs)})
        print(rows[-1], flush=True)
        if differs:
            print(log.read_text())
    return rows


def forked(overrides: list[str], log: Path) -> Any:
    """A child that has imported everything already."""
    import torch.utils.tensorboard  # noqa: F401

    import colorize.module
    import colorize.run  # noqa: F401

    process = multiprocessing.get_context("fork").Process(target=_train, args=(overrides, log))
    process.start()
    return process


def _train(overrides: list[str], log: Path) -> None:
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from colorize.train import train

    cli.register_resolvers()
    output, last = (next((x.partition("=")[2] for x in overrides if x.startswith(key)), None) for key in _KEYS)
    run_dir = cli.new_or_unfinished_run(str(output), "beach", "unet", last)
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[*overrides, f"run_dir={run_dir}"])
    train(cfg)


_KEYS = ("output_dir=", "ckpt_path=")


def command(overrides: list[str], log: Path) -> Any:
    """The command as a person types it."""
    with open(log, "a") as file:
        return subprocess.Popen([sys.executable, "-m", "colorize.train", *overrides], stdout=file, stderr=file)


def wait(process: Any) -> int:
    if isinstance(process, subprocess.Popen):
        return process.wait()
    process.join()
    return int(process.exitcode)


def where(output: Path) -> str:
    """How far a run had come when it was killed."""
    runs = list(output.glob("beach/unet/*"))
    if not runs or not (runs[0] / cli.LOCK).exists():
        return "nothing"
    if (runs[0] / cli.FINISHED).exists():
        return "finished"
    checkpoint = runs[0] / "checkpoints" / cli.LAST
    if not checkpoint.exists():
        return "epoch 0" if not checkpoint.with_name(cli.PREVIOUS).exists() else "between two names"
    epoch = torch.load(checkpoint, weights_only=True)["epoch"] + 1
    return f"epoch {epoch}" if epoch < 6 else "judging"


def outcome(output: Path) -> dict[str, Any]:
    """Everything that must be the same, as text or numbers."""
    (run,) = (path.parent for path in output.rglob(cli.FINISHED))
    result = json.loads((run / cli.FINISHED).read_text())
    found: dict[str, Any] = {name: result[name] for name in ("val", "test", "steps", "epochs", "best_epoch")}
    for name in ("best", "last"):
        content = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)
        for noise in ("hyper_parameters", "hparams_name"):
            content.pop(noise, None)
        content["callbacks"]["History"].pop("seconds")
        found[f"{name}.ckpt"] = plain(content, str(run))
    found["csv"] = (run / "csv/version_0/metrics.csv").read_text()
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    tags = events.Tags()
    found["tensorboard"] = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in tags["scalars"]
        if "hparams" not in tag and tag != "hp_metric"
    }
    found["pictures"] = {
        tag: [(event.step, event.encoded_image_string) for event in events.Images(tag)] for tag in tags["images"]
    }
    found["left behind"] = sorted(path.name for path in run.rglob(".*") if path.is_file())
    return found


def plain(content: Any, run: str) -> Any:
    """Tensors as bytes, which compare; paths without the run's folder."""
    if isinstance(content, torch.Tensor):
        return (
            str(content.dtype),
            tuple(content.shape),
            content.cpu().contiguous().flatten().view(torch.uint8).tolist(),
        )
    if isinstance(content, dict):
        return {plain(key, run): plain(value, run) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value, run) for value in content]
    return content.replace(run, "RUN") if isinstance(content, str) else content


if __name__ == "__main__":
    main()
