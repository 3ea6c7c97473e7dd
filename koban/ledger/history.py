"""The history of an account's balance on two time axes, append-only however late its lines come.

Recorded time is when the ledger posted an entry; business time is when the event happened, and that comes out of order.
An account's lines of one lane are a chain, in the order of the lane's journal. A chain's recorded time never goes back,
so a balance on that axis is the running sum of the chain's last line up to the instant. For business time each line
carries the latest business time of the chain so far. A line at that time is in order; one behind it is late, and its
class says by how much, to a power of 16. Then

    Σ lines with business time ≤ t  =  what had been summed up before the first line in order that is after t
                                       + the late lines behind that one which are not after t,

and a late line behind it lies less than its class's bound before t: a short range of an index, whatever the history.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

LATE_BITS = 4
"""A line of class k is late by less than 2 ** (4 k) microseconds; class 0 is in order."""


class Axis(StrEnum):
    """Which time an instant is meant in."""

    BUSINESS = "business"
    RECORDED = "recorded"


class Step(NamedTuple):
    """What a line adds to its chain. Times are UTC microseconds."""

    recorded_at_us: int
    number: int
    """Counts a chain's lines from 1, without gaps."""
    debit_minor: int
    sum_minor: int
    """Σ debits of the chain up to here."""
    occurred_at_us: int
    occurred_max_us: int
    """The latest business time of the chain up to here."""
    late_class: int


class Chain(msgspec.Struct, gc=False):
    """The lines of one account that one lane posted: where they stand now."""

    number: int
    sum_minor: int = 0
    lines: int = 0
    recorded_at_us: int = 0
    occurred_max_us: int = 0
    late_classes: int = 0
    """Bit k is set once there was a late line of class k."""

    def append(self, debit_minor: int, occurred_at_us: int, recorded_at_us: int) -> Step:
        """Adds a line. Its recorded time must not lie before that of the line in front: see ``LaneClock``."""
        assert recorded_at_us >= self.recorded_at_us, "a chain's recorded time goes back"
        self.recorded_at_us = recorded_at_us
        self.sum_minor += debit_minor
        self.lines += 1
        late = 0
        if occurred_at_us >= self.occurred_max_us:
            self.occurred_max_us = occurred_at_us
        else:
            late = late_class(self.occurred_max_us - occurred_at_us)
            self.late_classes |= 1 << late
        return Step(recorded_at_us, self.lines, debit_minor, self.sum_minor, occurred_at_us, self.occurred_max_us, late)


def late_class(late_us: int) -> int:
    """The class of a line that is late by so many microseconds; 0 for none."""
    return (late_us.bit_length() + LATE_BITS - 1) // LATE_BITS


def late_us_max(late: int) -> int:
    """No line of a class is late by more than this."""
    return (1 << LATE_BITS * late) - 1


def classes(late_classes: int) -> Iterator[int]:
    """The classes in a chain's bits."""
    return (late for late in range(1, late_classes.bit_length()) if late_classes >> late & 1)
