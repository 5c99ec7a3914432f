"""Collecting photographs, from a local server that speaks Openverse's documented API and misbehaves like the world."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from conftest import config
from PIL import Image

from colorize import collect
from colorize.data.folder import split_set


def jpeg(seed: int, size: tuple[int, int] = (80, 60), kind: str = "JPEG") -> bytes:
    """A photograph, as far as anyone here can tell: smooth, in colour, unlike others."""
    rgb = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC).save(encoded, kind)
    return encoded.getvalue()


class Openverse:
    """GET /v1/images/ with q, license, license_type, category, page and page_size, and pictures under /pictures/."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Any]] = {}  # by path: what happens instead at the first requests
        self.asked: Counter[str] = Counter()
        self.searches: list[dict[str, str]] = []
        self.agents: set[str] = set()
        self.url = ""

    def add(self, name: str, content: bytes, **fields: Any) -> None:
        self.files[f"/pictures/{name}"] = content
        self.results.append(
            {
                "id": name,
                "title": f"Meadow {name}",
                "url": f"{self.url}/pictures/{name}",
                "creator": "Ada Núñez, Jr.",
                "creator_url": "https://example.org/ada",
                "license": "by",
                "license_version": "2.0",
                "license_url": "https://creativecommons.org/licenses/by/2.0/",
                "foreign_landing_url": f"https://example.org/photos/{name}",
                "attribution": f'"Meadow {name}" by Ada Núñez, Jr. is licensed under CC BY 2.0.',
                "filetype": None,
                "mature": False,
                **fields,
            }
        )

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        self.asked[parts.path] += 1
        self.agents.add(request.headers["User-Agent"])
        if self.answers.get(parts.path):
            status, headers, body = self.answers[parts.path].pop(0)
            return self.send(request, status, headers, body)
        if parts.path == "/v1/images/":
            return self.search(request, {key: values[0] for key, values in parse_qs(parts.query).items()})
        content = self.files.get(parts.path)
        if content is None:
            return self.send(request, 404, {}, b"nothing here")
        return self.send(request, 200, {"Content-Type": "image/jpeg"}, content)

    def search(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        self.searches.append(query)
        page, size = int(query["page"]), int(query["page_size"])
        if size > 20:
            detail = "Ensure this value is less than or equal to 20."
            return self.send(request, 401, {}, json.dumps({"detail": detail}).encode())
        pages = -(-len(self.results) // size)
        answer = {
            "result_count": len(self.results),
            "page_count": pages,
            "page_size": size,
            "page": page,
            "results": self.results[(page - 1) * size : page * size],
        }
        return self.send(request, 200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    @staticmethod
    def send(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def api() -> Iterator[Openverse]:
    fake = Openverse()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.handle(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which nobody here waits for."""
    pauses: list[float] = []
    monkeypatch.setattr("colorize.data.openverse.time.sleep", pauses.append)
    return pauses


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(api: Openverse, *overrides: str) -> Any:
    settings = ["query=green meadow", "name=cats", "min_side=32", "wait=0", f"api={api.url}/v1/", *overrides]
    return collect.run(config("collect", *settings))


def test_photographs_land_in_data_with_who_made_them(api: Openverse, here: Path, slept: list[float]):
    for i in range(25):
        api.add(f"p{i:02}", jpeg(i, kind="PNG" if i % 5 == 0 else "JPEG"))
    run(api, "count=23")
    folder = here / "data/cats"
    names = [f"p{i:02}.{'png' if i % 5 == 0 else 'jpg'}" for i in range(23)]  # as their content says
    assert sorted(path.name for path in folder.iterdir()) == sorted(["ATTRIBUTION.csv", "ATTRIBUTION.json", *names])
    settings = {"q": "green meadow", "license": "by,by-sa,cc0,pdm", "category": "photograph", "page_size": "20"}
    assert api.searches == [{**settings, "page": "1"}, {**settings, "page": "2"}]
    assert len(api.agents) == 1 and api.agents.pop().startswith("colorize/")
    with open(folder / "ATTRIBUTION.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == names
    assert rows[1] == {
        "file": "p01.jpg",
        "title": "Meadow p01",
        "author": "Ada Núñez, Jr.",
        "author_url": "https://example.org/ada",
        "license": "by 2.0",
        "license_url": "https://creativecommons.org/licenses/by/2.0/",
        "source": "https://example.org/photos/p01",
        "url": f"{api.url}/pictures/p01",
        "sha256": hashlib.sha256(api.files["/pictures/p01"]).hexdigest(),
    }
    split = split_set(folder, 0.1)  # the attribution is no picture, and train, val and test follow from the names
    assert [len(part) for part in (split.train, split.val, split.test)] == [18, 2, 3]


def test_going_on_fetches_nothing_twice(api: Openverse, here: Path, slept: list[float], caplog):
    for i in range(8):
        api.add(f"p{i}", jpeg(i))
    api.files["/pictures/p2"] = b"<html>gone</html>"
    run(api, "count=4")
    assert len(run(api, "count=4")) == 4 and len(api.searches) == 1, "there is enough"
    with caplog.at_level(logging.INFO):
        run(api, "count=64")
    assert {path: n for path, n in api.asked.items() if n > 1} == {"/v1/images/": 2}
    assert "7 in data/cats" in caplog.text and "64 were asked for and the search has no more" in caplog.text
    (here / "data/cats/p5.jpg").unlink()  # what has been removed is fetched again
    assert len(run(api, "count=64")) == 7 and api.asked["/pictures/p5"] == 2


def test_what_is_rejected_and_why(api: Openverse, here: Path, slept: list[float], caplog):
    api.add("good", jpeg(1))
    api.add("webp", jpeg(2, kind="WEBP"))
    api.add("lie", b"<html>please log in</html>", filetype="jpg")
    api.add("gif", jpeg(3, kind="GIF"))
    api.add("cut", jpeg(4)[:300])
    api.add("small", jpeg(5, (40, 20)))
    api.add("twin", jpeg(1, (160, 120)))
    grey = io.BytesIO()
    Image.open(io.BytesIO(jpeg(6))).convert("L").convert("RGB").save(grey, "JPEG")
    api.add("grey", grey.getvalue())
    api.add("pixels", jpeg(7, (200, 200)))
    api.add("bytes", jpeg(8) + bytes(9000))
    api.add("missing", b"")
    del api.files["/pictures/missing"]
    api.add("noncommercial", jpeg(9), license="by-nc")
    api.add("unlicensed", jpeg(10), license_url=None)
    api.add("../../evil", jpeg(11))
    api.add("file", jpeg(12), url=f"file://{here}/secret.jpg")
    (here / "secret.jpg").write_bytes(jpeg(12))
    with caplog.at_level(logging.INFO):
        run(api, "max_pixels=20000", "max_bytes=9000")
    about = json.loads((here / "data/cats/ATTRIBUTION.json").read_text())
    assert [entry["file"] for entry in about["pictures"]] == ["good.jpg", "webp.webp"]
    expected = {
        "lie": "no JPEG, PNG or WebP",
        "gif": "no JPEG, PNG or WebP",
        "cut": "cannot be read",
        "small": "small: 40x20",
        "twin": "a near duplicate",
        "grey": "nearly grey",
        "pixels": "the limit is max_pixels = 20000",
        "bytes": "are more than 9000",
        "missing": "404",
        "file": "only http and https are followed",
    }
    assert about["rejected"].keys() == expected.keys()
    assert all(text in about["rejected"][name] for name, text in expected.items()), about["rejected"]
    assert "3 without a license that was asked for" in caplog.text and "1 nearly grey" in caplog.text
    assert sorted(path.name for path in here.rglob("*") if path.is_file() and "evil" in path.name) == []


class TestBadServer:
    def test_429_is_waited_out_as_long_as_it_asks(self, api: Openverse, here: Path, slept: list[float]):
        api.add("p", jpeg(1))
        date = formatdate(time.time() + 40, usegmt=True)
        api.answers["/v1/images/"] = [(429, {"Retry-After": "7"}, b"{}"), (429, {"Retry-After": date}, b"{}")]
        assert len(run(api, "count=1")) == 1
        assert slept[0] == 7 and 35 < slept[1] <= 40

    def test_429_for_an_hour_ends_in_one_line(self, api: Openverse, here: Path, slept: list[float]):
        api.add("p", jpeg(1))
        api.answers["/pictures/p"] = []
        api.answers["/v1/images/"] = [(429, {"Retry-After": "3600"}, b"{}")]
        with pytest.raises(ValueError, match="429, too many requests; it asks to come back in 60 minutes"):
            run(api)
        assert slept == []

    def test_5xx_is_tried_again_ever_later_and_given_up(self, api: Openverse, here: Path, slept: list[float]):
        api.add("p", jpeg(1))
        api.add("q", jpeg(2))
        api.answers["/v1/images/"] = [(503, {}, b"busy")] * 2
        api.answers["/pictures/p"] = [(500, {}, b"")] * 5
        assert [entry["id"] for entry in run(api).pictures] == ["q"]
        assert slept == [1, 2, 1, 2, 4, 8] and api.asked["/pictures/p"] == 5
        assert len(run(api)) == 2, "it was no fault of the picture"
        api.answers["/v1/images/"] = [(502, {}, b"")] * 5
        with pytest.raises(ValueError, match=r"502; given up after 5 attempts; 2 pictures are in data/cats, the same"):
            run(api)

    def test_a_body_cut_short_is_fetched_again(self, api: Openverse, here: Path, slept: list[float]):
        content = jpeg(1)
        api.add("p", content)
        api.answers["/pictures/p"] = [(200, {"Content-Length": str(len(content)), "Connection": "close"}, content[:99])]
        assert len(run(api)) == 1 and api.asked["/pictures/p"] == 2
        assert (here / "data/cats/p.jpg").read_bytes() == content

    def test_redirects(self, api: Openverse, here: Path, slept: list[float]):
        for name in ("moved", "loop", "file", "ftp"):
            api.add(name, jpeg(len(name)))
        api.files["/elsewhere"] = jpeg(99)
        api.answers["/pictures/moved"] = [(302, {"Location": "/elsewhere"}, b"")]
        api.answers["/pictures/loop"] = [(302, {"Location": "/pictures/loop"}, b"")] * 50
        (here / "secret.jpg").write_bytes(jpeg(12))
        api.answers["/pictures/file"] = [(302, {"Location": f"file://{here}/secret.jpg"}, b"")]
        api.answers["/pictures/ftp"] = [(302, {"Location": "ftp://127.0.0.1/secret.jpg"}, b"")]
        found = run(api)
        assert [entry["id"] for entry in found.pictures] == ["moved"]
        assert (here / "data/cats/moved.jpg").read_bytes() == api.files["/elsewhere"]
        assert api.asked["/pictures/loop"] <= 7 and "redirect" in found.rejected["loop"]
        assert "is not allowed" in found.rejected["file"]
        assert "only http and https are followed" in found.rejected["ftp"]

    @pytest.mark.parametrize("body", [b"<html>log in to this network</html>", b"[]", b'{"results": 3}', b"\xff\xfe"])
    def test_what_is_no_json_ends_in_one_line(self, api: Openverse, here: Path, slept: list[float], body: bytes):
        api.answers["/v1/images/"] = [(200, {}, body)]
        with pytest.raises(ValueError, match="is no result of a search: check api="):
            run(api)
        assert not (here / "data").exists()

    def test_its_own_words_for_a_refusal(self, api: Openverse, here: Path, slept: list[float]):
        api.answers["/v1/images/"] = [(400, {}, json.dumps({"detail": "License 'x' does not exist."}).encode())]
        with pytest.raises(ValueError, match="400 License 'x' does not exist"):
            run(api)

    def test_nobody_there(self, here: Path, slept: list[float]):
        gone = Openverse()
        gone.url = "http://127.0.0.1:9"
        with pytest.raises(ValueError, match="Connection refused; given up after 5 attempts"):
            run(gone)
        with pytest.raises(ValueError, match="only http and https"):
            run(gone, "api=ftp://host/")

    def test_pauses_between_requests(self, api: Openverse, here: Path, slept: list[float]):
        for i in range(3):
            api.add(f"p{i}", jpeg(i))
        run(api, "wait=2", "count=3")
        assert len(slept) == 3 and all(1 < pause <= 2 for pause in slept), "the first request waits for nothing"


def test_a_folder_of_other_pictures_is_left_alone(api: Openverse, here: Path):
    (here / "data/cats/train").mkdir(parents=True)
    (here / "data/cats/train/mine.jpg").write_bytes(jpeg(1))
    with pytest.raises(ValueError, match="data/cats holds pictures that were not collected: give another dataset="):
        run(api)
    (here / "data/cats/ATTRIBUTION.json").write_text("{")
    with pytest.raises(ValueError, match=r"ATTRIBUTION.json is damaged"):
        run(api)


@pytest.mark.parametrize(
    "override, message",
    [
        ("count=0", "count=0 must be a whole number"),
        ("wait=-1", "wait=-1 must be a number of seconds"),
        ("license=gpl", "license=gpl is not one of: by, by-sa"),
        ("license_type=free", "license_type=free is not one of: all"),
        ("query=' '", "query= must have 1 to 200 characters"),
    ],
)
def test_settings(api: Openverse, here: Path, override: str, message: str):
    with pytest.raises(ValueError, match=message):
        run(api, override)


def test_license_types(api: Openverse, here: Path, slept: list[float]):
    for i, license in enumerate(("by", "by-nd", "by-nc-sa", "cc0", "nc-sampling+")):
        api.add(license.strip("+"), jpeg(i), license=license)
    found = run(api, "license=null", "license_type='commercial,modification'")
    assert [entry["license"] for entry in found.pictures] == ["by 2.0", "cc0 2.0"]
    assert api.searches[0]["license_type"] == "commercial,modification" and "license" not in api.searches[0]
