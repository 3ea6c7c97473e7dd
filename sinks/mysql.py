"""MySQL: connections, migrations, and a sink that keeps the latest version of each document in a table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.connections import Connection

from schemas.errors import Transient
from sinks.contract import WRITTEN, Item, Outcome, Result

CONNECT_S_MAX = 5
ANSWER_S_MAX = 10
"""Less than a worker has to finish a batch when its lane is taken away."""
KEY_CHARACTERS_MAX = 200
MIGRATIONS = Path(__file__).parent / "mysql_schema"
MIGRATING_S_MAX = 30
"""Two workers that start at once: the second waits so long for the first to have made the tables."""

_TABLE = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class Isolation(StrEnum):
    """What a transaction sees of others."""

    READ_COMMITTED = "READ COMMITTED"
    """For writers side by side: no locks on the gaps between their rows."""
    REPEATABLE_READ = "REPEATABLE READ"
    """For readers: all that a transaction reads is of one moment."""


def place_of(url: str) -> dict[str, Any]:
    """Where a URL points and as whom, as PyMySQL's ``connect`` takes it."""
    place = urlsplit(url)
    return {
        "host": place.hostname,
        "port": place.port or 3306,
        "user": unquote(place.username or ""),
        "password": unquote(place.password or ""),
        "database": place.path.strip("/"),
    }


def connect(
    url: str,
    isolation: Isolation = Isolation.READ_COMMITTED,
    *,
    connect_s_max: int = CONNECT_S_MAX,
    answer_s_max: int = ANSWER_S_MAX,
) -> Connection[Any]:
    """A connection to the database that a URL names. Raises Transient when it does not come about."""
    with transient():
        return pymysql.connect(
            **place_of(url),
            charset="utf8mb4",
            connect_timeout=connect_s_max,
            read_timeout=answer_s_max,
            write_timeout=answer_s_max,
            init_command=f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}",
        )


@contextmanager
def transient() -> Iterator[None]:
    """Turns what the server or the way to it is at fault for into Transient. Faults of the data stay as they are."""
    try:
        yield
    except (pymysql.DataError, pymysql.IntegrityError):
        raise
    except (pymysql.Error, OSError) as error:
        raise Transient(f"MySQL does not take it: {type(error).__name__}: {error}") from error


def migrate(connection: Connection[Any]) -> list[str]:
    """Applies the migrations that this database has not seen; gives their names. Raises Transient."""
    with transient(), connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(CONCAT(DATABASE(), '.migrations'), %s)", (MIGRATING_S_MAX,))
        if cursor.fetchone() != (1,):
            raise Transient("another worker is making the tables")
        try:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS migrations (name VARCHAR(100) NOT NULL PRIMARY KEY,"
                " applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB"
            )
            cursor.execute("SELECT name FROM migrations")
            known = {name for (name,) in cursor.fetchall()}
            new = [file for file in sorted(MIGRATIONS.glob("*.sql")) if file.stem not in known]
            for file in new:
                for statement in statements(file.read_text("utf-8")):
                    cursor.execute(statement)
                cursor.execute("INSERT INTO migrations (name) VALUES (%s)", (file.stem,))
                connection.commit()
        finally:
            cursor.execute("SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.migrations'))")
    return [file.stem for file in new]


def statements(script: str) -> list[str]:
    """The statements of a migration; each ends with a semicolon at the end of a line, comments have lines of their own.

    ``CREATE TABLE`` commits by itself, so a migration that was broken off goes on where it was: tables that are there
    stay as they are.
    """
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    parts = [part.strip() for part in re.split(r";\s*$", "\n".join(lines), flags=re.MULTILINE)]
    return [re.sub(r"^CREATE TABLE (?!IF )", "CREATE TABLE IF NOT EXISTS ", part) for part in parts if part]


class MySqlSink:
    """Keeps each item's highest version in the table that the item's index names; the table has the columns of
    ``balances``. An unreachable server makes every item ``RETRY``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection[Any] | None = None
        self._turn = asyncio.Lock()

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """See ``Sink.write``. The items of a call are one transaction; they are written by a thread."""
        if not items:
            return []
        async with self._turn:
            try:
                return await asyncio.to_thread(self._write, items)
            except Transient as error:
                self._hang_up()
                return [Result(Outcome.RETRY, error.reason)] * len(items)

    async def close(self) -> None:
        """Close the connection, after the write under way."""
        async with self._turn:
            self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            hang_up(connection)

    def _write(self, items: Sequence[Item]) -> list[Result]:
        results: list[Result] = [WRITTEN] * len(items)
        if self._connection is None:
            self._connection = connect(self._url)
        tables: dict[str, list[int]] = {}
        for at, item in enumerate(items):
            if fault := _fault(item):
                results[at] = Result(Outcome.REFUSED, fault)
            else:
                tables.setdefault(item.index, []).append(at)
        with transient():
            for table, places in tables.items():
                self._write_table(table, items, places, results)
            self._connection.commit()
        return results

    def _write_table(self, table: str, items: Sequence[Item], places: list[int], results: list[Result]) -> None:
        """Locks what is there, keeps what is newer, and writes the last of each key."""
        assert self._connection is not None
        latest: dict[str, Item] = {}
        with self._connection.cursor() as cursor:
            keys = sorted({items[at].key for at in places})
            cursor.execute(
                f"SELECT item_key, version FROM `{table}` WHERE item_key IN %s ORDER BY item_key FOR UPDATE",  # noqa: S608
                (keys,),
            )
            versions: dict[str, int] = dict(cursor.fetchall())
            for at in places:
                item = items[at]
                if item.body is None:
                    versions.pop(item.key, None)
                elif versions.get(item.key, 0) >= item.version:
                    results[at] = Result(Outcome.STALE, f"version {versions[item.key]} is there")
                    continue
                else:
                    versions[item.key] = item.version
                latest[item.key] = item
            if gone := [key for key, item in latest.items() if item.body is None]:
                cursor.execute(f"DELETE FROM `{table}` WHERE item_key IN %s", (gone,))  # noqa: S608
            cursor.executemany(
                f"INSERT INTO `{table}` (item_key, version, body) VALUES (%s, %s, %s)"  # noqa: S608
                " ON DUPLICATE KEY UPDATE version = VALUES(version), body = VALUES(body)",
                [(key, item.version, item.body) for key, item in sorted(latest.items()) if item.body is not None],
            )


def hang_up(connection: Connection[Any]) -> None:
    """Close at once: what is not committed is undone by the server."""
    connection._force_close()  # type: ignore[attr-defined]  # `close` would talk to a server that may be gone


def _fault(item: Item) -> str:
    if _TABLE.fullmatch(item.index) is None:
        return f"{item.index!r} is no table"
    if not 0 < len(item.key) <= KEY_CHARACTERS_MAX:
        return f"a key has 1 to {KEY_CHARACTERS_MAX} characters"
    if item.body is not None and not item.body.startswith(b"{"):
        return "the body is no JSON object"
    return ""
