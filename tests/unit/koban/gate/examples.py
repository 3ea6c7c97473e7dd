"""Valid events to start from, and the pieces to make them wrong."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

SENT_MS = 1_795_400_001_000
PAYMENT: dict[str, Any] = {
    "event_type": "PaymentCompleted",
    "event_id": "0190b3a2-7c11-7abc-8def-0123456789ab",
    "occurred_at_us": 1_795_400_000_123_456,
    "recorded_at_us": 1_795_400_000_223_456,
    "aggregate": "payment",
    "aggregate_id": "0412345678901234567",
    "aggregate_seq": 1,
    "correlation_id": "0412345678901234567",
    "producer": "core-payments",
    "body": {
        "wallet_id": "w-00012345",
        "merchant_id": "m-000123",
        "store_id": "s-000123-01",
        "amount_minor": 1200,
        "tenders": [{"kind": "points", "amount_minor": 200}, {"kind": "money", "amount_minor": 1000}],
        "code": "CPM",
        "store_name": "渋谷駅前店",
        "memo": "コーヒー",
    },
}
FACT: dict[str, Any] = {
    "event_type": "TicketIssued",
    "event_id": "t-1",
    "occurred_at_us": 1_795_400_000_123_456,
    "aggregate": "campaign",
    "aggregate_id": "c-1",
    "aggregate_seq": 1,
    "body": {"campaign_id": "c-1", "facts": {"draw": 3, "ticket": "c-1|abc"}},
}


def changed(event: dict[str, Any] = PAYMENT, **fields: Any) -> dict[str, Any]:
    """A copy with fields set; `body__memo=…` is a field of the body, None takes a field out."""
    result = copy.deepcopy(event)
    for name, value in fields.items():
        *path, last = name.split("__")
        holder = result
        for step in path:
            holder = holder[step]
        if value is None:
            holder.pop(last, None)
        else:
            holder[last] = value
    return result


def raw(event: dict[str, Any] = PAYMENT, **fields: Any) -> bytes:
    """The JSON of a changed copy, compact and unescaped."""
    return msgspec.json.encode(changed(event, **fields))
