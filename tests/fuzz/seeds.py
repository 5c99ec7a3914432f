"""Whole files of every format that is read, small, made by code: what is damaged to see what happens."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from colorize import cli
from colorize.checkpoint import load_checkpoint, save_weights
from colorize.media import Flipbook, Timing, gif_palette, read_animation, write_animation
from colorize.module import ColorizeModule

TINY = {"name": "beta", "encoder": ["4/2", "4/2", "8/2", 8, 8, 4], "decoder": ["up", 4, "up", 4, "head", "up"]}
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"  # photographs and clips, where there are some
_REAL = 12  # of each format: real files have what code does not think of
_LARGEST = 60_000  # bytes of a real one, so that a bit flipped is likely to matter


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3): soft waves and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + seed), np.cos(y / 4 + seed), np.sin((x + y) / 7)], -1) * 90 + 128
    return (waves + rng.normal(0, 6, waves.shape)).clip(0, 255).astype(np.uint8)


def pictures(folder: Path) -> Iterator[Path]:
    rgb = Image.fromarray(pixels(24, 40))
    alpha = Image.fromarray(np.dstack([pixels(24, 40), pixels(24, 40, 1)[..., 0]]))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "upright after a turn"
    icc = Image.open(io.BytesIO(_with_profile())).info["icc_profile"]
    saved: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *((f"rgb.{kind}", rgb, {}) for kind in ("jpg", "png", "webp", "bmp", "tif")),
        *((f"grey.{kind}", rgb.convert("L"), {}) for kind in ("jpg", "png", "webp", "bmp", "tif")),
        *((f"alpha.{kind}", alpha, {}) for kind in ("png", "webp", "tif")),
        *(
            (f"exif.{kind}", rgb, {"exif": exif.tobytes(), "icc_profile": icc})
            for kind in ("jpg", "png", "webp", "tif")
        ),
        *((f"bits.{kind}", rgb.convert("1"), {}) for kind in ("png", "bmp", "tif")),
        *((f"palette.{kind}", rgb.convert("P"), {}) for kind in ("png", "bmp", "gif")),
        ("deep.png", Image.fromarray(pixels(24, 40)[..., 0].astype(np.uint16) * 257), {}),
        ("float.tif", Image.fromarray(pixels(24, 40)[..., 0].astype(np.float32) / 255), {}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("cmyk.tif", rgb.convert("CMYK"), {}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("lzw.tif", rgb, {"compression": "tiff_lzw"}),
        ("jpeg.tif", rgb, {"compression": "jpeg"}),
        ("lossless.webp", rgb, {"lossless": True}),
        ("one.png", rgb.crop((0, 0, 1, 1)), {}),
    ]
    for name, image, options in saved:
        image.save(folder / name, **options)
        yield folder / name


def _with_profile() -> bytes:
    from PIL import ImageCms

    encoded = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.fromarray(pixels(2, 2)).save(encoded, "PNG", icc_profile=profile.tobytes())
    return encoded.getvalue()


class _Waves(Flipbook):
    """An animation that code makes."""

    kind = "waves"

    def _play(self) -> Iterator[np.ndarray]:
        width, height = self.size
        for i in range(len(self)):
            moving = np.full((height, width, 4), 255, np.uint8)
            moving[..., :3] = pixels(height, width, i)
            if i % 2:
                moving[: height // 3, : width // 3, 3] = 0
            yield moving


def animations(folder: Path) -> Iterator[Path]:
    yield from _clips(folder, (".gif", ".png", ".webp"))
    frames = [Image.fromarray(pixels(20, 28, i)).convert("P") for i in range(4)]
    written: dict[str, dict[str, Any]] = {
        "delays.gif": {"duration": [0, 10, 655_350, 20]},
        "restored.gif": {"disposal": 3},
        "cleared.gif": {"disposal": 2, "transparency": 0, "loop": 3},
    }
    for name, options in written.items():
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], **options)
        yield folder / name


def videos(folder: Path) -> Iterator[Path]:
    yield from _clips(folder, (".mp4", ".mov", ".mkv", ".webm", ".avi"))


def _clips(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    sizes, lengths = ((28, 20), (33, 17)), (1, 6)
    for suffix, size, count in itertools.product(suffixes, sizes, lengths):
        waves = _Waves(folder, size, 0, "", [40] * count)
        timed = ((frame, Timing(Fraction(i, 25), Fraction(1, 25))) for i, frame in enumerate(waves.frames()))
        path = folder / f"waves{size[0]}_{count}{suffix}"
        write_animation(path, timed, waves, palette=gif_palette([pixels(20, 28)]) if suffix == ".gif" else None)
        yield path


def tiny_checkpoint(path: Path, **model: Any) -> Path:
    """A training checkpoint of a small network that was never trained."""
    torch.manual_seed(0)
    data = {"name": "waves", "root": None, "rendered": True, "size": 32, "mean_ab": [0.1, 0.1], "saturation": 1.1}
    settings = {
        "model": {**TINY, **model},
        "loss": {"name": "cross_entropy" if model.get("head") == "classes" else "mse"},
        "optimizer": {"name": "Adam", "lr": 1e-3},
    }
    module = ColorizeModule(**settings, scheduler=None, data=data)
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "epoch": 0,
        "global_step": 1,
    }
    torch.save(content, path)
    return path


_NETWORKS: dict[str, dict[str, Any]] = {
    "beta": {},
    "classes": {"head": "classes"},
    "glorot": {"init": "glorot", "extra_layers": 0},
}


def checkpoints(folder: Path) -> Iterator[Path]:
    for name, model in _NETWORKS.items():
        yield tiny_checkpoint(folder / f"{name}.ckpt", **model)
    content = torch.load(folder / "beta.ckpt", weights_only=True)
    for name, value in {"nan": float("nan"), "inf": float("inf"), "huge": 3e38}.items():
        state = {key: torch.full_like(weight, value) for key, weight in content["state_dict"].items()}
        torch.save({**content, "state_dict": state}, folder / f"{name}.ckpt")
        yield folder / f"{name}.ckpt"


def weights(folder: Path) -> Iterator[Path]:
    for name, model in _NETWORKS.items():
        checkpoint = load_checkpoint(tiny_checkpoint(folder / f"{name}.ckpt", **model))
        save_weights(checkpoint, folder / f"{name}.safetensors", "A card.")
        yield folder / f"{name}.safetensors"


def exported(folder: Path) -> Iterator[Path]:
    """Networks in ONNX (extra ``export``)."""
    from colorize.graphs import to_onnx, trace
    from colorize.onnx_network import describe_export

    for name, model in _NETWORKS.items():
        checkpoint = load_checkpoint(tiny_checkpoint(folder / f"{name}.ckpt", **model))
        about = describe_export(checkpoint, "ab", checkpoint.model.stride)
        (folder / f"{name}.onnx").write_bytes(to_onnx(trace(checkpoint.model, "ab", 0, 1.0), "ab", about))
        yield folder / f"{name}.onnx"


def shards(folder: Path) -> Iterator[Path]:
    """Tar files of pictures."""
    for name, kind in {
        "plain.tar": tarfile.USTAR_FORMAT,
        "pax.tar": tarfile.PAX_FORMAT,
        "gnu.tar": tarfile.GNU_FORMAT,
    }.items():
        with tarfile.open(folder / name, "w", format=kind) as tar:
            for i, suffix in enumerate(("jpg", "png", "png")):
                encoded = io.BytesIO()
                Image.fromarray(pixels(16, 20, i)).save(encoded, suffix.replace("jpg", "jpeg"))
                member = tarfile.TarInfo(f"{'long' * 20 if i else ''}{i}.{suffix}")
                member.size = encoded.tell()
                encoded.seek(0)
                tar.addfile(member, encoded)
        yield folder / name


def configs(folder: Path) -> Iterator[Path]:
    """Our own YAML files: as a run's, a stranger's or a mistyped one would be."""
    for group in ("model", "loss", "optimizer", "scheduler", "dataset", "callbacks", "logger", "trainer"):
        for path in sorted((Path(cli.conf_dir()) / group).glob("*.yaml")):
            (folder / group).mkdir(exist_ok=True)
            copy = folder / group / path.name
            copy.write_bytes(path.read_bytes())
            yield copy


def real(shared: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Small ones of the photographs and clips in a folder, where there are some."""
    found = (path for path in sorted(shared.rglob("*")) if path.suffix.lower() in suffixes)
    return list(itertools.islice((path for path in found if path.stat().st_size < _LARGEST), _REAL))


def opened(path: Path) -> tuple[tuple[int, int], int]:
    """(size, frames) of a picture or clip that must be readable to its end."""
    animation = read_animation(path)
    frames = sum(1 for _ in animation.frames())
    assert not animation.lost, f"{path.name}: {animation.lost}"
    return animation.size, frames
