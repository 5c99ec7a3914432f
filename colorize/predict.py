"""python -m colorize.predict input=photos/ [output=coloured/]     colour pictures at their own size
python -m colorize.predict input=photo.jpg weights=last            by the network you trained last
torchrun --nproc-per-node 4 -m colorize.predict input=photos/      four processes (or srun's) share the pictures
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from colorize import cli, ranks

log = logging.getLogger(__name__)


def predict(cfg: DictConfig) -> list[Path]:
    """Colour a picture, the pictures of a folder or those that match a pattern.

    Returns:
        The files written.

    Raises:
        ValueError: nothing to colour, outputs that exist, no weights, or pictures that could not be read or written
            (then after all others were done).
    """
    cli.check_files(cfg)
    if not isinstance(cfg.max_pixels, int) or cfg.max_pixels < 1:
        raise ValueError(f"max_pixels={cfg.max_pixels} must be a whole number from 1 up")
    from colorize.choice import check_there, choose_checkpoint
    from colorize.media import MediaError, read_picture, write_picture
    from colorize.plan import common_folder, plan
    from colorize.progress import track

    several = isinstance(cfg.input, ListConfig)
    jobs = plan(
        [str(one) for one in cfg.input] if several else str(cfg.input),
        cfg.output and str(cfg.output),
        cfg.overwrite,
        cfg.skip_existing,
    )
    if not jobs:
        return []
    if cfg.hints and len(jobs) > 1:
        raise ValueError(f"hints= are places in one picture, and input={cfg.input} is {len(jobs)}: name one picture")
    checkpoint = choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    check_there(checkpoint)

    # PyTorch takes seconds: what can be refused without it has been.
    from colorize.hints import colour_picture, parse_hints
    from colorize.pipeline import Colorizer

    hints = parse_hints(OmegaConf.to_container(cfg.hints) if OmegaConf.is_config(cfg.hints) else cfg.hints)

    colorizer = Colorizer.from_checkpoint(checkpoint, size=cfg.size, device=cfg.device, saturation=cfg.saturation)
    written, failed = [], []
    try:
        for source, target in track(jobs.items(), "Colouring", total=len(jobs)):
            try:
                picture = read_picture(source, max_pixels=cfg.max_pixels)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_picture(target, replace(picture, rgb=colour_picture(colorizer, picture.rgb, hints)))
                written.append(target)
                if picture.pages > 1:
                    log.warning("%s: the first of its %d pages is coloured, and no other", source, picture.pages)
            except (MediaError, OSError) as error:
                failed.append(cli.one_line(error) or str(error))
    finally:  # also where Ctrl-C stops it
        if written:
            where = written[0] if len(written) == 1 else common_folder(written)
            rank, processes, _ = ranks.launched()
            mine = f" (process {rank + 1} of {processes})" if processes > 1 else ""
            log.info("coloured %d of %d%s: %s", len(written), len(jobs), mine, where)
    if failed:
        reasons = "; ".join(dict.fromkeys(failed))  # one for all, of a folder that cannot be written to
        raise ValueError(f"could not colour {len(failed)} of {len(jobs)}: {reasons}")
    return written


def main() -> None:
    cli.run(predict, "predict")


if __name__ == "__main__":
    main()
