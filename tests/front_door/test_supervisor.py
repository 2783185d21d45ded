"""The supervisor, through the public port: readiness, faults, draining, and no process left."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testing.metrics import Metrics
from testing.plain_server import wait_until
from testing.running import Gate, Server, free_port
from testing.traffic import advert

QUICK = {"check_interval": 0.2, "probe": 0.7, "engine_unresponsive": 2.5, "front_door_unresponsive": 2.0}


def start(environment: dict[str, str] | None = None, timeouts: dict[str, float] | None = None) -> Server:
    """A server that checks its processes more often than an endpoint's."""
    return Server(environment=environment, timeouts=QUICK | (timeouts or {}))


def assert_serves(server: Server, seed: int = 1) -> None:
    sample = advert(seed)
    assert not sample.problem(reply := server.send(sample))
    assert reply.status == 200


def test_ping_waits_until_warm(tmp_path: Path):
    gate = Gate(tmp_path / "load")
    with start({"GATES": str(tmp_path)}) as server:
        gate.wait_for_arrival()
        assert server.ping() is None
        gate.open()
        server.wait_for("serving")
        assert server.ping() == 200
        assert_serves(server)
        assert server.stop() == 0
        assert server.pids() == []


def test_sigterm_finishes_requests_in_progress(tmp_path: Path):
    metrics_port = free_port()
    gate = Gate(tmp_path / "pass")
    samples = [advert(seed) for seed in range(8)]
    environment = {"GATES": str(tmp_path), "INPAINT_METRICS_PORT": str(metrics_port)}
    with start(environment) as server, ThreadPoolExecutor(8) as pool:
        server.wait_for("serving")
        replies = [pool.submit(server.send, sample) for sample in samples]
        gate.wait_for_arrival()
        wait_until(lambda: Metrics.read(metrics_port).value("inpaint_in_flight") == 8)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert server.ping() == 503
        refused = server.send(advert(9))
        assert (refused.status, refused.json["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"] == "5"
        gate.open()
        assert [sample.problem(reply.result()) for sample, reply in zip(samples, replies, strict=True)] == [""] * 8
        assert {reply.result().status for reply in replies} == {200}
        assert server.wait() == 0
        assert server.pids() == []


def test_unread_body_refused_at_sigterm(tmp_path: Path):
    gate = Gate(tmp_path / "pass")
    with start({"GATES": str(tmp_path)}) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("serving")
        caller = pool.submit(server.send, advert(1))
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            gate.wait_for_arrival()
            server.process.send_signal(signal.SIGTERM)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, json.loads(answer.read())["error"]["code"]) == (503, "draining")
        gate.open()
        assert not advert(1).problem(caller.result())
        assert server.wait() == 0


def test_requests_beyond_drain_time_end(tmp_path: Path):
    gate = Gate(tmp_path / "pass")
    with start({"GATES": str(tmp_path), "INPAINT_DRAIN_S": "0.5"}) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("serving")
        caller = pool.submit(server.send, advert(1))
        gate.wait_for_arrival()
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("drain_timed_out")
        gate.open()
        assert (caller.result().status, caller.result().json["error"]["code"]) == (503, "draining")
        assert server.wait() == 0
        assert server.pids() == []


def test_engine_that_does_not_drain_killed(tmp_path: Path):
    gate = Gate(tmp_path / "pass")
    environment = {"GATES": str(tmp_path), "INPAINT_DRAIN_S": "8"}
    with start(environment) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("serving")
        caller = pool.submit(server.send, advert(1))
        gate.wait_for_arrival()
        server.kill_engine(signal.SIGSTOP)
        assert server.stop() == 1
        assert (caller.result().status, caller.result().json["error"]["code"]) == (500, "internal")
        assert server.pids() == []


def test_caller_that_never_reads_does_not_hold_up_end():
    with start({"INPAINT_DRAIN_S": "8"}) as server:
        server.wait_for("serving")
        fields = {"image": [[[9, 9, 9]] * 64] * 64, "background_prompt": "", "foreground_prompt": "", "steps": 1}
        body = json.dumps({**fields, "width": 512, "height": 512}).encode()
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode() + body)
            assert server.wait_for("request")["bytes_out"] > 8_000_000
            assert server.stop(seconds=8) == 0
            assert server.pids() == []


def test_sigterm_while_loading(tmp_path: Path):
    gate = Gate(tmp_path / "load")
    with start({"GATES": str(tmp_path)}) as server:
        gate.wait_for_arrival()
        assert server.stop() == 0
        assert server.pids() == []


