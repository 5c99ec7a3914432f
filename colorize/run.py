"""What a training run says when it starts and leaves behind when it ends."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

import colorize
from colorize import ranks, report
from colorize.callbacks import History, duration
from colorize.checkpoint import load_checkpoint, remember
from colorize.cli import FINISHED
from colorize.data.datamodule import PhotoDataModule
from colorize.data.folder import some
from colorize.evaluation import COLUMNS, contestants, judge, picture_rows, write_sheets
from colorize.module import ColorizeModule
from colorize.saturation import fit_saturation

log = logging.getLogger(__name__)

_COMPILE = (False, "default", "reduce-overhead", "max-autotune")


def check(cfg: DictConfig) -> None:
    """What no part can see for itself. Raises ValueError that names the setting."""
    for group in ("model", "loss", "optimizer", "scheduler"):
        if not isinstance(cfg[group], DictConfig) or "name" not in cfg[group]:
            raise ValueError(f"{group}.name is missing: a choice of {group}= says by it what it is")
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ValueError(f"seed={cfg.seed} must be a whole number from 0 up")
    if not isinstance(cfg.trainer.max_epochs, int) or cfg.trainer.max_epochs < 1:
        raise ValueError(f"dataset.epochs={cfg.trainer.max_epochs} must be a whole number from 1 up")
    if cfg.trainer.malloc != "auto" and not isinstance(cfg.trainer.malloc, bool):
        raise ValueError(f"trainer.malloc={cfg.trainer.malloc} is not one of: auto, true, false")
    for switch in ("checkpointing", "fused", "fast_convolutions"):
        if not isinstance(cfg.trainer[switch], bool):
            raise ValueError(f"trainer.{switch}={cfg.trainer[switch]} is not true or false")
    if cfg.trainer.compile not in _COMPILE:
        raise ValueError(f"trainer.compile={cfg.trainer.compile} is not one of: false, {', '.join(_COMPILE[1:])}")
    if cfg.trainer.compile and cfg.trainer.checkpointing:
        raise ValueError("trainer.compile and trainer.checkpointing=true do not go together: give one of them")
    if cfg.trainer.compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "gcc", "clang", "cl"))):
        raise ValueError(
            f"trainer.compile={cfg.trainer.compile} needs a C++ compiler, and none was found: install g++, or give "
            "trainer.compile=false"
        )
    if cfg.saturation not in (None, "auto"):
        raise ValueError(f"saturation={cfg.saturation} is not auto or null; predict and gif take a number")
    if cfg.input is not None and cfg.input != cfg.dataset.root:
        raise ValueError("input= is the picture of experiment=alpha; for a folder: dataset=folder dataset.root=FOLDER")
    if cfg.model.name == "convlstm":
        if "frames" not in cfg.dataset:
            raise ValueError("model=convlstm is trained on clips: give dataset=clips dataset.root=FOLDER")
        if cfg.finetune is None and cfg.ckpt_path is None:
            raise ValueError(
                "model=convlstm adds a memory to a trained network: give finetune=auto or a file of a unet"
            )
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        if cfg.ckpt_path == "last":
            raise ValueError("a sweep (-m) cannot go on with ckpt_path=last: its jobs are new runs")
        if (
            cfg.trainer.devices != 1 or ranks.launched()[2] == "torchrun"
        ):  # its processes would each start the whole sweep
            raise ValueError("a sweep (-m) takes one device a job: trainer=auto trainer.devices=1")

    _check_devices(cfg)


def _check_devices(cfg: DictConfig) -> None:
    devices, nodes = cfg.trainer.devices, cfg.trainer.get("num_nodes", 1)
    for name, value in {"devices": devices, "num_nodes": nodes}.items():
        if isinstance(value, int) and value < 1 and (name, value) != ("devices", -1):
            raise ValueError(f"trainer.{name}={value} must be a whole number from 1 up")
    if not isinstance(devices, int) or not isinstance(nodes, int) or devices < 1:  # a list, auto: Lightning counts
        return
    _, processes, by = ranks.launched()
    if by and devices * nodes != processes:
        more = nodes if nodes > 1 and processes % nodes == 0 else 1
        give = f"trainer=ddp trainer.devices={processes // more}" + (f" trainer.num_nodes={more}" if more > 1 else "")
        raise ValueError(f"{by} started {processes} processes and the trainer has {devices * nodes}: give {give}")
    accelerator, cores = cfg.trainer.accelerator, os.cpu_count() or devices
    if devices > cores and (accelerator == "cpu" or not torch.accelerator.is_available()):
        raise ValueError(f"trainer.devices={devices} is more than this machine's {cores} processors")


def start(
    run_dir: Path, datamodule: PhotoDataModule, module: ColorizeModule, trainer: L.Trainer, resume: str | Path | None
) -> None:
    """Say what is trained on what, where, and where the results will be."""
    millions = sum(p.numel() for p in module.model.parameters()) / 1e6
    train, val = datamodule.count("train"), datamodule.count("val")
    pictures, folders = report.kind(datamodule.rendered), some(datamodule.places)
    log.info("%s (%.2f M parameters) on %s", module.hparams["model"]["name"], millions, folders)
    log.info("%d training and %d validation pictures (%s)", train, val, pictures)
    epochs, steps, seed = trainer.max_epochs, datamodule.steps_per_epoch, datamodule.seed
    log.info("%d epochs of %d steps on %s, seed %d", epochs, steps, hardware(trainer), seed)
    each, together = datamodule.batch_size, effective_batch(datamodule, trainer)
    if together != each:
        parts = (each, trainer.world_size, trainer.accumulate_grad_batches)
        log.info("%d pictures a step: %d x %d processes x %d batches", together, *parts)
    if trainer.world_size > 1 and together > train * trainer.accumulate_grad_batches:
        most = max(1, train // trainer.world_size)
        log.warning(
            "a step has %d pictures and there are %d to train on, so that it sees some twice: dataset.batch_size=%d is "
            "enough for %d processes",
            *(together, train, most, trainer.world_size),
        )
    if resume is not None:
        log.info("going on from %s", resume)
    log.info("results: %s", run_dir.resolve())


def effective_batch(datamodule: PhotoDataModule, trainer: L.Trainer) -> int:
    """Pictures (clips, where it trains on those) that an optimizer step learns from, over all processes."""
    assert datamodule.batch_size != "auto"
    return datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches


def finish(cfg: DictConfig, run_dir: Path, datamodule: PhotoDataModule, trainer: L.Trainer) -> dict[str, Any]:
    """Judge the best checkpoint, write tables, sheets and metrics.json (last: it marks the run as finished).

    Raises:
        ValueError: the run ended before its first epoch did, so that there is nothing to judge.
    """
    result = _judge_run(cfg, run_dir, datamodule, trainer) if trainer.is_global_zero else {}
    trainer.strategy.barrier()  # no process leaves while the first one still works
    return result


def _judge_run(cfg: DictConfig, run_dir: Path, datamodule: PhotoDataModule, trainer: L.Trainer) -> dict[str, Any]:
    best = run_dir / "checkpoints/best.ckpt"
    if not best.exists():  # validation never ran
        best = best.with_name("last.ckpt")
    if not best.exists():
        raise ValueError("the run ended within its first epoch: there is nothing to judge; let it train longer")
    history = next(callback for callback in trainer.callbacks if isinstance(callback, History))  # type: ignore[attr-defined]
    checkpoint = load_checkpoint(best)
    if cfg.saturation == "auto":
        shown = datamodule.pictures("val").sample(256)  # what it predicts for them is held in memory
        factor = fit_saturation(checkpoint.model.to(trainer.strategy.root_device), shown)
        remember(best, saturation=factor)
        checkpoint = load_checkpoint(best)
    name, pictures = checkpoint.name, report.kind(datamodule.rendered)
    title = f"{name} on {datamodule.name} ({pictures})"

    files = _limited(datamodule, trainer)
    rows: list[dict[str, Any]] = []
    sheets: list[Path] = []
    if files:  # there are none beside a film
        methods = contestants({name: checkpoint}, str(trainer.strategy.root_device))
        rows, scores = judge(methods, files)
        report.print_table(rows, COLUMNS, title=f"{len(files)} test pictures: {title}")
        rows = [{"method": row["method"], "tested on": pictures, **row} for row in rows]
        report.write_table(rows, run_dir / "test")
        report.write_table(picture_rows(scores, pictures), run_dir / "test_pictures")
        sheets = write_sheets(methods[name], files, scores[name], run_dir, title)

    result = {
        "dataset": datamodule.name,
        "rendered": datamodule.rendered,
        "network": name,
        "overrides": list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [],
        "seed": cfg.seed,
        "batch_size": datamodule.batch_size,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "processes": trainer.world_size,
        "effective_batch": effective_batch(datamodule, trainer),
        "steps": trainer.global_step,
        "epochs": trainer.current_epoch,
        "best_epoch": checkpoint.epoch,
        "saturation": checkpoint.data.get("saturation", 1.0),
        "minutes": round(history.seconds / 60, 2),  # training and validation, over all sessions
        "hardware": hardware(trainer),
        "versions": {"colorize": colorize.__version__, "torch": torch.__version__, "lightning": L.__version__},
        "val": {k.removeprefix("val/"): v for k, v in history.epochs[checkpoint.epoch].items() if k.startswith("val/")},
        "test": {row["method"]: {k: v for k, v in row.items() if k != "method"} for row in rows},
    }
    _log_hparams(trainer, checkpoint.settings, result)
    report.write_json(run_dir / FINISHED, result)
    log.info("trained for %s; best epoch %d", duration(history.seconds), checkpoint.epoch)
    for what, path in {
        "network": best,
        "loss curve": run_dir / "loss.png",
        **({"real | grey | predicted": sheets[0]} if sheets else {}),
        "figures": run_dir / FINISHED,
    }.items():
        log.info("%-24s %s", what, _short(path))
    log.info("%-24s python -m colorize.train repeat=%s", "the same once more", _short(run_dir))
    log.info("%-24s tensorboard --logdir %s", "curves and pictures", cfg.output_dir)
    return result


def _limited(datamodule: PhotoDataModule, trainer: L.Trainer) -> list[Path]:
    """The test files, as many as trainer.limit_test_batches says: a number of batches or a share."""
    files, limit = datamodule.files.test, trainer.limit_test_batches
    assert datamodule.batch_size != "auto"
    return files[: limit * datamodule.batch_size if isinstance(limit, int) else round(limit * len(files))]


def _log_hparams(trainer: L.Trainer, settings: dict[str, Any], result: dict[str, Any]) -> None:
    tested = result["test"].get(result["network"], {})
    metrics = {f"hparams/val/{name}": value for name, value in result["val"].items()}
    metrics |= {f"hparams/test/{name}": value for name, value in tested.items() if isinstance(value, float)}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, metrics)
            logger.finalize("success")  # the fit had closed it; open it would keep a thread


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
