"""What the stores hold, as the checks ask for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pyarrow.dataset as parquet

from koban.settings import Settings
from ops.audit.findings import LaneAudit, NothingSealedError
from ops.audit.ledger import audit
from ops.kafka_log import LogRecord, read_topics
from ops.verify import books, dynamodb_table, lives, mysql_tables
from ops.verify.judge import Judgement, judge

SEARCH_PAGE = 5_000


class Evidence:
    """What the stores hold, each read once when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _topic(self, name: str) -> list[LogRecord]:
        return list(read_topics(self.settings.kafka_bootstrap, [name]))

    def _values(self, name: str) -> Iterator[dict[str, Any]]:
        return (json.loads(r.value) for r in read_topics(self.settings.kafka_bootstrap, [name]) if r.value)

    @cached_property
    def raw(self) -> list[LogRecord]:
        return self._topic("payments")

    @cached_property
    def judgement(self) -> Judgement:
        return judge(record.value for record in self.raw)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The valid events as the oracle sees them, from the raw topic."""
        return list(self.judgement.valid.values())

    @cached_property
    def valid(self) -> list[dict[str, Any]]:
        """What the gate let through."""
        return [json.loads(record.value) for record in self._valid_records if record.value]

    @cached_property
    def _valid_records(self) -> list[LogRecord]:
        return self._topic("payments-valid")

    @cached_property
    def late(self) -> set[str]:
        """Ids of events that came when event time had passed them in their partition: windows may be closed by then."""
        arrivals = (
            (record.partition, int(event["occurred_at_us"]), record.timestamp_ms * 1000, event["event_id"])
            for record, event in zip((r for r in self._valid_records if r.value), self.valid, strict=True)
        )
        return books.late(arrivals, self.settings.watermark_delay_s * 1_000_000)

    @cached_property
    def replays(self) -> list[dict[str, Any]]:
        """What the ledger was asked to judge again."""
        return list(self._values("ledger-replays"))

    @cached_property
    def lives(self) -> lives.Lives:
        """What the ledger must have made of the events. A replay comes long after its event, so all come last."""
        settings = self.settings
        return lives.judge_all((*self.valid, *self.replays), settings.payment_partitions, settings.ledger_late_days)

    @cached_property
    def waiting(self) -> dict[str, dict[str, Any]]:
        """Refunds that wait for their merchant's money, by the event that asked for them, in their order."""
        found: dict[str, dict[str, Any]] = {}
        for record in read_topics(self.settings.kafka_bootstrap, ["refunds-waiting"]):
            assert record.key is not None
            if record.value is None:
                found.pop(record.key.decode(), None)
            else:
                found[record.key.decode()] = json.loads(record.value)
        return found

    @cached_property
    def dead_letters(self) -> list[LogRecord]:
        return self._topic("payments-dlq")

    @cached_property
    def journal(self) -> list[dict[str, Any]]:
        return list(self._values("journal"))

    @cached_property
    def balances(self) -> dict[str, dict[str, Any]]:
        return {balance["account"]: balance for balance in self._values("balances")}

    @cached_property
    def audited(self) -> list[LaneAudit]:
        """The lanes beside their seals; none while no window is over."""
        try:
            return audit(self.settings)
        except NothingSealedError:
            return []

    @cached_property
    def tables(self) -> mysql_tables.Tables:
        return mysql_tables.read(self.settings.mysql_url)

    @cached_property
    def dynamodb(self) -> dict[str, tuple[int, int, int]]:
        """Account → posted, version, version of the item."""
        return dynamodb_table.read(self.settings.dynamodb_url)

    @cached_property
    def volumes(self) -> dict[tuple[str, int], tuple[int, int, int, int]]:
        latest: dict[tuple[str, int], tuple[int, int, int, int]] = {}
        for row in self._values("volumes"):
            cell = (row["merchant_id"], row["minute_us"])
            latest[cell] = (row["payments"], row["amount_minor"], row["refunds"], row["refunded_minor"])
        return latest

    @cached_property
    def campaigns(self) -> dict[str, dict[str, Any]]:
        return {campaign["campaign_id"]: campaign for campaign in self._values("campaigns")}

    @cached_property
    def cashback(self) -> list[dict[str, Any]]:
        return list(self._values("cashback"))

    @cached_property
    def alerts(self) -> dict[str, dict[str, Any]]:
        return {alert["alert_id"]: alert for alert in self._values("alerts")}

    @cached_property
    def documents(self) -> dict[str, tuple[int, int, int]]:
        """Payment id → (version, amount, refunded) of every indexed document."""
        found: dict[str, tuple[int, int, int]] = {}
        for hit in _all_hits(self.settings, "payments"):
            source = hit["_source"]
            found[hit["_id"]] = (hit["_version"], source["amount_minor"], source.get("refunded_minor", 0))
        return found

    @cached_property
    def lake_event_ids(self) -> Counter[str]:
        lake = self.settings.lake_dir / "payments"
        if not lake.is_dir():
            return Counter()
        files = [str(path) for path in lake.rglob("part-*") if not _hidden(path.relative_to(lake))]
        if not files:
            return Counter()
        column = parquet.dataset(files, format="parquet").to_table(columns=["event_id"]).column(0)
        return Counter(column.to_pylist())


def _hidden(path: Path) -> bool:
    """Whether a reader must not see the file: it is still being written, or belongs to the writer's own affairs."""
    return any(part.startswith((".", "_")) for part in path.parts)


def _all_hits(settings: Settings, index: str) -> Iterator[dict[str, Any]]:
    """Every document of an index, page by page in the order of its id, after a refresh."""
    with httpx.Client(base_url=settings.opensearch_url, timeout=30) as client:
        client.post(f"/{index}/_refresh")
        after: list[Any] | None = None
        while True:
            query: dict[str, Any] = {"size": SEARCH_PAGE, "sort": [{"payment_id": "asc"}], "version": True}
            query["_source"] = ["amount_minor", "refunded_minor"]
            if after:
                query["search_after"] = after
            answer = client.post(f"/{index}/_search", json=query)
            answer.raise_for_status()
            hits = answer.json()["hits"]["hits"]
            if not hits:
                return
            yield from hits
            after = hits[-1]["sort"]
