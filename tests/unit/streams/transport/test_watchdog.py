"""When a worker counts as stuck."""

from __future__ import annotations

from streams.transport.watchdog import EXIT_STUCK, Watchdog
from tests.waiting import wait_for


class Worker:
    progress_at = 0.0
    behind = False


def watchdog(worker: Worker, **options: object) -> Watchdog:
    made = Watchdog(60, progress_at=lambda: worker.progress_at, behind=lambda: worker.behind, **options)  # type: ignore[arg-type]
    made._beat_at = made._caught_up_at = 0.0
    return made


def test_an_idle_worker_is_well() -> None:
    worker = Worker()
    dog = watchdog(worker)
    dog._beat_at = 10_000
    assert dog.reason(10_000) is None


def test_records_that_wait_while_nothing_is_worked_on_are_a_reason_after_the_limit() -> None:
    worker = Worker()
    dog = watchdog(worker)
    dog._beat_at = 200
    assert dog.reason(100) is None
    worker.behind = True
    assert dog.reason(159) is None, "it was caught up at 100"
    assert "none was worked on for 61 s" in str(dog.reason(161))
    worker.progress_at = 150
    assert dog.reason(161) is None


def test_a_loop_that_does_not_turn_is_a_reason_whatever_waits() -> None:
    dog = watchdog(Worker())
    assert "has not turned" in str(dog.reason(61))


def test_a_stuck_worker_ends_with_its_own_exit_code() -> None:
    ended: list[int] = []
    dog = Watchdog(0.02, progress_at=lambda: 0.0, behind=lambda: True, end=ended.append)
    dog.start()
    wait_for(lambda: ended, "nothing has ended it")
    assert ended == [EXIT_STUCK]
