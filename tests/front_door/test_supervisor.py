"""The supervisor, through the public door: readiness, faults, draining, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testing.running import Gate, Server, free_port


def test_ping_is_200_only_once_warm_and_the_first_request_is_served(tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    with Server(environment={"FAKE_GATE": str(gate.path)}) as server:
        gate.arrived()
        assert server.ping() is None
        gate.open()
        server.wait_for("serving")
        assert server.ping() == 200
        assert server.invoke(b'{"first": 1}').json == {"first": 1}
        assert server.stop() == 0
        assert server.pids() == []


def test_sigterm_finishes_what_runs_refuses_what_comes_and_leaves_nothing(tmp_path: Path):
    gates = [Gate(tmp_path / f"gate{i}") for i in range(8)]
    with Server() as server, ThreadPoolExecutor(8) as pool:
        server.wait_for("serving")
        running = [pool.submit(server.invoke, b'{"i": %d}' % i, wait=str(gate.path)) for i, gate in enumerate(gates)]
        for gate in gates:
            gate.arrived()
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert server.ping() == 503
        refused = server.invoke()
        assert (refused.status, refused.json["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"] == "5"
        for gate in gates:
            gate.open()
        assert [future.result().json for future in running] == [{"i": i} for i in range(8)]
        assert server.wait() == 0
        assert server.pids() == []


def test_work_that_outlasts_the_drain_time_is_cut_and_told(tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    with (
        Server(environment={"INPAINT_DRAIN_S": "0.5"}, timeouts={"kill_after_drain": 0.1}) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        server.wait_for("serving")
        running = pool.submit(server.invoke, wait=str(gate.path))
        gate.arrived()
        assert server.stop() == 1
        assert (running.result().status, running.result().json["error"]["code"]) == (500, "internal")
        assert server.pids() == []


def test_sigterm_while_loading_ends_at_once(tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    with Server(environment={"FAKE_GATE": str(gate.path), "INPAINT_DRAIN_S": "1"}) as server:
        gate.arrived()
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        gate.open()
        assert server.wait() == 0
        assert server.pids() == []


def test_an_engine_that_dies_is_started_again_and_its_callers_are_told(tmp_path: Path):
    load, work = Gate(tmp_path / "load"), Gate(tmp_path / "work")
    with Server(environment={"FAKE_GATE": str(load.path)}) as server, ThreadPoolExecutor(1) as pool:
        load.open()
        server.wait_for("serving")
        running = pool.submit(server.invoke, wait=str(work.path))
        work.arrived()
        [engine] = server.pids("fake_engine.py --uds")
        os.kill(engine, signal.SIGKILL)
        lost = running.result()
        assert (lost.status, lost.json["error"]["code"]) == (500, "internal")
        assert lost.json["error"]["request_id"] == lost.headers["x-request-id"]
        load.arrived()
        assert server.ping() == 503
        load.open()
        server.wait_for("state", state="ready")
        assert server.ping() == 200
        assert server.invoke(b'{"again": 1}').json == {"again": 1}


def test_while_nothing_listens_callers_are_asked_to_come_back(tmp_path: Path):
    broken = tmp_path / "broken"
    with Server(environment={"FAKE_FAIL": str(broken)}) as server:
        server.wait_for("serving")
        broken.touch()
        server.invoke(die=1)
        server.wait_for("part_start_failed", part="engine")
        reply = server.invoke()
        assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
        assert reply.headers["retry-after"] == "5"
        server.wait_for("cannot_serve")
        assert server.wait() == 1
        assert server.pids() == []


def test_an_engine_that_hangs_is_not_ready_and_is_started_again():
    with Server() as server:
        server.wait_for("serving")
        server.invoke(hang=1)
        server.wait_for("state", state="unresponsive")
        assert server.ping() == 503
        server.wait_for("state", state="ready")
        assert server.invoke(b'{"again": 1}').json == {"again": 1}


def test_the_front_door_is_opened_again_whichever_of_its_processes_is_killed():
    with Server() as server:
        server.wait_for("serving")
        for word in ("ModelServer", "front_door.launcher"):
            [pid] = server.pids(f"{word} ")
            os.kill(pid, signal.SIGKILL)
            server.wait_for("state", state="ready")
            assert server.invoke(b'{"again": 1}').json == {"again": 1}
        workers = server.pids("model_service_worker")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        server.wait_for("part_failed", part="front door")
        server.wait_for("state", state="ready")
        assert server.invoke(b'{"again": 1}').json == {"again": 1}
        assert server.stop() == 0
        assert server.pids() == []


def test_killed_workers_are_replaced_and_without_what_replaces_them_the_front_door_is_opened_again(tmp_path: Path):
    gate = Gate(tmp_path / "gate")
    with Server() as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("serving")
        parent = server.parent_of_workers()
        for pid in server.pids("model_service_worker"):
            if pid != parent:
                os.kill(pid, signal.SIGKILL)
        while (reply := server.invoke(b'{"again": 1}')).status != 200:
            assert reply.status == 500
        running = pool.submit(server.invoke, b'{"still": 1}', wait=str(gate.path))
        gate.arrived()
        os.kill(parent, signal.SIGKILL)
        assert server.invoke(b'{"meanwhile": 1}').json == {"meanwhile": 1}
        gate.open()
        assert running.result().json == {"still": 1}
        fault = server.wait_for("part_failed", part="front door")
        assert fault["reason"] == "the process that workers are forked from ended"
        server.wait_for("state", state="ready")
        assert server.invoke(b'{"again": 1}').json == {"again": 1}
        assert server.stop() == 0
        assert server.pids() == []


def test_too_many_deaths_end_the_server():
    with Server(timeouts={"max_restarts": 1}) as server:
        server.wait_for("serving")
        server.invoke(die=1)
        server.wait_for("state", state="ready")
        server.invoke(die=1)
        assert "More than 1 restarts" in server.wait_for("cannot_serve")["reason"]
        assert server.wait() == 1
        assert server.pids() == []


def test_a_killed_supervisor_takes_everything_with_it():
    with Server() as server:
        server.wait_for("serving")
        assert len(server.pids()) > 10
        server.stop(signal.SIGKILL)
        server.wait_until_gone()


def test_an_engine_that_cannot_start_ends_the_server():
    with Server(engine=[sys.executable, "-c", "raise SystemExit(7)"]) as server:
        assert "code 7" in server.wait_for("cannot_serve")["reason"]
        assert server.wait() == 1


def test_a_taken_port_is_one_clear_sentence():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", free_port()))
        taken.listen()
        with Server(port=taken.getsockname()[1]) as server:
            assert f"Port {server.port} cannot be used" in server.wait_for("cannot_serve")["reason"]
            assert server.wait() == 1


def test_two_servers_stand_side_by_side():
    with Server() as one, Server() as other:
        one.wait_for("serving")
        other.wait_for("serving")
        assert one.invoke(b'{"server": 1}').json == {"server": 1}
        assert one.stop() == 0
        assert other.invoke(b'{"server": 2}').json == {"server": 2}
        assert other.stop() == 0


def test_importing_the_supervisor_and_the_handler_imports_no_models():
    code = """
import sys, inpaint_server.front_door.handler
assert not {"torch", "numpy", "PIL", "pydantic", "httpx"} & set(sys.modules), sorted(sys.modules)
import inpaint_server.front_door.supervisor
assert not {"torch", "transformers", "PIL"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
