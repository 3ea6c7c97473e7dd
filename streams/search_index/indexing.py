"""A batch of valid events into documents: group by payment, look up what was there before, fold, write, place.

One worker at a time holds a wallet's lane, and a payment's events are all of one wallet, so nobody else changes a
document between look-up and write. A replay, or a zombie that was just replaced, may still meet a newer document: the
write is then stale, and the newer one is folded in and written again only if that adds anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from koban.search.document import (
    UNPLACED,
    Arrival,
    Origin,
    PaymentDocument,
    StoryTooLongError,
    candidate_indices,
    concerns,
    fold,
    merged,
    opens,
)
from schemas.codec import decode_valid
from schemas.errors import InvalidEvent, ReasonCode, Transient
from sinks.contract import Outcome, Sink
from sinks.payment_store import PaymentStore, Place, item_of, removal_of
from streams.transport.batch import Record

STAGE = "search-index"
ROUNDS_MAX = 5
"""Stale writes are folded again this often in one batch; more means that two workers fight over a lane."""
MONTHS_MAX = 240
"""Payments lie in at most this many indices: a broken clock must not fill the cluster with empty months."""

Rejected = list[tuple[Record, InvalidEvent]]


class Indexed(msgspec.Struct):
    """What became of a batch."""

    documents: int = 0
    """Written, new or newer."""
    unchanged: int = 0
    """The index had all of it already."""
    rejected: Rejected = []


class _Story(msgspec.Struct):
    """What a batch brings of one payment."""

    arrivals: list[Arrival] = []
    records: list[Record] = []


class Indexer:
    """Indexes batches through a store and a sink. Remembers nothing of them, only which indices there are."""

    def __init__(self, store: PaymentStore, sink: Sink) -> None:
        self._store = store
        self._sink = sink
        self._indices: set[str] = set()

    async def index(self, partition: int, records: Sequence[Record]) -> Indexed:
        """Bring the index up to these records of one lane. Raises Transient when OpenSearch does not take them now."""
        try:
            return await self._index(partition, records)
        except Transient:
            self._indices.clear()  # an index may have been what was missing
            raise

    async def _index(self, partition: int, records: Sequence[Record]) -> Indexed:
        done = Indexed()
        stories = _stories(partition, records, done.rejected)
        known = await self._known(stories)
        for _ in range(ROUNDS_MAX):
            if not stories:
                return done
            documents = _fold(stories, known, done)
            new = [document for document in documents if document not in known.get(document.payment_id, ())]
            settled, stale = await self._write(await self._with_index(new, stories, done), stories, done)
            same = [document for document in documents if document in known.get(document.payment_id, ())]
            done.unchanged += len(same)
            await self._place(same + settled, known)
            stories = {payment: stories[payment] for payment in stale}
            known = await self._known(stories, everywhere=True)
        raise Transient("documents keep changing under this worker's hands")

    async def _known(self, stories: dict[str, _Story], *, everywhere: bool = False) -> dict[str, list[PaymentDocument]]:
        """What is indexed of these payments. One that begins in this batch is looked up only among the unplaced."""
        waiting = await self._store.unplaced() > 0
        places = [
            place
            for payment, story in stories.items()
            for place in _places(payment, story, waiting=waiting, everywhere=everywhere)
        ]
        known = await self._store.get(places)
        lost = [
            Place(UNPLACED, payment, "")
            for payment, story in stories.items()
            if payment not in known and not _begins(story)
        ]
        return known | await self._store.find(lost)

    async def _with_index(
        self, documents: list[PaymentDocument], stories: dict[str, _Story], done: Indexed
    ) -> list[PaymentDocument]:
        """The documents whose index there is, created if need be; those of a month too many are rejected."""
        if missing := {document.index() for document in documents} - self._indices:
            self._indices = await self._store.indices()
            for index in sorted(missing - self._indices)[: max(0, MONTHS_MAX - len(self._indices))]:
                await self._store.create(index)
                self._indices.add(index)
        fitting = []
        for document in documents:
            if document.index() in self._indices:
                fitting.append(document)
                continue
            fault = InvalidEvent(ReasonCode.REFUSED, f"{document.day} is in a month of its own, and there are too many")
            done.rejected += [(record, fault) for record in stories[document.payment_id].records]
        return fitting

    async def _write(
        self, documents: list[PaymentDocument], stories: dict[str, _Story], done: Indexed
    ) -> tuple[list[PaymentDocument], list[str]]:
        """Write; gives what is written, and the payments of which the index knows more than we do."""
        settled, stale = [], []
        for document, result in zip(documents, await self._sink.write([item_of(d) for d in documents]), strict=True):
            match result.outcome:
                case Outcome.WRITTEN:
                    settled.append(document)
                case Outcome.STALE:
                    stale.append(document.payment_id)
                case Outcome.RETRY:
                    raise Transient(result.reason)
                case Outcome.REFUSED:
                    fault = InvalidEvent(ReasonCode.REFUSED, f"the index refuses the document: {result.reason}")
                    done.rejected += [(record, fault) for record in stories[document.payment_id].records]
        done.documents += len(settled)
        return settled, stale

    async def _place(self, documents: list[PaymentDocument], known: dict[str, list[PaymentDocument]]) -> None:
        """Take documents that found their month out of the unplaced ones, and make new unplaced ones count."""
        left = [
            removal_of(old)
            for document in documents
            if document.index() != UNPLACED
            for old in known.get(document.payment_id, ())
            if old.index() == UNPLACED
        ]
        if any(result.outcome is not Outcome.WRITTEN for result in await self._sink.write(left)):
            raise Transient("an unplaced document could not be removed")
        if left or any(document.index() == UNPLACED for document in documents):
            await self._store.refresh_unplaced()


def _stories(partition: int, records: Iterable[Record], rejected: Rejected) -> dict[str, _Story]:
    """The records of payments, by payment, in their order."""
    stories: dict[str, _Story] = {}
    for record in records:
        try:
            event = decode_valid(record.value or b"")
        except InvalidEvent as error:
            rejected.append((record, error))
            continue
        payment = concerns(event)
        if payment is None:
            continue
        story = stories.get(payment)
        if story is None:
            story = stories[payment] = _Story()
        story.arrivals.append((event, Origin(partition, record.offset, record.timestamp * 1000)))
        story.records.append(record)
    return stories


def _begins(story: _Story) -> bool:
    return opens(story.arrivals[0][0])


def _places(payment: str, story: _Story, *, waiting: bool, everywhere: bool) -> list[Place]:
    """Where the payment's document may be by now."""
    indices: dict[str, None] = {}
    if everywhere or not _begins(story):
        for event, _ in story.arrivals:
            indices |= dict.fromkeys(candidate_indices(event))
    if not waiting:
        indices.pop(UNPLACED, None)
    elif _begins(story):
        indices[UNPLACED] = None
    merchant = story.arrivals[0][0].body.merchant_id
    return [Place(index, payment, merchant) for index in indices]


def _fold(stories: dict[str, _Story], known: dict[str, list[PaymentDocument]], done: Indexed) -> list[PaymentDocument]:
    """What the index should hold of each payment. A story that is too long is dead-lettered instead."""
    documents = []
    for payment, story in stories.items():
        before: PaymentDocument | None = None
        for each in known.get(payment, ()):
            before = merged(before, each) if before else each
        try:
            document = fold(before, story.arrivals)
        except StoryTooLongError as error:
            fault = InvalidEvent(ReasonCode.REFUSED, str(error))
            done.rejected += [(record, fault) for record in story.records]
            continue
        assert document is not None, "a payment's events make a document"
        documents.append(document)
    return documents
