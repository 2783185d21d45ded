"""Killing one process of a server at a stage of a request, and what its callers then see."""

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
from testing.traffic import Order, advert, mask

STAGES = ("idle", "mask", "pass", "encode")
PATIENCE_S = 120.0

ANSWERED = "answered"
CLOSED = "closed, no byte"
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleResult:
    """What one caller saw: an answer, a connection closed before the first byte of one, or none at all."""

    how: str
    reply: Reply | None = None

    @property
    def fault(self) -> str:
        """What is wrong with it, or nothing: an answer is whole and JSON, an error in our words, both have an id."""
        if self.reply is None:
            return "" if self.how in {CLOSED, REFUSED} else self.how
        told, request_id = self.reply.json, self.reply.headers.get("x-request-id")
        worded = self.reply.status == 200 or (told["error"]["code"] and told["error"]["request_id"] == request_id)
        return "" if worded and request_id else f"{self.reply.status} {self.reply.body[:200]!r}"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a kill did.

    Attributes:
        caller: What the caller saw whose request was at that stage; None at idle.
        others: What those saw that came until the server was back.
        seconds: From the kill until a request was answered well.
    """

    caller: SingleResult | None
    others: list[SingleResult] = field(default_factory=list[SingleResult])
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """What must not have been seen."""
        return [fault for seen in (self.caller, *self.others) if seen is not None and (fault := seen.fault)]


def send(server: Server, order: Order) -> SingleResult:
    """Send a request, whatever may happen to it."""
    try:
        return SingleResult(how=ANSWERED, reply=server.request("POST", "/invocations", order.body, order.headers))
    except ConnectionRefusedError:
        return SingleResult(how=REFUSED)
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return SingleResult(how=CLOSED)
    except (OSError, http.client.HTTPException) as error:
        return SingleResult(how=f"broken: {error!r}")


def worker_at_work(server: Server) -> int:
    """The handler's worker that answers a request (it holds the run folder's lock), or any that waits for one."""
    parent = server.parent_of_workers()
    workers = [pid for pid in server.pids("model_service_worker") if pid != parent]
    holders = {int(line.split()[4]) for line in Path("/proc/locks").read_text().splitlines() if " FLOCK " in line}
    return next((pid for pid in workers if pid in holders), workers[0])


OUTLIVED = {"engine", "workers' parent"}
"""Parts without which a request that stands at a gate still goes on, or its gate has to open before it is answered."""

PARTS: dict[str, Callable[[Server], int]] = {
    "engine": lambda server: server.pids("gated_engine --uds")[0],
    "Java": lambda server: server.pids("ModelServer ")[0],
    "guard": lambda server: server.pids("front_door.launcher ")[0],
    "worker": worker_at_work,
    "workers' parent": Server.parent_of_workers,
    "supervisor": lambda server: server.process.pid,
}


def strike(server: Server, gates: Path, part: str, stage: str, seed: int) -> Outcome:
    """Kill one process while a request stands at a stage, and wait until the server is back.

    Args:
        server: Its engine has gates in this folder.
        gates: The folder.
        part: One of `PARTS`; of the supervisor nothing comes back.
        stage: One of `STAGES`.
        seed: Not used before: what was made once is not made again.
    """
    if stage == "idle":
        os.kill(PARTS[part](server), signal.SIGKILL)
        return _until_back(server, Outcome(caller=None), part, seed)
    gate = Gate(gates / stage)
    order = mask(seed) if stage == "mask" else advert(seed)
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(send, server, order)
        gate.arrived()
        gate.path.unlink()
        os.kill(PARTS[part](server), signal.SIGKILL)
        begun = time.monotonic()
        if part in OUTLIVED:
            gate.open()
        seen = caller.result()
        if part not in OUTLIVED:
            gate.open()
    return _until_back(server, Outcome(caller=seen, seconds=time.monotonic() - begun), part, seed)


def _until_back(server: Server, outcome: Outcome, part: str, seed: int) -> Outcome:
    begun = time.monotonic()
    if part == "workers' parent":  # its workers still answer; only then is the front door opened again
        server.wait_for("front_door_open")
    while part != "supervisor" and time.monotonic() - begun < PATIENCE_S:
        order = advert(seed)
        seen = send(server, order)
        if seen.reply is not None and seen.reply.status == 200:
            assert not order.fault(seen.reply)
            break
        outcome.others.append(seen)
        threading.Event().wait(0.1)
    outcome.seconds += time.monotonic() - begun
    return outcome
