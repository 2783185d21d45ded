"""Kills one process of a server at a stage of a request, and reports what callers receive meanwhile."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from testing.running import Gate, Reply, Server
from testing.traffic import SampleRequest, advert, mask

STAGES = ("idle", "mask", "pass", "encode")
RECOVERY_TIMEOUT_S = 120.0

ANSWERED = "answered"
CLOSED = "closed, no byte"
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What one caller received.

    Attributes:
        outcome: `answered`; `closed, no byte`: the connection was closed before an answer; `refused`: no connection.
        reply: The answer.
    """

    outcome: str
    reply: Reply | None = None

    @property
    def problem(self) -> str:
        """What is wrong with it, or an empty string: an answer is complete and JSON with an id, an error has a code."""
        if self.reply is None:
            return "" if self.outcome in {CLOSED, REFUSED} else self.outcome
        content, request_id = self.reply.json, self.reply.headers.get("x-request-id")
        valid = self.reply.status == 200 or (content["error"]["code"] and content["error"]["request_id"] == request_id)
        return "" if valid and request_id else f"{self.reply.status} {self.reply.body[:200]!r}"


@dataclass(slots=True, kw_only=True)
class KillReport:
    """What a kill caused.

    Attributes:
        caller: For the caller whose request was at that stage; None at idle.
        others: For those that called until the server was back.
        seconds: From the kill until a request was answered 200.
    """

    caller: CallResult | None
    others: list[CallResult] = field(default_factory=list[CallResult])
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """What is wrong with what callers received."""
        return [problem for result in (self.caller, *self.others) if result is not None and (problem := result.problem)]


def send(server: Server, sample: SampleRequest) -> CallResult:
    """Send a request to a server that may be killed meanwhile."""
    try:
        return CallResult(outcome=ANSWERED, reply=server.send(sample))
    except ConnectionRefusedError:
        return CallResult(outcome=REFUSED)
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return CallResult(outcome=CLOSED)
    except (OSError, http.client.HTTPException) as error:
        return CallResult(outcome=f"broken: {error!r}")


def busy_worker(server: Server) -> int:
    """The handler's worker that answers a request (it holds the run folder's lock), or any idle one."""
    parent = server.parent_of_workers()
    workers = [pid for pid in server.pids("model_service_worker") if pid != parent]
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    holders = {
        int(columns[4]) for columns in locks if columns[1] == "FLOCK"
    }  # those that wait for a lock have an arrow
    return next((pid for pid in workers if pid in holders), workers[0])


ANSWERED_AFTER_GATE = {"engine", "workers' parent"}
"""Parts after whose death the caller's answer comes only when the gate opens."""

PARTS: dict[str, Callable[[Server], int]] = {
    "engine": lambda server: server.pids("plain_engine --uds")[0],
    "Java": lambda server: server.pids("ModelServer ")[0],
    "launcher": lambda server: server.pids("front_door.launcher ")[0],
    "worker": busy_worker,
    "workers' parent": Server.parent_of_workers,
    "supervisor": lambda server: server.process.pid,
}


def kill_at_stage(server: Server, gates: Path, part: str, stage: str, seed: int) -> KillReport:
    """Kill one process while a request is held at a stage, and wait until the server is back.

    Args:
        server: Its engine has gates in this folder.
        gates: The folder.
        part: One of `PARTS`; a killed supervisor does not come back.
        stage: One of `STAGES`.
        seed: Not used before, so that nothing of the request is cached.
    """
    if stage == "idle":
        os.kill(PARTS[part](server), signal.SIGKILL)
        return _wait_until_back(server, KillReport(caller=None), part, seed)
    gate = Gate(gates / stage)
    sample = mask(seed) if stage == "mask" else advert(seed)
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(send, server, sample)
        gate.wait_for_arrival()
        os.kill(PARTS[part](server), signal.SIGKILL)
        begun = time.monotonic()
        if part in ANSWERED_AFTER_GATE:
            gate.open()
        result = caller.result()
        if part not in ANSWERED_AFTER_GATE:
            gate.open()
    return _wait_until_back(server, KillReport(caller=result, seconds=time.monotonic() - begun), part, seed)


def _wait_until_back(server: Server, report: KillReport, part: str, seed: int) -> KillReport:
    begun = time.monotonic()
    if part == "workers' parent":  # its workers still answer; the front door is restarted once none of them is busy
        server.wait_for("front_door_open")
    while part != "supervisor" and time.monotonic() - begun < RECOVERY_TIMEOUT_S:
        sample = advert(seed)
        result = send(server, sample)
        if result.reply is not None and result.reply.status == 200:
            assert not sample.problem(result.reply)
            break
        report.others.append(result)
        threading.Event().wait(0.1)
    report.seconds += time.monotonic() - begun
    return report
