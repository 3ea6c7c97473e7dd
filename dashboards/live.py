"""The live board: the sources polled once for all viewers, the page's panels rendered once a second and language."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from dashboards.board import Answer, Board, board
from dashboards.sources import jobs, offsets, reports, stores
from dashboards.sources.bounded import Bounded
from dashboards.sources.index import Index
from dashboards.sources.platform import Platform
from dashboards.sources.poller import Poller
from dashboards.sources.topics import Topics
from dashboards.sources.workers import Workers
from dashboards.view import View
from koban.settings import Settings
from sinks.mysql_book_queries import MySqlBookQueries
from sinks.payment_search import PaymentSearch

TICK_S = 1.0
TOPICS_TIMEOUT_S = 5.0
"""Joining a cluster takes longer than a look; nobody waits for it."""
HISTORY_TICKS = 90
VIEWERS_MAX = 100
BOOK_THREADS = 2
"""Those of the API are its own: a book that hangs must not take them all."""

Render = Callable[[str, View, Board, Sequence[float]], str]


class Live:
    """Polls while the console runs; viewers wait for its ticks."""

    def __init__(
        self,
        settings: Settings,
        search: PaymentSearch,
        render: Render,
        desks: Mapping[str, tuple[str, ...]],
        *,
        book: MySqlBookQueries | None = None,
    ) -> None:
        self.desks = desks
        """Desk → its live panels."""
        self._topics = Topics(settings.kafka_bootstrap)
        self._workers = Workers(settings.data_dir / "platform.json")
        self._groups = offsets.Groups(settings.kafka_bootstrap)
        self.jobs = jobs.Jobs(settings)
        self.reports = reports.Reports(settings)
        self._book_threads = Bounded("MySQL", threads=BOOK_THREADS)
        self._has_dynamodb = bool(settings.dynamodb_url)
        self.pollers: dict[str, Poller[Any]] = {
            "workers": Poller("workers", self._workers.ask),
            "topics": Poller("topics", self._topics.ask, timeout_s=TOPICS_TIMEOUT_S),
            "index": Poller("index", Index(search).ask),
            "platform": Poller("platform", Platform(settings.data_dir).ask),
            "offsets": Poller("offsets", self._groups.ask, every_s=offsets.EVERY_S, timeout_s=offsets.TIMEOUT_S),
            "flink": Poller("flink", self.jobs.ask, every_s=jobs.EVERY_S, timeout_s=jobs.TIMEOUT_S),
            "lake": Poller("lake", stores.Lake(settings).ask, every_s=stores.LAKE_EVERY_S),
            "reports": Poller("reports", self.reports.ask, every_s=reports.EVERY_S),
        }
        if book is not None:
            asked = stores.Book(settings, book, self._book_threads)
            self.pollers["mysql"] = Poller("mysql", asked.ask, every_s=stores.EVERY_S, timeout_s=stores.TIMEOUT_S)
        self.viewers = 0
        self.history: deque[float] = deque(maxlen=HISTORY_TICKS)
        """Events a second at the gate, a value a tick."""
        self._render = render
        self._tick = 0
        self._ticked = asyncio.Condition()
        self._rendered: dict[tuple[str, View], tuple[int, dict[str, str]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.board = self._look({})

    def start(self) -> None:
        """Begin to poll."""
        self._tasks = [asyncio.create_task(poller.forever()) for poller in self.pollers.values()]
        self._tasks.append(asyncio.create_task(self._run()))

    async def stop(self) -> None:
        """Stop polling and leave the sources."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._topics.close()
        await self._workers.close()
        await self._groups.close()
        self._book_threads.close()
        await self.jobs.close()
        await self.reports.close()

    def panels(self, view: View, desk: str) -> dict[str, str]:
        """Panel → its markup as of the last tick; rendered at most once a tick, desk and view."""
        view = view.of_panels
        tick, panels = self._rendered.get((desk, view), (-1, {}))
        if tick != self._tick:
            panels = {name: self._render(name, view, self.board, list(self.history)) for name in self.desks[desk]}
            self._rendered[desk, view] = (self._tick, panels)
        return panels

    async def changes(self, view: View, desk: str) -> AsyncIterator[dict[str, str]]:
        """What changed, a tick at a time: first every panel, then those whose markup is new."""
        shown: dict[str, str] = {}
        self.viewers += 1
        try:
            while True:
                panels = self.panels(view, desk)
                yield {name: markup for name, markup in panels.items() if shown.get(name) != markup}
                shown = panels
                async with self._ticked:
                    await self._ticked.wait()
        finally:
            self.viewers -= 1

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.board = self._look(self.board.troubles)
            gate = self.board.nodes.get("gate")
            self.history.append((gate and gate.rate_per_s) or 0.0)
            self._tick += 1
            async with self._ticked:
                self._ticked.notify_all()

    def _look(self, known_troubles: Mapping[str, float]) -> Board:
        answers = {
            name: Answer(poller.value, poller.at, poller.down_since, poller.reason)
            for name, poller in self.pollers.items()
        }
        return board(time.time(), **answers, known_troubles=known_troubles, dynamodb=self._has_dynamodb)


def event(changes: dict[str, str]) -> bytes:
    """A server-sent event: one JSON object on one line."""
    return b"data: " + msgspec.json.encode(changes) + b"\n\n"
