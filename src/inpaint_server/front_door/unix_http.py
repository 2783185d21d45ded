"""HTTP over a Unix socket, with the standard library alone: how the front door and the supervisor reach the engine."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """One HTTP connection to the server that listens on a Unix socket.

    Args:
        path: The socket.
        timeout: Seconds one read or write may take; None: as long as it takes.
    """

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket; http.client calls this with the first request."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers_ping(path: Path, timeout: float) -> bool:
    """Whether the server on this socket answers `GET /ping` with 200, each read within `timeout` seconds."""
    connection = UnixConnection(path, timeout)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
