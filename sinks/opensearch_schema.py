"""The indices: mappings, Japanese analysis, aliases; created and kept with opensearch-py.

Mappings are strict, so a field that nobody declared is refused instead of mapped by guess. The refresh interval is set
by name: an index without one goes to sleep when nobody searches, and then shows a payment late.
"""

from __future__ import annotations

from typing import Any

from opensearchpy import AsyncOpenSearch

from koban.search.document import UNPLACED
from sinks.payment_store import ALIAS

ALERTS = "alerts"
PROGRESS = "koban-progress"
"""How far each lane of each indexing stage is complete: a handful of tiny documents."""
REFRESH_INTERVAL_S = 1
SHARDS = 2
_PREFIX_SIGNS_MAX = 20
_KANA = [f"{chr(sign)} => {chr(sign + 0x60)}" for sign in range(ord("ぁ"), ord("ゖ") + 1)]

_ANALYSIS: dict[str, Any] = {
    "char_filter": {
        "katakana": {"type": "mapping", "mappings": _KANA},
        "variants": {"type": "mapping", "mappings": ["髙 => 高", "﨑 => 崎", "邊 => 辺", "邉 => 辺", "㈱ => 株式会社"]},
        "dashes": {"type": "mapping", "mappings": [f"{sign} => ー" for sign in "‐‑–—−－ｰ"]},
    },
    "tokenizer": {
        "words": {"type": "kuromoji_tokenizer", "mode": "search", "discard_compound_token": True},
        "pairs": {"type": "ngram", "min_gram": 2, "max_gram": 2, "token_chars": ["letter", "digit"]},
    },
    "filter": {
        "reading": {"type": "kuromoji_readingform", "use_romaji": False},
        "beginnings": {"type": "edge_ngram", "min_gram": 1, "max_gram": _PREFIX_SIGNS_MAX},
        "first_signs": {"type": "truncate", "length": _PREFIX_SIGNS_MAX},
    },
    "analyzer": {
        "store_words": {
            "tokenizer": "words",
            "char_filter": ["variants"],
            "filter": ["kuromoji_baseform", "cjk_width", "lowercase"],
        },
        "store_reading": {
            "tokenizer": "words",
            "char_filter": ["variants"],
            "filter": ["reading", "cjk_width", "lowercase"],
        },
        "store_pairs": {
            "tokenizer": "pairs",
            "char_filter": ["variants", "dashes", "katakana"],
            "filter": ["cjk_width", "lowercase"],
        },
        "store_beginnings": {
            "tokenizer": "keyword",
            "char_filter": ["variants", "dashes", "katakana"],
            "filter": ["cjk_width", "lowercase", "beginnings"],
        },
        "store_beginning": {
            "tokenizer": "keyword",
            "char_filter": ["variants", "dashes", "katakana"],
            "filter": ["cjk_width", "lowercase", "first_signs"],
        },
    },
}
_KEYWORD = {"type": "keyword"}
_LONG = {"type": "long"}
_SHOWN = {"type": "object", "enabled": False}
"""Kept in the document, never searched."""
_NOT_SEARCHED = {"type": "long", "index": False, "doc_values": False}

PAYMENT_FIELDS: dict[str, Any] = {
    "payment_id": _KEYWORD,
    "version": {"type": "integer"},
    "status": _KEYWORD,
    **{f"{name}_minor": _LONG for name in ("amount", "gross", "refunded", "canceled", "net", "refund_pending")},
    "currency": _KEYWORD,
    "kinds": _KEYWORD,
    "tenders": _SHOWN,
    "merchant_id": _KEYWORD,
    "store_id": _KEYWORD,
    "store_name": {
        "type": "text",
        "analyzer": "store_words",
        "fields": {
            "reading": {"type": "text", "analyzer": "store_reading"},
            "bigram": {"type": "text", "analyzer": "store_pairs"},
            "prefix": {"type": "text", "analyzer": "store_beginnings", "search_analyzer": "store_beginning"},
            "exact": _KEYWORD,
        },
    },
    "terminal_id": _KEYWORD,
    "code": _KEYWORD,
    "mcc": _KEYWORD,
    "wallet_id": _KEYWORD,
    "occurred_at_us": _LONG,
    "updated_at_us": _LONG,
    "day": _KEYWORD,
    "number_reversed": _KEYWORD,
    "topic": {"type": "keyword", "index": False, "doc_values": False},
    "partition": _NOT_SEARCHED,
    "offset": _NOT_SEARCHED,
    "ingested_at_us": _LONG,
    "story": _SHOWN,
}
ALERT_FIELDS: dict[str, Any] = {
    "alert_id": _KEYWORD,
    "typology": _KEYWORD,
    "wallet_id": _KEYWORD,
    "first_at_us": _LONG,
    "last_at_us": _LONG,
    "payments": _LONG,
    "merchants": _LONG,
    "amount_minor": _LONG,
    "event_id": _KEYWORD,
    "signals": _LONG,
}

PROGRESS_FIELDS: dict[str, Any] = {
    "stage": _KEYWORD,
    "partition": {"type": "integer"},
    "complete_to_us": _LONG,
}


def template(
    patterns: list[str], fields: dict[str, Any], *, alias: str | None = None, routed: bool = False, replicas: int = 0
) -> dict[str, Any]:
    """An index template. A routed index refuses what comes without its routing."""
    mappings: dict[str, Any] = {"dynamic": "strict", "properties": fields}
    if routed:
        mappings["_routing"] = {"required": True}
    index = {
        "number_of_shards": SHARDS if routed else 1,
        "number_of_replicas": replicas,
        "refresh_interval": f"{REFRESH_INTERVAL_S}s",
    }
    body: dict[str, Any] = {"settings": {"index": index}, "mappings": mappings}
    if routed:
        body["settings"]["analysis"] = _ANALYSIS
    if alias:
        body["aliases"] = {alias: {}}
    return {"index_patterns": patterns, "template": body, "priority": 100}


async def ensure(client: AsyncOpenSearch, *, replicas: int = 0) -> None:
    """Put the templates, and create the indices that are searched before anything is written. Safe to repeat."""
    payments = template(["payments-*"], PAYMENT_FIELDS, alias=ALIAS, routed=True, replicas=replicas)
    await client.indices.put_index_template(name="koban-payments", body=payments)
    alerts = template([ALERTS], ALERT_FIELDS, replicas=replicas)
    await client.indices.put_index_template(name="koban-alerts", body=alerts)
    progress = template([PROGRESS], PROGRESS_FIELDS, replicas=replicas)
    await client.indices.put_index_template(name="koban-progress", body=progress)
    for index in (UNPLACED, ALERTS, PROGRESS):
        if not await client.indices.exists(index=index):
            # Another worker may create it between the question and this.
            await client.indices.create(index=index, params={"ignore": 400})
