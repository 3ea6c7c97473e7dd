"""What the keeper decides about one component: start, wait longer each time, restart what hangs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.engines import keeper
from ops.engines.component import Component
from ops.engines.keeper import Action, Watch, backoff_s
from ops.engines.report import Health, read_report, report_file


@pytest.fixture
def watch() -> Watch:
    return make()


def make() -> Watch:
    return Watch(
        Component(
            name="one",
            command=("one",),
            probe=lambda: None,
            endpoint="",
            directory=Path("/"),
            start_s_max=100,
            unhealthy_s_max=30,
        )
    )


def start(watch: Watch, now: float, pid: int) -> None:
    assert watch.on_process(now, 0, alive=False, may_start=True) is Action.START
    assert watch.on_process(now, pid, alive=True, may_start=True) is None


def test_the_back_off_doubles_from_a_second_to_a_minute() -> None:
    assert [backoff_s(count) for count in range(10)] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]


@given(st.integers(0, 10**6))
def test_the_back_off_never_shrinks_and_never_ends(count: int) -> None:
    assert backoff_s(count) <= backoff_s(count + 1) <= keeper.BACKOFF_MAX_S


def test_it_waits_for_what_it_needs(watch: Watch) -> None:
    assert watch.on_process(0, 0, alive=False, may_start=False) is None
    assert watch.state.health is Health.WAITING
    start(watch, 1, 10)
    assert watch.state.health is Health.STARTING
    assert watch.state.restarts == 0


def test_a_good_answer_makes_it_healthy_and_a_bad_one_unhealthy(watch: Watch) -> None:
    start(watch, 0, 10)
    watch.on_probe(1, "refused")
    assert (watch.state.health, watch.state.reason) == (Health.STARTING, "refused")
    watch.on_probe(2, None)
    assert (watch.state.health, watch.state.reason) == (Health.HEALTHY, "")
    watch.on_probe(3, "timed out")
    assert (watch.state.health, watch.state.reason) == (Health.UNHEALTHY, "timed out")


def test_the_first_death_is_mended_at_once_and_counted(watch: Watch) -> None:
    start(watch, 0, 10)
    watch.on_probe(1, None)
    start(watch, 2, 11)
    assert watch.state.restarts == 1


def test_one_that_keeps_dying_waits_longer_and_is_never_given_up(watch: Watch) -> None:
    now, pauses = 0.0, []
    for pid in range(10, 20):
        died = now
        while watch.on_process(now, 0, alive=False, may_start=True) is not Action.START:
            now += 0.5
        pauses.append(now - died)
        watch.on_process(now, pid, alive=True, may_start=True)
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_one_that_dies_between_two_looks_backs_off_too(watch: Watch) -> None:
    starts = [now for now in range(20) if watch.on_process(now, 0, alive=False, may_start=True) is Action.START]
    assert starts == [0, 1, 3, 6, 11]  # 0, 1, 2, 4 s after the look that found it dead
    assert watch.state.restarts == len(starts) - 1


def test_calm_forgives_earlier_failures(watch: Watch) -> None:
    for pid in range(10, 15):
        while watch.on_process(pid * 100, 0, alive=False, may_start=True) is not Action.START:
            watch.state.not_before = 0
        watch.on_process(pid * 100, pid, alive=True, may_start=True)
    assert watch.state.failures == 4
    watch.on_probe(2000, None)
    watch.on_probe(2000 + keeper.CALM_S - 1, None)
    assert watch.state.failures == 4
    watch.on_probe(2000 + keeper.CALM_S, None)
    assert watch.state.failures == 0
    assert watch.state.restarts == 4


def test_one_that_hangs_is_stopped_once_and_started_again(watch: Watch) -> None:
    start(watch, 0, 10)
    watch.on_probe(1, None)
    watch.on_probe(2, "timed out")
    assert watch.on_process(31, 10, alive=True, may_start=True) is None
    assert watch.on_process(32, 10, alive=True, may_start=True) is Action.STOP
    assert watch.on_process(33, 10, alive=True, may_start=True) is None
    start(watch, 34, 11)
    assert watch.state.restarts == 1


def test_one_that_never_comes_up_is_restarted(watch: Watch) -> None:
    start(watch, 0, 10)
    assert watch.on_process(100, 10, alive=True, may_start=True) is None
    assert watch.on_process(101, 10, alive=True, may_start=True) is Action.STOP
    assert "100 s" in watch.state.reason


def test_a_keeper_that_was_restarted_takes_over_what_runs() -> None:
    watch = make()
    assert watch.on_process(0, 10, alive=True, may_start=True) is None
    watch.on_probe(1, None)
    again = Watch(watch.component, watch.state)
    assert again.on_process(2, 10, alive=True, may_start=True) is None
    assert again.state.health is Health.HEALTHY
    assert again.state.restarts == 0


def test_a_step_that_ended_well_is_healthy(watch: Watch) -> None:
    start(watch, 0, 10)
    watch.on_done()
    assert watch.state.health is Health.HEALTHY
    assert watch.state.restarts == 0


def test_a_report_is_read_back(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None
    path = report_file(tmp_path)
    path.parent.mkdir()
    path.write_text('{"at": 1.5, "keeper_pid": 7, "components": {"one": {"health": "healthy", "starts": 3}}}')
    report = read_report(tmp_path)
    assert report is not None
    assert report.components["one"].restarts == 2
    path.write_text("{")
    assert read_report(tmp_path) is None
