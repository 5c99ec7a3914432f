"""python -m colorize.app            a page in your browser: drop a photograph, a GIF or a clip, take it away in colour
python -m colorize.app host=0.0.0.0 port=8080                     for others on your network too
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from colorize import cli

log = logging.getLogger(__name__)

# Nobody is told that this page exists, and nothing is fetched.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_UPLOADS = "GRADIO_TEMP_DIR"
# A browser that would load anything from elsewhere is told not to.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'self'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


def app(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        ValueError: a setting that cannot be, no weights, a port that is taken, or Gradio is not installed.
    """
    with server(cfg) as (web, door):
        host, port = door.getsockname()[:2]
        log.info("open http://%s:%d in a browser; Ctrl-C ends it", "127.0.0.1" if host == "0.0.0.0" else host, port)
        web.run(sockets=[door])


@contextmanager
def server(cfg: DictConfig) -> Iterator[tuple[Any, socket.socket]]:
    """The page's uvicorn server, not yet running, and the socket for it; all files of the page go at the end."""
    for name, lowest in (("port", 0), ("max_pixels", 1), ("max_megabytes", 1), ("time_limit", 1), ("queue", 1)):
        if not isinstance(cfg[name], int) or cfg[name] < lowest:
            raise ValueError(f"{name}={cfg[name]} must be a whole number from {lowest} up")
    if not isinstance(cfg.keep_minutes, int | float) or cfg.keep_minutes <= 0:
        raise ValueError(f"keep_minutes={cfg.keep_minutes} must be a number above 0")
    os.environ.update(_QUIET)
    try:
        import uvicorn

        from colorize import page
    except ImportError as error:
        raise ValueError(f"the page needs Gradio ({error}): pip install 'colorize[app]'") from error
    from colorize.malloc import share_freed_memory
    from colorize.pipeline import pick_device
    from colorize.studio import Studio, available_weights

    share_freed_memory()
    weights = available_weights(cfg.ckpt_path, cfg.weights, cfg.output_dir)
    pick_device(cfg.device)
    try:
        door = socket.create_server((cfg.host, cfg.port), reuse_port=False)
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot serve at {cfg.host}:{cfg.port} ({error}): port=0 takes any free one") from error
    folder = Path(tempfile.mkdtemp(prefix="colorize_app_"))
    before = os.environ.get(_UPLOADS)
    os.environ[_UPLOADS] = str(folder)  # uploads land there, and no other file is served
    ended = threading.Event()
    try:
        studio = Studio(folder, weights, cfg.device, cfg.max_pixels, cfg.time_limit)
        studio.colorizer()(np.zeros((64, 64, 3), np.uint8))  # the first is slow: not while someone waits
        served = page.build(studio, max_waiting=cfg.queue, max_bytes=cfg.max_megabytes * 2**20)
        keep = {path for path in folder.rglob("*")}  # the examples
        sweeping = threading.Thread(target=_sweep, args=(folder, keep, cfg.keep_minutes * 60, ended), daemon=True)
        sweeping.start()
        local = cfg.host in ("127.0.0.1", "localhost", "::1")
        web = uvicorn.Server(uvicorn.Config(_Guard(served, local), log_level="warning", timeout_graceful_shutdown=3))
        yield web, door
    finally:
        ended.set()
        door.close()
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[_UPLOADS]
        else:
            os.environ[_UPLOADS] = before


class _Guard:
    """Adds headers to every answer; and a page for this machine alone is not shown to a site that points here by name.

    (DNS rebinding: a foreign page whose host name resolves to 127.0.0.1 could otherwise read what is uploaded here.)
    """

    def __init__(self, served: Any, local: bool):
        self.served, self.local = served, local

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope.get("headers", ())).get(b"host", b"").rsplit(b":", 1)[0]
        if self.local and scope["type"] == "http" and host not in (b"127.0.0.1", b"localhost", b"[::1]"):
            await send({"type": "http.response.start", "status": 421, "headers": []})
            await send({"type": "http.response.body", "body": b"this page is for the machine it runs on"})
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
            await send(message)

        await self.served(scope, receive, guarded)


def _sweep(folder: Path, keep: set[Path], age: float, ended: threading.Event) -> None:
    """Delete what has been in ``folder`` for longer than ``age`` seconds, until ``ended``."""
    while not ended.wait(min(60.0, age / 4)):
        try:
            for path in sorted(folder.rglob("*"), reverse=True):  # what is inside before what it is in
                if path in keep or path.stat().st_mtime > time.time() - age:
                    continue
                if path.is_file():
                    path.unlink()
                elif not any(path.iterdir()):
                    path.rmdir()
        except OSError:  # someone else deleted it, or put something there: next time
            log.debug("%s", traceback.format_exc())


def main() -> None:
    cli.run(app, "app")


if __name__ == "__main__":
    main()
