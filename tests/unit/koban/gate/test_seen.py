"""The window of seen events behaves like a plain dict of the last so many, in a fraction of its memory."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.gate.seen import CONFLICT, DUPLICATE, NEW, Seen, Standing

A, B = b"a" * 16, b"b" * 16


class Model:
    """The same in the plainest way."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.bodies: OrderedDict[str, bytes] = OrderedDict()

    def add(self, event_id: str, body_hash: bytes) -> Standing:
        if event_id in self.bodies:
            return DUPLICATE if self.bodies[event_id] == body_hash else CONFLICT
        self.bodies[event_id] = body_hash
        if len(self.bodies) > self.window:
            self.bodies.popitem(last=False)
        return NEW


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 60).map(lambda n: f"e{n}"), st.sampled_from([A, B])), max_size=400),
)
def test_it_answers_like_a_dict_of_the_last_events(window: int, events: list[tuple[str, bytes]]) -> None:
    """Whatever comes in whatever order: same answers as the model, same number remembered."""
    seen, model = Seen(window), Model(window)
    for event_id, body in events:
        assert seen.add(event_id, body) is model.add(event_id, body)
    assert len(seen) == len(model.bodies)


@pytest.mark.parametrize("window", [5_000, 20_000, 4_096])
def test_it_keeps_its_answers_while_it_grows_and_forgets(window: int) -> None:
    """Over three and a half windows, with each tenth event repeated from near and far, it equals the model."""
    seen, model = Seen(window), Model(window)
    for number in range(window * 7 // 2):
        for back in (0, window // 2, window - 1, window, window + 1) if number % 10 == 0 else (0,):
            event_id = f"0190b3a2-{number - back}"
            assert seen.add(event_id, A) is model.add(event_id, A)


def test_an_unchanged_repeat_is_a_duplicate_and_a_changed_one_a_conflict() -> None:
    """The first body counts, however often others follow."""
    seen = Seen(10)
    assert seen.add("e1", A) is NEW
    assert seen.add("e1", A) is DUPLICATE
    assert seen.add("e1", B) is CONFLICT
    assert seen.add("e1", A) is DUPLICATE


def test_an_event_takes_less_than_64_bytes() -> None:
    """Memory stays in proportion to the window, not to what passed by."""
    seen = Seen(100_000)
    for number in range(350_000):
        seen.add(str(number), A)
    assert len(seen) == 100_000
    assert seen.memory_bytes / len(seen) < 64
