"""A payment as one searchable document, folded from the payment's events.

The fold does not depend on the order in which events arrive: a document remembers which events made it (its ``story``),
an event that it knows changes nothing, and every other field is computed from the story and from one event that opened
the payment. So a replay of the topic, twice or shuffled, gives the same bytes. For the same reason a document holds no
time of its own making: when it was indexed is a metric of the stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from koban.business_time import business_date
from koban.events import Cancel, Event, HoldEnded, Payment, Refund, payment_id

STORY_EVENTS_MAX = 256
"""A payment has a handful of events, with 50 refunds in parts about a hundred. More is a producer gone wrong."""

UNPLACED = "payments-unplaced"
"""The index of documents whose opening event has not been seen, so that their month is unknown."""

OPENING = frozenset({"PaymentCompleted", "PaymentAuthorized"})
INDEXED = OPENING | {
    "PaymentCaptured",
    "PaymentVoided",
    "AuthorizationExpired",
    "PaymentCanceled",
    "RefundRequested",
    "RefundCompleted",
}
"""The event types that make or change a document."""


class Status(StrEnum):
    """Where a payment stands, in order of precedence: the first that holds."""

    CANCELED = "canceled"
    VOIDED = "voided"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    PARTIALLY_REFUNDED = "partially_refunded"
    COMPLETED = "completed"
    AUTHORIZED = "authorized"


class StoryTooLongError(ValueError):
    """A payment has more events than ``STORY_EVENTS_MAX``."""


class Origin(msgspec.Struct, frozen=True):
    """Where an event was read: its partition and offset on ``payments-valid``, and when the raw event came in."""

    partition: int
    offset: int
    ingested_at_us: int


class Step(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One event of a payment's story. Steps sort by the payment's own sequence, then by time, then by id."""

    seq: int
    at_us: int
    event_id: str
    event_type: str
    amount_minor: int
    refund_id: str | None
    partition: int
    offset: int
    ingested_at_us: int


class Part(msgspec.Struct, frozen=True):
    """How much of a payment was paid with one kind of money."""

    kind: str
    amount_minor: int


