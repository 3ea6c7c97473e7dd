"""What is asked of the book in MySQL. Balances at an instant are a few index seeks a lane, whatever the history."""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from koban.ledger.history import Axis, classes, late_us_max
from koban.records import Balance, Entry
from schemas.errors import Transient
from sinks.book import ACCOUNTS_OF_OWNER_MAX, Amounts, Mark, Place, StatementLine, StoredEntry, TooManyAccountsError
from sinks.mysql import Isolation, connect, hang_up, transient

CONNECTIONS_MAX = 8
IDLE_MAX = 4
WAIT_S_MAX = 2.0
CONNECT_S_MAX = 2
ANSWER_S_MAX = 8
"""Somebody waits for the answer: a server that hangs is given up sooner than by a worker."""

_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_balance = msgspec.json.Decoder(Balance).decode

_LINES = (
    "SELECT p.recorded_at_us, %s, p.position, p.line, p.debit_minor, p.sum_minor, p.occurred_at_us, e.entry_id,"
    " e.event_type, e.payment_id, %s FROM postings p JOIN journal_entries e ON e.lane = %s AND e.position = p.position"
    " WHERE p.chain = %s AND (p.recorded_at_us, p.position, p.line) < (%s, %s, %s) AND p.recorded_at_us <= %s"
    " ORDER BY p.recorded_at_us DESC, p.number DESC LIMIT %s"
)


class MySqlBookQueries:
    """``BookQueries`` in MySQL, for threads: each call takes a connection of a small pool."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Connection[Any]] = []
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def close(self) -> None:
        """Give the idle connections back."""
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        """A cursor in a transaction of its own: what one call reads is of one moment."""
        if not self._free.acquire(timeout=WAIT_S_MAX):
            raise Transient("too many questions to the book at once")
        try:
            connection = self._taken()
            try:
                with transient(), connection.cursor() as cursor:
                    cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                    yield cursor
                    connection.rollback()
            except BaseException:
                hang_up(connection)
                raise
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
            else:
                connection.close()
        finally:
            self._free.release()

    def _taken(self) -> Connection[Any]:
        """An idle connection that still lives, else a new one: MySQL may have been restarted meanwhile."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            try:
                connection.ping(reconnect=False)
            except (pymysql.Error, OSError):
                hang_up(connection)
            else:
                return connection
        return connect(self._url, Isolation.REPEATABLE_READ, connect_s_max=CONNECT_S_MAX, answer_s_max=ANSWER_S_MAX)

    def balance_at(self, accounts: Sequence[str], at_us: int, axis: Axis) -> Amounts:
        """See ``BookQueries.balance_at``."""
        with self._cursor() as cursor:
            found = [_amounts_at(cursor, chain, at_us, axis) for chain in _chains(cursor, accounts)]
        return Amounts(sum(one.sum_minor for one in found), sum(one.lines for one in found))

    def statement(self, accounts: Sequence[str], limit: int, before: Place | None = None) -> list[StatementLine]:
        """See ``BookQueries.statement``."""
        start = before or (1 << 62, 1 << 15, 0, 0)
        with self._cursor() as cursor:
            chains = _chains(cursor, accounts)
            pages = [_page(cursor, chain, start, limit) for chain in chains]
            lines = [line for _, line in zip(range(limit), heapq.merge(*pages, reverse=True), strict=False)]
            total = sum(page[0][5] if page else 0 for page in pages)
        found = []
        for recorded_at_us, lane, position, line, debit_minor, _, occurred_at_us, *names in lines:
            entry_id, event_type, payment_id, account = names
            found.append(
                StatementLine(
                    account=account,
                    lane=lane,
                    position=position,
                    line=line,
                    entry_id=entry_id,
                    event_type=event_type,
                    payment_id=payment_id,
                    occurred_at_us=occurred_at_us,
                    recorded_at_us=recorded_at_us,
                    debit_minor=debit_minor,
                    sum_minor=total,
                )
            )
            total -= debit_minor
        return found

    def entry(self, entry_id: str) -> StoredEntry | None:
        """See ``BookQueries.entry``."""
        with self._cursor() as cursor:
            question = "SELECT lane, position, recorded_at_us, body FROM journal_entries WHERE entry_id = %s"
            if not cursor.execute(question, (entry_id,)):
                return None
            row = cursor.fetchone()
        assert row is not None
        lane, position, recorded_at_us, body = row
        return StoredEntry(lane=lane, position=position, recorded_at_us=recorded_at_us, entry=_decode_entry(body))

    def accounts(self, prefix: str) -> list[str]:
        """See ``BookQueries.accounts``."""
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT account FROM book_chains WHERE account >= %s AND account < %s"
                " ORDER BY account LIMIT %s",
                (prefix, prefix + "\U0010ffff", ACCOUNTS_OF_OWNER_MAX + 1),
            )
            found = [account for (account,) in cursor.fetchall()]
        if len(found) > ACCOUNTS_OF_OWNER_MAX:
            raise TooManyAccountsError(f"more than {ACCOUNTS_OF_OWNER_MAX} accounts begin with {prefix}")
        return found

    def live(self, prefix: str) -> list[Balance]:
        """See ``BookQueries.live``."""
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT body FROM balances WHERE item_key >= %s AND item_key < %s ORDER BY item_key LIMIT %s",
                (prefix, prefix + "\U0010ffff", ACCOUNTS_OF_OWNER_MAX + 1),
            )
            found = [_decode_balance(body) for (body,) in cursor.fetchall()]
        if len(found) > ACCOUNTS_OF_OWNER_MAX:
            raise TooManyAccountsError(f"more than {ACCOUNTS_OF_OWNER_MAX} accounts begin with {prefix}")
        return found

    def live_of(self, accounts: Sequence[str]) -> list[Balance]:
        """See ``BookQueries.live_of``."""
        if not accounts:
            return []
        with self._cursor() as cursor:
            cursor.execute("SELECT body FROM balances WHERE item_key IN %s ORDER BY item_key", (list(accounts),))
            return [_decode_balance(body) for (body,) in cursor.fetchall()]

    def known(self, account: str) -> bool:
        """See ``BookQueries.known``."""
        with self._cursor() as cursor:
            return bool(cursor.execute("SELECT 1 FROM book_chains WHERE account = %s LIMIT 1", (account,)))

    def marks(self) -> list[Mark]:
        """See ``BookQueries.marks``."""
        with self._cursor() as cursor:
            cursor.execute("SELECT lane, complete_to_us, next_position FROM book_lanes ORDER BY lane")
            return [Mark(*row) for row in cursor.fetchall()]

    def trial_balance(self) -> dict[str, tuple[int, int, int]]:
        """See ``BookQueries.trial_balance``."""
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT CASE WHEN LEFT(account, 1) IN ('U', 'M', 'C')"
                " THEN CONCAT(LEFT(account, 2), SUBSTRING_INDEX(SUBSTRING_INDEX(account, '.', 3), '.', -1))"
                " ELSE SUBSTRING_INDEX(SUBSTRING_INDEX(account, '@', 1), '.', 2) END AS kind,"
                " COUNT(DISTINCT account), SUM(line_count), SUM(sum_minor) FROM book_chains GROUP BY kind"
            )
            return {kind: (int(a), int(n), int(total)) for kind, a, n, total in cursor.fetchall()}


