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
    from pathlib import Path

    from hydra.utils import instantiate

    from colorize import report
    from colorize.checkpoint import load_checkpoint
    from colorize.data.datamodule import PhotoDataModule
    from colorize.evaluation import contestants, judge, kind, labels, refuse_mixture, write_sheets

    paths = [Path(p) for p in (cfg.ckpt_path if isinstance(cfg.ckpt_path, ListConfig) else [cfg.ckpt_path])]
    checkpoints = dict(zip(labels(paths), map(load_checkpoint, paths), strict=True))
    if cfg.get("dataset") is None:
        sets = {(c.data["name"], c.data["root"]) for c in checkpoints.values()}
        if len(sets) > 1:
            names = ", ".join(sorted(name for name, _ in sets))
            raise ValueError(f"the checkpoints are of several sets ({names}): say with dataset= which to judge them on")
        datamodule = PhotoDataModule(*sets.pop())
    else:
        datamodule = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"})
    refuse_mixture(checkpoints)
    datamodule.prepare_data()

    files = datamodule.split().test
    methods = contestants(checkpoints, cfg.device)
    rows, scores = judge(methods, files, size=cfg.eval.size)
    said = {
        "trained on": kind(any(c.data["rendered"] for c in checkpoints.values())),
        "tested on": kind(datamodule.rendered),
        "size": f"{cfg.eval.size} x {cfg.eval.size}" if cfg.eval.size else "their own",
    }
    rows = [{"method": row.pop("method"), **said, **row} for row in rows]

    run_dir = Path(cfg.run_dir)
    report.print_table(rows, title=f"{datamodule.name}: {len(files)} test pictures")
    report.write_table(rows, run_dir / "table")
    for label in checkpoints:
        folder = run_dir if len(checkpoints) == 1 else run_dir / label.replace("/", "_")
        write_sheets(
            methods[label], files, scores[label], folder, f"{label} on {datamodule.name} ({said['tested on']})"
        )
    print(f"table and sheets: {run_dir.resolve()}")
    return rows


def main() -> None:
    cli.run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
