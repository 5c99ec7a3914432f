"""python -m benchmarks page [--minutes 10]     the page under load: is everyone answered, and does anything grow?

Starts `colorize.app`, and speaks to it over HTTP as a browser does: first one photograph of a megapixel, several times,
then, until the time is over, rounds of 20 visitors at once, each with a picture of another size and lightness under
the same name, as cameras give it. Each must get its own back. After each round: memory, open files and threads of the
server, and what lies in its folder though its time (`keep_minutes`, half a minute here) was over long ago. Needs the
extra ``app``. Linux alone.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.soak import figures, judge

VISITORS = 20
_LONG = 180.0  # seconds
_LUMA = np.array([0.2126, 0.7152, 0.0722])


def upload(client: httpx.Client, name: str, content: bytes) -> str:
    """The path under which the server has it."""
    return client.post("/gradio_api/upload", files={"files": (name, content)}).json()[0]


def colour(client: httpx.Client, uploaded: str, name: str) -> dict[str, Any]:
    """What a browser does when a file has arrived: join the queue, wait; the answer."""
    page = client.get("/config").json()
    ids = {component["props"].get("label"): component["id"] for component in page["components"]}
    (call,) = [c for c in page["dependencies"] if [ids["Photograph, GIF or clip"], "change"] in map(list, c["targets"])]
    session = uuid.uuid4().hex
    file = {"path": uploaded, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    join = {"data": [file, 1, "general", 0, "smooth"], "fn_index": call["id"], "session_hash": session}
    client.post("/gradio_api/queue/join", json=join).raise_for_status()
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as lines:
        for line in lines.iter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if event.get("msg") == "process_completed":
                return event
    raise AssertionError("no answer")


def download(client: httpx.Client, event: dict[str, Any]) -> bytes:
    """The coloured file of an answer."""
    assert event["success"], event
    (file,) = [
        value["value"]
        for value in event["output"]["data"]
        if isinstance(value, dict) and isinstance(value.get("value"), dict) and "_color." in value["value"]["path"]
    ]
    return client.get(f"/gradio_api/file={file['path']}").content


def visit(address: str, name: str, picture: np.ndarray) -> np.ndarray:
    """A grey picture (H, W), uint8, there and back as a visitor sends it: its colours (H, W, 3)."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG")
    with httpx.Client(base_url=address, timeout=300) as client:
        event = colour(client, upload(client, name, encoded.getvalue()), name)
        return np.asarray(Image.open(io.BytesIO(download(client, event))).convert("RGB"))


def crowd(address: str, visitors: int = VISITORS) -> None:
    """So many at once; AssertionError where one is not answered with its own picture."""

    def one(number: int) -> None:
        level = 20 + 220 * number // visitors
        rgb = visit(address, "IMG_0001.png", np.full((40 + 2 * number, 60), level, np.uint8))
        assert rgb.shape == (40 + 2 * number, 60, 3), rgb.shape
        assert abs(np.median(rgb @ _LUMA) - level) < 6, f"lightness {level} became {np.median(rgb @ _LUMA)}"

    with ThreadPoolExecutor(visitors) as pool:
        list(pool.map(one, range(visitors)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=Path("outputs/page"), help="soak.csv and soak.png")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    photograph = np.asarray(Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).resize((1000, 1000)))
    begun = time.monotonic()
    command = [sys.executable, "-m", "colorize.app", "port=0", "keep_minutes=0.5"]
    with (
        tempfile.TemporaryDirectory() as folder,
        open(f"{folder}/log", "w") as log,
        subprocess.Popen(command, stderr=log, env={**os.environ, "TMPDIR": folder}) as server,
    ):
        try:
            address = _address(Path(log.name))
            print(f"open after {time.monotonic() - begun:.1f} s", flush=True)
            took = []
            for _ in range(5):
                start = time.perf_counter()
                assert visit(address, "photograph.png", photograph).shape == (1000, 1000, 3)
                took.append(time.perf_counter() - start)
            print(f"a megapixel, up and down: first {took[0]:.2f} s, median {median(took):.2f} s", flush=True)
            rows: list[dict[str, float]] = []
            begun = time.monotonic()
            while time.monotonic() - begun < 60 * args.minutes or len(rows) < 2:
                start = time.perf_counter()
                crowd(address)
                last = round(time.perf_counter() - start, 2)
                seconds = round(time.monotonic() - begun)
                held = figures(Path(folder), server.pid, older=_LONG)
                rows.append({"round": len(rows) + 1, "seconds": seconds, **held})
                print(f"{rows[-1]}, the last of {VISITORS} answered after {last} s", flush=True)
        finally:
            server.terminate()
    sys.exit(judge(rows, args.out))


def _address(log: Path) -> str:
    for _ in range(600):
        if found := re.search(r"open (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"the page did not open: {log.read_text()}")


if __name__ == "__main__":
    main()
