"""The main job, end to end, on the demo models: a real photo over HTTP into the real front door, an advert out.

Starts `inpaint-server serve --bundle demo` on a free port, waits until /ping is 200, sends the photo to
POST /invocations, saves `out/advert.png` and `out/contact-sheet.png`, and stops the server.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from inpaint_server.commands import generate
from inpaint_server.errors import InpaintServerError

if TYPE_CHECKING:
    from collections.abc import Generator

PHOTO = Path(generate.__file__).parent.parent / "demo" / "photos" / "coffee.jpg"
OUT = Path("out")
REQUEST = {
    "background_prompt": "beach, sunset sky",
    "foreground_prompt": "sand",
    "seed": 9,
    # The photo cuts the saucer at its lower border; so does the advert's.
    "placement": {"scale": 0.8, "x": 0.5, "y": 1.0},
}
START_TIMEOUT_S = 120


def main() -> None:
    """Run the demo."""
    with running_server() as url:
        begun = time.perf_counter()
        result = generate.invoke(generate.request_object(PHOTO, None, REQUEST), endpoint=url, bundle=None)
        seconds = time.perf_counter() - begun
        paths = generate.save(result, PHOTO, OUT)
    print(f"One advert in {seconds:.1f} s on {result.model.device}:")
    for path in paths:
        print(f"  {path}")


@contextmanager
def running_server() -> Generator[str]:
    """The front door on a free port, stopped at the end; gives its address."""
    port = _free_port()
    command = [str(Path(sys.executable).parent / "inpaint-server"), "serve", "--bundle", "demo", "--port", str(port)]
    OUT.mkdir(exist_ok=True)
    log = OUT / "server.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as server:  # noqa: S603
        try:
            url = f"http://127.0.0.1:{port}"
            print("Starting the server on the demo models ...")
            _wait_until_ready(url, server, log)
            yield url
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def _free_port() -> int:
    """A port the front door accepts (below 32767) that nothing listens on."""
    for port in range(18080, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise SystemExit("No free port between 18080 and 32000: stop a server.")


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < deadline:
            try:
                server.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                if _answers(client):
                    return
            else:
                raise SystemExit(f"The server ended with code {server.returncode}: see {log}.")
    raise SystemExit(f"The server was not ready within {START_TIMEOUT_S} s: see {log}.")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ping").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    try:
        main()
    except InpaintServerError as error:
        raise SystemExit(error.message) from None
