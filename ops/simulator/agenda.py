"""What was promised for later: the capture of a hold, the answer to a transfer, the refund of a purchase."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Deed = Callable[[int], bool]
"""Done at a moment (µs); says whether an event came of it."""


class Agenda:
    """Deeds by due time. Deeds of one time keep the order in which they were planned."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Deed]] = []
        """Soonest first; public for the loop that peeks at it for every event."""
        self._planned = 0

    def plan(self, due_us: int, deed: Deed) -> None:
        """Plans a deed."""
        self._planned += 1
        heappush(self.heap, (due_us, self._planned, deed))

    def pop(self) -> tuple[int, Deed]:
        """The soonest deed and its time."""
        due_us, _, deed = heappop(self.heap)
        return due_us, deed
