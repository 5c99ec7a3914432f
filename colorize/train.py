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
    import time
    import warnings
    from pathlib import Path

    import lightning as L
    from hydra.utils import instantiate
    from lightning.pytorch.utilities.memory import is_oom_error

    from colorize.checkpoint import check_same_recipe
    from colorize.module import ColorizeModule
    from colorize.run import finish, start

    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # TensorBoard's way to trace the graph
    warnings.filterwarnings("ignore", message=".*LeafSpec|.*does not have many workers")
    run_dir = Path(cfg.run_dir)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = instantiate({k: v for k, v in cfg.dataset.items() if k != "epochs"}, seed=cfg.seed)
    datamodule.prepare_data()
    datamodule.setup("fit")

    parts = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(parts, dict)
    scheduler = parts["scheduler"] if parts["scheduler"]["name"] else None
    module = ColorizeModule(parts["model"], parts["loss"], parts["optimizer"], scheduler, datamodule.summary())
    trainer = instantiate(
        cfg.trainer, callbacks=list(instantiate(cfg.callbacks).values()), logger=list(instantiate(cfg.logger).values())
    )

    resume = run_dir / "checkpoints/last.ckpt" if cfg.ckpt_path == "last" else cfg.ckpt_path
    if resume is not None:
        check_same_recipe(resume, module.hparams)
    start(cfg, run_dir, datamodule, module, trainer, resume)
    began = time.perf_counter()
    try:
        trainer.fit(module, datamodule, ckpt_path=resume)
    except Exception as error:
        if is_oom_error(error) or isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise ValueError(
                f"out of memory with dataset.batch_size={cfg.dataset.batch_size} dataset.size={cfg.dataset.size} "
                f"model={cfg.model.name}: lower dataset.batch_size (and raise trainer.accumulate_grad_batches to keep "
                "its effect), then dataset.size, or take a narrower network"
            ) from error
        raise
    return finish(cfg, run_dir, datamodule, module, trainer, minutes=(time.perf_counter() - began) / 60)


def main() -> None:
    cli.run(train, "train")


if __name__ == "__main__":
    main()
