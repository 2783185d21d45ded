"""Processes killed at stages of a request; `python -m benchmarks.faults` kills fifty, on the demo models."""

from __future__ import annotations

from pathlib import Path

from testing.faults import CLOSED, kill_at_stage
from testing.running import Server

FEW_WORKERS = {"INPAINT_QUEUE": "1", "INPAINT_MAX_BATCH": "1"}


def test_kills_are_answered_and_server_comes_back(tmp_path: Path):
    with Server(environment={"GATES": str(tmp_path), **FEW_WORKERS}) as server:
        server.wait_for("serving")
        for seed, (part, stage) in enumerate([("engine", "pass"), ("worker", "encode")]):
            report = kill_at_stage(server, tmp_path, part, stage, seed)
            assert report.problems == [], part
            assert report.caller is not None
            assert report.caller.reply is not None
            assert report.caller.reply.status == 500
        report = kill_at_stage(server, tmp_path, "Java", "mask", 5)
        assert report.problems == []
        assert report.caller is not None
        assert report.caller.outcome == CLOSED, "without the front door callers get no answer, not half of one"
        kill_at_stage(server, tmp_path, "Java", "idle", 6)  # it has just begun to answer and may not be watched yet
        assert len(server.events("part_failed", part="engine")) == 1
        kill_at_stage(server, tmp_path, "supervisor", "pass", 7)
        server.wait_until_gone()
        assert server.wait() == -9
