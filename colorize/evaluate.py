"""python -m colorize.evaluate dataset=rural [weights=last]         judge on a set's test pictures
python -m colorize.evaluate ckpt_path=RUN/checkpoints/best.ckpt     on the set that it was trained on
python -m colorize.evaluate 'ckpt_path=[A.ckpt,B.ckpt]'             several networks in one table
python -m colorize.evaluate input=clip.mp4                          on a clip in colour, in every way to keep it steady
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig

from colorize import cli

if TYPE_CHECKING:
    from colorize.checkpoint import Checkpoint
    from colorize.data.datamodule import PhotoDataModule

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> list[dict[str, Any]]:
    """Judge networks on a set's test pictures, on one picture or on a clip; table and sheets under outputs/evaluate/.

    Returns:
        The table's rows: grey and mean colour first, or of a clip the clip itself.

    Raises:
        ValueError: no such checkpoint, set or input, a clip without colour, or rendered and real results would share a
            table.
    """
    from colorize.choice import check_there, choose_checkpoint

    if cfg.eval.size is not None and (not isinstance(cfg.eval.size, int) or cfg.eval.size < 8):
        raise ValueError(f"eval.size={cfg.eval.size} must be a whole number from 8 up")
    dataset = cfg.get("dataset")
    if cfg.input is not None and dataset is not None and dataset.root != cfg.input:
        raise ValueError(f"input={cfg.input} and dataset={dataset.name}: give one of them, for one is judged on")
    if isinstance(cfg.ckpt_path, ListConfig):
        paths = [Path(str(path)) for path in cfg.ckpt_path]
    else:
        paths = [choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)]
    if not paths:
        raise ValueError("ckpt_path=[] names no checkpoint")
    for path in paths:
        check_there(path)

    # PyTorch takes seconds: what can be refused without it has been.
    from colorize import report
    from colorize.checkpoint import describe, load_checkpoint
    from colorize.clip_evaluation import judge_animation, refuse_grey
    from colorize.evaluation import COLUMNS, contestants, judge, labels, picture_rows, refuse_mixture, write_sheets
    from colorize.media import MediaError, is_single, read_animation

    loaded = dict(zip(labels(paths), map(load_checkpoint, paths), strict=True))
    for checkpoint, path in zip(loaded.values(), paths, strict=True):
        log.info("weights: %s", describe(checkpoint, path))
    # A label that says more than the name ("full (random backbone)") says it in every table.
    checkpoints = {at + c.name.removeprefix(c.settings["model"]["name"]): c for at, c in loaded.items()}
    refuse_mixture(checkpoints)
    said = {
        "trained on": report.kind(any(c.data["rendered"] for c in checkpoints.values())),
        "size": f"{cfg.eval.size} x {cfg.eval.size}" if cfg.eval.size else "their own",
    }
    run_dir = Path(cfg.run_dir)
    folders = {
        label: run_dir if len(checkpoints) == 1 else run_dir / re.sub(r"[^\w.-]+", "_", label) for label in checkpoints
    }

    if cfg.input is not None and dataset is None:
        try:
            clip = read_animation(str(cfg.input))
        except MediaError as error:
            hint = f"; as pictures: dataset=folder dataset.root={cfg.input}" if Path(str(cfg.input)).is_dir() else ""
            raise ValueError(f"{error}{hint}") from error
        refuse_grey(clip)
        if not is_single(clip):
            return judge_animation(clip, checkpoints, folders, run_dir, said, size=cfg.eval.size, device=cfg.device)

    datamodule = _choose_set(cfg, checkpoints, paths[0])
    datamodule.prepare_data()
    files = datamodule.files.test
    methods = contestants(checkpoints, cfg.device)
    rows, scores = judge(methods, files, size=cfg.eval.size)

    said = {"trained on": said["trained on"], "tested on": report.kind(datamodule.rendered), "size": said["size"]}
    title = "; ".join([f"Test pictures of {datamodule.name}", *(f"{key}: {value}" for key, value in said.items())])
    report.print_table(rows, COLUMNS, title=title)
    rows = [{"method": row["method"], **said, **row} for row in rows]

    run_dir.mkdir(parents=True, exist_ok=True)
    report.write_table(rows, run_dir / "table")
    report.write_table(picture_rows(scores, said["tested on"]), run_dir / "pictures")
    for label, folder in folders.items():
        folder.mkdir(exist_ok=True)
        title = f"{label} on {datamodule.name} ({said['tested on']})"
        write_sheets(methods[label], files, scores[label], folder, title)
    print(f"table and sheets: {run_dir.resolve()}")
    return rows


def _choose_set(cfg: DictConfig, checkpoints: Mapping[str, Checkpoint], path: Path) -> PhotoDataModule:
    """What ``dataset=`` names, or the picture ``input=``, or the set that the checkpoints were trained on."""
    from colorize.build import instantiate
    from colorize.data.datamodule import PhotoDataModule
    from colorize.data.shard_module import ShardDataModule
    from colorize.data.shards import is_sharded

    if cfg.get("dataset") is not None:
        return instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"})
    if cfg.input is not None:
        return PhotoDataModule("picture", str(cfg.input))
    sets = {str((c.data["name"], c.data["root"])): (c.data["name"], c.data["root"]) for c in checkpoints.values()}
    if len(sets) > 1:
        names = ", ".join(sorted(name for name, _ in sets.values()))
        raise ValueError(f"the checkpoints are of several sets ({names}): say with dataset= which to judge them on")
    name, root = next(iter(sets.values()))
    if is_sharded(root):
        return ShardDataModule(name, root, test_root=next(iter(checkpoints.values())).data.get("test_root"))
    if root is None and not (Path("data") / str(name)).exists():
        raise ValueError(
            f"{path} was trained on {name}, which is not in data/ here: say with dataset= or input= what to judge on"
        )
    return PhotoDataModule(name, root)


def main() -> None:
    cli.run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
