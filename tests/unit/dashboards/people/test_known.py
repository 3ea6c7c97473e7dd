"""Who was looked up lately: one request asks the database for all, and only for what is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboards.people.roles import Person, Via
from dashboards.people.service import ASKING_S_MAX, FRESH_S, Known
from schemas.errors import Transient

KEI = Person(user_id="u-1", name="kei", grants=(), via=Via.SESSION)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def unasked() -> Person | None:
    raise AssertionError("it is known already")


def aged(by_s: float) -> tuple[Known, Clock]:
    """Somebody who was looked up so long ago."""
    clock = Clock()
    known = Known(clock)
    assert known.person("key", lambda: KEI, reads=True) is KEI
    clock.now_s += by_s
    return known, clock


def while_asked(known: Known, then: Callable[[], None], answer: Person | None = KEI) -> Person | None:
    """Does something while another request's look-up is on its way."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Person | None:
        begun.set()
        assert go_on.wait(30)
        return answer

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(known.person, "key", slow, reads=True)
        assert begun.wait(30)
        try:
            then()
        finally:
            go_on.set()
        return asking.result(30)


def test_readers_do_not_queue_up_behind_a_look_up() -> None:
    known, _ = aged(FRESH_S + 0.5)

    def others() -> None:
        assert known.person("key", unasked, reads=True) is KEI

    assert while_asked(known, others) is KEI
    assert known.person("key", unasked, reads=True) is KEI, "what it found is fresh for all"


def test_who_changes_something_is_always_looked_up() -> None:
    """A revocation holds for changes as soon as it is a moment old, whoever asks meanwhile."""
    known, _ = aged(FRESH_S + 0.5)

    def others() -> None:
        assert known.person("key", lambda: None, reads=False) is None

    while_asked(known, others)


def test_a_look_up_that_hangs_keeps_nobody_in() -> None:
    known, clock = aged(FRESH_S + 0.5)

    def others() -> None:
        clock.now_s += ASKING_S_MAX
        assert known.person("key", lambda: None, reads=True) is None

    while_asked(known, others)


def test_a_look_up_that_fails_is_over() -> None:
    """The next request asks again."""
    known, _ = aged(FRESH_S + 0.5)

    def down() -> Person | None:
        raise Transient("down")

    assert known.person("key", down, reads=True) is KEI, "who was known a moment ago still reads"
    with pytest.raises(Transient):
        known.person("key", down, reads=False)
    assert known.person("key", lambda: None, reads=True) is None


def test_who_is_forgotten_while_a_look_up_is_on_its_way_is_looked_up_again() -> None:
    """Its answer is from before a sign-out; it must not outlive it."""
    known, _ = aged(FRESH_S + 0.5)
    assert while_asked(known, known.forget) is KEI
    assert known.person("key", lambda: None, reads=True) is None
