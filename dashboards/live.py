"""The live board: the sources polled once for all viewers, the page's panels rendered once a second and language."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from dashboards.board import Answer, Board, board
from dashboards.series import Series
from dashboards.sources.catalogue import Polled
from dashboards.sources.poller import Poller
from dashboards.view import View

TICK_S = 1.0
VIEWERS_MAX = 100

_log = logging.getLogger("koban.console")

Render = Callable[[str, View, Board, Series], str]


class Live:
    """Polls while the console runs; viewers wait for its ticks."""

    def __init__(self, polled: Mapping[str, Polled], render: Render, desks: Mapping[str, tuple[str, ...]]) -> None:
        self.desks = desks
        """Desk → its live panels."""
        self.pollers: dict[str, Poller[Any]] = {
            name: Poller(name, one.ask, every_s=one.every_s, timeout_s=one.timeout_s) for name, one in polled.items()
        }
        self.viewers = 0
        self.series = Series()
        self._render = render
        self.ticks = 0
        self._ticked = asyncio.Condition()
        self._rendered: dict[tuple[str, View], tuple[int, dict[str, str]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.board = self._look({})

    def start(self) -> None:
        """Begin to poll."""
        self._tasks = [asyncio.create_task(poller.forever()) for poller in self.pollers.values()]
        self._tasks.append(asyncio.create_task(self._run()))

    async def stop(self) -> None:
        """Stop polling."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def panels(self, view: View, desk: str) -> dict[str, str]:
        """Panel → its markup as of the last tick; rendered at most once a tick, desk and view."""
        view = view.of_panels
        tick, panels = self._rendered.get((desk, view), (-1, {}))
        if tick != self.ticks:
            panels = {name: self._render(name, view, self.board, self.series) for name in self.desks[desk]}
            self._rendered[desk, view] = (self.ticks, panels)
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
            try:
                self.board = self._look(self.board.troubles)
            except Exception:  # one answer that nobody expected must not freeze every page for good
                _log.exception("the board can't be made of what the sources say")
                continue
            self.series.add(self.board.now, self.board.nodes)
            self.ticks += 1
            async with self._ticked:
                self._ticked.notify_all()

    def _look(self, known_troubles: Mapping[str, float]) -> Board:
        answers = {
            name: Answer(poller.value, poller.at, poller.down_since, poller.reason)
            for name, poller in self.pollers.items()
        }
        return board(
            time.time(),
            answers.pop("workers"),
            answers.pop("topics"),
            answers.pop("index"),
            answers.pop("platform"),
            known_troubles,
            answers,
        )


def event(changes: dict[str, str]) -> bytes:
    """A server-sent event: one JSON object on one line."""
    return b"data: " + msgspec.json.encode(changes) + b"\n\n"