def test_dead_engine_restarted(tmp_path: Path):
    work = Gate(tmp_path / "pass")
    with start({"GATES": str(tmp_path)}) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("serving")
        caller = pool.submit(server.send, advert(1))
        work.wait_for_arrival()
        load = Gate(tmp_path / "load")
        server.kill_engine()
        lost = caller.result()
        assert (lost.status, lost.json["error"]["code"]) == (500, "internal")
        assert lost.json["error"]["request_id"] == lost.headers["x-request-id"]
        load.wait_for_arrival()
        assert server.ping() == 503
        load.open()
        server.wait_for("state", state="ready")
        assert server.ping() == 200
        assert_serves(server)


def test_retry_after_while_engine_is_down(tmp_path: Path):
    with start({"GATES": str(tmp_path)}) as server:
        server.wait_for("serving")
        (tmp_path / "broken").touch()
        server.kill_engine()
        server.wait_for("part_start_failed", part="engine")
        reply = server.send(advert(1))
        assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
        assert reply.headers["retry-after"] == "5"
        server.wait_for("cannot_serve")
        assert server.wait() == 1
        assert server.pids() == []


def test_hanging_engine_restarted():
    with start() as server:
        server.wait_for("serving")
        server.kill_engine(signal.SIGSTOP)
        server.wait_for("state", state="unresponsive")
        assert server.ping() == 503
        server.wait_for("state", state="ready")
        assert_serves(server)


def test_front_door_restarted_after_any_kill():
    with start() as server:
        server.wait_for("serving")
        for name in ("ModelServer", "front_door.launcher"):
            [pid] = server.pids(f"{name} ")
            os.kill(pid, signal.SIGKILL)
            server.wait_for("state", state="ready")
            assert_serves(server)
        for pid in server.pids("model_service_worker"):
            os.kill(pid, signal.SIGKILL)
        server.wait_for("part_failed", part="front door")
        server.wait_for("state", state="ready")
        assert_serves(server)
        assert server.stop() == 0
        assert server.pids() == []


def test_killed_workers_replaced_and_their_parent_restarted(tmp_path: Path):
    with start({"GATES": str(tmp_path)}) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("serving")
        parent = server.parent_of_workers()
        for pid in server.pids("model_service_worker"):
            if pid != parent:
                os.kill(pid, signal.SIGKILL)
        while (reply := server.send(advert(1))).status != 200:
            assert reply.status == 500
        gate = Gate(tmp_path / "encode")
        caller = pool.submit(server.send, advert(2))
        gate.wait_for_arrival()
        os.kill(parent, signal.SIGKILL)
        assert_serves(server, seed=3)
        gate.open()
        assert not advert(2).problem(caller.result())
        fault = server.wait_for("part_failed", part="front door")
        assert fault["reason"] == "the process that workers are forked from ended"
        server.wait_for("state", state="ready")
        assert_serves(server)
        assert server.stop() == 0
        assert server.pids() == []


def test_too_many_restarts_end_server():
    with start(timeouts={"max_restarts": 1}) as server:
        server.wait_for("serving")
        server.kill_engine()
        server.wait_for("state", state="ready")
        server.kill_engine()
        assert "More than 1 restarts" in server.wait_for("cannot_serve")["reason"]
        assert server.wait() == 1
        assert server.pids() == []


def test_killed_supervisor_leaves_no_process():
    with start() as server:
        server.wait_for("serving")
        assert len(server.pids()) > 10
        server.stop(signal.SIGKILL)
        server.wait_until_gone()


def test_engine_that_cannot_start_ends_server():
    with Server(engine=[sys.executable, "-c", "raise SystemExit(7)"]) as server:
        assert "code 7" in server.wait_for("cannot_serve")["reason"]
        assert server.wait() == 1


def test_taken_port_named():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", free_port()))
        taken.listen()
        with Server(port=taken.getsockname()[1]) as server:
            assert f"Port {server.port} cannot be used" in server.wait_for("cannot_serve")["reason"]
            assert server.wait() == 1


def test_port_too_high_named():
    with Server(port=32_767) as server:
        reason = server.wait_for("cannot_serve")["reason"]
        assert "Port 32767" in reason
        assert "--direct" in reason
        assert server.wait() == 1


def test_huge_queue_starts_few_workers():
    with start({"INPAINT_QUEUE": "1024", "INPAINT_MAX_BODY_MB": "1000"}) as server:
        bounded = server.wait_for("workers_bounded_by_memory")
        server.wait_for("serving")
        assert len(server.pids("model_service_worker")) <= bounded["workers"] + 1 < 50
        assert_serves(server)


def test_two_servers_side_by_side():
    with start() as one, start() as other:
        one.wait_for("serving")
        other.wait_for("serving")
        assert_serves(one)
        assert one.stop() == 0
        assert_serves(other)
        assert other.stop() == 0


def test_supervisor_and_handler_import_no_models():
    code = """
import sys, inpaint_server.front_door.handler
assert not {"torch", "numpy", "PIL", "pydantic", "httpx"} & set(sys.modules), sorted(sys.modules)
import inpaint_server.front_door.supervisor
assert not {"torch", "transformers", "PIL"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
