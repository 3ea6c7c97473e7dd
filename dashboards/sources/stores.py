"""How current the stores are: the book in MySQL by its own marks, the lake by its newest file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from dashboards.sources.bounded import Bounded
from koban.settings import Settings
from sinks.mysql_book_queries import MySqlBookQueries

EVERY_S = 2.0
TIMEOUT_S = 3.0
"""A little more than the question itself may take, so that it is the question that says what is wrong."""
LAKE_EVERY_S = 5.0
HOURS_LOOKED_AT = 3
"""Files come into the hour of their events, and late ones into the hours before."""


class BookState(msgspec.Struct, frozen=True, kw_only=True):
    """The book in MySQL: every entry that the ledger recorded before ``complete_to`` (s UTC) is in it."""

    lanes: int
    complete_to: float | None
    """None while a lane has never told."""


class LakeState(msgspec.Struct, frozen=True, kw_only=True):
    """The lake: its newest committed file, by when it was closed (s UTC); None while there is none."""

    hours: int
    newest_hour: str
    newest_file_at: float | None


class Book:
    """Asks MySQL, by a driver that blocks."""

    def __init__(self, settings: Settings, queries: MySqlBookQueries, threads: Bounded) -> None:
        self._lanes = settings.payment_partitions
        self._queries = queries
        self._threads = threads

    async def ask(self) -> BookState:
        """How far the book is. Raises Transient."""
        marks = await self._threads.ask(self._queries.marks)
        complete = len(marks) >= self._lanes
        oldest_us = min((mark.complete_to_us for mark in marks), default=None) if complete else None
        return BookState(lanes=len(marks), complete_to=None if oldest_us is None else oldest_us / 1e6)


class Lake:
    """Looks into the lake's folder."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.lake_dir / "payments"

    async def ask(self) -> LakeState:
        """The newest file. Raises OSError when the folder can't be read."""
        return await asyncio.to_thread(newest, self._folder)


def newest(folder: Path) -> LakeState:
    """The newest committed file of the newest hours; what is being written is hidden and does not count."""
    hours = sorted(folder.glob("dt=*/hour=*")) if folder.is_dir() else []
    files = [file for hour in hours[-HOURS_LOOKED_AT:] for file in hour.iterdir()]
    times = [file.stat().st_mtime for file in files if not file.name.startswith((".", "_"))]
    name = str(hours[-1].relative_to(folder)) if hours else ""
    return LakeState(hours=len(hours), newest_hour=name, newest_file_at=max(times, default=None))
