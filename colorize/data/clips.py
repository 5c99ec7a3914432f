"""Clips to train on: real ones, and photographs seen by a simulated camera, whose motion is known exactly."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from colorize.color import rgb_to_l_ab, to_float
from colorize.data.datamodule import PhotoDataModule
from colorize.data.folder import TEST_FRACTION, Split, in_hash_order, load_pictures
from colorize.data.store import Pictures, in_memory
from colorize.media import CLIP_SUFFIXES, PICTURE_SUFFIXES, read_animation, resize
from colorize.motion import Motion, estimate_motion, is_cut, pixel_grid
from colorize.progress import track

log = logging.getLogger(__name__)

SEEN = 0.7  # of the picture's side is seen at once; the rest is room to move, and to augment
LONGEST = 600  # frames of one film that are used: they are kept in memory
STILL = 0.3  # share of the cameras that stand still: there flicker shows most
PAN, SHAKE = 0.04, 0.006  # of the frame's width, at most, from one frame to the next
ZOOM, TURN = 0.01, 0.01  # of the scale and in radians, likewise
DRIFT, GRAIN = 0.15, 0.02  # at most: exposure either way; standard deviation of grain in l
_PARTS = ("train", "val", "test")
_FILMS = tuple(suffix for suffix in CLIP_SUFFIXES if suffix not in PICTURE_SUFFIXES)


class ClipBatch(NamedTuple):
    """uint8 RGB (B, T, 3, H, W), and which of them were filmed (B,); a photograph is T times the same frame."""

    rgb: Tensor
    filmed: Tensor


class Clips(Dataset):
    """Stretches of ``frames`` frames of films (F, 3, H, W), and photographs (1, 3, H, W), uint8."""

    def __init__(self, sources: Sequence[Tensor], frames: int):
        self.frames = frames
        # a film's last few frames are no stretch, and no photograph either
        self.items = [x for source in sources for x in source.split(frames) if len(x) == frames or len(source) == 1]

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, indices: list[int]) -> ClipBatch:
        items = [self.items[i] for i in indices]
        filmed = torch.tensor([len(item) > 1 for item in items])
        return ClipBatch(torch.stack([item.expand(self.frames, -1, -1, -1) for item in items]), filmed)


class ClipDataModule(PhotoDataModule):
    """Clips of ``frames`` frames, as batches of B clips on the trainer's device, N = B * frames, clip after clip:

        l (N, 1, size, size) in [0, 1], ab (N, 2, size, size) in (-1, 1), frames,
        motion: `colorize.motion.Motion` of each frame since the one before; of a clip's first frame nothing was seen.

    They come from films and from photographs. What lies in a folder (or in its train/, val/ and test/) is a photograph
    where it is a picture, a film where it is a video or GIF; a folder in it is one film's frames. A film is cut into
    stretches, at its scene cuts too; a photograph is seen by a camera that pans, zooms, turns and shakes, drawn anew
    each time. All frames of a clip are mirrored and transformed alike, by Kornia. Exposure that drifts and grain differ
    from frame to frame and are of ``l`` alone: ab is that of the clean picture.

    The motion of a photograph is known exactly; that of a film is estimated, from its clean lightness.

    Args:
        name: of the results.
        root: a folder or film, or a list of them.
        frames: of a clip.
        size, batch_size (in clips), steps_per_epoch, val_fraction, rotation, zoom, flip, seed: as in `PhotoDataModule`.
    """

    def __init__(
        self,
        name: str,
        root: str | Sequence[str],
        *,
        frames: int = 8,
        size: int = 128,
        batch_size: int | Literal["auto"] = 4,
        steps_per_epoch: int = 50,
        val_fraction: float = 0.1,
        rotation: float = 10.0,
        zoom: float = 0.15,
        flip: float = 0.5,
        seed: int = 0,
    ):
        if not isinstance(frames, int) or frames < 2:
            raise ValueError(f"dataset.frames={frames} must be a whole number from 2 up: one frame is no clip")
        if batch_size == "auto":
            raise ValueError("dataset.batch_size=auto is for photographs: of clips give a number")
        super().__init__(
            name,
            root,
            size=size,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            val_fraction=val_fraction,
            shear=0.0,
            rotation=rotation,
            zoom=zoom,
            flip=flip,
            seed=seed,
        )
        self.frames = frames
        self._recipe["frames"] = frames
        self._clips: dict[str, Clips] = {}

    @cached_property
    def files(self) -> Split:
        """The photographs, films and folders of frames of train and val, and the photographs of test."""
        splits = [_split(folder, self.val_fraction) for folder in self.folders]
        train, val, test = ([path for split in splits for path in getattr(split, part)] for part in _PARTS)
        return Split(train, val, [path for path in test if _is_picture(path)])

    def setup(self, stage: str | None = None) -> None:
        """Decode photographs and films, once. Raises ValueError."""
        for part in ("train", "val") if not self._clips else ():
            paths = getattr(self.files, part)
            pictures = [path for path in paths if _is_picture(path)]
            side = round(self.size / SEEN)
            sources = list(load_pictures(pictures, side)[0].split(1)) if pictures else []
            films = [path for path in paths if path not in pictures]
            for path in track(films, "Reading films", total=len(films)):
                sources += _read_film(path, side, self.frames)
            self._clips[part] = Clips(sources, self.frames)

    def pictures(self, part: Literal["train", "val", "variants"]) -> Pictures:
        """uint8 RGB (N, 3, size, size): the first frame of every clip of one part, after `setup`."""
        first = torch.stack([item[0] for item in self._clips[part].items])
        return in_memory(
            torch.cat([F.interpolate(x, self.size, mode="bilinear", antialias=True) for x in first.split(64)])
        )

    def _loader(self, part: Literal["train", "val", "variants"], draws: int | None) -> DataLoader:
        return self._loader_of(self._clips[part], draws)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """`ClipBatch` on the device -> what the network is trained on."""
        if not isinstance(batch, ClipBatch):
            return batch  # the network's example input, on its way to the TensorBoard graph
        rgb = to_float(batch.rgb)
        when = (0, 0, 0)  # validation always sees the same
        if self.trainer is not None and self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.batch_idx + 1
            when = (self.trainer.current_epoch, step, self.trainer.global_rank)
            # the frames as channels of one picture: whatever is drawn is the same for all of them
            rgb = self.augmented(rgb.flatten(1, 2), *when).unflatten(1, rgb.shape[1:3])
        with self._drawing("degrade", *when):
            cameras = draw_cameras(len(rgb), self.frames, batch.filmed.cpu()).to(rgb.device)
            exposure, grain = draw_film(len(rgb), self.frames, self.size, rgb.device)
        l, ab = rgb_to_l_ab(look(rgb, cameras, self.size))
        flow, seen = known_motion(cameras, self.size)
        for clip in batch.filmed.nonzero().flatten().tolist():
            later = slice(clip * self.frames + 1, (clip + 1) * self.frames)
            flow[later], seen[later] = estimate_motion(l[later.start - 1 : later.stop - 1], l[later])
        l = (l * exposure + grain).clamp(0.0, 1.0)
        return {"l": l, "ab": ab, "frames": self.frames, "motion": Motion(flow, seen)}


def draw_cameras(clips: int, frames: int, standing: Tensor) -> Tensor:
    """Smooth random paths of cameras over a picture, drawn from PyTorch's global generator.

    Args:
        standing: bool (clips,), those that do not move.

    Returns:
        (clips, frames, 2, 3): affine maps of a point (x, y, 1) of the frame to one of the picture, both in [-1, 1].
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(clips, 1).uniform_(low, high)

    time = torch.arange(frames) - (frames - 1) / 2
    moving = ((torch.rand(clips) >= STILL) & ~standing).float()[:, None]
    speed, way = moving * 2 * PAN * uniform(0.0, 1.0).square(), uniform(0.0, 2 * math.pi)
    scale = SEEN * (moving * uniform(-ZOOM, ZOOM) * time).exp() * uniform(0.85, 1.0)
    angle = moving * uniform(-TURN, TURN) * time
    centre = []
    for direction in (way.cos(), way.sin()):
        shake = uniform(0.0, 2 * SHAKE) * (uniform(0.3, 2.0) * time + uniform(0.0, 2 * math.pi)).sin() * moving
        path = SEEN * (speed * direction * time + shake)
        room = (1 - scale.amax(1, keepdim=True) - path.abs().amax(1, keepdim=True)).clamp(min=0.0)
        centre.append(path + room * uniform(-1.0, 1.0))
    rows = [(angle.cos(), -angle.sin()), (angle.sin(), angle.cos())]
    return torch.stack([torch.stack([scale * a, scale * b, c], -1) for (a, b), c in zip(rows, centre, strict=True)], 2)


