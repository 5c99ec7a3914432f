"""The report's fusion network: between encoder and decoder an ImageNet classifier says what is in the picture."""

from __future__ import annotations

import difflib
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from colorize.color import l_ab_to_rgb
from colorize.models.encoder_decoder import EncoderDecoder, Layers

if TYPE_CHECKING:
    from colorize.data.store import Pictures

_KEPT_BYTES = 2**29  # of the backbone's outputs that `Backbone` keeps, at most


class Backbone(nn.Module):
    """l (B, 1, H, W) in [0, 1] -> what an ImageNet classifier sees in the grey picture, float32.

    That is ``scores`` (B, 1000, 1, 1), its class scores after softmax, as Keras' classifiers give them, or ``features``
    (B, C, h, w), its last feature map. It is given the picture as RGB, resized to a square of its own input's side and
    normalised as it was in its own training. Built with random weights: `load` gets others.

    With ``cache`` a frozen backbone remembers its output for every picture that it is given twice, and looks it up from
    the third time on: for validation pictures, and for training pictures that are not augmented anew each time.

    Args:
        name: a classifier of torchvision.models or, where that has none of the name, of timm.
        output: "scores" or "features".
        frozen: it does not learn, and stays in evaluation mode: its batch norms' statistics stay, too.
        cache: see above.

    Raises:
        ValueError: no such classifier (near names are listed), or one without a feature map.
    """

    def __init__(self, name: str, output: str, frozen: bool, cache: bool):
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor  # see `_torchvision`

        self.name, self.output, self.frozen, self.cache = name, output, frozen, cache
        net, self.side, self.mean, self.std = _build(name)
        self._tensors = frozenset(net.state_dict())  # more than are used here: of a file none of them is a stranger
        scores, layer, shape = _probe(net, self.side)
        if output == "features":
            if layer is None:
                raise ValueError(f"model.backbone={name} has no map of features to take out: give model.fusion=scores")
            net = create_feature_extractor(net, {layer: "map"})  # layers behind it are left out
        self.channels = shape[1] if output == "features" else scores
        # Inception's second classifiers are for its own training alone.
        for attribute, off in {"AuxLogits": None, "aux1": None, "aux2": None, "aux_logits": False}.items():
            if hasattr(net, attribute):
                setattr(net, attribute, off)
        self.net = net.requires_grad_(not frozen)
        self.train()
        self.loaded = False  # with the state of a checkpoint
        self._kept: dict[tuple[Any, ...], Tensor] = {}
        self._met: set[tuple[Any, ...]] = set()
        self.register_load_state_dict_post_hook(_note_loading)

    def train(self, mode: bool = True) -> Backbone:
        return super().train(mode and not self.frozen)

    def load(self, weights: str) -> None:
        """Put pretrained weights in place of the random ones.

        Args:
            weights: "imagenet" (the library's own, downloaded once), "random" (none), or a file with a state_dict of
                the whole classifier: .safetensors, or what ``torch.save(model.state_dict(), ...)`` writes.

        Raises:
            ValueError: no network, no such file, or one that is damaged or of another classifier.
        """
        if weights == "random":
            return
        state = _download(self.name) if weights == "imagenet" else _read(weights)
        try:
            missing, unexpected = self.net.load_state_dict(state, strict=False)
            wrong = [*missing, *(key for key in unexpected if key not in self._tensors)]
        except RuntimeError as error:  # of other shapes
            wrong = [str(error).splitlines()[1].strip()]
        if wrong:
            raise ValueError(
                f"model.backbone_weights={weights} holds the weights of another network than "
                f"model.backbone={self.name}: {wrong[0]}" + (f" and {len(wrong) - 1} more" if wrong[1:] else "")
            )
        self._kept.clear()

    def forward(self, l: Tensor) -> Tensor:
        if not (self.cache and self.frozen) or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self._see(l)
        raw = l.detach().contiguous().view(torch.uint8).cpu().numpy()
        keys = [(l.device, *l.shape[2:], hashlib.blake2b(picture, digest_size=16).digest()) for picture in raw]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        fresh = dict(zip(new, self._see(l[new]), strict=True)) if new else {}
        seen = torch.stack([fresh[i] if i in fresh else self._kept[key] for i, key in enumerate(keys)])
        for i in new:
            # From its second time on: a picture that is augmented anew each time never comes back.
            if keys[i] in self._met:
                self._kept[keys[i]] = fresh[i].clone()
            self._met.add(keys[i])
        while len(self._kept) * seen[0].nbytes > _KEPT_BYTES:
            self._kept.pop(next(iter(self._kept)))  # the one kept first
        return seen

    def _see(self, l: Tensor) -> Tensor:
        from torchvision.transforms.functional import normalize

        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            grey = l_ab_to_rgb(l, torch.zeros_like(l).expand(-1, 2, -1, -1))
            grey = F.interpolate(grey, (self.side, self.side), mode="bilinear", antialias=True)
            seen = self.net(normalize(grey, self.mean, self.std).to(l.dtype))
            return seen["map"].float() if self.output == "features" else seen.float().softmax(1)[:, :, None, None]


