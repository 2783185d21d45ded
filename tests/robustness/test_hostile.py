"""Strangers' requests, shortly; `python -m benchmarks.fuzz` sends ten thousand through the front door."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.hostile import fault, hostile
from testing.plain_app import Plain, plain
from testing.running import Reply, Server
from testing.traffic import advert, photo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app() -> Iterator[Plain]:
    with plain(max_canvas_megapixels=0.1, max_body_mb=2, deadline_s=10) as loaded:
        yield loaded


def test_whatever_is_sent_is_answered_as_documented(app: Plain):
    draw = random.Random(1)
    for number in range(600):
        order = hostile(draw)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in order.headers.items()]
        answer = app.client.post("/invocations", content=order.body, headers=headers)
        reply = Reply(answer.status_code, dict(answer.headers), answer.content)
        assert not fault(reply), (number, order)
    assert app.invoke(advert(1).body).json()["images"][0]["seed"] == 1


def test_the_front_door_passes_strangers_on_and_keeps_its_workers(server: Server):
    workers = server.pids("model_service_worker")
    draw = random.Random(2)
    for number in range(100):
        order = hostile(draw)
        reply = server.request("POST", "/invocations", order.body, order.headers)
        assert not fault(reply), (number, order)
    assert server.pids("model_service_worker") == workers
    assert not advert(1).fault(server.request("POST", "/invocations", advert(1).body, advert(1).headers))


def test_a_coverage_guided_fuzz_of_the_decoders_finds_nothing(tmp_path: Path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "photo.png").write_bytes(b"\x00" + photo())
    (seeds / "request.json").write_bytes(b"\x01" + advert(1).body)
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz_decoders.py"), "-runs=1500", str(seeds)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
