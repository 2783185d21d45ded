"""One advert through the real front door for each family of models, on small random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testing.families import Family, save_bundle
from testing.running import Server, free_port
from testing.traffic import advert


@pytest.mark.parametrize("families", [("2", "2"), ("2-v", None), ("xl", "xl")])
def test_advert_of_family(tmp_path: Path, families: tuple[Family, Family | None]):
    bundle, port = save_bundle(tmp_path / "bundle", *families), free_port()
    command = [str(Path(sys.executable).with_name("inpaint-server")), "serve"]
    with Server(command=[*command, "--bundle", str(bundle), "--port", str(port)], port=port) as server:
        server.wait_for("serving")
        sample = advert(1)
        reply = server.send(sample)
        assert not sample.problem(reply)
        assert (reply.status, reply.json["model"]["bundle"]) == (200, "random 1")
        assert server.stop() == 0