class Full(EncoderDecoder):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1): the report's fusion network, after emilwallner's "full".

    At the encoder's end a `Backbone`'s output is resized to the encoder's grid, joined to the encoder's channels, and a
    1x1 convolution with ReLU makes of both as many channels as the encoder has. Class scores are repeated over the
    grid; a feature map is resized bilinearly, which brings back the picture's own aspect.

    Args:
        encoder, decoder, init, head: as `EncoderDecoder` has them.
        fusion: "scores", the reference, or "features".
        backbone: the classifier's name (`Backbone`). The report's is inception_resnet_v2, which timm has.
        backbone_weights: what `prepare` loads: "imagenet", "random" or a file (`Backbone.load`). Never looked at when
            a checkpoint is loaded, which has the backbone in it.
        frozen: whether the backbone stays as it is, as in the reference.
        cache: whether a frozen backbone remembers what it saw (`Backbone`).

    Attributes:
        label: the network's name in tables, which says where the backbone is from unless that is ImageNet.
    """

    def __init__(
        self,
        encoder: Layers = ("64/2", 128, "128/2", 256, "256/2", 512, 512, 256),
        decoder: Layers = (128, "up", 64, "up", 32, 16, "head", "up"),
        init: str = "torch",
        head: str = "ab",
        fusion: str = "scores",
        backbone: str = "mobilenet_v3_large",
        backbone_weights: str = "imagenet",
        frozen: bool = True,
        cache: bool = True,
    ):
        if fusion not in ("scores", "features"):
            raise ValueError(f"model.fusion={fusion} is not one of: scores, features")
        super().__init__(encoder, decoder, init=init, head=head)
        self._joint = sum(1 if layer == "up" else 2 for layer in encoder)
        convolutions = [m for m in self.layers[: self._joint] if isinstance(m, nn.Conv2d)]
        if not convolutions:
            raise ValueError(
                f"model.encoder={list(encoder)} is empty: there is nothing to join the backbone's output to"
            )
        width = convolutions[-1].out_channels
        self.backbone = Backbone(backbone, fusion, frozen, cache)
        self.backbone_weights = str(backbone_weights)
        self.fuse = nn.Conv2d(width + self.backbone.channels, width, 1)
        if init == "glorot":
            nn.init.xavier_uniform_(self.fuse.weight)
            nn.init.zeros_(self.fuse.bias)  # type: ignore[arg-type]

    @property
    def label(self) -> str:
        if self.backbone_weights == "imagenet":
            return "full"
        origin = (
            "random backbone" if self.backbone_weights == "random" else f"backbone {Path(self.backbone_weights).name}"
        )
        return f"full ({origin}{'' if self.backbone.frozen else ', fine-tuned'})"

    def prepare(self, pictures: Tensor | Pictures) -> None:
        super().prepare(pictures)
        if not self.backbone.loaded:  # finetune= has brought a backbone along
            self.backbone.load(self.backbone_weights)

    def output(self, l: Tensor) -> Tensor:
        x = self._through(self.layers[: self._joint], l)
        # The convolution of the joined map is the sum of two, and the backbone's can be resized after it: the same
        # numbers, and a thousand scores are never spread over the grid.
        own, others = self.fuse.weight.split([x.shape[1], self.backbone.channels], dim=1)
        seen = F.conv2d(self.backbone(l).to(x.dtype), others)
        x = F.conv2d(x, own, self.fuse.bias) + F.interpolate(seen, x.shape[-2:], mode="bilinear")
        return self._through(self.layers[self._joint : self._after_head], F.relu(x))


def _note_loading(backbone: nn.Module, _: Any) -> None:
    assert isinstance(backbone, Backbone)
    backbone.loaded = True
    backbone._kept.clear()


def _build(name: str) -> tuple[nn.Module, int, Sequence[float], Sequence[float]]:
    """A classifier as its library builds it, with random weights; its input's side, and mean and deviation of that."""
    torchvision = _torchvision()
    there = torchvision.models.list_models(module=torchvision.models)
    if name in there:
        preset = torchvision.models.get_model_weights(name)["DEFAULT"].transforms()
        side = preset.crop_size[0]
        settings: dict[str, Any] = {}
        if name in ("inception_v3", "googlenet"):
            settings = {"transform_input": True, "init_weights": True}  # what their ImageNet weights were made for
        elif name.startswith("vit_"):
            settings = {"image_size": side}
        return torchvision.models.get_model(name, weights=None, **settings), side, preset.mean, preset.std
    timm = _timm()
    if timm is not None and timm.is_model(name):
        net = timm.create_model(name, pretrained=False)
        return net, net.pretrained_cfg["input_size"][-1], net.pretrained_cfg["mean"], net.pretrained_cfg["std"]
    near = difflib.get_close_matches(name, {*there, *(timm.list_models() if timm is not None else [])}, n=5, cutoff=0.5)
    libraries = "torchvision or timm" if timm is not None else "torchvision"
    raise ValueError(
        f"model.backbone={name} is no classifier of {libraries}"
        + (f"; near: {', '.join(near)}" if near else "")
        + ("" if timm is not None else "; those of timm need: pip install 'colorize[timm]'")
    )


