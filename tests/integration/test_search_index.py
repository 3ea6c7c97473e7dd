"""The index stage on real Kafka and OpenSearch: each payment once, whatever is killed or replayed, found at once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from opensearchpy import AsyncOpenSearch

from koban.search.query import parse
from koban.search.request import FACETS, PAGE_MAX, Scope, Sort, facet_chip
from koban.settings import Settings
from ops import topics
from ops.kafka_log import read_topics
from ops.platform import platform
from schemas.dead_letters import DeadLetter
from schemas.partitioning import lane_of
from sinks.alert_search import AlertSearch
from sinks.opensearch import OpenSearchSink
from sinks.opensearch_schema import PROGRESS, ensure
from sinks.payment_search import Found, PaymentSearch
from sinks.testing import check_contract
from streams.transport import group_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
NOON_US = 1_763_780_400_000_000  # 2025-11-22 12:00 JST
PAYMENTS = 1_000
STORES = ("カフェ小判 渋谷駅前店", "ラーメン一番 新宿2号店", "髙島ストア 梅田店", "ﾄﾞﾗｯｸﾞ青空 博多駅南店")
GROUP = group_of("search-index")
WAIT_S = 120
T = TypeVar("T")


@pytest.fixture(scope="module")
def site() -> Iterator[Settings]:
    """Kafka with the contracts' topics, and OpenSearch."""
    # Not pytest's folder: that one is closed to other users, and OpenSearch refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="koban-"))
    with platform(folder, only=("kafka", "opensearch"), keep=False) as settings:
        topics.apply(settings)
        yield settings


class Worker:
    """A process of the stage."""

    def __init__(self, settings: Settings) -> None:
        self.log = settings.data_dir / "search_index_test.log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.search_index"],
                cwd=ROOT,
                env={**os.environ, **settings.environ(), "KOBAN_METRICS_PORT": "0"},
                stdout=out,
                stderr=out,
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=WAIT_S) == 0, self.log.read_text("utf-8")[-3000:]


def event(kind: str, number: str, seq: int, at_us: int, **body: Any) -> dict[str, Any]:
    fields = {"amount_minor": 1200} | body
    fields["tenders"] = [{"kind": "money", "amount_minor": fields["amount_minor"]}]
    return {
        "event_type": kind,
        "event_id": f"e-{number}-{seq}",
        "occurred_at_us": at_us,
        "aggregate": "payment",
        "aggregate_id": number,
        "aggregate_seq": seq,
        "correlation_id": number,
        "body": fields,
    }


def traffic() -> list[dict[str, Any]]:
    """Payments of ten merchants over two months; every third is refunded in part, before or after others."""
    source = random.Random(5)
    events = []
    for at in range(PAYMENTS):
        number = str(source.randrange(10**18, 10**19))
        who = {"wallet_id": f"w-{source.randrange(50)}", "merchant_id": f"m-{at % 10}"}
        paid_at_us = NOON_US - source.randrange(40 * 86_400) * 1_000_000
        store = {"store_id": f"s-{at % 4}", "store_name": STORES[at % 4]}
        amount = source.randrange(100, 5000)
        events.append(event("PaymentCompleted", number, 1, paid_at_us, **who, **store, amount_minor=amount))
        if at % 3 == 0:
            refund = {"refund_id": f"r-{number}", "payment_at_us": paid_at_us, "amount_minor": 50}
            events.append(event("RefundCompleted", number, 2, paid_at_us + 60_000_000, **who, **refund))
    return events


def send(settings: Settings, values: list[tuple[str, bytes]]) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    for wallet, value in values:
        lane = lane_of(wallet, settings.payment_partitions)
        producer.send("payments-valid", value, key=wallet.encode(), partition=lane)
    producer.flush()
    producer.close()


def wait_until(done: Callable[[], bool], worker: Worker, told: str) -> None:
    def holds() -> bool:
        assert worker.process.poll() is None, f"the worker ended: {worker.log.read_text('utf-8')[-3000:]}"
        return done()

    wait_for(holds, lambda: f"{told}: {worker.log.read_text('utf-8')[-3000:]}")


def count(settings: Settings, index: str = "payments") -> int:
    answer = httpx.post(f"{settings.opensearch_url}/{index}/_count", timeout=10)
    return int(answer.json()["count"]) if answer.status_code == 200 else 0


def checksum(settings: Settings) -> Counter[str]:
    """Index, id, version and a hash of the stored bytes of every document."""
    with httpx.Client(base_url=settings.opensearch_url, timeout=30) as client:
        client.post("/payments/_refresh")
        query = {"size": 10_000, "version": True, "query": {"match_all": {}}}
        hits = client.post("/payments/_search", json=query).json()["hits"]["hits"]
    return Counter(
        f"{hit['_index']} {hit['_id']} {hit['_version']} {blake2b(json.dumps(hit['_source']).encode()).hexdigest()}"
        for hit in hits
    )