def look(rgb: Tensor, cameras: Tensor, size: int) -> Tensor:
    """Pictures (B, T, 3, H, W) seen by cameras (B, T, 2, 3): (B * T, 3, size, size), mirrored beyond their borders."""
    frames = rgb.flatten(0, 1)
    grid = F.affine_grid(cameras.flatten(0, 1), [len(frames), 3, size, size], align_corners=False)
    seen = F.grid_sample(frames, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return seen.clamp(0.0, 1.0)


def known_motion(cameras: Tensor, size: int) -> Motion:
    """Motion of frames (B * T) of size x size pixels that cameras (B, T, 2, 3) see of something that does not move."""
    whole = torch.cat([cameras, cameras.new_tensor([0.0, 0.0, 1.0]).expand(*cameras.shape[:2], 1, 3)], dim=2)
    back = torch.linalg.solve(whole.roll(1, 1), whole).flatten(0, 1)[:, :2]  # where the frame before saw the same
    x = (2 * pixel_grid(size, size, device=cameras.device) + 1) / size - 1
    before = torch.einsum("nij,jhw->nihw", back[..., :2], x) + back[..., 2, None, None]
    inside = (before.abs() <= 1 - 1 / size).all(1, keepdim=True)
    inside.unflatten(0, cameras.shape[:2])[:, 0] = False
    return Motion((before - x) * size / 2, inside)


def draw_film(clips: int, frames: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Exposure that drifts, a factor (N, 1, 1, 1), and grain, a summand (N, 1, size, size), of N = clips * frames."""
    time = torch.linspace(0, 2 * math.pi, frames)
    phase, speed = torch.rand(clips, 1) * 2 * math.pi, torch.rand(clips, 1)
    swing = torch.rand(clips, 1) * DRIFT * (speed * time + phase).sin()
    strength = (GRAIN * torch.rand(clips, 1, 1, 1, 1) - GRAIN / 4).clamp(min=0.0) / 0.75  # a quarter has none
    grain = strength * torch.randn(clips, frames, 1, size, size)
    return (1 + swing).view(-1, 1, 1, 1).to(device), grain.flatten(0, 1).to(device)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()


def _find(folder: Path) -> list[Path]:
    """Photographs, films and folders of frames in a folder, sorted; hidden ones and train, val and test passed over."""
    entries = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")] if folder.is_dir() else []
    files = [path for path in entries if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES + _FILMS]
    folders = [path for path in entries if path.is_dir() and path.name not in _PARTS]
    return files + [path for path in folders if any(_is_picture(file) for file in path.iterdir())]


def _split(root: Path, val_fraction: float) -> Split:
    """As `colorize.data.folder.split_set`; one or two clips are validated on themselves. Raises ValueError."""
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"dataset.val_fraction={val_fraction} is not in [0, 1)")
    own = {part: _find(root / part) for part in _PARTS}
    train = in_hash_order(own["train"] or ([root] if root.is_file() else _find(root)), root)
    if not train:
        raise ValueError(
            f"no clips in {root}: dataset.root= takes photographs ({' '.join(PICTURE_SUFFIXES)}), films "
            f"({' '.join(_FILMS)}) and folders of frames"
        )
    if len(train) < 3:
        if not own["val"]:
            log.warning("%s holds %d of photographs and films: trained and validated on the same", root, len(train))
        return Split(train, own["val"] or train, own["test"])
    for part, fraction in (("test", TEST_FRACTION), ("val", val_fraction)):
        if not own[part]:
            taken = max(1, round(len(train) * fraction))
            train, own[part] = train[:-taken], train[-taken:]
    return Split(sorted(train), sorted(own["val"]), sorted(own["test"]))


def _read_film(path: Path, side: int, frames: int) -> list[Tensor]:
    """The scenes of a film, uint8 (F, 3, side, side) each, of at least so many frames. Raises ValueError: none."""
    animation = read_animation(path)
    first = itertools.islice(animation.frames(), LONGEST)
    pictures = [resize(np.ascontiguousarray(rgb[..., :3]), side) for rgb in first]
    if len(animation) > LONGEST:
        log.warning("%s: the first %d of its frames are used", path, LONGEST)
    film = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    if animation.lost:
        log.warning("%s: %s; the %d frames before it are used", path, animation.lost, len(film))
    l = torch.cat([rgb_to_l_ab(to_float(part))[0] for part in film.split(32)])
    cuts = [i for i in range(1, len(film)) if is_cut(l[i - 1 : i], l[i : i + 1])]
    scenes = [film[start:end] for start, end in itertools.pairwise([0, *cuts, len(film)])]
    long = [scene for scene in scenes if len(scene) >= frames]
    if not long:
        raise ValueError(
            f"{path} has no scene of dataset.frames={frames} frames (the longest has {max(map(len, scenes))}): lower "
            "dataset.frames, or leave it out"
        )
    return long
