"""One payment's way through every stage: each record that speaks of it, with its place and its time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from koban.money import yen
from koban.settings import Settings
from ops.kafka_log import LogRecord, read_topics, topic_names

STAGE_OF_TOPIC = {
    "payments": "producer",
    "payments-rekeyed": "gate",
    "payments-valid": "gate",
    "payments-dlq": "gate",
    "journal": "ledger",
    "ledger-legs": "ledger",
    "balances": "ledger",
    "cashback": "cashback",
    "fraud-signals": "fraud_patterns",
    "alerts": "alerts",
}
"""Topic → the stage that writes it, in the order of the flow."""

IN_FLIGHT = "L.in_flight@"
"""The lanes' own accounts of legs on their way; the legs themselves are shown instead."""

LOOK_BACK_MS = 3_600_000
"""How long before the payment's own time records are looked for; without a document, they are from the start."""


@dataclass
class Trace:
    """What was found of one payment. ``hops`` are in the order of their time."""

    payment_id: str
    hops: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        return bool(self.hops or self.documents)


def trace(settings: Settings, payment_id: str) -> Trace:
    """Follows a payment through the topics and the index. Stores that do not answer are named, not fatal."""
    result = Trace(payment_id)
    result.documents = _documents(settings, payment_id, result.unavailable)
    since_ms = None
    if result.documents:
        since_ms = int(result.documents[0].get("occurred_at_us", 0)) // 1000 - LOOK_BACK_MS
    existing = topic_names(settings.kafka_bootstrap)
    topics = [name for name in STAGE_OF_TOPIC if name in existing and name != "balances"]
    needle = payment_id.encode()
    for record in read_topics(settings.kafka_bootstrap, topics, since_ms=since_ms):
        if needle in (record.value or b"") or record.headers.get("ce_correlationid") == needle:
            _add(result, record)
    _add_balances(settings, result, since_ms)
    result.hops.sort(key=lambda hop: (hop["at_us"], list(STAGE_OF_TOPIC).index(hop["topic"])))
    return result


def _add_balances(settings: Settings, result: Trace, since_ms: int | None) -> None:
    """Balances name the entry that made them, not the payment, so they are looked for once the entries are known."""
    entry_ids = {entry.get("entry_id") for entry in result.entries}
    if not entry_ids:
        return
    for record in read_topics(settings.kafka_bootstrap, ["balances"], since_ms=since_ms):
        balance = _json(record.value)
        if balance.get("entry_id") in entry_ids and not balance["account"].startswith(IN_FLIGHT):
            _add(result, record)


def _add(result: Trace, record: LogRecord) -> None:
    value = _json(record.value)
    at_us = int(record.header("koban_at_us") or value.get("decided_at_us") or record.timestamp_ms * 1000)
    hop = {
        "stage": STAGE_OF_TOPIC[record.topic],
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at_us": at_us,
        "summary": _summary(record, value, result.payment_id),
    }
    result.hops.append(hop)
    if record.topic == "journal":
        result.entries.append(value)
    elif record.topic in ("cashback", "fraud-signals", "alerts", "payments-dlq"):
        result.decisions.append({"topic": record.topic, **(value or {"reason": record.header("koban_reason")})})


def _json(value: bytes | None) -> dict[str, Any]:
    try:
        decoded = json.loads(value or b"{}")
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _summary(record: LogRecord, value: dict[str, Any], payment_id: str) -> str:
    if record.topic == "payments-dlq":
        return f"dead-lettered: {record.header('koban_reason')}"
    if record.topic == "journal":
        total = sum(line["debit_minor"] for line in value["lines"] if line["debit_minor"] > 0)
        return f"{value['event_type']}: {len(value['lines'])} lines, {yen(total)}"
    if record.topic == "ledger-legs":
        legs = [leg for leg in value.get("legs", ()) if leg.get("payment_id") == payment_id]
        moved = ", ".join(f"{leg['account']} {-leg['debit_minor']:+,}" for leg in legs)
        return f"to lane {value.get('to_lane')}: {moved}"
    if record.topic == "balances":
        return f"{value['account']} = {yen(value['posted_minor'])} (version {value['version']})"
    amount = value.get("body", value).get("amount_minor")
    kind = value.get("event_type") or value.get("typology") or "record"
    return f"{kind} {yen(amount)}" if isinstance(amount, int) else str(kind)


def _documents(settings: Settings, payment_id: str, unavailable: list[str]) -> list[dict[str, Any]]:
    query = {"query": {"ids": {"values": [payment_id]}}, "version": True}
    try:
        answer = httpx.post(f"{settings.opensearch_url}/payments/_search", json=query, timeout=5)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        unavailable.append(f"OpenSearch: {error}")
        return []
    return [hit["_source"] | {"version": hit["_version"]} for hit in answer.json()["hits"]["hits"]]
