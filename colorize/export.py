"""python -m colorize.export ckpt_path=RUN/checkpoints/best.ckpt       a network as ONNX: model.onnx
python -m colorize.export format=torch_export graph=picture             for torch.export.load, grey in and RGB out
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from colorize import cli

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2"}


def export(cfg: DictConfig) -> Path:
    """Write a network as ONNX or a program of torch.export, and say how far it is from PyTorch.

    Returns:
        The file written.

    Raises:
        ValueError: an unknown format or graph, an output that exists, no weights, a network that cannot be exported, or
            one that computes something else once it is; then nothing is written.
    """
    cli.check_files(cfg)
    if cfg.format not in FORMATS:
        raise ValueError(f"format={cfg.format} is not one of: {', '.join(FORMATS)}")
    target = Path(str(cfg.output or f"model{FORMATS[cfg.format]}"))
    if target.suffix != FORMATS[cfg.format]:
        raise ValueError(f"output={target} must end in {FORMATS[cfg.format]}, as format={cfg.format} does")
    if target.exists() and not cfg.overwrite:
        raise ValueError(f"{target} exists: overwrite=true replaces it, output= writes elsewhere")
    if not isinstance(cfg.tolerance, int | float) or not cfg.tolerance > 0:
        raise ValueError(f"tolerance={cfg.tolerance} must be a number above 0")
    from colorize.choice import choose_checkpoint
    from colorize.files import atomic
    from colorize.graphs import to_onnx, trace
    from colorize.onnx_network import OnnxNetwork, describe_export
    from colorize.pipeline import Colorizer

    path = choose_checkpoint(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    colorizer = Colorizer.from_checkpoint(path, size=cfg.size, device="cpu", saturation=cfg.saturation)
    network, checkpoint = colorizer.model, colorizer.checkpoint
    if isinstance(network, OnnxNetwork):
        raise ValueError(f"{path} is exported already")
    program = trace(network, cfg.graph, colorizer.size, colorizer.saturation)
    about = describe_export(checkpoint, cfg.graph, network.stride)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as temporary:
        if cfg.format == "onnx":
            temporary.write_bytes(to_onnx(program, cfg.graph, about))
        else:
            import torch

            torch.export.save(program, temporary, extra_files={f"{key}.txt": value for key, value in about.items()})
        most, mean = parity(colorizer, load(temporary), cfg.graph)
        said = f"difference from PyTorch in ab / 128: {most:.1e} at most, {mean:.1e} on average"
        if not most <= cfg.tolerance:
            raise ValueError(f"{said}; that is above tolerance={cfg.tolerance}, so {target} was not written")
    log.info("%s", said)
    log.info("%s: %s, %.1f MB", target, ", ".join(signature(cfg.graph, network.stride)), target.stat().st_size / 1e6)
    return target


def signature(graph: str, stride: int) -> tuple[str, str]:
    """What goes in and what comes out, in words."""
    if graph == "ab":
        return f"l (B, 1, H, W) in [0, 1], H and W multiples of {stride}", "ab (B, 2, H, W) in (-1, 1)"
    return "grey (B, 1, H, W) in [0, 1]", "rgb (B, 3, H, W) in [0, 1]"


def load(path: str | Path) -> Callable[[Tensor], Tensor]:
    """An exported file, .onnx or .pt2, as a function of a batch on the CPU. Raises ValueError for a damaged .onnx."""
    import torch

    if Path(path).suffix == ".pt2":
        return torch.export.load(path).module()
    from colorize.onnx_network import open_session

    session = open_session(Path(path))
    name = session.get_inputs()[0].name
    return lambda batch: torch.from_numpy(session.run(None, {name: batch.numpy()})[0])


def parity(colorizer: Any, exported: Callable[[Tensor], Tensor], graph: str) -> tuple[float, float]:
    """Largest and mean difference from PyTorch in ab / 128, of a rendered scene: wide, square, three at once upright.

    Of whole pictures it is that of the lightness and the ab of their RGB.
    """
    import torch

    from colorize.color import rgb_to_l_ab, to_float
    from colorize.data.scenes import render

    side = colorizer.model.stride if graph == "ab" else 37  # odd and even sizes of pictures
    scene = to_float(torch.tensor(render("rural", size=8 * side, seed=0)).permute(2, 0, 1)[None])
    grey = rgb_to_l_ab(scene)[0]
    differences = []
    with torch.no_grad():
        for count, rows, columns in ((1, 2, 4), (3, 5, 3), (2, 8, 8)):
            batch = torch.cat([grey.roll(i * side, -1)[..., : rows * side, : columns * side] for i in range(count)])
            made = exported(batch)
            want = colorizer.model(batch) if graph == "ab" else colorizer.colour(batch.expand(-1, 3, -1, -1))
            if graph == "picture":
                made, want = (torch.cat(rgb_to_l_ab(rgb), dim=1) for rgb in (made, want))
            differences.append((made - want).abs().flatten())
    whole = torch.cat(differences)
    return float(whole.max()), float(whole.mean())


def main() -> None:
    cli.run(export, "export")


if __name__ == "__main__":
    main()
