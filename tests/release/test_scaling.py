"""The model behind docs/scaling.md: no request is lost, no instance does more than it can, the page is current."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inpaint_server.deploy import scaling as deployed
from inpaint_server.settings import Settings
from scripts import fleet, scaling
from scripts.fleet import Scaling, poisson, simulate

FIXED = Scaling(minimum=1, maximum=1, target=4, start_s=60)


def test_page_is_current():
    tables = scaling.text(scaling.FLOOR_S, scaling.START_S)
    assert scaling.PAGE.read_text().endswith(f"\n{tables}\n"), "run python -m scripts.scaling write"


def test_model_uses_settings_of_server_and_deployment():
    assert Settings().max_batch == fleet.MAX_BATCH
    assert Settings().deadline_s == fleet.DEADLINE_S
    assert Settings().queue == FIXED.queue
    assert FIXED.out_cooldown_s == deployed.SCALE_OUT_COOLDOWN_S
    assert FIXED.in_cooldown_s == deployed.SCALE_IN_COOLDOWN_S


def test_eight_requests_take_eight_times_as_long_as_one():
    assert simulate([0.0], 0.0, 2.0, FIXED).latencies == [2.0]
    assert simulate([0.0] * 8, 0.0, 2.0, FIXED).latencies == [16.0] * 8


def test_full_queue_refuses_and_long_wait_is_late():
    done = simulate([0.0] * 50, 0.0, 2.0, FIXED)
    assert (done.refused, done.late, len(done.latencies)) == (10, 16, 24)
    assert max(done.latencies) <= fleet.DEADLINE_S


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.05, 4),
    minimum=st.integers(0, 2),
    more=st.integers(1, 4),
    target=st.integers(1, 12),
    asynchronous=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_request_is_lost_and_no_instance_is_overloaded(
    *, rate: float, minimum: int, more: int, target: int, asynchronous: bool, seed: int
):
    minimum = minimum if asynchronous else max(1, minimum)
    arrivals = poisson(lambda _: rate, 600, seed)
    limits = Scaling(minimum=minimum, maximum=minimum + more, target=target, start_s=120)
    done = simulate(arrivals, 600, 1.5, limits, asynchronous=asynchronous)
    assert len(done.latencies) + done.refused + done.late == len(arrivals)
    assert len(done.latencies) * 1.5 <= done.instance_s + fleet.STEP_S
    assert minimum <= done.peak <= limits.maximum
    if asynchronous:
        assert (done.refused, done.late) == (0, 0)


@pytest.mark.parametrize("hours", [8, 24])
def test_instances_finish_catalogue_in_time(hours: int):
    number = scaling._instances(scaling.FLOOR_S, hours, scaling.START_S)
    for instances, in_time in ((number, True), (number - 1, False)):
        needed = scaling.CATALOGUE * scaling.FLOOR_S / instances + scaling.START_S
        assert (needed <= hours * scaling.HOUR_S) == in_time
