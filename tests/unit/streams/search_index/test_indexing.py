"""Batches into documents, on a store in memory: repeated, shuffled, refused, unreachable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.search.document import STORY_EVENTS_MAX, UNPLACED, decode
from schemas.errors import ReasonCode, Transient
from sinks.contract import Item, Outcome, Result
from sinks.memory import MemoryPayments
from streams.search_index.indexing import Indexed, Indexer

NOON_US = 1_763_780_400_000_000  # 2025-11-22 12:00 JST
MONTH = "payments-202511"


@dataclass(frozen=True)
class Rec:
    """A record as the transport hands it over."""

    offset: int
    value: bytes | None
    timestamp: int = NOON_US // 1000
    key: bytes | None = b"w-1"
    headers: Sequence[tuple[str, bytes | None]] = ()


def event(kind: str, payment: str, seq: int, **body: Any) -> bytes:
    """An event's bytes."""
    fields = {"wallet_id": "w-1", "merchant_id": "m-1", "amount_minor": 1200} | body
    if kind == "PaymentCompleted":
        fields["store_id"] = "s-1"
    fields["tenders"] = [{"kind": "money", "amount_minor": fields["amount_minor"]}]
    envelope = {
        "event_type": kind,
        "event_id": f"e-{payment}-{seq}",
        "occurred_at_us": NOON_US + seq,
        "aggregate": "payment",
        "aggregate_id": payment,
        "aggregate_seq": seq,
        "correlation_id": payment,
        "body": fields,
    }
    return json.dumps(envelope).encode()


def paid(payment: str) -> bytes:
    return event("PaymentCompleted", payment, 1)


def refund(payment: str, seq: int, amount: int = 100) -> bytes:
    return event("RefundCompleted", payment, seq, refund_id=f"r-{seq}", amount_minor=amount)


def records(*values: bytes) -> list[Rec]:
    return [Rec(offset, value) for offset, value in enumerate(values)]


def index(store: MemoryPayments, *batches: list[Rec]) -> Indexed:
    """Index batches one after another; gives the last answer."""

    async def scenario() -> Indexed:
        done = Indexed()
        for batch in batches:
            done = await Indexer(store, store).index(2, batch)
        return done

    return asyncio.run(scenario())


STORY = records(paid("p-1"), refund("p-1", 2), paid("p-2"), refund("p-1", 3), refund("p-2", 2, 1200), paid("p-3"))


def test_a_batch_becomes_documents() -> None:
    """One document a payment, with all that the batch says of it."""
    store = MemoryPayments()
    done = index(store, STORY)
    assert (done.documents, done.unchanged, done.rejected) == (3, 0, [])
    document = decode(store.stored[MONTH, "p-1"][1])
    assert (document.version, document.refunded_minor, document.status) == (3, 200, "partially_refunded")
    assert (document.partition, document.offset, document.ingested_at_us) == (2, 3, NOON_US)


def test_a_later_batch_changes_a_document() -> None:
    """A refund in a later batch is folded into what is indexed."""
    store = MemoryPayments()
    done = index(store, STORY[:1], STORY[1:2])
    assert done.documents == 1
    assert decode(store.stored[MONTH, "p-1"][1]).refunded_minor == 100


def test_a_replay_changes_nothing() -> None:
    """The same records again, whole or from the middle, leave every byte as it is."""
    store = MemoryPayments()
    index(store, STORY)
    before = dict(store.stored)
    assert index(store, STORY).documents == 0
    assert index(store, STORY[3:5]).documents == 0
    assert index(store, STORY[:1]).documents == 0, "an old part alone does not take the document back"
    assert store.stored == before


@given(st.permutations(STORY + STORY[2:5]), st.lists(st.integers(1, 8), max_size=8))
def test_any_order_in_any_batches_gives_the_same_index(shuffled: list[Rec], cuts: list[int]) -> None:
    """Shuffled, repeated and cut into batches at random: the index is the same, byte for byte."""
    expected = MemoryPayments()
    index(expected, STORY)
    store = MemoryPayments()
    edges = [0, *sorted(set(cuts)), len(shuffled)]
    index(store, *(shuffled[a:b] for a, b in pairwise(edges) if a < b))
    assert store.stored == expected.stored


def test_a_crash_before_the_unplaced_document_is_removed_heals() -> None:
    """Written twice, in its month and among the unplaced: the next batch of the payment takes the leftover away."""
    store = MemoryPayments()
    index(store, STORY[1:2])
    leftover = dict(store.stored)
    index(store, STORY[:1])
    store.stored |= leftover
    assert index(store, STORY[:1]).unchanged == 1
    assert set(store.stored) == {(MONTH, "p-1")}


def test_a_refund_of_a_year_ago_is_found_wherever_it_is() -> None:
    """A refund that names no date looks the payment up in all months before it makes a document of its own."""
    store = MemoryPayments()
    index(store, STORY[:1])
    store.stored["payments-202501", "p-1"] = store.stored.pop((MONTH, "p-1"))
    done = index(store, records(refund("p-1", 2)))
    assert done.documents == 1
    assert not any(place == UNPLACED for place, _ in store.stored)


def test_bad_records_are_rejected_alone() -> None:
    """Bytes that are no event, and a story without end, are given back; everything else is indexed."""
    endless = [refund("p-9", seq) for seq in range(1, STORY_EVENTS_MAX + 2)]
    store = MemoryPayments()
    done = index(store, records(b"{", paid("p-1"), *endless))
    assert done.documents == 1
    assert {fault.code for _, fault in done.rejected} == {ReasonCode.NOT_JSON, ReasonCode.REFUSED}
    assert len(done.rejected) == 1 + len(endless)


class Answering(MemoryPayments):
    """A store that answers one payment in its own way."""

    def __init__(self, payment: str, result: Result) -> None:
        super().__init__()
        self.payment, self.result = payment, result

    async def write(self, items: Sequence[Item]) -> list[Result]:
        return [self.result if item.key == self.payment else self._write(item) for item in items]


def test_a_document_that_the_index_refuses_is_rejected_alone() -> None:
    """A mapping error on one document of many gives that one's records back, and no others."""
    store = Answering("p-2", Result(Outcome.REFUSED, "mapper_parsing_exception"))
    done = index(store, STORY)
    assert done.documents == 2
    assert [record.offset for record, _ in done.rejected] == [2, 4]
    assert "mapper_parsing_exception" in done.rejected[0][1].reason


def test_an_index_that_does_not_take_a_document_now_holds_the_batch() -> None:
    """Nothing is given up: the batch is to be tried again, and then changes only what is missing."""
    store = Answering("p-2", Result(Outcome.RETRY, "busy"))
    with pytest.raises(Transient, match="busy"):
        index(store, STORY)
    store.payment = ""
    assert index(store, STORY).documents == 1


def test_a_fight_over_a_document_ends() -> None:
    """A document that stays newer than ours, though nobody can show it, is given up after some rounds."""
    store = Answering("p-2", Result(Outcome.STALE))
    with pytest.raises(Transient, match="keep changing"):
        index(store, STORY)
