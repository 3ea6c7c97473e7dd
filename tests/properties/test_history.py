"""A chain answers any instant of business time from two kinds of rows, however late its lines come."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from koban.ledger.history import Chain, Step, classes, late_class, late_us_max

TIMES = st.one_of(st.integers(1, 60), st.integers(1, 10_000_000_000))


def occurred_up_to(chain: Chain, steps: list[Step], at_us: int) -> tuple[int, int]:
    """Sum and number of the lines up to an instant, from what the book's index holds."""
    in_order = [step for step in steps if step.late_class == 0]
    first = bisect_right(in_order, at_us, key=lambda step: step.occurred_at_us)
    if first == len(in_order):
        return chain.sum_minor, chain.lines
    after = in_order[first]
    late = [
        step
        for late in classes(chain.late_classes)
        for step in steps
        if step.late_class == late and at_us - late_us_max(late) < step.occurred_at_us <= at_us < step.occurred_max_us
    ]
    total = after.sum_minor - after.debit_minor + sum(step.debit_minor for step in late)
    return total, after.number - 1 + len(late)


@given(st.lists(st.tuples(st.integers(-1_000, 1_000), TIMES), max_size=60), TIMES)
def test_business_time_is_the_plain_sum_of_the_lines_up_to_the_instant(
    lines: list[tuple[int, int]], at_us: int
) -> None:
    chain = Chain(0)
    steps = [chain.append(debit, occurred_at_us, at) for at, (debit, occurred_at_us) in enumerate(lines)]
    expected = [debit for debit, occurred_at_us in lines if occurred_at_us <= at_us]
    assert occurred_up_to(chain, steps, at_us) == (sum(expected), len(expected))


@given(st.lists(st.tuples(st.integers(-1_000, 1_000), TIMES), min_size=1, max_size=60))
def test_a_chain_that_is_made_anew_from_its_row_goes_on_as_it_was(lines: list[tuple[int, int]]) -> None:
    whole, parts = Chain(7), Chain(7)
    for at, (debit, occurred_at_us) in enumerate(lines):
        row = (parts.number, parts.sum_minor, parts.lines, parts.recorded_at_us, parts.occurred_max_us)
        parts = Chain(*row, parts.late_classes)
        assert parts.append(debit, occurred_at_us, at) == whole.append(debit, occurred_at_us, at)


@given(st.integers(1, 1 << 52))
def test_a_class_bounds_how_late_its_lines_are(late_us: int) -> None:
    late = late_class(late_us)
    assert late_us_max(late - 1) < late_us <= late_us_max(late)
    assert list(classes(1 << late)) == [late]
