"""TensorBoard's log of a run, in a process that may make many."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger


class TensorBoardLog(TensorBoardLogger):
    """Lightning's, but what PyTorch keeps of each network that was traced for its graph is let go: 4 MiB a run."""

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        super().log_graph(model, input_array)
        # As PyTorch's own tests do between one and the next (torch/testing/_internal/jit_utils.py).
        jit: Any = torch.jit
        jit._state._clear_class_state()
        jit._recursive.concrete_type_store = jit._recursive.ConcreteTypeStore()
        torch._C._jit_clear_class_registry()
