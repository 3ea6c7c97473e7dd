"""A sink in memory: the reference that the real ones are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from koban.search.document import UNPLACED, PaymentDocument, decode
from sinks.contract import WRITTEN, Item, Outcome, Result
from sinks.payment_store import Place


class MemorySink:
    """Keeps bodies and versions in a dict."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], tuple[int, bytes]] = {}

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """See ``Sink.write``."""
        return [self._write(item) for item in items]

    async def close(self) -> None:
        """Nothing to give back."""

    def _write(self, item: Item) -> Result:
        place = (item.index, item.key)
        if item.body is None:
            self.stored.pop(place, None)
            return WRITTEN
        if place in self.stored and self.stored[place][0] >= item.version:
            return Result(Outcome.STALE, f"version {self.stored[place][0]} is there")
        if not item.body.startswith(b"{"):
            return Result(Outcome.REFUSED, "the body is no JSON object")
        self.stored[place] = (item.version, item.body)
        return WRITTEN


class MemoryPayments(MemorySink):
    """``PaymentStore`` and sink in one: documents are found the instant they are written."""

    async def get(self, places: Sequence[Place]) -> dict[str, list[PaymentDocument]]:
        """See ``PaymentStore.get``."""
        return self._documents({(place.index, place.payment_id) for place in places})

    async def find(self, places: Sequence[Place]) -> dict[str, list[PaymentDocument]]:
        """See ``PaymentStore.find``."""
        wanted = {place.payment_id for place in places}
        return self._documents({(index, payment) for index, payment in self.stored if payment in wanted})

    async def unplaced(self) -> int:
        """See ``PaymentStore.unplaced``."""
        return sum(index == UNPLACED for index, _ in self.stored)

    async def refresh_unplaced(self) -> None:
        """Nothing to do: there is no delay."""

    async def indices(self) -> set[str]:
        """See ``PaymentStore.indices``."""
        return {UNPLACED, *(index for index, _ in self.stored)}

    async def create(self, index: str) -> None:
        """Nothing to do: a dict takes any key."""

    def _documents(self, places: set[tuple[str, str]]) -> dict[str, list[PaymentDocument]]:
        found: dict[str, list[PaymentDocument]] = {}
        for place in sorted(places & self.stored.keys()):
            found.setdefault(place[1], []).append(decode(self.stored[place][1]))
        return found
