"""What a training run says when it starts and leaves behind when it ends."""

from __future__ import annotations

import logging
import platform
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

import colorize
from colorize import report
from colorize.checkpoint import FINISHED, load_checkpoint
from colorize.data.datamodule import PhotoDataModule
from colorize.evaluation import contestants, judge, kind, write_sheets
from colorize.module import ColorizeModule

log = logging.getLogger(__name__)


def start(
    cfg: DictConfig,
    run_dir: Path,
    datamodule: PhotoDataModule,
    module: ColorizeModule,
    trainer: L.Trainer,
    resume: str | Path | None,
) -> None:
    """Say what is trained on what, where, and where the results will be."""
    if not trainer.is_global_zero:
        return
    millions = sum(p.numel() for p in module.model.parameters()) / 1e6
    counts = f"{len(datamodule.pictures('train'))} training and {len(datamodule.pictures('val'))} validation"
    what = (cfg.model.name, millions, counts, kind(datamodule.rendered), datamodule.folder)
    log.info("%s (%.2f M parameters) on %s %s of %s", *what)
    length = (trainer.max_epochs, datamodule.steps_per_epoch, hardware(trainer), cfg.seed)
    log.info("%d epochs of %d steps on %s, seed %d", *length)
    if resume is not None:
        log.info("going on from %s", resume)
    log.info("results: %s", run_dir.resolve())


def finish(
    cfg: DictConfig,
    run_dir: Path,
    datamodule: PhotoDataModule,
    module: ColorizeModule,
    trainer: L.Trainer,
    minutes: float,
) -> dict[str, Any]:
    """Judge the best checkpoint, write tables, sheets and metrics.json (last: it marks the run as finished)."""
    best = run_dir / "checkpoints/best.ckpt"
    validated = trainer.validate(module, datamodule, ckpt_path=str(best), verbose=False)[0]
    if not trainer.is_global_zero:
        return {}
    checkpoint = load_checkpoint(best)
    files = datamodule.split().test
    methods = contestants({checkpoint.name: checkpoint}, str(trainer.strategy.root_device))
    rows, scores = judge(methods, files)
    rows = [{"method": row.pop("method"), "tested on": kind(datamodule.rendered), **row} for row in rows]
    title = f"{checkpoint.name} on {datamodule.name} ({kind(datamodule.rendered)})"
    report.write_table(rows, run_dir / "test")
    sheets = write_sheets(methods[checkpoint.name], files, scores[checkpoint.name], run_dir, title)

    result = {
        "dataset": datamodule.name,
        "rendered": datamodule.rendered,
        "network": checkpoint.name,
        "overrides": list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [],
        "seed": cfg.seed,
        "steps": trainer.global_step,
        "epochs": trainer.current_epoch,
        "best_epoch": checkpoint.epoch,
        "minutes": round(minutes, 2),
        "hardware": hardware(trainer),
        "versions": {"colorize": colorize.__version__, "torch": torch.__version__, "lightning": L.__version__},
        "val": {name.removeprefix("val/"): value for name, value in validated.items()},
        "test": {row["method"]: {k: v for k, v in row.items() if k != "method"} for row in rows},
    }
    _log_hparams(trainer, module, validated, rows[-1])
    report.print_table(rows, title=title)
    report.write_json(run_dir / FINISHED, result)
    log.info("done in %.1f min (this session); best epoch %d", minutes, checkpoint.epoch)
    for what, path in {
        "network": best,
        "loss curve": run_dir / "loss.png",
        "real | grey | predicted": sheets[0],
        "figures": run_dir / FINISHED,
    }.items():
        log.info("%-24s %s", what, _short(path))
    log.info("%-24s tensorboard --logdir %s", "curves and pictures", cfg.output_dir)
    return result


def _log_hparams(trainer: L.Trainer, module: ColorizeModule, validated: Any, tested: dict[str, Any]) -> None:
    metrics = {f"hparams/{name}": value for name, value in validated.items()}
    metrics |= {f"hparams/test/{name}": value for name, value in tested.items() if isinstance(value, float)}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(module.hparams), metrics)
            logger.save()


def hardware(trainer: L.Trainer) -> str:
    """The device in words: the GPU's name, or how many threads of which processor."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"


def _short(path: Path) -> str:
    """Relative to where the user is, where the path is below it."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
