"""What every benchmark of speed shares: the machine's own limits, what work asks of it, processes in turn, results."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from colorize import report
from colorize.provenance import processor

_SIDE = 2048  # of the matrices: 17 GFLOP a product, far beyond any cache
_COLUMNS = 6  # of a printed table, beside the first
_COPIED = 128 * 2**20  # bytes, the same


def seconds(work: Callable[[], Any], repeats: int = 1) -> float:
    """The shortest of several times: what others take of the machine makes a time longer, never shorter."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


class Limits:
    """The machine's sgemm and copy rates, to be measured beside whatever is compared with them."""

    def __init__(self) -> None:
        self._a, self._b, self._c = (torch.rand(_SIDE, _SIDE) for _ in range(3))
        self._from, self._to = (torch.zeros(_COPIED // 4) for _ in range(2))
        self.measure()  # warms up

    def measure(self) -> dict[str, float]:
        """GFLOP/s of a float32 matrix product, and GB/s read plus written of a copy."""
        product = seconds(lambda: torch.mm(self._a, self._b, out=self._c), 5)
        copied = seconds(lambda: self._to.copy_(self._from), 5)
        return {"sgemm GFLOP/s": 2 * _SIDE**3 / product / 1e9, "copy GB/s": 2 * _COPIED / copied / 1e9}


class _Traffic(TorchDispatchMode):
    """Bytes that operators read and write, of those that do not merely look at a tensor in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(x.numel() * x.element_size() for x in tree_leaves((args, out)) if torch.is_tensor(x))
        return out


def count(work: Callable[[], Any]) -> dict[str, int]:
    """FLOPs of the convolutions and products in ``work()``, and the bytes its operators read and write."""
    with FlopCounterMode(display=False) as flops, _Traffic() as traffic:
        work()
    return {"flops": flops.get_total_flops(), "bytes": traffic.bytes}


class Worker:
    """A process that measures what it is asked for, line by line: an allocator or an interpreter of its own."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None):
        self._command = command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self.about = self._read()

    def ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # what others print is not for us
                return json.loads(line)
        raise ValueError(
            f"a process ended with code {self._process.wait()}: {shlex.join(map(str, self._process.args))}"
        )  # type: ignore[arg-type]


def serve(about: Mapping[str, Any], answers: Mapping[str, Callable[[], float]]) -> None:
    """The worker's side: says what it is, then answers each line of standard input with seconds."""
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": answers[line.strip()]()}), flush=True)


def publish(rows: list[dict[str, Any]], title: str, out: Path | None, **more: Any) -> None:
    """Print the rows, and write them with the command and the machine to ``out`` as JSON."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for start in range(1, len(columns), _COLUMNS):  # a terminal is narrow
        report.print_table(rows, [columns[0], *columns[start : start + _COLUMNS]], title if start == 1 else None)
    if out is None:
        return
    about = {
        "command": " ".join([sys.argv[0], shlex.join(sys.argv[1:])]),
        "date": date.today().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**about, "title": title, **more, "rows": rows}, indent=1) + "\n")
