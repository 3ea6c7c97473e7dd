"""What the book's tables in MySQL hold, read with SQL of verify's own."""

from __future__ import annotations

from typing import Any

import msgspec
import pymysql
from pymysql.cursors import SSCursor

from sinks.mysql import CONNECT_S_MAX, place_of

Lines = tuple[tuple[str, int], ...]

ENTRIES = "SELECT entry_id FROM journal_entries"
LINES = """
SELECT e.entry_id, c.account, p.debit_minor
FROM postings p
JOIN book_chains c ON c.chain = p.chain
JOIN journal_entries e ON e.lane = c.lane AND e.position = p.position AND e.occurred_at_us = p.occurred_at_us
"""
SUMS = """
SELECT c.account, SUM(c.sum_minor), SUM(s.debits), SUM(c.line_count), SUM(s.lines_added)
FROM book_chains c
JOIN (SELECT chain, SUM(debit_minor) AS debits, COUNT(*) AS lines_added FROM postings GROUP BY chain) s
  ON s.chain = c.chain
GROUP BY c.account
"""
BALANCES = "SELECT item_key, body FROM balances"


class Tables(msgspec.Struct):
    """The book as SQL sees it."""

    entries: dict[str, Lines]
    """Entry id → its lines, sorted, from the table of lines."""
    sums: dict[str, tuple[int, int, int, int]]
    """Account → running sum, Σ debits of its lines, number of lines, lines counted."""
    balances: dict[str, tuple[int, int]]
    """Account → posted, version."""


def read(mysql_url: str) -> Tables:
    """All of it. Raises OSError when MySQL does not answer or the tables are not there."""
    try:
        connection = pymysql.connect(**place_of(mysql_url), connect_timeout=CONNECT_S_MAX, cursorclass=SSCursor)
        with connection, connection.cursor() as cursor:
            return _read(cursor)
    except pymysql.Error as error:
        raise OSError(f"MySQL: {error}") from error


def _read(cursor: SSCursor) -> Tables:
    cursor.execute(ENTRIES)
    lines: dict[str, list[tuple[str, int]]] = {entry_id: [] for (entry_id,) in cursor}
    cursor.execute(LINES)
    for entry_id, account, debit_minor in cursor:
        lines[entry_id].append((account, debit_minor))
    cursor.execute(SUMS)
    sums = {row[0]: (int(row[1]), int(row[2]), int(row[3]), int(row[4])) for row in cursor}
    cursor.execute(BALANCES)
    balances = {account: _balance(msgspec.json.decode(body)) for account, body in cursor}
    return Tables({entry_id: tuple(sorted(some)) for entry_id, some in lines.items()}, sums, balances)


def _balance(record: dict[str, Any]) -> tuple[int, int]:
    return record["posted_minor"], record["version"]
