"""Failpoints: named places at which a drill ends the process, as if its machine had lost power just there.

Off, and a comparison with None, unless the variable ``KOBAN_FAILPOINT`` is set: ``after-produce:7`` ends the process
when it passes that place for the seventh time. Kept out of the settings, since no platform is ever run with it.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

VARIABLE = "KOBAN_FAILPOINT"


class Place(StrEnum):
    """Where a process can be ended, in the order in which it passes."""

    IN_RESTORE = "in-restore"
    """A list of records of the lane's log has been taken in, and others may follow."""
    AFTER_PRODUCE = "after-produce"
    """All outputs of a transaction are acknowledged; neither its offsets nor its end have been sent."""
    AFTER_OFFSETS = "after-offsets"
    """The offsets are part of the transaction, which has not ended."""
    AFTER_COMMIT = "after-commit"
    """The transaction is committed, and the worker does not know what comes next."""


class Failpoint:
    """Ends the process at the ``passes``-th passing of a place. A worker of several lanes counts them together."""

    def __init__(self, place: Place, passes: int) -> None:
        self.place = place
        self.left = passes

    @classmethod
    def of(cls, text: str) -> Failpoint:
        """``PLACE:N``, N from 1. Raises ValueError for anything else."""
        place, _, passes = text.partition(":")
        if not passes.isdigit() or int(passes) < 1:
            raise ValueError(f"{VARIABLE}={text!r}: expected PLACE:N, with a place of {', '.join(Place)}")
        return cls(Place(place), int(passes))

    def passed(self, place: Place) -> None:
        if place is self.place:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_armed = Failpoint.of(os.environ[VARIABLE]) if VARIABLE in os.environ else None


def passed(place: Place) -> None:
    """The process is at this place."""
    if _armed is not None:
        _armed.passed(place)
