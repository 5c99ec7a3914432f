"""Networks as graphs that need none of this code: what `colorize.export` writes, and onnxruntime runs.

Two graphs, of any batch and size: "ab", the network alone, l in and ab out, sides multiples of its stride; and
"picture", everything between a grey picture and its colours, as `colorize.pipeline.Colorizer` computes it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from colorize.color import l_ab_to_rgb, rgb_to_l_ab
from colorize.models.base import Network
from colorize.models.convlstm import ConvLSTM

GRAPHS = ("ab", "picture")
NAMES = {"ab": ("l", "ab"), "picture": ("grey", "rgb")}  # of what goes in, and what comes out
OPSET = 20


class PictureGraph(nn.Module):
    """Grey (B, 1, H, W) in [0, 1], any H and W -> RGB (B, 3, H, W) in [0, 1], of the same lightness."""

    def __init__(self, network: Network, size: int, saturation: float):
        super().__init__()
        self.network, self.size, self.saturation = network, size, saturation

    def forward(self, grey: Tensor) -> Tensor:
        l, _ = rgb_to_l_ab(grey.expand(-1, 3, -1, -1))
        height, width = l.shape[-2:]
        stride = self.network.stride
        scale = self.size / torch.sym_sqrt(height * width)
        working = [torch.sym_max(stride, math.trunc(side * scale / stride + 0.5) * stride) for side in (height, width)]
        ab = self.network(F.interpolate(l, working, mode="bilinear", antialias=True))
        ab = F.interpolate(ab, (height, width), mode="bicubic", antialias=True) * self.saturation
        return l_ab_to_rgb(l, ab.clamp(-1, 1))


def trace(network: Network, graph: str, size: int, saturation: float) -> ExportedProgram:
    """The network as a graph of PyTorch's, on the CPU.

    Args:
        network: in evaluation mode.
        graph: a name of `GRAPHS`.
        size, saturation: of a `colorize.pipeline.Colorizer`, for "picture".

    Raises:
        ValueError: an unknown name, or a network that has a memory.
    """
    if graph not in GRAPHS:
        raise ValueError(f"graph={graph} is not one of: {', '.join(GRAPHS)}")
    if isinstance(network, ConvLSTM):
        raise ValueError(
            "a convlstm cannot be exported: its memory of the frames before would not be in the graph; export the "
            "U-Net that it was trained from (finetune=)"
        )
    network = network.cpu().eval()
    # Sizes that no later one has to share: two that are alike would be taken for one.
    if graph == "ab":
        height, width = (network.stride * Dim(name, min=1, max=4096) for name in ("rows", "columns"))
        module: nn.Module = network
        example = torch.rand(2, 1, 3 * network.stride, 4 * network.stride)
    else:
        height, width = (Dim(name, min=2, max=32768) for name in ("height", "width"))
        module = PictureGraph(network, size, saturation).eval()
        example = torch.rand(2, 1, 83, 118)
    shapes = ({0: Dim("batch", min=1, max=4096), 2: height, 3: width},)
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)


def to_onnx(program: ExportedProgram, graph: str, about: dict[str, str]) -> bytes:
    """An ONNX file of a graph of `trace`, ``about`` its metadata. Raises ValueError where an extra is missing."""
    try:
        from onnxscript import opset18 as op
    except ImportError as error:
        raise ValueError("ONNX needs: pip install 'colorize[export]'") from error

    def sqrt(x: Any) -> Any:
        return op.Sqrt(x)

    given, made = NAMES[graph]
    exported = torch.onnx.export(
        program,
        dynamo=True,
        input_names=[given],
        output_names=[made],
        opset_version=OPSET,
        custom_translation_table={torch._sym_sqrt: sqrt},  # type: ignore[attr-defined]
        verbose=False,
    )
    assert exported is not None
    exported.model.metadata_props.update(about)
    return exported.model_proto.SerializeToString()
