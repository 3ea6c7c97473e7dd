"""What the keeper reports of a component, read beside what runs."""

from ops.engines.report import Health, State


def test_health_is_told_of_the_process_that_it_is_known_of() -> None:
    """A broker that was just killed and started anew is not called healthy because the one before it was."""
    known = State(health=Health.HEALTHY, pid=7)
    assert known.health_of(7) == Health.HEALTHY
    assert known.health_of(8) == Health.STARTING


def test_a_step_that_is_done_has_no_process_and_keeps_its_health() -> None:
    assert State(health=Health.HEALTHY).health_of(0) == Health.HEALTHY
