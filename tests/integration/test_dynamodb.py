"""The read model of balances in DynamoDB Local: the contract of sinks, and the book stage filling it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaProducer

from koban.records import Balance
from koban.settings import Settings
from ops import topics
from ops.platform import platform
from ops.verify import dynamodb_table
from sinks.dynamodb import DynamoDbSink
from sinks.testing import INDEX, check_contract
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
ACCOUNTS = 3_500
"""More than one answer of DynamoDB holds, which is 1 MB."""


@pytest.fixture(scope="module")
def site() -> Iterator[Settings]:
    # Not pytest's folder: that one is closed to other users, and MariaDB refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="koban-"))
    with platform(folder, only=("kafka", "mariadb", "dynamodb"), keep=False) as settings:
        topics.apply(settings)
        yield settings


def test_the_sink_keeps_its_contract(site: Settings) -> None:
    """The same checks as in memory; the table can be made again."""

    async def scenario() -> None:
        sink = DynamoDbSink(site.dynamodb_url)
        await sink.ensure(INDEX)
        await sink.ensure(INDEX)
        await check_contract(sink)
        await sink.close()

    asyncio.run(scenario())


def test_the_stage_writes_the_latest_balance_of_each_account(site: Settings) -> None:
    values = [
        Balance(
            account=f"U.w{number % ACCOUNTS}.money", owner="w", posted_minor=number, available_minor=number,
            version=number // ACCOUNTS + 1, as_of_us=1_763_780_400_000_000, event_id="e" * 40, entry_id="e" * 40,
        )
        for number in range(2 * ACCOUNTS)
    ]  # fmt: skip
    producer = KafkaProducer(bootstrap_servers=site.kafka_bootstrap)
    for balance in values:
        producer.send("balances", msgspec.json.encode(balance), key=balance.account.encode(), partition=0)
    producer.close()
    environ = {**os.environ, **site.environ(), "KOBAN_METRICS_PORT": "0", "KOBAN_BATCH_RECORDS_MAX": "500"}
    log = site.data_dir / "book_test.log"
    with log.open("wb") as out:
        worker = subprocess.Popen([sys.executable, "-m", "streams.book"], cwd=ROOT, env=environ, stdout=out, stderr=out)

    async def stored() -> list[tuple[int, bytes] | None]:
        sink = DynamoDbSink(site.dynamodb_url)
        await sink.ensure("balances")  # whoever is first makes it
        found = [await sink.get("balances", balance.account) for balance in values[-5:]]
        await sink.close()
        return found

    newest = {
        balance.account: (balance.posted_minor, balance.version, balance.version) for balance in values[-ACCOUNTS:]
    }
    asyncio.run(stored())
    try:
        wait_for(
            lambda: worker.poll() is not None or dynamodb_table.read(site.dynamodb_url) == newest,
            lambda: log.read_text("utf-8")[-3000:],
        )
        assert worker.poll() is None, log.read_text("utf-8")[-3000:]
    finally:
        worker.kill()
        worker.wait()
    assert asyncio.run(stored()) == [(balance.version, msgspec.json.encode(balance)) for balance in values[-5:]]
