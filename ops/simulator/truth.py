"""Ground truth: what each record is and what should become of it. It goes to its own file or topic; no stage reads it.

A record without a line of its own is plain: valid, ordinary, on time. So truth stays small and is still exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import msgspec

from schemas.errors import ReasonCode

Disturbance = Literal["none", "duplicate", "conflict", "late", "behind_late", "malformed"]
Verdict = Literal["valid", "duplicate", "dead_letter"]
Label = Literal["ordinary", "fraud", "lookalike"]
TYPOLOGY = "T01"


class RecordTruth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="record"):
    """One record. ``event_id`` is None when the record can't be read. Several records may have one ``event_id``."""

    event_id: str | None = None
    at_us: int
    """When it was sent."""
    disturbance: Disturbance = "none"
    what: str | None = None
    """What is wrong with a malformed record."""
    verdict: Verdict = "valid"
    code: ReasonCode | None = None
    """The gate's reason for a dead letter."""
    label: Label = "ordinary"
    typology: str | None = None
    burst_id: str | None = None


class Burst(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="burst"):
    """A planted pattern of payments by one wallet.

    For fraud it is given with the payment at which the rule fires, and counts up to it; later payments of the burst
    name it in their own lines. A lookalike is given with its last payment, and the rule must not fire at all.
    """

    burst_id: str
    label: Label
    typology: str = TYPOLOGY
    shape: str
    wallet_id: str
    first_at_us: int
    last_at_us: int
    payments: int
    merchants: int
    amount_minor: int
    event_ids: tuple[str, ...]


Truth = tuple[RecordTruth | Burst, ...]
PLAIN: Truth = ()
_MOST = "PaymentCompleted"
_VALUE, _AMOUNT = itemgetter(2), itemgetter(5)


class Message(NamedTuple):
    """A record to send at ``at_us``. ``event_type`` is empty and the amount 0 for a malformed one."""

    at_us: int
    key: str | None
    value: bytes
    truth: Truth
    event_type: str
    amount_minor: int


Sent = tuple[int, str | None, bytes, Truth, str, int]
"""A `Message` while it is made: a plain tuple, for there are many."""


class Summary(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", tag="summary"):
    """What was sent, counted while sending. ``produced`` = ``valid`` + ``duplicates`` + all of ``dead_letters``."""

    produced: int
    valid: int
    duplicates: int
    conflicts: int
    malformed: int
    late: int
    behind_late: int
    dead_letters: dict[str, int]
    """Reason code → records."""
    events: dict[str, int]
    """Event type → valid events."""
    amount_minor: dict[str, int]
    """Event type → Σ amounts of its valid events."""
    bursts: int
    lookalikes: int
    fraud_events: int
    bytes: int
    first_at_us: int
    last_at_us: int
    sending_s: float | None = None
    """How long the sending took; left out when the bytes went to a file."""
    lag_ms_max: float | None = None
    """The most that a record was sent after its intended time."""
    balances: dict[str, int] | None = None
    """Account → yen in the true ledger, when asked for."""


class Tally:
    """Counts messages as they are sent."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._amounts: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._disturbed: Counter[str] = Counter()
        self._bursts: Counter[str] = Counter()
        self._fraud_events = 0
        self._bytes = self._produced = 0
        self._first_at_us = self._last_at_us = 0

    def add(self, messages: Sequence[Sent]) -> None:
        """Counts messages of ascending time. Plain payments, which are most, are counted all at once."""
        if not messages:
            return
        others = [message for message in messages if message[3] or message[4] != _MOST]
        for _, _, _, truth, event_type, amount in others:
            if not truth or self._counts_as_valid(truth):
                self._types[event_type] += 1
                self._amounts[event_type] += amount
        plain = len(messages) - len(others)
        if plain:
            self._types[_MOST] += plain
            self._amounts[_MOST] += sum(map(_AMOUNT, messages)) - sum(map(_AMOUNT, others))
        self._produced += len(messages)
        self._bytes += sum(map(len, map(_VALUE, messages)))
        self._first_at_us = self._first_at_us or messages[0][0]
        self._last_at_us = messages[-1][0]

    def _counts_as_valid(self, truth: Truth) -> bool:
        valid = True
        for line in truth:
            if isinstance(line, Burst):
                self._bursts[line.label] += 1
                continue
            self._disturbed[line.disturbance] += 1
            self._fraud_events += line.label == "fraud" and line.verdict == "valid"
            if line.code is not None:
                self._codes[line.code] += 1
            valid = valid and line.verdict == "valid"
        return valid

    def summary(self) -> Summary:
        """What was counted so far."""
        disturbed = self._disturbed
        return Summary(
            produced=self._produced,
            valid=self._types.total(),
            duplicates=disturbed["duplicate"],
            conflicts=disturbed["conflict"],
            malformed=disturbed["malformed"],
            late=disturbed["late"],
            behind_late=disturbed["behind_late"],
            dead_letters=dict(sorted(self._codes.items())),
            events=dict(sorted(self._types.items())),
            amount_minor=dict(sorted((name, total) for name, total in self._amounts.items() if total)),
            bursts=self._bursts["fraud"],
            lookalikes=self._bursts["lookalike"],
            fraud_events=self._fraud_events,
            bytes=self._bytes,
            first_at_us=self._first_at_us,
            last_at_us=self._last_at_us,
        )


def lines(messages: Iterable[Sent]) -> list[bytes]:
    """The truth of messages as JSON lines, without line ends."""
    return [msgspec.json.encode(line) for message in messages for line in message[3]]


def as_dict(summary: Summary) -> dict[str, Any]:
    """The summary as plain JSON types."""
    found: dict[str, Any] = msgspec.to_builtins(summary)
    return found
