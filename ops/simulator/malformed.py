"""Records that no stage may trip over: what is wrong with each, and which reason the gate should give."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import msgspec

from ops.simulator.identifiers import event_id
from ops.simulator.population import Population
from ops.simulator.wire import PRODUCER
from schemas.errors import ReasonCode

TEST_CARD_NUMBERS = ("4111111111111111", "5555-5555-5555-4444", "378282246310005", "6011 1111 1111 1117")
"""The card schemes' published test numbers: they pass the checksum and belong to nobody."""
_LARGE_BYTES = 70_000
_HUGE_BYTES = 10_000_000
_DEPTH = 60

Event = dict[str, Any]


class Malformed(NamedTuple):
    """A record to be dead-lettered. ``event_id`` is None when it can't be read from the bytes."""

    key: str
    value: bytes
    what: str
    code: ReasonCode
    event_id: str | None


def _set(event: Event, **fields: Any) -> bytes:
    event["body"].update(fields)
    return msgspec.json.encode(event)


def _without(event: Event, field: str) -> bytes:
    del event["body"][field]
    return msgspec.json.encode(event)


def _tender(event: Event, **fields: Any) -> bytes:
    event["body"]["tenders"][0].update(fields)
    return msgspec.json.encode(event)


def _cut(event: Event) -> bytes:
    raw = msgspec.json.encode(event)
    return raw[: len(raw) * 2 // 3]


def _deep(event: Event) -> bytes:
    return msgspec.json.encode(event)[:-1] + b',"extra":' + b"[" * _DEPTH + b"]" * _DEPTH + b"}"


def _with_bytes(event: Event, raw: bytes) -> bytes:
    return msgspec.json.encode(event).replace(b'"memo":"', b'"memo":"' + raw)


def _unreadable(what: str) -> bool:
    return what in ("bad_json", "nul_byte", "not_utf8")


_FAULTS: dict[str, tuple[ReasonCode, Callable[[Event, Random], bytes]]] = {
    "bad_json": (ReasonCode.NOT_JSON, lambda e, _: _cut(e)),
    "nul_byte": (ReasonCode.NUL_BYTE, lambda e, _: _with_bytes(e, b"\x00")),
    "not_utf8": (ReasonCode.NOT_UTF8, lambda e, _: _with_bytes(e, b"\xff\xfe")),
    "wrong_type": (ReasonCode.WRONG_TYPE, lambda e, _: _set(e, amount_minor=str(e["body"]["amount_minor"]))),
    "fraction": (ReasonCode.WRONG_TYPE, lambda e, _: _set(e, amount_minor=e["body"]["amount_minor"] + 0.5)),
    "negative_amount": (ReasonCode.OUT_OF_BOUNDS, lambda e, _: _set(e, amount_minor=-e["body"]["amount_minor"])),
    "unknown_type": (ReasonCode.UNKNOWN_TYPE, lambda e, _: msgspec.json.encode({**e, "event_type": "PaymentDreamt"})),
    "missing_field": (ReasonCode.MISSING_FIELD, lambda e, r: _without(e, r.choice(("merchant_id", "tenders")))),
    "card_number": (ReasonCode.CARD_NUMBER, lambda e, r: _set(e, memo=f"card {r.choice(TEST_CARD_NUMBERS)}")),
    "broken_clock": (ReasonCode.OUT_OF_BOUNDS, lambda e, _: msgspec.json.encode({**e, "occurred_at_us": 7 * 10**15})),
    "wrong_sum": (ReasonCode.INCONSISTENT, lambda e, _: _tender(e, amount_minor=e["body"]["amount_minor"] + 1)),
    "unknown_field": (ReasonCode.UNKNOWN_FIELD, lambda e, _: _tender(e, rate="1.0")),
    "deep_nesting": (ReasonCode.TOO_DEEP, lambda e, _: _deep(e)),
    "too_large": (ReasonCode.TOO_LARGE, lambda e, _: _set(e, memo="あ" * (_LARGE_BYTES // 3))),
}
FAULTS = tuple(_FAULTS)
"""What can be wrong, apart from a record of ten megabytes, which is made only when asked for."""


class Malformer:
    """Makes malformed records, each from a payment that never was: its wallet and shop are real, its ids are not."""

    def __init__(self, population: Population, random: Random) -> None:
        self._population = population
        self._random = random
        self._next = 0

    def make(self, at_us: int) -> Malformed:
        """The next record; the faults take turns, so that a short stream has all of them."""
        what = FAULTS[self._next % len(FAULTS)]
        self._next += 1
        code, spoil = _FAULTS[what]
        event = self._payment(at_us)
        readable = None if _unreadable(what) else event["event_id"]
        wallet = event["body"]["wallet_id"]
        return Malformed(wallet, spoil(event, self._random), what, code, readable)

    def huge(self, at_us: int) -> Malformed:
        """A record of ten megabytes."""
        event = self._payment(at_us)
        value = _set(event, memo="x" * _HUGE_BYTES)
        return Malformed(event["body"]["wallet_id"], value, "huge", ReasonCode.TOO_LARGE, event["event_id"])

    def _payment(self, at_us: int) -> Event:
        random, population = self._random, self._population
        till = random.choice(population.tills)
        amount = random.randrange(100, 5_000)
        number = f"9{random.randrange(10**18):018}"
        body = {
            "wallet_id": random.choice(population.wallets),
            **msgspec.json.decode(f"{{{till.shop},{till.counter},".encode() + till.tail[:-1]),
            "amount_minor": amount,
            "tenders": [{"kind": "money", "amount_minor": amount}],
            "memo": "テイクアウト",
        }
        return {
            "event_type": "PaymentCompleted",
            "event_id": event_id(at_us, random),
            "occurred_at_us": at_us,
            "aggregate": "payment",
            "aggregate_id": number,
            "aggregate_seq": 1,
            "correlation_id": number,
            "producer": PRODUCER,
            "body": body,
        }
