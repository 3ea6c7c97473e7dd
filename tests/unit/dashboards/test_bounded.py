"""A store that accepts connections and never answers: whoever asks is told within the limit, and nothing piles up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dashboards.app import create_app
from dashboards.people.service import People
from dashboards.sources.bounded import Bounded
from dashboards.sources.catalogue import sources
from koban.settings import Settings
from schemas.errors import Transient
from tests.unit.dashboards.people.world import World


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


def test_an_answer_is_passed_on_and_an_error_too() -> None:
    """Only the waiting is bounded; what the store says stays what it is."""

    async def ask() -> None:
        bounded = Bounded("the store")
        assert await bounded.ask(lambda: 7) == 7
        with pytest.raises(KeyError, match="no"):
            await bounded.ask(lambda: {}["no"])
        bounded.close()

    asyncio.run(ask())


def test_a_question_that_hangs_is_given_up_and_others_are_answered() -> None:
    """It keeps one thread of several; once all hang, the next question is told the same."""
    go_on = threading.Event()

    async def ask() -> None:
        bounded = Bounded("the store", limit_s=0.05, threads=2)
        with pytest.raises(Transient, match=r"the store does not answer within 0\.05 s"):
            await bounded.ask(go_on.wait)
        assert await bounded.ask(lambda: "still here", limit_s=10) == "still here"
        for _ in range(2):
            with pytest.raises(Transient):
                await bounded.ask(go_on.wait)
        go_on.set()
        assert await bounded.ask(lambda: "again", limit_s=10) == "again"
        bounded.close()

    asyncio.run(ask())


@pytest.mark.parametrize("path", ["/v1/accounts/U.w-1.money/balance", "/v1/trial-balance", "/payments?q=1200", "/"])
def test_the_console_answers_beside_stores_that_hang(silent: int, tmp_path: Path, path: str) -> None:
    """MySQL and OpenSearch take the connection and never answer: the console says so, and does so itself."""
    settings = Settings.from_environ(
        {
            "KOBAN_DATA_DIR": str(tmp_path),
            "KOBAN_KAFKA_BOOTSTRAP": f"127.0.0.1:{silent}",
            "KOBAN_OPENSEARCH_URL": f"http://127.0.0.1:{silent}",
            "KOBAN_MYSQL_URL": f"mysql://koban:secret@127.0.0.1:{silent}/koban",
            "KOBAN_CONSOLE_URL": "http://127.0.0.1:8080",
        }
    )

    async def ask() -> httpx.Response:
        asked, world = sources(settings), World(tmp_path)
        app = create_app(settings, asked, world.people)
        cookies = {"koban_session": world.signed_in("kei", "operator")}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080", cookies=cookies
        ) as client:
            async with asyncio.timeout(60):  # a hang is what fails here; how fast it is belongs to the benchmark
                answer = await client.get(path)
        await asked.close()
        world.people.close()
        return answer

    answer = asyncio.run(ask())
    assert answer.status_code == (200 if path == "/" else 503)
    if path.startswith("/v1"):
        assert answer.json()["detail"] == "MySQL does not answer within 1.5 s"


def test_nobody_is_let_in_by_accounts_that_hang(silent: int, tmp_path: Path) -> None:
    """The accounts' database takes the connection and never answers: closed, told, and the health pages stay open."""
    settings = Settings.from_environ(
        {
            "KOBAN_DATA_DIR": str(tmp_path),
            "KOBAN_MYSQL_URL": f"mysql://koban:secret@127.0.0.1:{silent}/koban",
            "KOBAN_CONSOLE_URL": "http://127.0.0.1:8080",
        }
    )

    async def ask() -> list[int]:
        asked, people = sources(settings), People.of(settings)
        app = create_app(settings, asked, people)
        transport = httpx.ASGITransport(app)
        cookies = {"koban_session": "x" * 43}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", cookies=cookies) as client:
            async with asyncio.timeout(60):
                answers = [await client.get(path) for path in ("/", "/v1/trial-balance", "/-/ready", "/sign-in")]
        await asked.close()
        people.close()
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [503, 503, 200, 200]
