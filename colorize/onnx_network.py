"""A network that onnxruntime computes (extra ``export``), in the place of one of PyTorch's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
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
        try:
            (ab,) = self.session.run(["ab"], {"l": l.float().cpu().contiguous().numpy()})
        except Exception as error:  # a dozen classes of its own, for a graph that cannot be computed
            raise ValueError(f"the exported network cannot be computed ({_reason(error)})") from error
        if ab.dtype != np.float32 or ab.shape != (l.shape[0], 2, *l.shape[2:]):
            raise ValueError(f"the exported network gives {ab.dtype} {ab.shape} in place of ab (B, 2, H, W)")
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
    """The network of an exported file, and what it says of itself: ``settings`` as a checkpoint's, not checked yet.

    Raises:
        ValueError: onnxruntime is not installed; no file of `colorize.export`, damaged, of another version, or with the
            graph of whole pictures.
    """
    network = OnnxNetwork(path, 1)
    metadata = network.session.get_modelmeta().custom_metadata_map
    if metadata.get(KEY) != FORMAT:
        raise ValueError(f"{path} was not exported by this version of Colorize: python -m colorize.export writes one")
    try:
        about = json.loads(metadata["about"])
        graph, network.stride, data = about["graph"], about["stride"], {"root": None, **about["data"]}
        if not isinstance(network.stride, int) or not 1 <= network.stride <= 1024:
            raise ValueError(f"stride {network.stride}")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: what it says of itself cannot be read ({_reason(error)})") from error
    if graph != "ab":
        raise ValueError(
            f"{path} holds the graph of whole pictures, for other programs: export it with graph=ab to colour with it"
        )
    return network, {**about, "settings": {"model": {"name": "onnx"}, "data": data}}


def open_session(model: Path | bytes) -> Any:
    """An onnxruntime session. Raises ValueError: not installed, damaged, or weights in other files than this one."""
    try:
        import onnxruntime
        from onnx import ModelProto, TensorProto, external_data_helper
    except ImportError as error:
        raise ValueError("a network in ONNX needs: pip install 'colorize[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # what it warns of is not in the user's hands
    name = model if isinstance(model, Path) else "the network"
    content = model if isinstance(model, bytes) else model.read_bytes()
    try:
        tensors = external_data_helper._get_all_tensors(ModelProto.FromString(content))
        if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):  # a path that the file chooses
            raise ValueError("its weights are in another file")
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a dozen classes of its own
        raise ValueError(f"{name} is damaged or no ONNX ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
