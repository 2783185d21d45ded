"""Each process killed once; `python -m benchmarks.faults` kills fifty, on the demo models."""

from __future__ import annotations

from pathlib import Path

from testing.faults import CLOSED, strike
from testing.gated_servers import plain_server

FEW_WORKERS = {"INPAINT_QUEUE": "1", "INPAINT_MAX_BATCH": "1"}


def test_whichever_process_is_killed_callers_are_told_and_the_server_comes_back(tmp_path: Path):
    with plain_server(GATES=str(tmp_path), **FEW_WORKERS) as server:
        server.wait_for("serving")
        for seed, (part, stage) in enumerate([("engine", "pass"), ("worker", "encode")]):
            outcome = strike(server, tmp_path, part, stage, seed)
            assert outcome.faults == [], part
            assert outcome.caller is not None
            assert outcome.caller.reply is not None
            assert outcome.caller.reply.status == 500
        outcome = strike(server, tmp_path, "Java", "mask", 5)
        assert outcome.faults == []
        assert outcome.caller is not None
        assert outcome.caller.how == CLOSED, "who killed the front door itself hears nothing, not half an answer"
        strike(server, tmp_path, "Java", "idle", 6)  # it has just begun to answer and may not be watched yet
        assert len(server.events("part_failed", part="engine")) == 1
        strike(server, tmp_path, "supervisor", "pass", 7)
        server.wait_until_gone()
        assert server.wait() == -9