def _torchvision() -> Any:
    """The library, imported where a backbone is built: that takes longer than colouring a picture without one."""
    import torchvision

    return torchvision


def _timm() -> Any:
    """The library, or None where it is not installed."""
    try:
        import timm
    except ImportError:
        return None
    return timm


def _probe(net: nn.Module, side: int) -> tuple[int, str | None, Sequence[int]]:
    """How many scores a classifier gives, the last layer that gives a map (B, C, h, w), and the shape of that."""
    calls: list[tuple[str, Any]] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in net.named_modules():
            if name:
                note = lambda _, __, out, name=name: calls.append((name, getattr(out, "shape", ())))  # noqa: E731
                hooks.callback(layer.register_forward_hook(note).remove)
        scores = net.eval()(torch.zeros(1, 3, side, side))
    found: tuple[str | None, Sequence[int]] = (None, ())
    for name, shape in calls:
        if len(shape) == 4 and shape[2] > 1 and shape[3] > 1:
            found = (name, shape)
        elif len(shape) == 3:  # tokens: what was a map before has been cut into patches
            found = (None, ())
    if getattr(net, "output_fmt", "NCHW") != "NCHW":  # timm's name for it
        found = (None, ())
    return scores.shape[1], *found


def _download(name: str) -> Mapping[str, Tensor]:
    """The library's own ImageNet weights. Raises ValueError that says how to do without a download."""
    torchvision = _torchvision()
    from_torchvision = name in torchvision.models.list_models(module=torchvision.models)
    try:
        if from_torchvision:
            return torchvision.models.get_model(name, weights="DEFAULT", progress=False).state_dict()
        return _timm().create_model(name, pretrained=True).state_dict()
    except Exception as error:  # each library and each of theirs raises its own
        url = torchvision.models.get_model_weights(name)["DEFAULT"].url if from_torchvision else "huggingface.co/timm"
        raise ValueError(
            f"the ImageNet weights of {name} cannot be downloaded ({type(error).__name__}: {error}): be online, or "
            f"fetch them elsewhere ({url}) and give model.backbone_weights=FILE, or do without them "
            "(model.backbone_weights=random)"
        ) from error


def _read(file: str) -> Mapping[str, Tensor]:
    """The state_dict in a file. Raises ValueError."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"model.backbone_weights={file} is no file; give one, or imagenet (a download), or random")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile, torch and safetensors each raise their own
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"model.backbone_weights={file} is damaged or no file of weights ({reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"model.backbone_weights={file} holds no state_dict: write one by torch.save(model.state_dict(), FILE)"
        )
    return state
