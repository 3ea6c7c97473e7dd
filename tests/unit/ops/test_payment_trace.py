"""A trace says what each stage did with a payment, in the order of time, and survives what it can't read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from koban.settings import Settings
from ops import payment_trace
from ops.kafka_log import LogRecord

PAYMENT = "0472993188201143902"
SETTINGS = Settings(data_dir=Path("data"), lake_dir=Path("lake"), opensearch_url="http://127.0.0.1:9")


def _record(topic: str, offset: int, value: Any, at_us: int | None = None, **headers: str) -> LogRecord:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    encoded = {name: text.encode() for name, text in headers.items()}
    if at_us is not None:
        encoded["koban_at_us"] = str(at_us).encode()
    return LogRecord(topic, 0, offset, 1_000, None, raw, encoded)


EVENT = {"event_type": "PaymentCompleted", "aggregate_id": PAYMENT, "body": {"amount_minor": 1200}}
ENTRY = {
    "entry_id": "j1",
    "event_type": "PaymentCompleted",
    "payment_id": PAYMENT,
    "lines": [{"account": "U.w.money", "debit_minor": 1200}, {"account": "M.m.payable", "debit_minor": -1200}],
}
LEGS = {
    "to_lane": 3,
    "legs": [
        {"payment_id": PAYMENT, "account": "M.m.payable", "debit_minor": -1200},
        {"payment_id": "another", "account": "M.other.payable", "debit_minor": -1},
    ],
}
TOPICS = {
    "payments": [_record("payments", 0, EVENT), _record("payments", 1, b"\xff not this one")],
    "payments-valid": [_record("payments-valid", 0, EVENT, at_us=1_100_000)],
    "payments-dlq": [_record("payments-dlq", 0, EVENT, at_us=1_050_000, koban_reason="amount: wrong")],
    "journal": [_record("journal", 0, ENTRY, at_us=1_200_000)],
    "ledger-legs": [_record("ledger-legs", 0, LEGS, at_us=1_200_001)],
    "balances": [
        _record("balances", 0, {"account": "U.w.money", "entry_id": "j1", "posted_minor": 5, "version": 2}, 1_200_002),
        _record("balances", 1, {"account": "L.in_flight@0", "entry_id": "j1", "posted_minor": 5, "version": 9}),
        _record("balances", 2, {"account": "U.x.money", "entry_id": "j9", "posted_minor": 7, "version": 1}),
    ],
}


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: str, names: list[str], since_ms: int | None = None) -> Any:
        return (record for name in names for record in TOPICS.get(name, []))

    monkeypatch.setattr(payment_trace, "topic_names", lambda _: set(TOPICS))
    monkeypatch.setattr(payment_trace, "read_topics", read)


@pytest.mark.usefixtures("topics")
def test_hops_are_in_order_and_say_what_happened():
    result = payment_trace.trace(SETTINGS, PAYMENT)
    assert [(hop["topic"], hop["summary"]) for hop in result.hops] == [
        ("payments", "PaymentCompleted ¥1,200"),
        ("payments-dlq", "dead-lettered: amount: wrong"),
        ("payments-valid", "PaymentCompleted ¥1,200"),
        ("journal", "PaymentCompleted: 2 lines, ¥1,200"),
        ("ledger-legs", "to lane 3: M.m.payable +1,200"),
        ("balances", "U.w.money = ¥5 (version 2)"),
    ]


@pytest.mark.usefixtures("topics")
def test_an_index_that_is_down_is_named_and_the_rest_is_shown():
    result = payment_trace.trace(SETTINGS, PAYMENT)
    assert result.found
    assert len(result.unavailable) == 1
    assert "OpenSearch" in result.unavailable[0]


@pytest.mark.usefixtures("topics")
def test_an_unknown_payment_is_not_found():
    assert not payment_trace.trace(SETTINGS, "no-such-payment").found
