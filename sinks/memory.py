"""A sink in memory: the reference that the real ones are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from sinks.contract import WRITTEN, Item, Outcome, Result


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
