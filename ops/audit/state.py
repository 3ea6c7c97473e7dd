"""The ledger's state as its topics say it: one hash that does not depend on the number of workers."""

from __future__ import annotations

from koban.ledger.book import Book, state_hash
from koban.ledger.facts import decode_balance, decode_entry, decode_waiting
from koban.ledger.lives import Store
from koban.ledger.steps import apply, began_at_us
from koban.records import WaitingRefund
from koban.settings import Settings
from ops.kafka_log import read_topics

BALANCES, JOURNAL, WAITING = TOPICS = ("balances", "journal", "refunds-waiting")

ENTRIES_AT_ONCE = 50_000
"""Entries of a lane after which what is over is forgotten."""


class StoredLane:
    """A lane's book as a worker without a store would restore it."""

    def __init__(self, lane: int, lives: Store | None = None) -> None:
        self.book = Book(lane, lambda owner: 0, lives)
        self._entries = 0
        self._waiting: dict[bytes, WaitingRefund] = {}

    def take(self, topic: str, key: bytes, value: bytes | None) -> None:
        """A record of one of the topics, those of each topic in their order."""
        if topic == WAITING:
            if value is None:
                self._waiting.pop(key, None)
            else:
                self._waiting[key] = decode_waiting(value)
        elif value is not None and topic == BALANCES:
            self.book.restore(decode_balance(value))
        elif value is not None:
            apply(decode_entry(value), key.decode(), self.book.store)
            self._entries += 1
            if self._entries % ENTRIES_AT_ONCE == 0:
                self.book.store.take_changes(began_at_us)

    def whole(self) -> Book:
        """The book, once all records are taken. Raises AssertionError when it does not sum to zero."""
        for refund in self._waiting.values():
            self.book.waiting.restore(refund)
        self.book.check()
        return self.book


def stored_hash(settings: Settings) -> str:
    """The hash of what the lanes would restore, in 32 hex digits. Taken while lanes work, it is of no one moment.

    Raises LogUnavailableError, and AssertionError when a lane's accounts don't sum to zero, a version goes back, or the
    journal goes on with a payment that it has not begun.
    """
    late_days, tombstone_days = settings.ledger_late_days, settings.ledger_tombstone_days
    lanes = [StoredLane(lane, Store(late_days, tombstone_days)) for lane in range(settings.payment_partitions)]
    for record in read_topics(settings.kafka_bootstrap, TOPICS):
        lanes[record.partition].take(record.topic, record.key or b"", record.value)
    return state_hash(lane.whole() for lane in lanes)
