"""Searches over HTTP: how often the index is asked, and what is told when it fails, hangs or answers in part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from koban.search.query import parse
from koban.search.request import Scope
from schemas.errors import Transient
from sinks.alert_search import AlertSearch
from sinks.opensearch_schema import PROGRESS
from sinks.payment_search import PROGRESS_S_MAX, PaymentSearch

Answers = Callable[[str], Coroutine[Any, Any, web.Response]]
WHOLE = {"took": 3, "timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": 0}, "hits": []}}


@asynccontextmanager
async def index(answers: Answers) -> AsyncIterator[str]:
    """An OpenSearch of which only `_search` is there."""

    async def search(request: web.Request) -> web.Response:
        return await answers(request.match_info["index"])

    app = web.Application()
    app.router.add_post("/{index}/_search", search)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def whole(_: str) -> web.Response:
    return web.json_response(WHOLE)


async def in_part(_: str) -> web.Response:
    return web.json_response(WHOLE | {"_shards": {"failed": 1}})


async def too_late(_: str) -> web.Response:
    return web.json_response(WHOLE | {"timed_out": True})


async def broken(_: str) -> web.Response:
    return web.json_response({"error": "no"}, status=503)


async def hung(_: str) -> web.Response:
    await asyncio.sleep(3_600)
    raise AssertionError


async def payments(url: str) -> None:
    search = PaymentSearch(url, timeout_s=0.3)
    try:
        await search.search(parse("", 0), Scope.operator(), size=1)
    finally:
        await search.close()


async def alerts(url: str) -> None:
    search = AlertSearch(url, timeout_s=0.3)
    try:
        await search.page(chosen={}, field="last_at_us", falls=True, size=1)
    finally:
        await search.close()


@pytest.mark.parametrize("ask", [payments, alerts])
@pytest.mark.parametrize("answers", [in_part, too_late, broken, hung])
def test_what_is_no_whole_answer_is_told(answers: Answers, ask: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """A part of the hits would look like all of them; an index that hangs is given up."""

    async def scenario() -> None:
        async with index(answers) as url, asyncio.timeout(60):
            with pytest.raises(Transient):
                await ask(url)

    asyncio.run(scenario())


def test_how_far_the_index_is_complete_is_not_asked_with_every_search() -> None:
    """Once a second is enough, however many search; what is promised is always from before the search."""
    asked: Counter[str] = Counter()
    now = 100.0

    async def answers(name: str) -> web.Response:
        asked[name] += 1
        told = {"aggregations": {"oldest": {"value": float(asked[name])}}} if name == PROGRESS else {}
        return web.json_response(WHOLE | told)

    async def scenario() -> list[int | None]:
        nonlocal now
        async with index(answers) as url:
            search = PaymentSearch(url, monotonic=lambda: now)
            found = [await search.search(parse("", 0), Scope.operator(), size=1) for _ in range(5)]
            now += PROGRESS_S_MAX + 0.1
            found.append(await search.search(parse("", 0), Scope.operator(), size=1))
            await search.close()
        return [one.complete_to_us for one in found]

    assert asyncio.run(scenario()) == [1, 1, 1, 1, 1, 2]
    assert asked == {PROGRESS: 2, "payments": 6}


def test_what_was_never_indexed_is_nothing() -> None:
    async def nothing(_: str) -> web.Response:
        return web.json_response({"error": {"type": "index_not_found_exception"}, "status": 404}, status=404)

    async def scenario() -> None:
        async with index(nothing) as url:
            search = AlertSearch(url)
            page = await search.page(chosen={"typology": ("T01",)}, field="last_at_us", falls=True, size=1)
            await search.close()
        assert (page.rows, page.total, page.more) == ([], 0, False)

    asyncio.run(scenario())
