"""python -m colorize.evaluate ckpt_path=RUN/checkpoints/best.ckpt [dataset=rural] [eval.size=256]
python -m colorize.evaluate 'ckpt_path=[A.ckpt,B.ckpt]'        several networks in one table
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig

from colorize import cli


def evaluate(cfg: DictConfig) -> list[dict[str, Any]]:
    """Judge checkpoints on a set's test pictures; table and sheets under outputs/evaluate/.

    Returns:
        The table's rows, grey and mean colour first.

    Raises:
        ValueError: no such checkpoint or set, or rendered and real results would share a table.
    """
    import re
    from pathlib import Path

    from hydra.utils import instantiate

    from colorize import report
    from colorize.checkpoint import load_checkpoint
    from colorize.data.datamodule import PhotoDataModule
    from colorize.evaluation import COLUMNS, contestants, judge, labels, picture_rows, refuse_mixture, write_sheets

    paths = [Path(p) for p in (cfg.ckpt_path if isinstance(cfg.ckpt_path, ListConfig) else [cfg.ckpt_path])]
    if not paths:
        raise ValueError("ckpt_path=[] names no checkpoint")
    loaded = dict(zip(labels(paths), map(load_checkpoint, paths), strict=True))
    # A label that says more than the name ("full (random backbone)") says it in every table.
    checkpoints = {at + c.name.removeprefix(c.settings["model"]["name"]): c for at, c in loaded.items()}
    if cfg.get("dataset") is None:
        sets = {str((c.data["name"], c.data["root"])): (c.data["name"], c.data["root"]) for c in checkpoints.values()}
        if len(sets) > 1:
            names = ", ".join(sorted(name for name, _ in sets.values()))
            raise ValueError(f"the checkpoints are of several sets ({names}): say with dataset= which to judge them on")
        name, root = next(iter(sets.values()))
        if root is None and not (Path("data") / str(name)).exists():
            raise ValueError(
                f"{paths[0]} was trained on {name}, which is not in data/ here: say with dataset= what to judge on"
            )
        datamodule = PhotoDataModule(name, root)
    else:
        datamodule = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"})
    if cfg.eval.size is not None and (not isinstance(cfg.eval.size, int) or cfg.eval.size < 8):
        raise ValueError(f"eval.size={cfg.eval.size} must be a whole number from 8 up")
    refuse_mixture(checkpoints)
    datamodule.prepare_data()

    files = datamodule.files.test
    methods = contestants(checkpoints, cfg.device)
    rows, scores = judge(methods, files, size=cfg.eval.size)

    said = {
        "trained on": report.kind(any(c.data["rendered"] for c in checkpoints.values())),
        "tested on": report.kind(datamodule.rendered),
        "size": f"{cfg.eval.size} x {cfg.eval.size}" if cfg.eval.size else "their own",
    }
    title = "; ".join([f"Test pictures of {datamodule.name}", *(f"{key}: {value}" for key, value in said.items())])
    report.print_table(rows, COLUMNS, title=title)
    rows = [{"method": row["method"], **said, **row} for row in rows]

    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    report.write_table(rows, run_dir / "table")
    report.write_table(picture_rows(scores, said["tested on"]), run_dir / "pictures")
    for label in checkpoints:
        folder = run_dir if len(checkpoints) == 1 else run_dir / re.sub(r"[^\w.-]+", "_", label)
        folder.mkdir(exist_ok=True)
        title = f"{label} on {datamodule.name} ({said['tested on']})"
        write_sheets(methods[label], files, scores[label], folder, title)
    print(f"table and sheets: {run_dir.resolve()}")
    return rows


def main() -> None:
    cli.run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
