"""python -m colorize.train dataset=rural            train; everything lands in outputs/<set>/<network>/<date>_<time>/
python -m colorize.train -m optimizer.lr=1e-2,1e-3   sweep; under outputs/multirun/, with a table of all jobs
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from colorize import cli, ranks


def train(cfg: DictConfig) -> dict[str, Any]:
    """Compose the parts, fit, judge the best checkpoint on the test pictures, report.

    Returns:
        What metrics.json in the run's folder holds.

    Raises:
        ValueError: settings or data that cannot be trained on.
    """
    import json
    import logging
    import math
    import warnings
    from pathlib import Path

    import lightning as L
    import torch

    from colorize.batch_size import settle_batch_size
    from colorize.build import instantiate
    from colorize.checkpoint import check_resumable, load_checkpoint, start_weights
    from colorize.malloc import is_glibc, keep_freed_memory
    from colorize.module import ColorizeModule
    from colorize.provenance import record
    from colorize.resume import SafeCheckpointIO, go_on_logging, goes_on, start_from, take
    from colorize.run import check, finish, start

    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # TensorBoard's way to trace the graph
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    for message in (
        *("in eval mode", "LeafSpec", "many workers", "Checkpoint directory"),
        *("dirpath has changed", "training batches", "It is recommended to use .self.log"),
        *("requested to overfit", ".*could not find the monitored key"),
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")  # as it is meant to be
    if not ranks.is_first():
        logging.getLogger("colorize").setLevel(logging.ERROR)  # the first process speaks for all
    run_dir = Path(cfg.run_dir)
    check(cfg)
    own = goes_on(cfg.ckpt_path)
    if own and (run_dir / cli.FINISHED).exists():
        logging.getLogger(__name__).info("%s is finished: nothing is left to do", run_dir)
        return json.loads((run_dir / cli.FINISHED).read_text(encoding="utf-8"))
    resume = start_from(run_dir, cfg.ckpt_path)
    L.seed_everything(cfg.seed, workers=True, verbose=False)

    # What is wrong in the settings is said before pictures are rendered or read.
    parts = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(parts, dict)
    settings = {part: parts[part] for part in ("model", "loss", "optimizer")}
    scheduler = parts["scheduler"] if parts["scheduler"]["name"] else None
    module = ColorizeModule(**settings, scheduler=scheduler, data={"size": cfg.dataset.size})
    module.create_optimizer()
    module.model.checkpointing, module.fused = cfg.trainer.checkpointing, cfg.trainer.fused
    module.model.use_fast_convolutions(cfg.trainer.fast_convolutions and not cfg.trainer.compile)
    if cfg.finetune is not None and resume is None:
        start_weights(module.model, settings["model"], str(cfg.finetune))
    callbacks, loggers = (list(instantiate(group).values()) for group in (cfg.callbacks, cfg.logger))
    ours = ("malloc", "checkpointing", "compile", "fused", "fast_convolutions")
    lightnings = {k: v for k, v in cfg.trainer.items() if k not in ours}
    trainer = instantiate(lightnings, callbacks=callbacks, logger=loggers, plugins=[SafeCheckpointIO()])
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if cfg.trainer.malloc is True or (cfg.trainer.malloc == "auto" and on_cpu and is_glibc()):
        keep_freed_memory()
    datamodule = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=cfg.seed)
    datamodule.trainer = trainer  # the number of its processes may decide how many steps go through the set
    datamodule.prepare_data()
    datamodule.setup("fit")
    settle_batch_size(module, datamodule, trainer, resume)
    for length in ("T_max", "total_steps"):  # each scheduler's word for it
        if scheduler and scheduler.get(length, 0) is None:
            steps = math.ceil(datamodule.steps_per_epoch / cfg.trainer.accumulate_grad_batches)
            module.hparams["scheduler"][length] = cfg.trainer.max_epochs * steps
            if 0 < scheduler.get("pct_start", 0) * cfg.trainer.max_epochs * steps <= 1:
                module.hparams["scheduler"]["pct_start"] = 0.0  # PyTorch divides by the warm-up's length less one
    module.hparams["data"].update(datamodule.summary())
    if resume is not None:
        # A run that was killed after its last epoch is still to be judged.
        check_resumable(resume, module.hparams, math.inf if own else trainer.max_epochs)
    else:
        module.model.prepare(datamodule.pictures("train").sample())

    if cfg.trainer.compile:
        module.compile_training(cfg.trainer.compile)
        datamodule.compile()
    lock = take(run_dir)  # noqa: F841 (held as long as it lives)
    if own:
        go_on_logging(loggers, 0 if resume is None else load_checkpoint(resume).steps)
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