class PaymentDocument(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The document. Amounts are in minor units, times in microseconds UTC.

    ``amount_minor`` is what was paid: captured if there was a capture, else authorised. ``gross_minor`` is what the
    merchant took, and ``net_minor`` what it kept: gross − canceled − refunded. ``version`` is the highest
    ``aggregate_seq`` seen; the number of distinct events, ``len(story)``, is the version the index compares.
    """

    payment_id: str
    version: int
    status: Status
    amount_minor: int
    gross_minor: int
    refunded_minor: int
    canceled_minor: int
    net_minor: int
    refund_pending_minor: int
    currency: str
    kinds: tuple[str, ...]
    tenders: tuple[Part, ...]
    merchant_id: str
    store_id: str | None = None
    store_name: str | None = None
    terminal_id: str | None = None
    code: str | None = None
    mcc: str | None = None
    wallet_id: str
    occurred_at_us: int
    updated_at_us: int
    day: str
    """The business day (JST) of ``occurred_at_us``."""
    number_reversed: str
    """The payment number backwards, letters and digits only: what its last digits are looked up in."""
    topic: str = ""
    partition: int
    offset: int
    ingested_at_us: int
    story: tuple[Step, ...]

    @classmethod
    def with_all_fields(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A stored document with its defaults filled in: what is empty is not stored."""
        return {**_DEFAULTS, **stored}

    def index(self) -> str:
        """The index the document lives in: one a month (JST) of the payment, none of which ever changes."""
        if not _opened(self.story):
            return UNPLACED
        return month_index(self.occurred_at_us)

    def index_version(self) -> int:
        """Grows with every event that is folded in, in whatever order they come."""
        return len(self.story)


_DEFAULTS = {
    field.name: field.default
    for field in msgspec.structs.fields(PaymentDocument)
    if field.default is not msgspec.NODEFAULT
}


class Facts(msgspec.Struct, frozen=True):
    """What one event says about the payment as a whole."""

    merchant_id: str
    wallet_id: str
    currency: str
    tenders: tuple[Part, ...]
    store_id: str | None
    store_name: str | None
    terminal_id: str | None
    code: str | None
    mcc: str | None
    at_us: int


Arrival = tuple[Event, Origin]


def concerns(event: Event) -> str | None:
    """The id of the payment whose document the event changes. None when it changes none."""
    return payment_id(event) if type(event).__name__ in INDEXED else None


def opens(event: Event) -> bool:
    """Whether the event begins a payment, so that no earlier document needs to be looked up."""
    return type(event).__name__ in OPENING


def month_index(at_us: int) -> str:
    """The index of payments that happened in the Japanese month of an instant."""
    day = business_date(at_us)
    return f"payments-{day.year:04d}{day.month:02d}"


def candidate_indices(event: Event) -> tuple[str, ...]:
    """Where the document of an event that opens nothing may be: the payment's month if known, else this or the last."""
    paid_at_us = getattr(event.body, "payment_at_us", None)
    if paid_at_us is not None:
        return (month_index(paid_at_us), UNPLACED)
    day = business_date(event.occurred_at_us)
    year, month = (day.year, day.month - 1) if day.month > 1 else (day.year - 1, 12)
    return (month_index(event.occurred_at_us), f"payments-{year:04d}{month:02d}", UNPLACED)


def apply(document: PaymentDocument | None, event: Event, origin: Origin) -> PaymentDocument | None:
    """The document after one event. See ``fold``."""
    return fold(document, ((event, origin),))


def fold(document: PaymentDocument | None, arrivals: Sequence[Arrival]) -> PaymentDocument | None:
    """The document after events of one payment; the same object when they are all known. None when there is nothing.

    Raises StoryTooLongError when the story would outgrow its limit.
    """
    story = list(document.story) if document else []
    known = {step.event_id for step in story}
    best = min(story, key=_rank) if story else None
    facts = _facts_of_document(document) if document else None
    for event, origin in arrivals:
        if type(event).__name__ not in INDEXED or event.event_id in known:
            continue
        step = _step(event, origin)
        known.add(step.event_id)
        story.append(step)
        if best is None or _rank(step) < _rank(best):
            best, facts = step, _facts_of_event(event)
    if document is not None and len(story) == len(document.story):
        return document
    if facts is None:
        return None
    number = document.payment_id if document else _number(arrivals)
    if len(story) > STORY_EVENTS_MAX:
        raise StoryTooLongError(f"payment {number} has more than {STORY_EVENTS_MAX} events")
    story.sort()
    return _document(number, facts, tuple(story))


def merged(document: PaymentDocument, other: PaymentDocument) -> PaymentDocument:
    """One document of two that hold different events of one payment."""
    first, second = sorted((document, other), key=lambda each: _rank(min(each.story, key=_rank)))
    known = {step.event_id for step in first.story}
    story = sorted((*first.story, *(step for step in second.story if step.event_id not in known)))
    return _document(first.payment_id, _facts_of_document(first), tuple(story))


def encode(document: PaymentDocument) -> bytes:
    """The document's bytes in the index: always the same for the same document."""
    return _encoder.encode(document)


def decode(body: bytes | msgspec.Raw) -> PaymentDocument:
    """A document from its bytes. Raises msgspec.ValidationError."""
    return _decoder.decode(body)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(PaymentDocument)


def _number(arrivals: Sequence[Arrival]) -> str:
    number = next(filter(None, (concerns(event) for event, _ in arrivals)))
    return str(number)


def _rank(step: Step) -> tuple[bool, Step]:
    """Which event speaks for the payment: an opening one before all others, then the earliest."""
    return (step.event_type not in OPENING, step)


def _opened(story: tuple[Step, ...]) -> bool:
    return any(step.event_type in OPENING for step in story)


def _step(event: Event, origin: Origin) -> Step:
    body = event.body
    return Step(
        event.aggregate_seq,
        event.occurred_at_us,
        event.event_id,
        type(event).__name__,
        body.captured_minor if isinstance(body, HoldEnded) else body.amount_minor,
        body.refund_id if isinstance(body, Refund) else None,
        origin.partition,
        origin.offset,
        origin.ingested_at_us,
    )


def _facts_of_event(event: Event) -> Facts:
    body: Any = event.body
    assert isinstance(body, Payment | HoldEnded | Cancel | Refund), f"{type(body).__name__} is of no payment"
    paid_at_us = body.payment_at_us if isinstance(body, Refund) else None
    store = body if isinstance(body, Payment | HoldEnded) else None
    return Facts(
        body.merchant_id,
        body.wallet_id,
        body.currency,
        tuple(Part(tender.kind, tender.amount_minor) for tender in body.tenders),
        store.store_id if store else None,
        store.store_name if store else None,
        body.terminal_id if isinstance(body, Payment) else None,
        body.code if isinstance(body, Payment) else None,
        store.mcc if store else None,
        paid_at_us or event.occurred_at_us,
    )


def _facts_of_document(document: PaymentDocument) -> Facts:
    return Facts(
        document.merchant_id,
        document.wallet_id,
        document.currency,
        document.tenders,
        document.store_id,
        document.store_name,
        document.terminal_id,
        document.code,
        document.mcc,
        document.occurred_at_us,
    )


def _document(number: str, facts: Facts, story: tuple[Step, ...]) -> PaymentDocument:
    sums = _Sums(story)
    last = story[-1]
    return PaymentDocument(
        payment_id=number,
        version=last.seq,
        status=sums.status(),
        amount_minor=sums.gross or sums.authorized,
        gross_minor=sums.gross,
        refunded_minor=sums.refunded,
        canceled_minor=sums.canceled,
        net_minor=sums.gross - sums.canceled - sums.refunded,
        refund_pending_minor=sums.refund_pending,
        currency=facts.currency,
        kinds=tuple(dict.fromkeys(part.kind for part in facts.tenders)),
        tenders=facts.tenders,
        merchant_id=facts.merchant_id,
        store_id=facts.store_id,
        store_name=facts.store_name,
        terminal_id=facts.terminal_id,
        code=facts.code,
        mcc=facts.mcc,
        wallet_id=facts.wallet_id,
        occurred_at_us=facts.at_us,
        updated_at_us=max(step.at_us for step in story),
        day=business_date(facts.at_us).isoformat(),
        number_reversed=reversed_number(number),
        topic="payments-valid",
        partition=last.partition,
        offset=last.offset,
        ingested_at_us=last.ingested_at_us,
        story=story,
    )


def reversed_number(number: str) -> str:
    """A payment number or its end, as it is looked up: letters and digits, lower case, backwards."""
    return "".join(filter(str.isalnum, number.lower()))[::-1]


class _Sums:
    """What a story adds up to."""

    def __init__(self, story: tuple[Step, ...]) -> None:
        self.types = {step.event_type for step in story}
        self.authorized = self.gross = self.refunded = self.canceled = 0
        requested: dict[str | None, int] = {}
        paid_back: set[str | None] = set()
        for step in story:
            match step.event_type:
                case "PaymentCompleted" | "PaymentCaptured":
                    self.gross += step.amount_minor
                case "PaymentAuthorized":
                    self.authorized += step.amount_minor
                case "PaymentCanceled":
                    self.canceled += step.amount_minor
                case "RefundRequested":
                    requested[step.refund_id] = step.amount_minor
                case "RefundCompleted":
                    self.refunded += step.amount_minor
                    paid_back.add(step.refund_id)
        self.refund_pending = sum(amount for refund, amount in requested.items() if refund not in paid_back)

    def status(self) -> Status:
        """The payment's status. See ``Status`` for the order of precedence."""
        if "PaymentCanceled" in self.types:
            return Status.CANCELED
        if "PaymentVoided" in self.types:
            return Status.VOIDED
        if "AuthorizationExpired" in self.types:
            return Status.EXPIRED
        if self.refunded:
            return Status.REFUNDED if self.refunded >= self.gross else Status.PARTIALLY_REFUNDED
        return Status.COMPLETED if self.gross else Status.AUTHORIZED
