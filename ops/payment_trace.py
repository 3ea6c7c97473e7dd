"""One payment's way through every stage, from the whole of the topics since an hour before it."""

from __future__ import annotations

from typing import Any

import httpx

from koban.settings import Settings
from ops.kafka_log import read_topics, topic_names
from streams.tracing.story import STAGE_OF_TOPIC, Trace

LOOK_BACK_MS = 3_600_000
"""How long before the payment's own time records are looked for; without a document, they are from the start."""


def trace(settings: Settings, payment_id: str) -> Trace:
    """Follows a payment through the topics and the index. Stores that do not answer are named, not fatal."""
    result = Trace(payment_id)
    result.documents = _documents(settings, payment_id, result.unavailable)
    since_ms = None
    if result.documents:
        since_ms = int(result.documents[0].get("occurred_at_us", 0)) // 1000 - LOOK_BACK_MS
    existing = topic_names(settings.kafka_bootstrap)
    topics = [name for name in STAGE_OF_TOPIC if name in existing and name != "balances"]
    result.take(read_topics(settings.kafka_bootstrap, topics, since_ms=since_ms))
    if result.entries:
        result.take_balances(read_topics(settings.kafka_bootstrap, ["balances"], since_ms=since_ms))
    result.sort()
    return result


def _documents(settings: Settings, payment_id: str, unavailable: list[str]) -> list[dict[str, Any]]:
    query = {"query": {"ids": {"values": [payment_id]}}, "version": True}
    try:
        answer = httpx.post(f"{settings.opensearch_url}/payments/_search", json=query, timeout=5)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        unavailable.append(f"OpenSearch: {error}")
        return []
    return [hit["_source"] | {"version": hit["_version"]} for hit in answer.json()["hits"]["hits"]]
