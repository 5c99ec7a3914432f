"""python -m colorize.train dataset=rural            train; everything lands in outputs/<set>/<network>/<date>_<time>/
python -m colorize.train -m optimizer.lr=1e-2,1e-3   sweep; under outputs/multirun/, with a table of all jobs
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from colorize import cli


def train(cfg: DictConfig) -> dict[str, Any]:
    """Compose the parts, fit, judge the best checkpoint on the test pictures, report.

    Returns:
        What metrics.json in the run's folder holds.

    Raises:
        ValueError: settings or data that cannot be trained on.
    """
    import logging
    import math
    import os
    import warnings
    from pathlib import Path

    import lightning as L
    import torch
    from hydra.utils import instantiate

    from colorize.batch_size import settle_batch_size
    from colorize.checkpoint import check_resumable, start_weights
    from colorize.malloc import keep_freed_memory
    from colorize.module import ColorizeModule
    from colorize.provenance import record
    from colorize.run import check, finish, start

    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # TensorBoard's way to trace the graph
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    for message in (
        *("in eval mode", "LeafSpec", "many workers", "Checkpoint directory"),
        *("dirpath has changed", "training batches"),
        *("requested to overfit", ".*could not find the monitored key"),
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")  # as it is meant to be
    if os.environ.get("LOCAL_RANK", "0") != "0":
        logging.getLogger("colorize").setLevel(logging.ERROR)  # the first process speaks for all
    run_dir = Path(cfg.run_dir)
    check(cfg)
    if cfg.trainer.malloc:
        keep_freed_memory()
    L.seed_everything(cfg.seed, workers=True, verbose=False)

    # What is wrong in the settings is said before pictures are rendered or read.
    parts = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(parts, dict)
    settings = {part: parts[part] for part in ("model", "loss", "optimizer")}
    scheduler = parts["scheduler"] if parts["scheduler"]["name"] else None
    for length in ("T_max", "total_steps"):  # each scheduler's word for it
        if scheduler and scheduler.get(length, 0) is None:
            steps = math.ceil(cfg.dataset.steps_per_epoch / cfg.trainer.accumulate_grad_batches)
            scheduler[length] = cfg.trainer.max_epochs * steps
    module = ColorizeModule(**settings, scheduler=scheduler, data={"size": cfg.dataset.size})
    module.create_optimizer()
    module.model.checkpointing, module.fused = cfg.trainer.checkpointing, cfg.trainer.fused
    if cfg.finetune is not None and cfg.ckpt_path is None:
        start_weights(module.model, settings["model"], str(cfg.finetune))
    callbacks, loggers = (list(instantiate(group).values()) for group in (cfg.callbacks, cfg.logger))
    own = ("malloc", "checkpointing", "compile", "fused")  # the others are Lightning's
    trainer = instantiate({k: v for k, v in cfg.trainer.items() if k not in own}, callbacks=callbacks, logger=loggers)
    datamodule = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=cfg.seed)
    datamodule.prepare_data()
    datamodule.setup("fit")
    resume = run_dir / "checkpoints/last.ckpt" if cfg.ckpt_path == "last" else cfg.ckpt_path
    settle_batch_size(module, datamodule, trainer, resume)
    module.hparams["data"].update(datamodule.summary())
    if resume is not None:
        check_resumable(resume, module.hparams, trainer.max_epochs)
    else:
        module.model.prepare(datamodule.pictures("train").sample())

    if cfg.trainer.compile:
        module.compile_training(cfg.trainer.compile)
        datamodule.compile()
    start(run_dir, datamodule, module, trainer, resume)
    record(cfg, run_dir, datamodule, trainer)
    try:
        trainer.fit(module, datamodule, ckpt_path=resume)
    except Exception as error:
        if cli.is_out_of_memory(error):
            raise ValueError(
                f"out of memory with dataset.batch_size={datamodule.batch_size} dataset.size={cfg.dataset.size} "
                f"model={cfg.model.name}: lower dataset.batch_size (and raise trainer.accumulate_grad_batches to keep "
                "its effect), then dataset.size, or take a narrower network"
            ) from error
        raise
    return finish(cfg, run_dir, datamodule, trainer)


def main() -> None:
    cli.run(train, "train")


if __name__ == "__main__":
    main()
