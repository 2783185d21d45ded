"""The process around the engine's application: uvicorn, on a Unix socket behind the front door or straight on a port.

The port opens at once and `/ping` is 503 until the models are loaded and warm; on SIGTERM new work is refused, running
work finishes, and the process exits 0.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import uvicorn

from inpaint_server import logs
from inpaint_server.errors import InpaintServerError, SettingsError
from inpaint_server.server.app import WRITING_FRACTION, EngineApp
from inpaint_server.server.loading import Loaded, load
from inpaint_server.server.protocol import Http1Protocol
from inpaint_server.settings import Settings, read

_SWITCH_INTERVAL_S: Final = 0.0005
"""After which a thread that runs Python gives way. The device's thread releases the interpreter with every kernel that
it launches, and at Python's own 5 ms may wait that long for it to come back, hundreds of times a step."""

_M_ARENA_MAX: Final = -8
"""glibc's `malloc.h`."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers: ours drain before the server exits."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to `_serve`."""
        yield


async def _serve(app: EngineApp, server: _Uvicorn, sockets: list[socket.socket] | None) -> int:
    """Serve until a signal, a failed load or a failed server; the process's exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app.load(on_failure=lambda: loop.call_soon_threadsafe(stop.set))
    serving = asyncio.create_task(server.serve(sockets))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    failed = app.state == "failed"
    end = loop.time() + WRITING_FRACTION * app.settings.drain_s
    await app.drain()
    server.should_exit = True
    # Idle connections are closed at once; a caller that is slow to read its answer gets what is left of the time.
    await asyncio.wait({serving}, timeout=end - loop.time())
    return int(failed)


def run(
    settings: Settings,
    *,
    unix_socket: Path | None = None,
    restarts: Path | None = None,
    loading: Callable[[Settings], Loaded] = load,
) -> int:
    """Serve on the Unix socket, or else on the settings' port, until SIGTERM; the process's exit code.

    Args:
        settings: What the operator decided.
        unix_socket: The socket that the front door connects to.
        restarts: A JSON object of how often the supervisor restarted each part, for the metrics.
        loading: Loads and warms the models; default: those of the settings' bundle.

    Raises:
        SettingsError: a port is taken.
    """
    _share_arenas()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    logs.configure(settings.log_level)
    app = EngineApp(settings, loading)
    if restarts is not None:
        app.metrics.restarts(lambda: json.loads(restarts.read_text()))
    if settings.metrics_port:
        app.metrics.serve(settings.metrics_port)
    uds = None if unix_socket is None else str(unix_socket)
    config = uvicorn.Config(
        app.asgi,
        http=Http1Protocol,
        uds=uds,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
    )
    sockets = [_listen(settings.port)] if unix_socket is None else None
    return asyncio.run(_serve(app, _Uvicorn(config), sockets))


def _share_arenas() -> None:
    """Let all threads allocate from two of glibc's arenas; to be called before the first thread starts.

    By default each thread gets its own, up to eight for each core, and keeps freed memory there: a picture decoded on
    one thread and used on another fragments both. Elsewhere (musl, macOS) this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("0.0.0.0", port))  # noqa: S104 - a container is reached from outside
    except OSError as error:
        raise SettingsError(
            f"Port {port} cannot be used ({error.strerror}): stop what listens there or choose another with --port."
        ) from None
    return listener


def main(loading: Callable[[Settings], Loaded] = load) -> None:
    """`python -m inpaint_server.server.process --uds PATH --restarts PATH`: the engine behind a front door."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--uds", type=Path, required=True)
    parser.add_argument("--restarts", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        code = run(read(), unix_socket=arguments.uds, restarts=arguments.restarts, loading=loading)
    except InpaintServerError as error:
        logs.get("engine").error("cannot_serve", code=error.code, reason=error.message)
        code = 1
    end(code)


def end(code: int) -> NoReturn:
    """End the process at once: all requests are answered, torch takes seconds to shut down, abandoned work longer."""
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
