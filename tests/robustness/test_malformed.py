"""Malformed requests, a few hundred; `python -m benchmarks.fuzz` sends ten thousand through the front door."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.malformed import malformed_request, problem
from testing.plain_server import PlainServer
from testing.running import ROOT, Reply, Server
from testing.traffic import advert, photo


@pytest.fixture(scope="module")
def plain() -> Iterator[PlainServer]:
    with PlainServer(max_canvas_megapixels=0.1, max_body_mb=2, deadline_s=10) as running:
        yield running


def test_malformed_requests_answered_as_documented(plain: PlainServer):
    rng = random.Random(1)
    for number in range(600):
        sample = malformed_request(rng)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in sample.headers.items()]
        answer = plain.client.post("/invocations", content=sample.body, headers=headers)
        reply = Reply(answer.status_code, dict(answer.headers), answer.content)
        assert not problem(reply), (number, sample)
    assert plain.invoke(advert(1).body).json()["images"][0]["seed"] == 1


def test_malformed_requests_keep_workers(server: Server):
    workers = server.pids("model_service_worker")
    rng = random.Random(2)
    for number in range(100):
        sample = malformed_request(rng)
        reply = server.send(sample)
        assert not problem(reply), (number, sample)
    assert server.pids("model_service_worker") == workers
    assert not advert(1).problem(server.send(advert(1)))


def test_fuzzed_decoders_raise_only_our_errors(tmp_path: Path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "photo.png").write_bytes(b"\x00" + photo())
    (seeds / "request.json").write_bytes(b"\x01" + advert(1).body)
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz_decoders.py"), "-runs=1500", str(seeds)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
