"""The oracle's own reading of raw events: what it calls faulty, and how it tells a duplicate from a conflict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.verify.judge import fault, judge


def _payment(**changes: Any) -> dict[str, Any]:
    body = {
        "wallet_id": "w1",
        "merchant_id": "m1",
        "store_id": "s1",
        "amount_minor": 300,
        "tenders": [{"kind": "money", "amount_minor": 300}],
    }
    event = {
        "event_id": "e1",
        "event_type": "PaymentCompleted",
        "occurred_at_us": 1_763_869_440_000_000,
        "aggregate": "payment",
        "aggregate_id": "0472993188201143902",
        "aggregate_seq": 1,
        "body": body,
    }
    body.update(changes.pop("body", {}))
    return event | changes


def _raw(event: Any) -> bytes:
    return json.dumps(event).encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[1]", "not an object"),
        (_raw(_payment(body={"memo": "x" * 70_000})), "too large"),
        (_raw(_payment(body={"memo": "a\x00"})), "NUL"),
        (_raw(_payment(extra=json.loads("[" * 40 + "]" * 40))), "too deep"),
        (_raw(_payment(event_type="PaymentTeleported")), "unknown event type"),
        (_raw(_payment(body={"amount_minor": -300})), "body.amount_minor is not above 0"),
        (_raw(_payment(body={"amount_minor": 300.5})), "body.amount_minor is not above 0"),
        (_raw(_payment(body={"amount_minor": 301})), "tenders do not sum to the amount"),
        (_raw(_payment(body={"merchant_id": None})), "body.merchant_id missing"),
        (_raw(_payment(body={"memo": "card 4111 1111 1111 1111"})), "card number"),
        (_raw(_payment()), None),
    ],
)
def test_a_faulty_value_is_named(raw: bytes | None, why: str | None):
    assert fault(raw) == why


def test_the_same_event_again_is_a_duplicate_and_another_body_a_conflict():
    again, other = _payment(recorded_at_us=1_763_869_440_000_001), _payment(body={"store_id": "s2"})
    result = judge([_raw(_payment()), _raw(again), _raw(other), b"junk"])
    assert (result.produced, len(result.valid), result.duplicates, result.conflicts) == (4, 1, 1, 1)
    assert result.dead_lettered == 2
