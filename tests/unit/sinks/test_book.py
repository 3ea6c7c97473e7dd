"""The book without an engine: the contract in memory, migrations' statements, and a server that is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from schemas.errors import Transient
from sinks import mysql
from sinks.contract import Item, Outcome
from sinks.memory_book import MemoryBook
from sinks.mysql import MySqlSink, statements
from sinks.mysql_book import MySqlBook
from sinks.testing import check_book, outcomes, posted_entry

NOBODY = "mysql://koban:secret@127.0.0.1:1/koban"


def test_the_book_in_memory_keeps_the_contract() -> None:
    book = MemoryBook()
    asyncio.run(check_book(book, book))


def test_a_migration_that_was_broken_off_goes_on() -> None:
    """Each table is made only where it is missing."""
    (script,) = (file.read_text("utf-8") for file in mysql.MIGRATIONS.glob("0001*.sql"))
    found = statements(script)
    assert len(found) == 5
    assert all(statement.startswith("CREATE TABLE IF NOT EXISTS ") for statement in found)


def test_migrations_are_numbered_without_gaps() -> None:
    names = sorted(Path(file).stem for file in mysql.MIGRATIONS.glob("*.sql"))
    assert [name[:5] for name in names] == [f"{number:04d}_" for number in range(1, len(names) + 1)]


def test_a_server_that_is_not_there_makes_everything_wait() -> None:
    """Nothing is refused, nothing raised about the entries; a mark says that it was not taken."""

    async def scenario() -> None:
        book, sink = MySqlBook(NOBODY), MySqlSink(NOBODY)
        entries = [posted_entry(at, at, f"e-{at}", at, U_a_money=1, M_b_payable=-1) for at in range(3)]
        results = await book.append(0, entries)
        assert outcomes(results) == ["retry"] * 3
        assert "MySQL" in results[0].reason
        assert outcomes(await sink.write([Item("balances", "a", b"{}")])) == [Outcome.RETRY.value]
        with pytest.raises(Transient):
            await book.mark(0, 1)
        await book.close()
        await sink.close()

    asyncio.run(scenario())