def behind(settings: Settings) -> int:
    """Records of the lanes that the stage has not committed."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        committed = admin.list_group_offsets(GROUP)
    finally:
        admin.close()
    done = sum(
        (offset.offset if hasattr(offset, "offset") else int(offset))
        for place, offset in _places(committed)
        if place.topic == "payments-valid"
    )
    return len(list(read_topics(settings.kafka_bootstrap, ["payments-valid"]))) - done


def _places(committed: Any) -> Any:
    found = committed.get(GROUP, committed)
    return found.items()


def forget_offsets(settings: Settings) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    admin.delete_groups([GROUP])
    admin.close()
    assert behind(settings) >= PAYMENTS, "everything is to be read again"


def run(scenario: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(scenario)


def test_the_sink_keeps_its_contract(site: Settings) -> None:
    """The same checks as in memory, against an index with strict mappings; one bad document of 1,000 is alone."""

    async def scenario() -> None:
        client = AsyncOpenSearch(hosts=[site.opensearch_url], timeout=30)
        mappings = {"dynamic": "strict", "properties": {"status": {"type": "keyword"}}}
        await client.indices.create(index="contract-suite", body={"mappings": mappings})
        sink = OpenSearchSink(site.opensearch_url)
        await check_contract(sink)
        await sink.close()
        await client.indices.delete(index="contract-suite")
        await client.close()

    run(scenario())


def test_the_schema_can_be_put_again(site: Settings) -> None:
    """Every worker puts it at its start."""

    async def scenario() -> None:
        client = AsyncOpenSearch(hosts=[site.opensearch_url], timeout=30)
        await ensure(client)
        await ensure(client)
        await client.close()

        client = AsyncOpenSearch(hosts=[site.opensearch_url], timeout=30)
        found = await client.indices.get_index_template(name="koban-payments")
        assert found["index_templates"], "the template is there"
        await client.close()

    run(scenario())


@pytest.fixture(scope="module")
def indexed(site: Settings) -> Settings:
    """All traffic in the index, by a worker that was killed in the middle and its successor."""
    events = traffic()
    values = [(e["body"]["wallet_id"], json.dumps(e).encode()) for e in events]
    send(site, [*values[:700], ("w-1", b'{"broken')])
    worker = Worker(site)
    wait_until(lambda: count(site) > PAYMENTS // 10, worker, "nothing is indexed")
    worker.kill()
    send(site, values[700:])  # so that its successor has work whatever the first one got done
    worker = Worker(site)
    wait_until(lambda: count(site) == PAYMENTS and behind(site) == 0, worker, f"{count(site)} of {PAYMENTS}")
    wait_until(lambda: count(site, PROGRESS) > 0, worker, "it is not told how far the index is complete")
    worker.stop()
    return site


def test_replays_and_a_lost_index_change_nothing(indexed: Settings) -> None:
    """Killed in the middle, replayed from the start, rebuilt from nothing: the index is the same, byte for byte."""
    site = indexed
    first = checksum(site)
    assert len(first) == PAYMENTS

    forget_offsets(site)
    worker = Worker(site)
    wait_until(lambda: behind(site) == 0, worker, "the replay did not end")
    worker.stop()
    assert checksum(site) == first, "a replay into the same index"

    httpx.delete(f"{site.opensearch_url}/payments-202511", timeout=30).raise_for_status()
    forget_offsets(site)
    worker = Worker(site)
    wait_until(lambda: count(site) == PAYMENTS and behind(site) == 0, worker, "the index was not rebuilt")
    worker.stop()
    assert checksum(site) == first, "a month's index rebuilt"

    letters = [record for record in read_topics(site.kafka_bootstrap, ["payments-dlq"]) if record.value == b'{"broken']
    assert letters, "the broken record is dead-lettered"
    letter = DeadLetter.read(list(letters[0].headers.items()))
    assert (letter.stage, letter.reason_code, letter.origin_topic) == ("search-index", "not_json", "payments-valid")


def test_search_finds_what_was_paid(indexed: Settings) -> None:
    """Every hit of a merchant is its own; totals are the sums; pages hold each payment once."""
    events = traffic()
    paid = {e["aggregate_id"]: e["body"] for e in events if e["event_type"] == "PaymentCompleted"}
    refunded = {e["aggregate_id"] for e in events if e["event_type"] == "RefundCompleted"}
    mine = {number: body for number, body in paid.items() if body["merchant_id"] == "m-3"}

    async def all_pages(search: PaymentSearch, text: str, scope: Scope) -> tuple[Found, list[dict[str, Any]]]:
        first = page = await search.search(parse(text, NOON_US), scope, size=40)
        hits = list(page.hits)
        while page.next:
            page = await search.search(parse(text, NOON_US), scope, size=40, cursor=page.next)
            hits += page.hits
        return first, hits

    async def scenario() -> None:
        search = PaymentSearch(indexed.opensearch_url, timeout_s=30)
        scope = Scope.of_merchant("m-3")
        first, hits = await all_pages(search, "", scope)
        assert sorted(hit["payment_id"] for hit in hits) == sorted(mine)
        assert [hit["occurred_at_us"] for hit in hits] == sorted((h["occurred_at_us"] for h in hits), reverse=True)
        assert first.total == len(mine)
        assert first.totals is not None
        assert first.totals["gross_minor"] == sum(body["amount_minor"] for body in mine.values())
        assert first.totals["refunded_minor"] == 50 * len(refunded & mine.keys())
        assert first.totals["net_minor"] == first.totals["gross_minor"] - first.totals["refunded_minor"]

        number, body = next(iter(mine.items()))
        for text in (number, number[-6:], number[-4:], f"{body['amount_minor']}円", f"番号:{number[-4:]}"):
            found = await search.search(parse(text, NOON_US), scope, size=PAGE_MAX)
            assert number in {hit["payment_id"] for hit in found.hits}, text

        for attempt in ("merchant:m-4", "OR merchant_id:m-4", '"m-4"', next(n for n in paid if n not in mine)):
            _, hits = await all_pages(search, attempt, scope)
            assert {hit["merchant_id"] for hit in hits} <= {"m-3"}, attempt

        _, hits = await all_pages(search, "返金", scope)
        assert {hit["payment_id"] for hit in hits} == refunded & mine.keys()
        for word, store in (
            ("渋谷", 0),
            ("ラーメン", 1),
            ("高島", 2),
            ("ドラッグ", 3),
            ("新宿2号店", 1),
            ("かふぇ", 0),
        ):
            found = await search.search(parse(word, NOON_US), Scope.operator(), size=1)
            assert found.total == PAYMENTS // 4, word
            assert found.hits[0]["store_id"] == f"s-{store}", word
        assert found.complete_to_us is not None
        await search.close()

    run(scenario())


@pytest.mark.parametrize("sort", Sort)
def test_pages_of_every_order_hold_each_payment_once(indexed: Settings, sort: Sort) -> None:
    async def scenario() -> None:
        search = PaymentSearch(indexed.opensearch_url, timeout_s=30)
        hits, cursor, begun = [], None, False
        while cursor or not begun:
            page = await search.search(parse("", NOON_US), Scope.operator(), size=70, cursor=cursor, sort=sort)
            hits, cursor, begun = hits + page.hits, page.next, True
        await search.close()
        assert len({hit["payment_id"] for hit in hits}) == len(hits) == PAYMENTS
        values = [hit[sort.field] for hit in hits]
        assert values == sorted(values, reverse=sort.direction == "desc")

    run(scenario())


def test_facets_count_what_their_words_find(indexed: Settings) -> None:
    async def scenario() -> None:
        search = PaymentSearch(indexed.opensearch_url, timeout_s=30)
        scope = Scope.of_merchant("m-3")
        found = await search.search(parse("ラーメン", NOON_US), scope, size=1)
        for field, words in FACETS.items():
            for word in words:
                query = parse("ラーメン", NOON_US).toggled(facet_chip(field, word))
                narrowed = await search.search(query, scope, size=1)
                assert found.facets[field.value][word] == narrowed.total, word
        assert sum(found.facets["status"].values()) == found.total > 0
        await search.close()

    run(scenario())


def test_alerts_are_found_counted_and_paged(site: Settings) -> None:
    """Each once, in any order; a facet counts besides its own choice; what is typed only ever begins an id."""
    alerts = [
        {"alert_id": f"a-{at:02}", "typology": f"T0{at % 3 + 1}", "wallet_id": f"w-{at % 4}", "first_at_us": at}
        | {"last_at_us": at // 2, "payments": at % 5, "merchants": 1, "amount_minor": 100 * (at % 7), "signals": 1}
        for at in range(30)
    ]

    async def scenario() -> None:
        client = AsyncOpenSearch(hosts=[site.opensearch_url])
        await ensure(client)
        for alert in alerts:
            await client.index(index="alerts", id=alert["alert_id"], body=alert)
        await client.indices.refresh(index="alerts")
        await client.close()
        search = AlertSearch(site.opensearch_url, timeout_s=30)
        for field in ("last_at_us", "amount_minor", "payments"):
            rows: list[dict[str, Any]] = []
            after: tuple[Any, ...] | None = None
            while True:
                page = await search.page(chosen={}, field=field, falls=True, size=7, after=after)
                rows += page.rows
                if not page.more:
                    break
                after = (rows[-1][field], rows[-1]["alert_id"])
            assert rows == sorted(alerts, key=lambda row: (row[field], row["alert_id"]), reverse=True)
        chosen = {"typology": ("T01", "T03")}
        page = await search.page(text="w-1", chosen=chosen, field="last_at_us", falls=False, size=50)
        mine = [row for row in alerts if row["wallet_id"] == "w-1"]
        assert page.rows == [row for row in mine if row["typology"] in chosen["typology"]]
        assert page.total == len(page.rows)
        assert page.counts["typology"] == Counter(row["typology"] for row in mine)
        for attempt in ("*", "w-1 OR w-2", '"}}', "?-1"):
            assert (await search.page(text=attempt, chosen={}, field="last_at_us", falls=True, size=9)).total == 0
        await search.close()

    run(scenario())
