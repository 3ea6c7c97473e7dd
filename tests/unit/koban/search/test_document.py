"""Folding a payment's events into its document."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.events import EVENT_TYPES, Event
from koban.search.document import (
    STORY_EVENTS_MAX,
    UNPLACED,
    Origin,
    PaymentDocument,
    StoryTooLongError,
    apply,
    candidate_indices,
    concerns,
    decode,
    encode,
    fold,
    merged,
    reversed_number,
)

NOON_US = 1_763_780_400_000_000  # 2025-11-22 12:00 JST
SECOND = 1_000_000


def event(kind: str, seq: int, at_s: int = 0, **body: Any) -> Event:
    """An event of payment pay-1, checked by its type."""
    fields: dict[str, Any] = {"wallet_id": "w-1", "merchant_id": "m-1", "amount_minor": 1200}
    if kind in {"PaymentCompleted", "PaymentAuthorized"}:
        fields |= {"store_id": "s-1", "store_name": "カフェ小判 渋谷駅前店", "terminal_id": "t-1"}
    if kind in {"PaymentCaptured", "PaymentVoided", "AuthorizationExpired"}:
        fields |= {"store_id": "s-1", "authorized_minor": 1200}
        fields.pop("amount_minor")
    fields |= body
    amount = fields.get("amount_minor") or fields["authorized_minor"]
    fields.setdefault("tenders", [{"kind": "money", "amount_minor": amount}])
    return msgspec.convert(
        {
            "event_id": f"e-{seq}",
            "occurred_at_us": NOON_US + at_s * SECOND,
            "aggregate": "payment",
            "aggregate_id": "pay-1",
            "aggregate_seq": seq,
            "correlation_id": "pay-1",
            "body": fields,
        },
        EVENT_TYPES[kind],
    )


def at(offset: int) -> Origin:
    return Origin(2, offset, NOON_US + offset)


def story(*events: Event) -> PaymentDocument:
    document = fold(None, [(each, at(each.aggregate_seq)) for each in events])
    assert document is not None
    return document


COMPLETED = event("PaymentCompleted", 1)
AUTHORIZED = event("PaymentAuthorized", 1)
CAPTURED = event("PaymentCaptured", 2, 60, captured_minor=1000)
REFUND_ASKED = event("RefundRequested", 2, 50, refund_id="r-1", amount_minor=500)
REFUND = event("RefundCompleted", 3, 60, refund_id="r-1", amount_minor=500)
REST = event("RefundCompleted", 4, 90, refund_id="r-2", amount_minor=700)


@pytest.mark.parametrize(
    ("events", "status", "amount", "gross", "refunded", "canceled", "net", "pending"),
    [
        ((COMPLETED,), "completed", 1200, 1200, 0, 0, 1200, 0),
        ((AUTHORIZED,), "authorized", 1200, 0, 0, 0, 0, 0),
        ((AUTHORIZED, CAPTURED), "completed", 1000, 1000, 0, 0, 1000, 0),
        ((AUTHORIZED, event("PaymentVoided", 2)), "voided", 1200, 0, 0, 0, 0, 0),
        ((AUTHORIZED, event("AuthorizationExpired", 2)), "expired", 1200, 0, 0, 0, 0, 0),
        ((COMPLETED, event("PaymentCanceled", 2)), "canceled", 1200, 1200, 0, 1200, 0, 0),
        ((COMPLETED, REFUND_ASKED), "completed", 1200, 1200, 0, 0, 1200, 500),
        ((COMPLETED, REFUND_ASKED, REFUND), "partially_refunded", 1200, 1200, 500, 0, 700, 0),
        ((COMPLETED, REFUND_ASKED, REFUND, REST), "refunded", 1200, 1200, 1200, 0, 0, 0),
        ((REFUND,), "refunded", 0, 0, 500, 0, -500, 0),
    ],
)
def test_amounts_and_status(
    events: tuple[Event, ...],
    status: str,
    amount: int,
    gross: int,
    refunded: int,
    canceled: int,
    net: int,
    pending: int,
) -> None:
    """Each story has its status, and its net is what the merchant kept."""
    document = story(*events)
    assert (document.status, document.amount_minor, document.gross_minor) == (status, amount, gross)
    assert (document.refunded_minor, document.canceled_minor, document.net_minor) == (refunded, canceled, net)
    assert document.refund_pending_minor == pending
    assert document.version == events[-1].aggregate_seq


def test_what_a_document_says() -> None:
    """Store, terminal, money, day and number come from the opening event; the origin from the last one."""
    document = story(COMPLETED, REFUND_ASKED, REFUND)
    assert document.payment_id == "pay-1"
    assert (document.merchant_id, document.store_name, document.terminal_id) == ("m-1", "カフェ小判 渋谷駅前店", "t-1")
    assert (document.kinds, document.day, document.index()) == (("money",), "2025-11-22", "payments-202511")
    assert (document.occurred_at_us, document.updated_at_us) == (NOON_US, NOON_US + 60 * SECOND)
    assert (document.partition, document.offset, document.index_version()) == (2, 3, 3)
    assert document.number_reversed == "1yap"


def test_a_duplicate_changes_nothing() -> None:
    """An event that the document knows gives the same object back."""
    document = story(COMPLETED, REFUND)
    assert apply(document, COMPLETED, at(99)) is document
    assert apply(document, REFUND, at(99)) is document


@pytest.mark.parametrize("order", list(permutations((AUTHORIZED, CAPTURED, REFUND, REST))))
def test_any_order_gives_the_same_bytes(order: tuple[Event, ...]) -> None:
    """One by one, through the stored bytes, in any order: the same document, byte for byte."""
    expected = encode(story(AUTHORIZED, CAPTURED, REFUND, REST))
    document: PaymentDocument | None = None
    versions = []
    for each in order:
        document = apply(document and decode(encode(document)), each, at(each.aggregate_seq))
        assert document is not None
        versions.append(document.index_version())
    assert document is not None
    assert encode(document) == expected
    assert versions == [1, 2, 3, 4]


@given(st.lists(st.sampled_from((COMPLETED, REFUND_ASKED, REFUND, REST)), max_size=12), st.integers(0, 12))
def test_merging_halves_equals_the_whole(events: list[Event], cut: int) -> None:
    """Two documents of parts of a story, duplicates included, merge to the document of all of it."""
    arrivals = [(each, at(each.aggregate_seq)) for each in events]
    left, right = fold(None, arrivals[:cut]), fold(None, arrivals[cut:])
    both = merged(left, right) if left and right else left or right
    assert both == fold(None, arrivals)
    assert fold(left, arrivals) == both


def test_a_refund_that_comes_first_waits_in_its_own_index() -> None:
    """Without the opening event the month is unknown; with it the document moves to its place."""
    document = story(REFUND)
    assert document.index() == UNPLACED
    opened = apply(document, COMPLETED, at(1))
    assert opened is not None
    assert opened.index() == "payments-202511"


def test_where_a_document_is_looked_up() -> None:
    """A refund names its payment's month; a capture may follow an authorisation of the month before."""
    named = event("RefundCompleted", 3, refund_id="r-1", payment_at_us=NOON_US - 300 * 86_400 * SECOND)
    assert candidate_indices(named) == ("payments-202501", UNPLACED)
    assert candidate_indices(CAPTURED) == ("payments-202511", "payments-202510", UNPLACED)


