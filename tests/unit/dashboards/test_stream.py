"""Live changes: first everything, then what is new; a limit on who watches; a desk that there is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import count
from typing import Any

import msgspec
import pytest

from dashboards.board import Board
from dashboards.live import Live, event
from dashboards.series import Series
from dashboards.sources.catalogue import Polled
from dashboards.sources.topics import Newest
from dashboards.view import View

SOURCES = ("workers", "topics", "index", "platform")


def live(render: Callable[[str, View, Board, Series], str], **asks: Callable[[], Awaitable[Any]]) -> Live:
    async def nothing() -> None:
        return None

    async def no_topics() -> Newest:
        return Newest({}, {})

    polled = {name: Polled(no_topics if name == "topics" else nothing, every_s=0.01) for name in SOURCES}
    polled |= {name: Polled(ask, every_s=0.01) for name, ask in asks.items()}
    return Live(polled, render, {"desk": ("still", "moving")})


def test_a_viewer_gets_all_panels_and_then_the_changed_ones() -> None:
    ticks = count()

    def render(name: str, view: View, _: Board, __: Series) -> str:
        return f"{name} {view.language} {next(ticks) if name == 'moving' else ''}"

    async def scenario() -> list[dict[str, str]]:
        watched = live(render)
        watched.start()
        seen = []
        async with aclosing(watched.changes(View("en"), "desk")) as changes:
            async for change in changes:
                assert watched.viewers == 1
                seen.append(change)
                if len(seen) == 3:
                    break
        await watched.stop()
        assert watched.viewers == 0
        return seen

    first, *later = asyncio.run(scenario())
    assert set(first) == {"still", "moving"}
    assert all(set(change) == {"moving"} for change in later)


def test_panels_are_rendered_once_for_all_viewers_of_a_view() -> None:
    """A hundred readers cost one rendering a tick; a theme is no view of its own."""
    rendered: list[tuple[str, View]] = []

    def render(name: str, view: View, _: Board, __: Series) -> str:
        rendered.append((name, view))
        return name

    async def scenario() -> None:
        watched = live(render)
        for theme in ("", "light", "dark"):
            watched.panels(View("en", theme), "desk")
        watched.panels(View("ja"), "desk")

    asyncio.run(scenario())
    assert len(rendered) == len(set(rendered)) == 4


def test_another_source_is_told_with_its_freshness() -> None:
    """A desk's own source: its answer and its state are on the board, and its silence is a trouble."""
    answers = iter([{"lag": 7}])

    async def ask() -> dict[str, int]:
        return next(answers)

    async def scenario() -> Board:
        watched = live(lambda *_: "", weather=ask)
        watched.start()
        async with aclosing(watched.changes(View(), "desk")) as changes:
            async for _ in changes:
                if "weather" in watched.board.troubles:
                    break
        await watched.stop()
        return watched.board

    board = asyncio.run(scenario())
    assert board.answers["weather"].value == {"lag": 7}, "what it said last is still known"
    assert board.fresh["weather"].state == "down"


def test_an_event_is_one_line() -> None:
    """Whatever is in a panel, or the browser would read the rest as something else."""
    raw = event({"panel": "a\nb\r\ndata: c\n\n"})
    assert raw.count(b"\n") == 2
    assert msgspec.json.decode(raw.removeprefix(b"data: ").strip()) == {"panel": "a\nb\r\ndata: c\n\n"}


def test_a_board_that_can_not_be_made_does_not_end_the_panels(caplog: pytest.LogCaptureFixture) -> None:
    """One answer that nobody expected would otherwise freeze every page until somebody restarts the console."""

    async def ask() -> dict[str, int] | None:
        return None if "can't be made" in caplog.text else {"lag": 7}

    async def scenario() -> None:
        watched = live(lambda *_: "", offsets=ask)
        watched.start()
        async with aclosing(watched.changes(View(), "desk")) as changes:
            async for _ in changes:
                if "can't be made" in caplog.text:
                    break
        await watched.stop()

    asyncio.run(scenario())
