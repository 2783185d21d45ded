"""The studio: its server, and the page in a real browser by pointer, by keyboard, and on a phone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from PIL import Image

from inpaint_server.catalog.presets import load
from inpaint_server.studio.app import build
from inpaint_server.wire.schema import InvocationRequest
from testing.browser import chromium
from testing.plain_server import PlainServer
from testing.running import free_port

ROOT = Path(__file__).parents[2]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}


@contextmanager
def studio(target: str) -> Generator[str]:
    """The studio's page over a server; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(build(target, load()), log_config=None, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture
def page_url(plain_server: PlainServer) -> Iterator[str]:
    with studio(plain_server.url) as url:
        yield url


def photo(folder: Path) -> Path:
    """A photo whose name must be quoted in a shell."""
    path = folder / "mug & 'cup'.png"
    Image.new("RGB", (120, 90), (40, 120, 200)).save(path)
    return path


def test_page_loads_no_foreign_resource(page_url: str):
    page = httpx.get(page_url)
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    files = [path.read_text() for path in (ROOT / "src/inpaint_server/studio/static").iterdir()]
    assert not any("https://" in text or "http://" in text.replace("http://localhost", "") for text in files)


def test_cross_site_request_is_refused(page_url: str):
    assert httpx.get(page_url, headers={"Host": "evil.example"}).status_code == 400
    for origin in ("http://evil.example", "null", page_url.replace("http", "https"), page_url[:-1]):
        posted = httpx.post(f"{page_url}/api/invocations", json={}, headers={"Origin": origin})
        assert (posted.status_code, "other sites" in posted.json()["error"]["message"]) == (400, True)
    own = httpx.post(f"{page_url}/api/invocations", json={}, headers={"Origin": page_url})
    assert own.json()["error"]["field"] == "image"
    form = httpx.post(f"{page_url}/api/invocations", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (form.status_code, form.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_page_has_every_field_and_scene(page_url: str):
    about = httpx.get(f"{page_url}/api/about").json()
    assert set(about["fields"]) == set(InvocationRequest.model_fields)
    assert set(about["scenes"]) == set(load())


def test_refusal_is_passed_to_page(page_url: str):
    refused = httpx.post(f"{page_url}/api/invocations", json={"task": "advert"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "image")


@contextmanager
def opened(url: str, viewport: dict[str, int], tolerate: str = "never", **options: Any) -> Generator[Any]:
    """The page in a browser; a script's error, a refused resource or a request to elsewhere fails the test."""
    errors: list[str] = []

    def on_console(message: Any) -> None:
        if message.type == "error" and tolerate not in message.text:
            errors.append(message.text)

    def on_request(request: Any) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            errors.append(request.url)

    def on_page_error(error: Any) -> None:
        errors.append(str(error))

    with chromium() as browser:
        page = browser.new_page(viewport=viewport, **options)
        page.set_default_timeout(60_000)  # a bound, not an expectation
        for event, listener in (("pageerror", on_page_error), ("console", on_console), ("request", on_request)):
            page.on(event, listener)
        page.goto(url)
        page.locator("html[data-ready]").wait_for()
        yield page
        assert errors == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def wait_for_status(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def choose_photo(page: Any, folder: Path) -> None:
    page.set_input_files("#file", photo(folder))
    wait_for_status(page, "in colour")


@pytest.mark.browser
def test_advert_by_pointer(page_url: str, plain_server: PlainServer, tmp_path: Path):
    with opened(page_url, DESKTOP) as page:
        choose_photo(page, tmp_path)
        assert tinted(page), "the found product is in colour"
        bounds = page.locator("#photo").bounding_box()
        page.mouse.click(bounds["x"] + bounds["width"] * 0.25, bounds["y"] + bounds["height"] * 0.5)
        wait_for_status(page, "in colour")
        page.get_by_label("Click removes").check()
        page.mouse.click(bounds["x"] + bounds["width"] * 0.75, bounds["y"] + bounds["height"] * 0.5)
        page.locator("#undo:enabled").wait_for()
        wait_for_status(page, "in colour")
        assert plain_server.bodies[-1]["points"] == [[30, 45, 1], [90, 45, 0]]

        page.get_by_role("tab", name="Placement").click()
        canvas = page.locator("#canvas").bounding_box()
        middle = (canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] * 0.8)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] - canvas["width"] * 0.1, middle[1] - canvas["height"] * 0.2, steps=3)
        page.mouse.up()

        page.select_option("#scene", "beach")
        page.fill("#num_images", "2")
        page.fill("#seed", "7")
        page.get_by_role("button", name="Make adverts").click()
        wait_for_status(page, "All 2 adverts are done")
        steps = page.locator("#film span").all_inner_texts()
        assert steps == ["mask", "background", "pass 1", "pass 2", "advert"]
        adverts = [body for body in plain_server.bodies if body["task"] == "advert"]
        assert sorted(body["seed"] for body in adverts) == [7, 8]
        assert adverts[0]["background_prompt"] == load()["beach"]["background_prompt"]
        assert adverts[0]["placement"] == {
            "scale": 0.6,
            "x": pytest.approx(0.4, abs=0.02),
            "y": pytest.approx(0.7, abs=0.02),
        }

        page.select_option("#compare", "8")
        assert page.locator("#other").get_attribute("alt") == "advert, seed 8"
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == "advert-7.png"
        with Image.open(download.value.path()) as downloaded:
            assert downloaded.size == (64, 64)


def tinted(page: Any) -> bool:
    """Whether the photo's middle differs in colour from its corner."""
    read = """canvas => [0.5, 0.02].map((at) => canvas.getContext("2d")
        .getImageData(canvas.width * at, canvas.height * at, 1, 1).data.join())"""
    middle, corner = page.locator("#photo").evaluate(read)
    return middle != corner


@pytest.mark.browser
def test_advert_by_keyboard(page_url: str, plain_server: PlainServer, tmp_path: Path):
    with opened(page_url, DESKTOP) as page:
        choose_photo(page, tmp_path)
        page.get_by_role("tab", name="Product").focus()
        for _ in range(2):  # past the radio buttons; the others are disabled or the photo's replacement
            page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "photo"
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        page.locator("#undo:enabled").wait_for()
        wait_for_status(page, "in colour")
        assert plain_server.bodies[-1]["points"] == [[58, 45, 1]]
        page.keyboard.press("Backspace")
        page.locator("#undo:disabled").wait_for()

        page.get_by_role("tab", name="Product").focus()
        page.keyboard.press("ArrowRight")
        page.locator("#canvas").focus()
        for key in ("Shift+ArrowLeft", "ArrowUp", "+"):
            page.keyboard.press(key)
        wait_for_status(page, "Product at 45 % across, 89 % down, size 62 %.")
        page.fill("#background_prompt", "a brick wall")
        page.fill("#foreground_prompt", "a wooden table")
        page.fill("#num_images", "1")
        page.keyboard.press("Enter")
        wait_for_status(page, "The advert is done")
        assert plain_server.bodies[-1]["placement"] == {"scale": 0.62, "x": 0.45, "y": 0.89}


@pytest.mark.browser
def test_advert_on_phone(page_url: str, tmp_path: Path):
    with opened(page_url, PHONE, has_touch=True, color_scheme="dark") as page:
        choose_photo(page, tmp_path)
        for tab in ("Placement", "Product"):
            page.get_by_role("tab", name=tab).tap()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.select_option("#scene", "kitchen")
        page.fill("#num_images", "1")
        make = page.get_by_role("button", name="Make adverts")
        assert make.bounding_box()["height"] >= 44
        make.tap()
        wait_for_status(page, "The advert is done")


@pytest.mark.browser
def test_page_shows_missing_input_and_errors(page_url: str, plain_server: PlainServer, tmp_path: Path):
    with opened(page_url, DESKTOP, tolerate="status of 500") as page:
        page.get_by_role("button", name="Make adverts").click()
        wait_for_status(page, "First drop a photo")
        choose_photo(page, tmp_path)
        page.fill("#background_prompt", "a brick wall")
        page.fill("#foreground_prompt", "a wooden table")
        page.fill("#num_images", "1")
        plain_server.refusals[:] = [(500, {})]
        page.get_by_role("button", name="Make adverts").click()
        wait_for_status(page, "Not now.")
        assert page.locator("#working").inner_text() == "Not now."
        page.get_by_role("button", name="Make adverts").click()
        wait_for_status(page, "The advert is done")


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_copied_requests_give_same_picture(page_url: str, plain_server: PlainServer, tmp_path: Path):
    with opened(page_url, DESKTOP) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        choose_photo(page, tmp_path)
        page.locator("#canvas").evaluate("canvas => canvas.dispatchEvent(new KeyboardEvent('keydown', { key: '-' }))")
        page.fill("#background_prompt", 'it\'s a "wall", 100% brick; @home')
        page.fill("#foreground_prompt", "$HOME `ls` Größe")
        page.fill("#num_images", "1")
        page.fill("#seed", "11")
        page.get_by_role("button", name="Copy request").click()
        copied: dict[str, str] = {}
        for kind in ("curl", "Python", "JSON"):
            page.get_by_label(kind, exact=True).check()
            page.locator("#copy-text", has_text="Copy").click()
            copied[kind] = page.evaluate("navigator.clipboard.readText()")

    request = json.loads(copied["JSON"])
    wanted = base64.b64decode(httpx.post(f"{plain_server.url}/invocations", json=request).json()["images"][0]["image"])
    program = [sys.executable, "-c", copied["Python"]]
    subprocess.run(program, cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
    assert (tmp_path / "advert-11.png").read_bytes() == wanted
    subprocess.run(["bash", "-ec", copied["curl"]], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "advert.png").read_bytes() == wanted
    assert request["placement"]["scale"] == 0.58


def test_command_serves_page_and_prints_address(plain_server: PlainServer):
    port = free_port()
    command = [str(Path(sys.executable).with_name("inpaint-server")), "studio", "--server", plain_server.url]
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert f"http://localhost:{port}" in running.stdout.readline()
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
                assert client.get(f"http://127.0.0.1:{port}/api/about").json()["target"] == plain_server.url
        finally:
            running.terminate()
