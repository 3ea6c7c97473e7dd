"""Sinks without an engine: the contract in memory and over HTTP, bounded requests, and trying again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import orjson
import pytest
from aiohttp import web

from sinks.contract import Item, Outcome, Sink
from sinks.memory import MemorySink
from sinks.opensearch import OpenSearchSink
from sinks.retrying import PAUSE_S_MAX, RetryingSink
from sinks.testing import check_contract, outcomes


class BulkServer:
    """Answers bulk requests as OpenSearch does, over a memory sink; ``faults`` are answered first, one a request."""

    def __init__(self) -> None:
        self.memory = MemorySink()
        self.faults: list[Callable[[list[Item]], web.Response | None]] = []
        self.requests: list[tuple[int, int]] = []  # items, bytes
        self.in_flight = self.in_flight_max = 0

    async def bulk(self, request: web.Request) -> web.Response:
        body = await request.read()
        items = _items(body)
        self.requests.append((len(items), len(body)))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        await asyncio.sleep(0.001)
        self.in_flight -= 1
        if self.faults and (answer := self.faults.pop(0)(items)) is not None:
            return answer
        return web.json_response({"items": [_answer(await self.memory.write([item])) for item in items]})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=50_000_000)
        app.router.add_post("/_bulk", self.bulk)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def _items(body: bytes) -> list[Item]:
    lines = iter(body.splitlines())
    items = []
    for line in lines:
        ((action, target),) = orjson.loads(line).items()
        source = None if action == "delete" else next(lines)
        items.append(Item(target["_index"], target["_id"], source, target.get("version", 1)))
    return items


def _answer(results: list[Any]) -> dict[str, Any]:
    status = {Outcome.WRITTEN: 201, Outcome.STALE: 409, Outcome.REFUSED: 400}[results[0].outcome]
    fault = {"error": {"type": "mapper_parsing_exception", "reason": results[0].reason}} if status >= 400 else {}
    return {"index": {"status": status, **fault}}


def busy(count: int) -> Callable[[list[Item]], web.Response]:
    """A 200 in which the first ``count`` items were turned away, as an overloaded OpenSearch does."""

    def answer(items: list[Item]) -> web.Response:
        rejected = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "queue is full"}}
        answers = [{"index": rejected if at < count else {"status": 201}} for at in range(len(items))]
        return web.json_response({"items": answers})

    return answer


def whole(status: int) -> Callable[[list[Item]], web.Response]:
    """The whole request is answered with a status."""
    return lambda items: web.Response(status=status, text="no")


def item(key: str, body: bytes = b"{}") -> Item:
    return Item("payments-202511", key, body, 1, "m-1")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


def test_the_memory_sink_keeps_the_contract() -> None:
    """The reference passes its own suite."""
    run(check_contract(MemorySink()))


def test_a_retrying_sink_keeps_the_contract() -> None:
    """Wrapping changes no answer."""
    run(check_contract(RetryingSink(MemorySink())))


def test_the_opensearch_sink_keeps_the_contract() -> None:
    """Over HTTP, in requests of at most 300 items."""

    async def scenario() -> None:
        server = BulkServer()
        async with server.serving() as url:
            sink = OpenSearchSink(url, request_items_max=300)
            await check_contract(sink)
            await sink.close()
        assert max(items for items, _ in server.requests) == 300

    run(scenario())


def test_requests_are_bounded() -> None:
    """No request is larger than its limit, unless one item alone is, and no more are in flight than allowed."""

    async def scenario() -> None:
        server = BulkServer()
        async with server.serving() as url:
            sink = OpenSearchSink(url, request_bytes_max=10_000, in_flight_max=2)
            items = [item(f"p-{number}", b'{"x":"%s"}' % (b"y" * 900)) for number in range(100)]
            items[50] = item("large", b'{"x":"%s"}' % (b"y" * 20_000))
            assert set(outcomes(await sink.write(items))) == {"written"}
            await sink.close()
        assert sorted(size for _, size in server.requests)[-2] <= 10_000
        assert server.requests[-1][0] >= 1
        assert server.in_flight_max == 2

    run(scenario())


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_opensearch_is_tried_again(status: int) -> None:
    """Items turned away are sent again, alone, until they are in; what was written is not sent twice."""

    async def scenario() -> None:
        server = BulkServer()
        server.faults = [whole(status), busy(3), busy(2)]
        async with server.serving() as url:
            sink = RetryingSink(OpenSearchSink(url), sleep=no_sleep)
            assert outcomes(await sink.write([item(f"p-{n}") for n in range(5)])) == ["written"] * 5
            await sink.close()
        assert [items for items, _ in server.requests] == [5, 5, 3, 2]
        assert sink.waiting_since is None

    run(scenario())


def test_a_request_that_is_refused_whole_is_halved() -> None:
    """Too large a request is cut until it fits; an item that never fits is refused alone."""

    def only_small(items: list[Item]) -> web.Response | None:
        return None if len(items) < 3 and items[0].key != "p-0" else web.Response(status=413, text="too large")

    async def scenario() -> None:
        server = BulkServer()
        server.faults = [only_small] * 50
        async with server.serving() as url:
            sink = OpenSearchSink(url)
            results = await sink.write([item(f"p-{n}") for n in range(8)])
            await sink.close()
        assert outcomes(results) == ["refused", *["written"] * 7]

    run(scenario())


def test_a_blocked_index_is_waited_for() -> None:
    """A disk that is too full blocks writes with 403: that is the store's trouble, not the item's."""

    def blocked(items: list[Item]) -> web.Response:
        fault = {"type": "cluster_block_exception", "reason": "index read-only / allow delete (api)"}
        return web.json_response({"items": [{"index": {"status": 403, "error": fault}} for _ in items]})

    async def scenario() -> None:
        server = BulkServer()
        server.faults = [blocked]
        async with server.serving() as url:
            sink = OpenSearchSink(url)
            assert outcomes(await sink.write([item("p-1")])) == ["retry"]
            await sink.close()

    run(scenario())


def test_an_unreachable_opensearch_holds_the_items() -> None:
    """While nothing answers, the same items wait, visibly; when it is back they are written."""

    async def scenario() -> None:
        server = BulkServer()
        seen: list[str] = []
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            seen.append(sink.waiting_for)
            if len(pauses) == 12:
                await broken.target.close()
                broken.target = OpenSearchSink(url)
            await asyncio.sleep(0)

        async with server.serving() as url:
            broken = Switch(OpenSearchSink("http://127.0.0.1:9"))
            sink = RetryingSink(broken, sleep=pause, randomness=Random(1))
            assert outcomes(await sink.write([item("p-1"), item("p-2")])) == ["written"] * 2
            await sink.close()
        assert len(pauses) == 12
        assert max(pauses) <= PAUSE_S_MAX
        assert "ClientConnectorError" in seen[0]

    run(scenario())


def test_trying_again_can_be_limited() -> None:
    """With a limit the caller gets RETRY back, and knows which items."""

    async def scenario() -> None:
        sink = RetryingSink(OpenSearchSink("http://127.0.0.1:9"), attempts_max=3, sleep=no_sleep)
        assert outcomes(await sink.write([item("p-1")])) == ["retry"]
        assert sink.waiting_since is not None
        await sink.close()

    run(scenario())


class Switch:
    """A sink that is another one, which can be changed."""

    def __init__(self, target: Sink) -> None:
        self.target = target

    async def write(self, items: Any) -> list[Any]:
        return await self.target.write(items)

    async def close(self) -> None:
        await self.target.close()
