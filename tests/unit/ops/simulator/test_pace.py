"""The pace: whatever a wallet tries, what it is allowed never looks like rule T01."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ops.simulator.pace import Pace

SECOND_US = 1_000_000
attempts = st.lists(st.tuples(st.integers(0, 90 * SECOND_US), st.integers(1, 70_000)), min_size=1, max_size=60)


@given(attempts)
def test_five_payments_in_a_minute_and_under_100_000_yen_in_ten(steps):
    pace = Pace(1)
    at_us = 0
    paid: list[tuple[int, int]] = []
    for wait_us, amount in steps:
        at_us += wait_us
        if pace.take(0, at_us, amount):
            paid.append((at_us, amount))
    for last_us, _ in paid:
        last_ms = last_us // 1000
        assert sum(last_ms - 60_000 <= at // 1000 and at <= last_us for at, _ in paid) <= 5
        assert sum(a for at, a in paid if last_ms - 600_000 <= at // 1000 and at <= last_us) < 100_000


def test_a_reserved_wallet_pays_nothing_else_until_a_minute_after():
    pace = Pace(2)
    assert pace.is_idle(1, 0)
    pace.reserve(1, 50 * SECOND_US, 0, 9_000)
    assert not pace.is_idle(1, 110 * SECOND_US)
    assert not pace.take(1, 110 * SECOND_US + 1_000, 1)
    assert pace.take(1, 110 * SECOND_US + 1_001, 1)


def test_ordinary_payments_are_not_held_up():
    pace = Pace(1)
    assert all(pace.take(0, minute * 60 * SECOND_US, 1_500) for minute in range(600))
