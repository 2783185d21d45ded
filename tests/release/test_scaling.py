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


def test_the_page_is_what_the_model_says():
    tables = scaling.text(scaling.FLOOR_S, scaling.START_S)
    assert scaling.PAGE.read_text().endswith(f"\n{tables}\n"), "run python -m scripts.scaling write"


def test_the_model_has_the_servers_and_the_deployments_settings():
    assert Settings().max_batch == fleet.PAINTED
    assert Settings().deadline_s == fleet.DEADLINE_S
    assert Settings().queue == FIXED.queue
    assert FIXED.out_cooldown_s == deployed.SCALE_OUT_COOLDOWN_S
    assert FIXED.in_cooldown_s == deployed.SCALE_IN_COOLDOWN_S


def test_one_request_takes_its_time_and_eight_take_eight_times_as_long():
    assert simulate([0.0], 0.0, 2.0, FIXED).latencies == [2.0]
    assert simulate([0.0] * 8, 0.0, 2.0, FIXED).latencies == [16.0] * 8


def test_what_finds_no_room_is_refused_and_what_waits_too_long_is_late():
    done = simulate([0.0] * 50, 0.0, 2.0, FIXED)
    assert (done.refused, done.late, len(done.latencies)) == (10, 16, 24)
    assert max(done.latencies) <= fleet.DEADLINE_S


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.05, 4),
    minimum=st.integers(0, 2),
    more=st.integers(1, 4),
    target=st.integers(1, 12),
    patient=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_request_is_lost_and_no_instance_does_more_than_it_can(
    *, rate: float, minimum: int, more: int, target: int, patient: bool, seed: int
):
    minimum = minimum if patient else max(1, minimum)
    arrivals = poisson(lambda _: rate, 600, seed)
    limits = Scaling(minimum=minimum, maximum=minimum + more, target=target, start_s=120)
    done = simulate(arrivals, 600, 1.5, limits, patient=patient)
    assert len(done.latencies) + done.refused + done.late == len(arrivals)
    assert len(done.latencies) * 1.5 <= done.instance_s + fleet.STEP_S
    assert minimum <= done.peak <= limits.maximum
    if patient:
        assert (done.refused, done.late) == (0, 0)


@pytest.mark.parametrize("hours", [8, 24])
def test_the_instances_of_the_page_end_the_catalogue_in_time(hours: int):
    number = scaling._instances(scaling.FLOOR_S, hours, scaling.START_S)
    for instances, in_time in ((number, True), (number - 1, False)):
        needed = scaling.CATALOGUE * scaling.FLOOR_S / instances + scaling.START_S
        assert (needed <= hours * scaling.HOUR_S) == in_time
