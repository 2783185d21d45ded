"""The environment as operators set it."""

from __future__ import annotations

import socket

import pytest

from inpaint_server.settings import Settings, read, variable_name
from testing.plain_server import wait_until
from testing.running import DIRECT_PLAIN_ENGINE, Server


@pytest.mark.parametrize("field", Settings.model_fields)
def test_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch, field: str):
    monkeypatch.delenv(variable_name(field), raising=False)
    unset = read()
    monkeypatch.setenv(variable_name(field), "")
    assert read() == unset


def test_port_above_front_doors_highest_served_directly():
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    assert port > 32_766
    with Server(command=DIRECT_PLAIN_ENGINE, port=port) as server:
        wait_until(lambda: server.ping() == 200)
        assert server.stop() == 0
