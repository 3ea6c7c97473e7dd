"""Virtual time and simulated processes: what asyncio promises within one, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from ops.drill.simulation.clockwork import Clockwork, Process


class Bench:
    """A clock and what its processes noted."""

    def __init__(self) -> None:
        self.clock = Clockwork(Random(1))
        self.notes: list[tuple[str, float]] = []

    def process(self, name: str, steps: Coroutine[Any, Any, Any]) -> Process:
        made = Process(self.clock, name)  # type: ignore[abstract]
        made.start(steps)
        return made

    def note(self, what: str) -> None:
        self.notes.append((what, self.clock.now_s))

    def run(self, upto_s: float = 100.0) -> None:
        self.clock.run(lambda: False, upto_s)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_sleep_and_timeouts_follow_the_virtual_clock(bench: Bench) -> None:
    async def steps() -> None:
        await asyncio.sleep(5)
        bench.note("slept")
        try:
            async with asyncio.timeout(10):
                await asyncio.sleep(20)
        except TimeoutError:
            bench.note("timed out")

    bench.process("p", steps())
    bench.run()
    assert bench.notes == [("slept", 5.0), ("timed out", 15.0)]


def test_a_killed_process_does_nothing_more(bench: Bench) -> None:
    async def steps() -> None:
        while True:
            await asyncio.sleep(1)
            bench.note("tick")

    process = bench.process("p", steps())
    bench.clock.at(3.5, process.kill)
    bench.run()
    assert bench.notes == [("tick", 1.0), ("tick", 2.0), ("tick", 3.0)]


def test_a_frozen_process_finds_what_came_meanwhile(bench: Bench) -> None:
    async def steps() -> None:
        await asyncio.sleep(2)
        bench.note("due")

    process = bench.process("p", steps())
    bench.clock.at(1.0, lambda: process.freeze(5.0))
    bench.run()
    assert bench.notes == [("due", 6.0)]


def test_a_process_keeps_its_order_and_processes_do_not(bench: Bench) -> None:
    async def steps(name: str) -> None:
        for number in range(20):
            bench.note(f"{name}{number}")
            await asyncio.sleep(0)

    for name in "ab":
        bench.process(name, steps(name))
    bench.run()
    seen = [what for what, _ in bench.notes]
    for name in "ab":
        assert [what for what in seen if what[0] == name] == [f"{name}{number}" for number in range(20)]
    assert seen != sorted(seen, key=lambda what: (int(what[1:]), what[0])), "they do not simply take turns"


def test_errors_that_nobody_catches_are_kept(bench: Bench) -> None:
    async def steps() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    process = bench.process("p", steps())
    bench.run()
    assert [type(error) for error in process.errors] == [ZeroDivisionError]
