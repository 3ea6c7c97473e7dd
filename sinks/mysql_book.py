"""Writes the journal's entries to MySQL: a batch is one transaction of entries, lines, running sums and the watermark.

The row of a lane is locked first and says which position is next, so a batch that comes again, or that a worker writes
which has lost the lane, finds what is there and changes nothing.
"""

from __future__ import annotations

import asyncio
from binascii import hexlify
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from koban.ledger.history import Chain
from koban.records import Entry
from schemas.errors import Transient
from sinks.book import PostedEntry
from sinks.contract import WRITTEN, Outcome, Result
from sinks.mysql import connect, hang_up, migrate, transient

CHAINS_CACHED_MAX = 50_000
"""Accounts of a lane whose running sum is kept in memory (some 20 MB); beyond it the memory starts anew."""
LOOKED_UP_MAX = 5_000
"""Keys in one look-up."""
CHAIN_BITS = 32
DUPLICATE_ENTRY = 1062

_decode = msgspec.json.Decoder(Entry).decode

ROWS_IN_STATEMENT_MAX = 2_000

# Rows are written out here: the driver's own way takes ten times as long. Text is hexadecimal, which needs no escapes.
_ENTRIES = (
    b"INSERT INTO journal_entries (lane, position, entry_id, event_type, payment_id, occurred_at_us, recorded_at_us,"
    b" body) VALUES ",
    b"(%d,%d,x'%b',x'%b',%b,%d,%d,x'%b')",
    b"",
)
_POSTINGS = (
    b"INSERT INTO postings (chain, recorded_at_us, number, position, line, debit_minor, sum_minor, occurred_at_us,"
    b" occurred_max_us, late_class) VALUES ",
    b"(%d,%d,%d,%d,%d,%d,%d,%d,%d,%d)",
    b"",
)
_CHAINS = (
    b"INSERT INTO book_chains (chain, account, lane, sum_minor, line_count, recorded_at_us, occurred_max_us,"
    b" late_classes) VALUES ",
    b"(%d,x'%b',%d,%d,%d,%d,%d,%d)",
    b" ON DUPLICATE KEY UPDATE sum_minor = VALUES(sum_minor), line_count = VALUES(line_count),"
    b" recorded_at_us = VALUES(recorded_at_us), occurred_max_us = VALUES(occurred_max_us),"
    b" late_classes = VALUES(late_classes)",
)
_LANE = (
    "UPDATE book_lanes SET next_position = %s, chains = %s, recorded_at_us = %s,"
    " complete_to_us = GREATEST(complete_to_us, %s) WHERE lane = %s"
)


class AnotherJournalError(RuntimeError):
    """The journal is not the one that the book was made of: its positions hold other entries."""


class LaneState(msgspec.Struct):
    """What a lane's row says, and the chains that were used lately."""

    next_position: int
    chains: int
    recorded_at_us: int
    by_account: dict[str, Chain] = {}


class _Work(msgspec.Struct):
    """The rows that a batch comes to."""

    entries: list[tuple[Any, ...]] = []
    postings: list[tuple[Any, ...]] = []
    touched: dict[str, Chain] = {}