_ChainRow = tuple[int, str, int, int, int, int]
"""Chain, account, lane, sum, lines, late classes."""


def _chains(cursor: Cursor, accounts: Sequence[str]) -> list[_ChainRow]:
    if not accounts:
        return []
    cursor.execute(
        "SELECT chain, account, lane, sum_minor, line_count, late_classes FROM book_chains WHERE account IN %s",
        (list(accounts),),
    )
    return list(cursor.fetchall())


def _amounts_at(cursor: Cursor, chain: _ChainRow, at_us: int, axis: Axis) -> Amounts:
    return _recorded_at(cursor, chain, at_us) if axis is Axis.RECORDED else _occurred_at(cursor, chain, at_us)


def _recorded_at(cursor: Cursor, chain: _ChainRow, at_us: int) -> Amounts:
    """The running sum of the last line up to the instant."""
    cursor.execute(
        "SELECT sum_minor, number FROM postings WHERE chain = %s AND recorded_at_us <= %s"
        " ORDER BY recorded_at_us DESC, number DESC LIMIT 1",
        (chain[0], at_us),
    )
    return Amounts(*(cursor.fetchone() or (0, 0)))


def _occurred_at(cursor: Cursor, chain: _ChainRow, at_us: int) -> Amounts:
    """What was summed up before the first line in order after the instant, and the late lines that belong before it."""
    number, _, _, sum_minor, lines, late = chain
    cursor.execute(
        "SELECT sum_minor - debit_minor, number - 1 FROM postings FORCE INDEX (by_business_time)"
        " WHERE chain = %s AND late_class = 0 AND occurred_at_us > %s"
        " ORDER BY occurred_at_us, occurred_max_us, number LIMIT 1",
        (number, at_us),
    )
    row = cursor.fetchone()
    if row is None:  # all of the chain lies before
        return Amounts(sum_minor, lines)
    sum_minor, lines = row
    for late_class in classes(late):
        cursor.execute(
            "SELECT COALESCE(SUM(debit_minor), 0), COUNT(*) FROM postings FORCE INDEX (by_business_time)"
            " WHERE chain = %s AND late_class = %s AND occurred_at_us > %s AND occurred_at_us <= %s"
            " AND occurred_max_us > %s",
            (number, late_class, at_us - late_us_max(late_class), at_us, at_us),
        )
        more = cursor.fetchone()
        assert more is not None
        sum_minor, lines = sum_minor + int(more[0]), lines + int(more[1])
    return Amounts(sum_minor, lines)


def _page(cursor: Cursor, chain: _ChainRow, before: Place, limit: int) -> list[tuple[Any, ...]]:
    """The last lines of a chain in front of a place, the last first, as they sort in a statement."""
    recorded_at_us, lane, position, line = before
    if chain[2] < lane:  # at the same instant this lane comes first: all of its lines there lie in front
        position, line = 1 << 62, 1 << 15
    elif chain[2] > lane:
        position, line = 0, 0
    cursor.execute(
        _LINES,
        (chain[2], chain[1], chain[2], chain[0], recorded_at_us, position, line, recorded_at_us, limit),
    )
    return list(cursor.fetchall())
