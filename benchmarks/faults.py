"""Fifty kills on the demo models, a slow start, and a stop in the middle of work: what callers receive.

    python -m benchmarks.faults [--rounds 3] [--load-seconds 20]

Each round kills the engine, the front door's Java, its launcher, a handler's worker and the process that workers are
forked from, at idle, in a mask, in a pass and in encoding (the request stands at that stage: see
`testing/plain_engine.py`); two more kills are the supervisor's.
Fails where a caller gets half an answer or one that is not JSON, where the server is not back 10 s after what its parts
took to load, where a process is left behind, or where a part was started more often than it was killed.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from testing.faults import STAGES, CallResult, KillReport, kill_at_stage
from testing.running import Server
from testing.traffic import advert

BACK_WITHIN_S = 10.0
DOOR_PARTS = ("Java", "launcher", "workers' parent")
STARTED_EVENTS = {"engine": "engine_warm", **dict.fromkeys(DOOR_PARTS, "front_door_open")}


class Report:
    """The rows of the table, and what went wrong."""

    def __init__(self) -> None:
        self.rows: defaultdict[tuple[str, str], list[tuple[KillReport, float]]] = defaultdict(list)
        self.faults: list[str] = []
        self.kills = 0

    def add(self, part: str, stage: str, outcome: KillReport, load: float) -> None:
        """One kill, and the seconds the part took to load again."""
        self.kills += 1
        typer.echo(f"kill {self.kills}: {part}, {stage}, back after {outcome.seconds:.1f} s", err=True)
        self.rows[part, stage].append((outcome, load))
        self.faults += [f"{part}, {stage}: {fault}" for fault in outcome.problems]
        if outcome.seconds > BACK_WITHIN_S + load:
            self.faults.append(f"{part}, {stage}: back after {outcome.seconds:.1f} s, {load:.1f} s of them loading")

    def print(self) -> None:
        """The table."""
        print("| killed | stage | times | its caller got | others meanwhile got | back after, s | of it loading, s |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for (part, stage), kills in self.rows.items():
            callers = {how(outcome.caller) for outcome, _ in kills if outcome.caller is not None} or {"-"}
            others = {how(other) for outcome, _ in kills for other in outcome.others} or {"-"}
            slowest = max(outcome.seconds for outcome, _ in kills)
            load = max(load for _, load in kills)
            results = f"{', '.join(sorted(callers))} | {', '.join(sorted(others))}"
            print(f"| {part} | {stage} | {len(kills)} | {results} | {slowest:.1f} | {load:.1f} |")


def how(result: CallResult) -> str:
    """What a caller received, in a word."""
    return result.outcome if result.reply is None else str(result.reply.status)


def gated_server(folder: Path, **environment: str) -> Server:
    """The demo bundle behind gates."""
    variables = {"GATES": str(folder), "PLAIN": "0", "INPAINT_BUNDLE": "demo", "INPAINT_QUEUE": "4", **environment}
    return Server(environment=variables)


def kill_everything(report: Report, rounds: int) -> None:
    """One server for each part that is killed, so that no server sees more restarts than it allows."""
    for part in ("engine", "worker", *DOOR_PARTS):
        with tempfile.TemporaryDirectory() as folder, gated_server(Path(folder)) as server:
            server.wait_for("serving", 300)
            for number in range(rounds * len(STAGES)):
                stage = STAGES[number % len(STAGES)]
                outcome = kill_at_stage(server, Path(folder), part, stage, number)
                report.add(part, stage, outcome, seconds_to_load(server, part))
            if code := server.stop():
                report.faults.append(f"{part}: exit code {code}")
            count_starts(report, server, part, rounds * len(STAGES))
            if left := server.pids():
                report.faults.append(f"{part}: left behind {left}")


def seconds_to_load(server: Server, part: str) -> float:
    """How long the part's last start took, by its log."""
    event = STARTED_EVENTS.get(part)
    logged = server.events(event) if event else []
    return logged[-1]["seconds"] if logged else 0.0


def count_starts(report: Report, server: Server, part: str, kills: int) -> None:
    """No part is started again but for a kill."""
    expected = {"engine": kills * (part == "engine"), "front door": kills * (part in DOOR_PARTS)}
    for failed, number in expected.items():
        if (count := len(server.events("part_failed", part=failed))) > number:
            report.faults.append(f"{part}: {count} failures of the {failed} for {number} kills")


def kill_supervisors(report: Report) -> None:
    """Nothing comes back of a killed supervisor, and nothing stays."""
    for stage in ("idle", "pass"):
        with tempfile.TemporaryDirectory() as folder, gated_server(Path(folder)) as server:
            server.wait_for("serving", 300)
            report.add("supervisor", stage, kill_at_stage(server, Path(folder), "supervisor", stage, 1), 0.0)
            server.wait_until_gone()
            server.wait()


def slow_start(load: float) -> str:
    """A bundle that takes so long to load: never a 200 of /ping before it is warm; the first request is served."""
    with gated_server(Path("/nonexistent"), LOAD_S=str(load)) as server, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        warm = pool.submit(server.wait_for, "engine_warm", 300)
        pings, early = 0, 0
        while not warm.done():
            early += server.ping() == 200 and not warm.done()
            pings += 1
            time.sleep(0.05)  # noqa: TID251 - a client pauses between two pings
        server.wait_for("serving", 300)
        sample = advert(1)
        fault = sample.problem(server.send(sample))
        server.stop()
    seconds = time.monotonic() - begun
    print(f"\nslow start: warm after {seconds:.0f} s, {pings} pings before, {early} of them 200")
    return f"slow start: {early} early pings, {fault}" if early or fault else ""


def stop_in_the_middle() -> str:
    """SIGTERM with eight requests running."""
    with tempfile.TemporaryDirectory() as folder, gated_server(Path(folder), INPAINT_QUEUE="16") as server:
        server.wait_for("serving", 300)
        samples = [advert(seed, width=128, height=128, steps=8) for seed in range(8)]
        with ThreadPoolExecutor(8) as pool:
            replies = [pool.submit(server.send, sample) for sample in samples]
            while not all(reply.running() for reply in replies):
                pass
            time.sleep(1.0)  # noqa: TID251 - until all eight have reached the engine
            running = sum(not reply.done() for reply in replies)
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            faults = [
                fault
                for sample, reply in zip(samples, replies, strict=True)
                if (fault := sample.problem(reply.result()))
            ]
            good = sum(reply.result().status == 200 for reply in replies)
        code = server.wait(60)
        seconds = time.monotonic() - begun
        left = server.pids()
    print(f"\nSIGTERM with {running} running: {good} good answers, exit code {code} after {seconds:.1f} s, left {left}")
    return f"SIGTERM: {faults}, {code}, {left}" if faults or good < 8 or code or left or seconds > 30 else ""


def main(
    *,
    rounds: Annotated[int, typer.Option(help="Kills of each of five parts at each of four stages.")] = 3,
    load_seconds: Annotated[float, typer.Option(help="How long the slow bundle loads.")] = 20.0,
) -> None:
    """Run everything, print what callers received, exit 1 where any of it is a fault."""
    report = Report()
    kill_everything(report, rounds)
    kill_supervisors(report)
    report.print()
    print(f"\n{report.kills} kills")
    report.faults += [fault for fault in (slow_start(load_seconds), stop_in_the_middle()) if fault]
    print("\n".join(report.faults) or "Nothing wrong.")
    raise SystemExit(bool(report.faults))


if __name__ == "__main__":
    typer.run(main)
