"""What every sink keeps to: it takes items and says of each one what became of it, in order.

A sink is idempotent: an item has a key and a version, a store keeps the item with the highest version it has seen, and
an item that is not newer than what the store has is ``STALE``, which is as good as written. So a batch can be written
again after any doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class Outcome(StrEnum):
    """What became of an item."""

    WRITTEN = "written"
    STALE = "stale"
    """The store has this version or a newer one already; nothing changed."""
    RETRY = "retry"
    """Not now (too busy, unreachable, blocked): the same item may be written later."""
    REFUSED = "refused"
    """Never: the item itself is at fault. ``reason`` says why."""


class Item(msgspec.Struct, frozen=True):
    """One thing to write. ``body`` is one JSON object without line breaks; None deletes what is there."""

    index: str
    key: str
    body: bytes | None
    version: int = 1
    """Counts up from 1. Not looked at when the item deletes."""
    routing: str | None = None


class Result(msgspec.Struct, frozen=True):
    """What became of one item, and why if it was not written."""

    outcome: Outcome
    reason: str = ""


WRITTEN = Result(Outcome.WRITTEN)


class Sink(Protocol):
    """A store that takes items."""

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """One result an item, in the order of ``items``. Raises nothing about the items or the store."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
