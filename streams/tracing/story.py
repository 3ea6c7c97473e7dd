"""What a record says of a payment, and all of them in the order of time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from koban.money import yen
from streams.tracing.record import LogRecord

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

    def take(self, records: Iterable[LogRecord]) -> None:
        """Adds what speaks of the payment. Balances come later: they name entries, not payments."""
        needle = self.payment_id.encode()
        for record in records:
            if needle in (record.value or b"") or record.headers.get("ce_correlationid") == needle:
                self._add(record)

    def take_balances(self, records: Iterable[LogRecord]) -> None:
        """Adds the balances that the entries found so far made."""
        entry_ids = {entry.get("entry_id") for entry in self.entries}
        for record in records:
            balance = _json(record.value)
            if balance.get("entry_id") in entry_ids and not balance["account"].startswith(IN_FLIGHT):
                self._add(record)

    def sort(self) -> None:
        """Puts the hops in the order of their time."""
        order = list(STAGE_OF_TOPIC)
        self.hops.sort(key=lambda hop: (hop["at_us"], order.index(hop["topic"])))

    def _add(self, record: LogRecord) -> None:
        value = _json(record.value)
        at_us = int(record.header("koban_at_us") or value.get("decided_at_us") or record.timestamp_ms * 1000)
        self.hops.append(
            {
                "stage": STAGE_OF_TOPIC[record.topic],
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "at_us": at_us,
                "summary": _summary(record, value, self.payment_id),
            }
        )
        if record.topic == "journal":
            self.entries.append(value)
        elif record.topic in ("cashback", "fraud-signals", "alerts", "payments-dlq"):
            self.decisions.append({"topic": record.topic, **(value or {"reason": record.header("koban_reason")})})


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
