"""The page, through its own server: over HTTP as a browser speaks, and in a real Chromium where there is one."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import config

from colorize.app import server
from colorize.data import scenes
from colorize.media import Picture, read_picture, write_picture

pytest.importorskip("gradio", reason="the extra app is not installed")
httpx = pytest.importorskip("httpx")

from benchmarks.page import colour, crowd, upload  # noqa: E402


@contextmanager
def running(*overrides: str) -> Iterator[str]:
    with server(config("app", "port=0", *overrides)) as (web, door):
        thread = threading.Thread(target=web.run, kwargs={"sockets": [door]})
        thread.start()
        while not web.started:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            web.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running() as url:
        yield url


def photograph(path: Path, seed: int = 1, size: int = 96) -> Path:
    rgb = scenes.render("rural", seed=seed, size=size)
    write_picture(path, Picture(np.repeat(rgb[..., 1:2], 3, -1), None, {}))
    return path


def send(client: Any, path: Path) -> str:
    return upload(client, path.name, path.read_bytes())


def test_twenty_at_once_are_all_answered_and_none_is_mixed_up(address: str):
    crowd(address)


def test_the_page_is_for_this_machine_and_its_uploads_alone(address: str, tmp_path: Path):
    secret = photograph(tmp_path / "secret.png")
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.get(f"/gradio_api/file={secret}").status_code in (403, 404)
        assert client.get(f"/gradio_api/file={Path(__file__)}").status_code in (403, 404)
        uploaded = send(client, photograph(tmp_path / "own.png"))
        assert client.get(f"/gradio_api/file={uploaded}").status_code == 200
        assert client.get(f"/gradio_api/file={uploaded}/../../../{secret}").status_code in (400, 403, 404)
        assert not colour(client, str(secret), "secret.png")["success"]
        assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 421
        page = client.get("/")
        assert 'lang="en"' in page.text and "default-src 'self'" in page.headers["content-security-policy"]


def test_files_are_deleted_and_large_ones_refused(tmp_path: Path):
    from PIL import Image

    path = photograph(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (800, 800, 3), np.uint8)).save(tmp_path / "big.png")
    with running("keep_minutes=0.02", "max_megabytes=1") as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            uploaded = send(client, path)
            assert Path(uploaded).exists()
            with open(tmp_path / "big.png", "rb") as file:
                assert client.post("/gradio_api/upload", files={"files": ("big.png", file)}).status_code == 413
        folder = next(parent for parent in Path(uploaded).parents if parent.name.startswith("colorize_app_"))
        deadline = time.monotonic() + 20
        while Path(uploaded).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(uploaded).exists() and (folder / "examples/waves.gif").exists()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("port=-1", "port=-1 must be a whole number"),
        ("keep_minutes=0", "keep_minutes=0 must be a number above 0"),
        ("host=203.0.113.1", "cannot serve at 203.0.113.1"),
        ("weights=none_such", "weights=none_such is not known"),
    ],
)
def test_a_wrong_setting_is_named(override: str, message: str):
    with pytest.raises(ValueError, match=message), server(config("app", "port=0", override)):
        pass


# --- in a browser ---

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"


@pytest.fixture
def browse(address: str) -> Iterator[Callable[..., Any]]:
    """A function that opens the page; whatever asks another host than 127.0.0.1 fails the test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    foreign: list[str] = []

    def check(route: Any) -> None:
        if route.request.url.startswith((f"{address}/", "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())

        def visit(**settings: Any) -> Any:
            context = browser.new_context(**settings)
            context.set_default_timeout(60_000)
            context.route("**/*", check)
            page = context.new_page()
            page.goto(address)
            page.get_by_text("Photograph, GIF or clip").first.wait_for()
            return page

        yield visit
        browser.close()
    assert not foreign


def drop(page: Any, path: Path) -> None:
    clear = page.get_by_label("Clear").first
    if clear.is_visible():
        clear.click()
        page.locator("#download[disabled], #download [disabled]").first.wait_for()
    page.locator("input[type=file]").first.set_input_files(path)


def result(page: Any, into: Path) -> np.ndarray:
    page.locator("#download:not([disabled])").first.wait_for()
    with page.expect_download() as waiting:
        page.locator("#download").first.click()
    waiting.value.save_as(into / waiting.value.suggested_filename)
    return read_picture(into / waiting.value.suggested_filename).rgb


def test_a_person_colours_a_photograph(browse: Callable[..., Any], tmp_path: Path):
    page = browse(viewport={"width": 1280, "height": 900})
    assert page.title() == "Colorize"
    source = photograph(tmp_path / "old photo.png", size=200)
    drop(page, source)
    page.locator("#board img").wait_for()
    out = result(page, tmp_path)
    assert out.shape == (200, 200, 3) and np.ptp(out, axis=-1).mean() > 5
    assert (tmp_path / "old photo_color.png").exists()

    before, after = page.locator("#slider img").all()
    assert before.get_attribute("alt") == "The picture as it was"
    handle, shown = page.locator("#slider [data-testid=slider]"), lambda: after.evaluate("e => e.style.clipPath")
    middle = shown()
    handle.focus()
    page.keyboard.press("ArrowLeft")
    left = shown()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 100, steps=3)
    page.mouse.up()
    assert len({middle, left, shown()}) == 3

    board = page.locator("#board img")
    box, drawn = board.bounding_box(), board.get_attribute("src")
    board.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.8})
    page.wait_for_function("src => document.querySelector('#board img')?.src !== src", arg=drawn)
    place = page.locator("#places textarea").input_value()
    x, y, colour = place.split(",")
    assert abs(int(x) - 100) <= 2 and abs(int(y) - 160) <= 2 and colour == "#b06a30"
    hinted = result(page, tmp_path)
    assert not np.array_equal(hinted[int(y), int(x)], out[int(y), int(x)])

    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    drop(page, bad)
    page.get_by_text("bad.jpg: cannot be read as a picture").first.wait_for()


def test_on_a_phone_in_the_dark_a_clip_plays_beside_its_source(browse: Callable[..., Any], tmp_path: Path):
    page = browse(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.get_by_role("button", name="waves.gif").click()
    page.get_by_alt_text("The clip in colour").wait_for()
    assert page.get_by_alt_text("The clip in grey").is_visible()
    assert result(page, tmp_path).shape == (180, 320, 3)
    assert (tmp_path / "waves_color.gif").read_bytes()[:3] == b"GIF"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out
    page.get_by_role("tab", name="Many files").click()
    page.get_by_role("button", name="Colour them all").wait_for()
    files = [photograph(tmp_path / name, size=64) for name in ("a.png", "b.jpg")]
    (tmp_path / "bad.jpg").write_text("no picture")
    page.locator("input[type=file]").last.set_input_files([*files, tmp_path / "bad.jpg"])
    page.get_by_text("bad", exact=False).first.wait_for()
    page.get_by_role("button", name="Colour them all").click()
    page.get_by_text("2 of 3 are in the zip").wait_for()
