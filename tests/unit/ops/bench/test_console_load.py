"""The console's benchmark counts what readers see: late and wrong answers included."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from ops.bench.console import P95_MS_MAX, report
from ops.bench.console_load import VIEWERS, Answer, Load, headers_of, load, pages, quantile, rows


def answers(*times: float, status: int = 200) -> list[Answer]:
    return [Answer("/", ms, status) for ms in times]


@pytest.mark.parametrize(("q", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)])
def test_quantiles(q: float, expected: float) -> None:
    assert quantile([float(ms) for ms in range(1, 101)], q) == expected
    assert quantile([], q) == 0.0
    assert quantile([7.0], q) == 7.0


def test_rows_are_all_and_each_page() -> None:
    whole, first, second = rows([*answers(1.0, 2.0), Answer("/ledger", 9.0, 503)])
    assert (whole.page, whole.requests, whole.errors, whole.max_ms) == ("all", 3, {"503": 1}, 9.0)
    assert (first.page, second.page) == ("/", "/ledger")


@pytest.mark.parametrize(
    ("seen", "ok"),
    [
        (answers(*[P95_MS_MAX] * 95, *[900.0] * 5), True),
        (answers(*[P95_MS_MAX] * 94, *[900.0] * 6), False),
        ([*answers(*[1.0] * 99), *answers(1.0, status=503)], False),
        ([*answers(*[1.0] * 99), *answers(1.0, status=0)], False),
    ],
)
def test_the_target_is_of_every_answer(seen: list[Answer], ok: bool) -> None:
    assert report(Load(rate_per_s=100, seconds=1, viewers=1, changes=1, rows=rows(seen)), None).ok is ok


def test_the_servers_own_time_counts_where_it_is_told() -> None:
    """The way and the reader's wait for a core are no fault of the console; no answer at all is."""
    told = [Answer("/", 900.0, 200, 5.0)] * 95
    assert rows([*told, *answers(*[900.0] * 5)])[0].server_p95_ms == 5.0
    assert rows([*told, *answers(*[900.0] * 6)])[0].server_p95_ms == 900.0
    assert rows(told)[0].p95_ms == 900.0


def test_payments_are_asked_for_when_there_are_some() -> None:
    assert all(page != "/payments/{number}" for page, _ in pages([]))
    assert ("/payments/{number}", "/payments/p-1") in pages(["p-1"])


def test_a_token_lets_the_readers_in() -> None:
    assert headers_of({"KOBAN_TOKEN": "secret"}) == {"Authorization": "Bearer secret"}
    assert headers_of({}) == {}


def test_readers_ask_at_their_rate_and_watch_the_live_pages() -> None:
    """Against a server that answers some pages with an error: each request is counted, each viewer gets changes."""
    asked: list[str] = []

    async def page(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/payments.json":
            return web.json_response({"hits": [{"payment_id": "p-1"}]})
        headers = {"Server-Timing": "console;dur=1234.5"}
        return web.Response(status=503 if request.path == "/ledger" else 200, headers=headers)

    async def live(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for _ in range(3):
            await stream.write(b"data: {}\n\n")
        return stream

    async def scenario() -> Load:
        app = web.Application()
        app.router.add_get("/live", live)
        app.router.add_get("/{anything:.*}", page)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            return await load(f"http://{host}:{port}", 0.6, 100, {})
        finally:
            await runner.cleanup()

    seen = asyncio.run(scenario())
    whole = seen.rows[0]
    ledger = next(row for row in seen.rows if row.page == "/ledger")
    assert whole.requests == 60
    assert ledger.server_p95_ms == 1234.5
    assert whole.errors == ledger.errors == {"503": ledger.requests}
    assert seen.changes == 3 * VIEWERS
    assert "/payments/p-1" in asked
