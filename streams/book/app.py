"""The stage: the journal and the latest balances into MySQL, at least once from Kafka, each once in the tables."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from koban.settings import Settings
from schemas import cloudevents
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent, ReasonCode, Transient
from sinks.book import PostedEntry
from sinks.contract import Item, Outcome, Result
from sinks.dynamodb import DynamoDbSink
from sinks.mysql import MySqlSink
from sinks.mysql_book import MySqlBook
from streams.transport import Batch, BatchApp, Record

logger = logging.getLogger("koban.book")

STAGE = "book"
JOURNAL, BALANCES, DEAD_LETTERS = "journal", "balances", "payments-dlq"
MARK_EVERY_S = 1.0
SETTLED_US = 2_000_000
"""A lane that is caught up is complete to so long ago: an entry is seen only when the ledger's transaction is over and
a fetch has brought it."""


class BalanceHead(msgspec.Struct):
    """What a balance record is kept by."""

    account: str
    version: int


_head = msgspec.json.Decoder(BalanceHead).decode


def book_app(settings: Settings) -> BatchApp:
    """The stage's worker."""
    app = BatchApp(STAGE, settings)
    book = MySqlBook(settings.mysql_url)
    latest = LatestBalances(settings)

    @app.batches(JOURNAL)
    async def journal(batch: Batch) -> None:
        entries = [posted(record) for record in batch.records]
        results = await book.append(batch.partition, entries)
        settle(batch, batch.records, results, app.count)

    @app.batches(BALANCES)
    async def balances(batch: Batch) -> None:
        items, records = newest(batch.records)
        results = await latest.write(items)
        settle(batch, records, results, lambda outcome, n: app.count(f"balances_{outcome}", n))

    @app.beside
    async def mark() -> None:
        while not app.should_stop:
            await asyncio.sleep(MARK_EVERY_S)
            at_us = time.time_ns() // 1000 - SETTLED_US
            for lane in [lane for lane, behind in app.desk.lags(JOURNAL) if not behind]:
                try:
                    await book.mark(lane, at_us)
                except Transient as error:
                    logger.debug("lane %d is not marked: %s", lane, error)
        await book.close()
        await latest.close()

    return app


class LatestBalances:
    """The read models of balances: MySQL's, and DynamoDB's where there is one.

    An item has come where it should once both have it, so a DynamoDB that is down holds MySQL's balances up too, which
    the lag tells; the journal goes on.
    """

    def __init__(self, settings: Settings) -> None:
        self._mysql = MySqlSink(settings.mysql_url)
        self._dynamodb = DynamoDbSink(settings.dynamodb_url) if settings.dynamodb_url else None
        self._ensured = False

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """The worse of both results for each item. Raises Transient when the table can't be made."""
        if self._dynamodb is None:
            return await self._mysql.write(items)
        if not self._ensured:
            await self._dynamodb.ensure(BALANCES)
            self._ensured = True
        both = await asyncio.gather(self._mysql.write(items), self._dynamodb.write(items))
        return [max(pair, key=lambda one: _BADNESS.index(one.outcome)) for pair in zip(*both, strict=True)]

    async def close(self) -> None:
        """Give connections back."""
        await self._mysql.close()
        if self._dynamodb is not None:
            await self._dynamodb.close()


_BADNESS = (Outcome.STALE, Outcome.WRITTEN, Outcome.REFUSED, Outcome.RETRY)


def posted(record: Record) -> PostedEntry:
    """A record of the journal as the book takes it: posted when the ledger says, else at the record's own time."""
    at_us = cloudevents.read(record.headers).at_us
    return PostedEntry(record.offset, record.timestamp * 1000 if at_us is None else at_us, record.value or b"")


def newest(records: Sequence[Record]) -> tuple[list[Item], list[Record]]:
    """The last balance of each account in a batch. What is no balance is passed on as it is, to be refused."""
    kept: dict[str, tuple[Item, Record]] = {}
    for record in records:
        value = record.value or b""
        try:
            head = _head(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            key = f"{record.offset}"
            kept[f"\0{key}"] = Item(BALANCES, key, b"" if value[:1] == b"{" else value), record
        else:
            kept[head.account] = Item(BALANCES, head.account, value, head.version), record
    return [item for item, _ in kept.values()], [record for _, record in kept.values()]


def settle(
    batch: Batch, records: Sequence[Record], results: Sequence[Result], count: Callable[[str, int], None]
) -> None:
    """Counts what became of a batch and dead-letters what was refused. Raises Transient when some of it must wait."""
    if waiting := next((result for result in results if result.outcome is Outcome.RETRY), None):
        raise Transient(waiting.reason)
    for record, result in zip(records, results, strict=True):
        if result.outcome is Outcome.REFUSED:
            dead_letter(batch, record, result.reason)
    for outcome in (Outcome.WRITTEN, Outcome.STALE, Outcome.REFUSED):
        count(outcome.value, sum(result.outcome is outcome for result in results))


def dead_letter(batch: Batch, record: Record, reason: str) -> None:
    """Emits a record that the book refuses, as it came, with the reason and its place."""
    letter = DeadLetter.of(
        InvalidEvent(ReasonCode.REFUSED, f"the book refuses it: {reason}"),
        stage=STAGE,
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        at_us=time.time_ns() // 1000,
        producer="ledger",
    )
    batch.emit(DEAD_LETTERS, record.value, key=record.key, headers=letter.headers(), timestamp_ms=record.timestamp)