class MySqlBook:
    """``Book`` in MySQL. A lane has a connection of its own; its calls are worked on by a thread, one after another."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connections: dict[int, Connection[Any]] = {}
        self._states: dict[int, LaneState] = {}
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._migrated = False

    async def append(self, lane: int, entries: Sequence[PostedEntry]) -> list[Result]:
        """See ``Book.append``. Raises AnotherJournalError."""
        if not entries:
            return []
        async with self._turns[lane]:
            try:
                return await asyncio.to_thread(self._append, lane, entries)
            except Transient as error:
                self._forget(lane)
                return [Result(Outcome.RETRY, error.reason)] * len(entries)
            except BaseException:
                self._forget(lane)
                raise

    async def mark(self, lane: int, complete_to_us: int) -> None:
        """See ``Book.mark``."""
        async with self._turns[lane]:
            try:
                await asyncio.to_thread(self._mark, lane, complete_to_us)
            except BaseException:
                self._forget(lane)
                raise

    async def close(self) -> None:
        """See ``Book.close``. Waits for what is being written."""
        for lane in list(self._turns):
            async with self._turns[lane]:
                self._forget(lane)

    def _forget(self, lane: int) -> None:
        """What a broken transaction left in memory counts for nothing; the next one starts from the tables."""
        self._states.pop(lane, None)
        connection = self._connections.pop(lane, None)
        if connection is not None:
            hang_up(connection)

    def _connected(self, lane: int) -> Connection[Any]:
        connection = self._connections.get(lane)
        if connection is None:
            connection = self._connections[lane] = connect(self._url)
            if not self._migrated:
                migrate(connection)
                self._migrated = True
        return connection

    def _mark(self, lane: int, complete_to_us: int) -> None:
        connection = self._connected(lane)
        with transient(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO book_lanes (lane, complete_to_us) VALUES (%s, %s)"
                " ON DUPLICATE KEY UPDATE complete_to_us = GREATEST(complete_to_us, VALUES(complete_to_us))",
                (lane, complete_to_us),
            )
            connection.commit()

    def _append(self, lane: int, entries: Sequence[PostedEntry]) -> list[Result]:
        results, read = _read(entries)
        connection = self._connected(lane)
        try:
            return self._attempt(connection, lane, entries, list(read), list(results), look_up=False)
        except pymysql.IntegrityError as error:
            if error.args[0] != DUPLICATE_ENTRY:
                raise
            # An entry is there, though its position was not passed: only now the question which one is worth its price.
            connection.rollback()
            self._states.pop(lane, None)
            return self._attempt(connection, lane, entries, read, results, look_up=True)

    def _attempt(
        self,
        connection: Connection[Any],
        lane: int,
        entries: Sequence[PostedEntry],
        read: list[Entry | None],
        results: list[Result],
        *,
        look_up: bool,
    ) -> list[Result]:
        with transient(), connection.cursor() as cursor:
            state = self._locked(cursor, lane)
            if look_up or entries[0].position < state.next_position:
                _sort_out(cursor, lane, state, entries, read, results)
            new = [(posted, entry) for posted, entry in zip(entries, read, strict=True) if entry is not None]
            next_position = max(state.next_position, entries[-1].position + 1)
            work = self._post(cursor, lane, state, new)
            _insert(cursor, _ENTRIES, work.entries)
            # In the order of their primary keys: the lines of a chain, and its neighbours', share a page.
            _insert(cursor, _POSTINGS, sorted(work.postings))
            _insert(cursor, _CHAINS, sorted(_row(lane, account, chain) for account, chain in work.touched.items()))
            cursor.execute(_LANE, (next_position, state.chains, state.recorded_at_us, state.recorded_at_us, lane))
            connection.commit()
            state.next_position = next_position
        return results

    def _locked(self, cursor: Cursor, lane: int) -> LaneState:
        """The lane's state, locked until the transaction ends: from memory if nobody else wrote meanwhile."""
        question = "SELECT next_position, chains, recorded_at_us FROM book_lanes WHERE lane = %s FOR UPDATE"
        if not cursor.execute(question, (lane,)):
            cursor.execute("INSERT INTO book_lanes (lane) VALUES (%s)", (lane,))
            cursor.execute(question, (lane,))
        row = cursor.fetchone()
        assert row is not None
        found = LaneState(*row)
        state = self._states.get(lane)
        if state is None or (state.next_position, state.chains, state.recorded_at_us) != row:
            state = self._states[lane] = found
        return state

    def _post(self, cursor: Cursor, lane: int, state: LaneState, new: list[tuple[PostedEntry, Entry]]) -> _Work:
        """Moves the chains on, in memory, and gives the rows."""
        _load(cursor, lane, state, {line.account for _, entry in new for line in entry.lines})
        work = _Work()
        by_account, touched = state.by_account, work.touched
        for posted, entry in new:
            at_us = state.recorded_at_us = max(state.recorded_at_us, posted.recorded_at_us)
            position, occurred_at_us = posted.position, entry.occurred_at_us
            work.entries.append(
                (
                    lane,
                    position,
                    _hex(entry.entry_id),
                    _hex(entry.event_type),
                    b"NULL" if entry.payment_id is None else b"x'%b'" % _hex(entry.payment_id),
                    occurred_at_us,
                    at_us,
                    hexlify(posted.value),
                )
            )
            for number, line in enumerate(entry.lines):
                chain = by_account.get(line.account)
                if chain is None:
                    chain = by_account[line.account] = Chain(lane << CHAIN_BITS | state.chains)
                    state.chains += 1
                touched[line.account] = chain
                step = chain.append(line.debit_minor, occurred_at_us, at_us)
                work.postings.append((chain.number, at_us, step.number, position, number, *step[2:]))
        return work


