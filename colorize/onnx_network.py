"""A network that onnxruntime computes (extra ``export``), in the place of one of PyTorch's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import colorize
from colorize.models.base import Network

FORMAT = "1"  # of the metadata; raised when an older colorize could not read them rightly
KEY = "colorize.export"


class OnnxNetwork(Network):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1), by onnxruntime on the CPU, wherever l is.

    Args:
        model: an ONNX file with the graph "ab" (`colorize.graphs`), or its bytes.
        stride: H and W must be multiples of it.

    Raises:
        ValueError: onnxruntime is not installed, or cannot read it.
    """

    def __init__(self, model: Path | bytes, stride: int):
        super().__init__()
        self.session, self.stride = open_session(model), stride

    def forward(self, l: Tensor) -> Tensor:
        (ab,) = self.session.run(None, {"l": l.float().cpu().contiguous().numpy()})
        return torch.from_numpy(ab).to(l.device)


def as_onnx(network: Network) -> OnnxNetwork:
    """The same network, exported in memory. Raises ValueError where it cannot be."""
    from colorize.graphs import to_onnx, trace

    if isinstance(network, OnnxNetwork):
        return network
    return OnnxNetwork(to_onnx(trace(network, "ab", 0, 1.0), "ab", {}), network.stride)


def describe_export(checkpoint: Any, graph: str, stride: int) -> dict[str, str]:
    """The metadata of an exported file: what `load_onnx` needs to know, and where the training set was left out."""
    data = {key: value for key, value in checkpoint.data.items() if key != "root"}
    about = {
        "graph": graph,
        "stride": stride,
        "name": checkpoint.name,
        "data": data,
        "epoch": checkpoint.epoch,
        "steps": checkpoint.steps,
        "colorize": colorize.__version__,
    }
    return {KEY: FORMAT, "about": json.dumps(about)}


def load_onnx(path: Path) -> tuple[OnnxNetwork, dict[str, Any]]:
    """The network of an exported file, and what it says of itself.

    Raises:
        ValueError: onnxruntime is not installed; no file of `colorize.export`, damaged, of another version, or with the
            graph of whole pictures.
    """
    metadata = open_session(path).get_modelmeta().custom_metadata_map
    if metadata.get(KEY) != FORMAT:
        raise ValueError(f"{path} was not exported by this version of Colorize: python -m colorize.export writes one")
    about = json.loads(metadata["about"])
    if about["graph"] != "ab":
        raise ValueError(
            f"{path} holds the graph of whole pictures, for other programs: export it with graph=ab to colour with it"
        )
    settings = {"model": {"name": "onnx"}, "data": {"root": None, **about["data"]}}
    return OnnxNetwork(path, about["stride"]), {**about, "data": settings["data"], "settings": settings}


def open_session(model: Path | bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("a network in ONNX needs: pip install 'colorize[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # what it warns of is not in the user's hands
    try:
        given = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a dozen classes of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{model if isinstance(model, Path) else 'the network'} is damaged or no ONNX ({reason})"
        ) from error
