"""The operations desk on a real broker with a real gate: a bad event is found, mended, tried, sent again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from kafka import KafkaProducer

from dashboards.app import create_app
from dashboards.desks.operations_letters import readable
from dashboards.people import audit
from dashboards.people.credentials import form_token
from dashboards.sources.catalogue import sources
from dashboards.sources.offsets import Groups
from koban.settings import Settings
from ops import topics
from ops.kafka_log import read_topics
from ops.platform import platform
from tests.unit.dashboards.people.world import World
from tests.unit.koban.gate.examples import changed

pytestmark = [pytest.mark.engines, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with platform(tmp_path_factory.mktemp("operations"), only=("kafka",), keep=False) as made:
        topics.apply(made)
        yield made


@pytest.fixture
def gate(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """A gate at work."""
    environ = {**os.environ, **settings.environ(), "KOBAN_METRICS_PORT": "0"}
    with (tmp_path / "gate.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.gate"], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
        yield
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)


async def until(found: Callable[[], Awaitable[Any]], what: str) -> Any:
    deadline = time.monotonic() + 90
    while not (answer := await found()):
        assert time.monotonic() < deadline, f"there is no {what}"
        await asyncio.sleep(0.3)
    return answer


@pytest.mark.usefixtures("gate")
def test_a_bad_event_is_mended_on_its_page_and_passes(settings: Settings, tmp_path: Path) -> None:
    """The list shows it, a trial sends nothing, the mended bytes reach payments-valid once, and the letter says so."""
    now_us = time.time_ns() // 1_000
    good = changed(event_id="mended-1", occurred_at_us=now_us, recorded_at_us=now_us)
    bad = changed(good, body__amount_minor=-1200)
    with closing(KafkaProducer(bootstrap_servers=settings.kafka_bootstrap)) as producer:
        producer.send("payments", msgspec.json.encode(bad)).get(30)

    async def mend() -> None:
        asked, world = sources(settings), World(tmp_path)
        secret = world.signed_in("kei", "operator")
        headers, cookies = {**FORM, "X-CSRF-Token": form_token(secret)}, {"koban_session": secret}
        transport = httpx.ASGITransport(create_app(settings, asked, world.people))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", headers=headers, cookies=cookies
        ) as client:

            async def rows(**chosen: str) -> list[dict[str, Any]]:
                answer = await client.get(f"/operations/letters.json?{urlencode(chosen)}")
                found: list[dict[str, Any]] = answer.json().get("rows", [])
                return found

            (row,) = await until(lambda: rows(state="waiting"), "dead letter")
            assert (row["reason_code"], row["stage"], row["topic"]) == ("out_of_bounds", "gate", "payments")
            page = f"/operations/letters/{row['place']}"
            text = readable(msgspec.json.encode(good)) or ""
            again = await client.post(page, content=urlencode({"action": "replay"}))
            assert again.status_code == 422, "as it is, it would be rejected again"
            tried = await client.post(f"{page}?lang=en", content=urlencode({"action": "check", "value": text}))
            assert "It would pass" in tried.text
            assert not list(read_topics(settings.kafka_bootstrap, ["payments-valid"]))
            sent = await client.post(page, content=urlencode({"action": "replay", "value": text}))
            assert sent.status_code == 303
            (row,) = await until(lambda: rows(state="replayed"), "letter that was sent again")
            assert (await client.get("/operations/letters.json?state=waiting")).json()["rows"] == []
            acts = audit.newest(world.people.database, action="letters:mend", limit=9)
            assert [json.loads(act.details)["parameters"]["action"] for act in acts] == ["replay", "check", "replay"]
            assert "1200" not in acts[0].details, "what the event says is not in the log"
        await asked.close()
        world.people.close()

    asyncio.run(mend())

    async def passed() -> list[bytes | None]:
        return [record.value for record in read_topics(settings.kafka_bootstrap, ["payments-valid"])]

    (value,) = asyncio.run(until(passed, "valid event"))
    assert b"mended-1" in (value or b"")

    async def read_whole() -> None:
        """The gate's group has read all of it: transaction markers at the end are nobody's backlog."""
        groups = Groups(settings.kafka_bootstrap)

        async def in_step() -> bool:
            found = await groups.ask()
            lags = {(lag.group, lag.topic): lag.records for lag in found.lags()}
            assert set(found.topics["payments"].ends) == set(range(settings.payment_partitions))
            return lags.get(("koban-gate", "payments")) == 0

        await until(in_step, "end to the gate's backlog")
        await groups.close()

    asyncio.run(read_whole())
