"""The ledger's state as its topic says it: one hash that does not depend on the number of workers."""

from __future__ import annotations

from koban.ledger.book import Book, state_hash
from koban.ledger.facts import decode_balance
from koban.settings import Settings
from ops.kafka_log import read_topics


def stored_hash(settings: Settings) -> str:
    """The hash of what the lanes would restore, in 32 hex digits. Taken while lanes work, it is of no one moment.

    Raises LogUnavailableError, and AssertionError when a lane's accounts don't sum to zero or a version goes back.
    """
    books = [Book(lane, lambda owner: 0) for lane in range(settings.payment_partitions)]
    for record in read_topics(settings.kafka_bootstrap, ["balances"]):
        if record.value is not None:
            books[record.partition].restore(decode_balance(record.value))
    for book in books:
        book.check()
    return state_hash(books)
