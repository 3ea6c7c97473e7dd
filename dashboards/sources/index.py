"""The index: what can be found by now, and how far it is complete."""

from __future__ import annotations

import msgspec

from sinks.payment_search import PaymentSearch


class IndexState(msgspec.Struct, frozen=True):
    """Counts of documents, and the instant up to which they are complete."""

    payments: int
    alerts: int
    complete_to_us: int | None


class Index:
    """Asks OpenSearch."""

    def __init__(self, search: PaymentSearch) -> None:
        self._search = search

    async def ask(self) -> IndexState:
        """What the index holds. Raises Transient."""
        complete_to_us = await self._search.complete_to_us()
        counts = await self._search.counts()
        return IndexState(counts["payments"], counts["alerts"], complete_to_us)