def test_months_are_japanese() -> None:
    """Fifteen hours UTC on the last of the month is the first of the next in Japan."""
    last_evening = event("PaymentCompleted", 1, (8 * 24 + 12) * 3600)
    assert story(last_evening).index() == "payments-202512"
    assert story(last_evening).day == "2025-12-01"


def test_other_events_concern_no_document() -> None:
    """A transfer with a correlation id is no payment."""
    transfer = msgspec.convert(
        {
            "event_id": "e-9",
            "occurred_at_us": NOON_US,
            "aggregate": "wallet",
            "aggregate_id": "w-1",
            "aggregate_seq": 1,
            "correlation_id": "pay-1",
            "body": {
                "wallet_id": "w-1",
                "transfer_id": "x-1",
                "receiver_wallet_id": "w-2",
                "amount_minor": 1,
                "kind": "money",
            },
        },
        EVENT_TYPES["TransferSent"],
    )
    assert concerns(transfer) is None
    assert concerns(COMPLETED) == "pay-1"
    assert fold(None, [(transfer, at(1))]) is None


def test_a_story_has_a_limit() -> None:
    """A producer that never stops refunding one payment is refused, not indexed without bound."""
    refunds = [event("RefundCompleted", seq, refund_id=f"r-{seq}") for seq in range(1, STORY_EVENTS_MAX + 2)]
    with pytest.raises(StoryTooLongError):
        story(*refunds)


def test_numbers_are_compared_without_separators() -> None:
    """A payment number is looked up from its end, whatever separates its digits."""
    assert reversed_number("0472-9931-A") == "a13992740"
