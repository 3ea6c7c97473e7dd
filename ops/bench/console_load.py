"""Readers of a console: requests at a steady rate, whatever the answers take, and live pages that stay open.

``python -m ops.bench.console_load URL SECONDS RATE``: a process of its own, which takes no time from who is measured.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

VIEWERS = 20
"""Live pages that are open all the time."""
ANSWER_S_MAX = 5.0
NUMBERS = 50
SEARCHES = ("", "返金", "1000円以上", "渋谷", "今日 2000円以下 カード", "status:completed 店")
SERVER_TIMING = re.compile(r"\bdur=([0-9.]+)")
LET_IN_BY = "KOBAN_TOKEN"
"""A console that knows people lets a program in by this token."""


class Answer(msgspec.Struct, frozen=True):
    """One request: its page, milliseconds from when it was due until its last byte, and its status; 0 for none.

    `server_ms` is what the server says that it took until the answer began; None where it says nothing.
    """

    page: str
    ms: float
    status: int
    server_ms: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One page's answers, in milliseconds."""

    page: str
    requests: int
    errors: dict[str, int]
    """Status → answers with it that were not 200; ``0`` is no answer in time."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    server_p95_ms: float
    """Of what the server says that it took; the others also count the way, and this process's own wait for a core."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the readers saw. The first row is of all pages together."""

    rate_per_s: float
    seconds: float
    viewers: int
    changes: int
    """Live changes that the open pages got."""
    rows: list[Row]


def rows(answers: Sequence[Answer]) -> list[Row]:
    """All together, then each page."""
    pages = sorted({answer.page for answer in answers})
    return [_row("all", answers), *(_row(page, [one for one in answers if one.page == page]) for page in pages)]


def _row(page: str, answers: Sequence[Answer]) -> Row:
    times = sorted(answer.ms for answer in answers)
    return Row(
        page=page,
        requests=len(answers),
        errors=dict(Counter(str(answer.status) for answer in answers if answer.status != 200)),
        p50_ms=quantile(times, 0.5),
        p95_ms=quantile(times, 0.95),
        p99_ms=quantile(times, 0.99),
        max_ms=round(times[-1], 1) if times else 0.0,
        server_p95_ms=quantile(sorted(server_ms(answer) for answer in answers), 0.95),
    )


def server_ms(answer: Answer) -> float:
    """What the server says that it took; else, for one that says nothing or gave no answer, all that it took."""
    return answer.ms if answer.server_ms is None else answer.server_ms


def quantile(times: Sequence[float], q: float) -> float:
    """The smallest of sorted values that is not below a share ``q`` of them; 0 of none."""
    return round(times[max(0, -int(-q * len(times) // 1) - 1)], 1) if times else 0.0


def pages(numbers: Sequence[str]) -> list[tuple[str, str]]:
    """What readers ask for, as (page, address), again and again: one page in three is a search or a payment."""
    mixed = []
    for at, text in enumerate(SEARCHES):
        mixed += [("/", "/"), ("/payments", f"/payments?q={quote(text)}"), ("/ledger", "/ledger"), ("/", "/")]
        if numbers:
            mixed.append(("/payments/{number}", f"/payments/{quote(numbers[at % len(numbers)])}"))
        mixed += [("/operations", "/operations"), ("/", "/")]
    return [*mixed, ("/payments.json", "/payments.json"), ("/alerts", "/alerts")]


async def load(url: str, seconds: float, rate_per_s: float, headers: dict[str, str]) -> Load:
    """Sends ``rate_per_s`` requests a second, each when it is due. A late answer delays no other request."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as session:
        wanted = cycle(pages(await _numbers(session)))
        changes: list[int] = []
        viewers = [asyncio.create_task(_view(session, changes)) for _ in range(VIEWERS)]
        began = time.perf_counter()
        requests = []
        for number in range(int(seconds * rate_per_s)):
            due = began + number / rate_per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            requests.append(asyncio.create_task(_ask(session, *next(wanted), due)))
        answers = await asyncio.gather(*requests)
        took_s = time.perf_counter() - began
        for viewer in viewers:
            viewer.cancel()
        await asyncio.gather(*viewers, return_exceptions=True)
    return Load(
        rate_per_s=round(len(answers) / took_s, 1), seconds=round(took_s, 1), viewers=VIEWERS, changes=sum(changes),
        rows=rows(answers),
    )  # fmt: skip


async def _numbers(session: aiohttp.ClientSession) -> list[str]:
    async with session.get("/payments.json") as answer:
        found: dict[str, Any] = await answer.json()
    return [hit["payment_id"] for hit in found.get("hits", [])[:NUMBERS]]


async def _ask(session: aiohttp.ClientSession, page: str, address: str, due: float) -> Answer:
    server: float | None = None
    try:
        async with session.get(address) as answer:
            await answer.read()
            status = answer.status
            if timed := SERVER_TIMING.search(answer.headers.get("Server-Timing", "")):
                server = float(timed[1])
    except (aiohttp.ClientError, TimeoutError):
        status = 0
    return Answer(page, (time.perf_counter() - due) * 1_000, status, server)


async def _view(session: aiohttp.ClientSession, changes: list[int]) -> None:
    async with session.get("/live?desk=live", timeout=aiohttp.ClientTimeout(total=None)) as answer:
        while chunk := await answer.content.readany():
            changes.append(chunk.count(b"data: "))


def headers_of(environ: dict[str, str]) -> dict[str, str]:
    """Lets a program in, when it has a token."""
    token = environ.get(LET_IN_BY)
    return {"Authorization": f"Bearer {token}"} if token else {}


if __name__ == "__main__":
    asked_url, asked_seconds, asked_rate = sys.argv[1:]
    found = asyncio.run(load(asked_url, float(asked_seconds), float(asked_rate), headers_of(dict(os.environ))))
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
