"""Requests with one credential at the same moment ask the database once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dashboards.people.roles import Person
from dashboards.people.service import LookUps
from schemas.errors import Transient


def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    """However many there are; the next one after that asks anew."""
    asked: list[str] = []
    go_on = threading.Event()

    def look_up() -> Person | None:
        asked.append("once")
        go_on.wait(10)
        return None

    async def crowd() -> None:
        look_ups = LookUps()
        waiting = [asyncio.create_task(look_ups.answer("a", look_up)) for _ in range(300)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        go_on.set()
        assert await asyncio.gather(*waiting[1:]) == [None] * 299
        await look_ups.answer("a", look_up)

    asyncio.run(crowd())
    assert len(asked) == 2


def test_an_error_is_everybodys_and_kept_for_nobody() -> None:
    def fails() -> Person | None:
        raise Transient("away")

    async def crowd() -> None:
        look_ups = LookUps()
        answers = await asyncio.gather(*(look_ups.answer("a", fails) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Transient] * 3
        assert await look_ups.answer("a", lambda: None) is None

    asyncio.run(crowd())


@pytest.mark.parametrize("loops", [2])
def test_another_event_loop_waits_for_nothing_of_the_first(loops: int) -> None:
    look_ups = LookUps()
    for _ in range(loops):
        assert asyncio.run(look_ups.answer("a", lambda: None)) is None