def _read(entries: Sequence[PostedEntry]) -> tuple[list[Result], list[Entry | None]]:
    """The entries decoded; what is none, or comes twice, is refused."""
    results: list[Result] = []
    read: list[Entry | None] = []
    seen: set[str] = set()
    for posted in entries:
        try:
            entry = _decode(posted.value)
            posted.value.decode()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            results.append(Result(Outcome.REFUSED, f"no journal entry: {error}"))
            read.append(None)
            continue
        if entry.entry_id in seen:
            results.append(Result(Outcome.REFUSED, f"entry {entry.entry_id} comes twice"))
            read.append(None)
            continue
        seen.add(entry.entry_id)
        results.append(WRITTEN)
        read.append(entry)
    return results, read


def _sort_out(
    cursor: Cursor,
    lane: int,
    state: LaneState,
    entries: Sequence[PostedEntry],
    read: list[Entry | None],
    results: list[Result],
) -> None:
    """Takes out what the book has: at its place it is stale, elsewhere the ledger wrote it twice, and it is refused."""
    known: dict[str, tuple[int, int]] = {}
    ids = [entry.entry_id for entry in read if entry is not None]
    for some in _slices(ids):
        cursor.execute("SELECT entry_id, lane, position FROM journal_entries WHERE entry_id IN %s", (some,))
        known.update({entry_id: (there, position) for entry_id, there, position in cursor.fetchall()})
    for at, (posted, entry) in enumerate(zip(entries, read, strict=True)):
        if entry is None:
            continue
        place = known.get(entry.entry_id)
        if place == (lane, posted.position):
            results[at], read[at] = Result(Outcome.STALE, "the book has it"), None
        elif place is not None:
            reason = f"entry {entry.entry_id} is in the book already, at position {place[1]} of lane {place[0]}"
            results[at], read[at] = Result(Outcome.REFUSED, reason), None
        elif posted.position < state.next_position:
            raise AnotherJournalError(
                f"the book is complete up to position {state.next_position} of lane {lane}, but knows no entry"
                f" {entry.entry_id}, which is at {posted.position}: it was made of another journal. Empty the book's"
                " tables to make it of this one"
            )


def _load(cursor: Cursor, lane: int, state: LaneState, accounts: set[str]) -> None:
    """Brings the chains of these accounts into memory, as far as there are."""
    if len(state.by_account) > CHAINS_CACHED_MAX:
        state.by_account = {}
    missing = sorted(accounts - state.by_account.keys())
    for some in _slices(missing):
        cursor.execute(
            "SELECT account, chain, sum_minor, line_count, recorded_at_us, occurred_max_us, late_classes"
            " FROM book_chains WHERE account IN %s AND lane = %s",
            (some, lane),
        )
        for account, *columns in cursor.fetchall():
            state.by_account[account] = Chain(*columns)


def _row(lane: int, account: str, chain: Chain) -> tuple[Any, ...]:
    return (
        chain.number,
        _hex(account),
        lane,
        chain.sum_minor,
        chain.lines,
        chain.recorded_at_us,
        chain.occurred_max_us,
        chain.late_classes,
    )


def _insert(cursor: Cursor, statement: tuple[bytes, bytes, bytes], rows: list[tuple[Any, ...]]) -> None:
    """Multi-row inserts of bounded size."""
    head, form, tail = statement
    for start in range(0, len(rows), ROWS_IN_STATEMENT_MAX):
        values = b",".join([form % row for row in rows[start : start + ROWS_IN_STATEMENT_MAX]])
        cursor.connection.query(head + values + tail)  # `execute` would encode it again


def _hex(text: str) -> bytes:
    return hexlify(text.encode())


def _slices(keys: list[str]) -> list[list[str]]:
    return [keys[start : start + LOOKED_UP_MAX] for start in range(0, len(keys), LOOKED_UP_MAX)]
