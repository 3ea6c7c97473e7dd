"""Planted bugs: each is one small mistake that somebody could make, in a subclass of the part it would be made in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from koban.ledger import postings
from koban.ledger.book import Book
from koban.ledger.directory import IN_FLIGHT_FAMILY
from koban.ledger.slots import Slot
from ops.drill.simulation.broker import Log
from ops.drill.simulation.worker import GROUP, PartitionLog, Parts, Producer, Writer
from schemas.partitioning import lane_of
from streams.ledger.lane import LEGS, LedgerLane
from streams.ledger.rows import MoveRows
from streams.transport.batch import Batch
from streams.transport.runner import Runner

MUTATIONS: dict[str, type[Parts]] = {}
"""Name → a platform with that bug."""
RULES: dict[str, dict[str, Any]] = {}
"""Name → posting rules with that bug."""


def planted(parts: type[Parts]) -> type[Parts]:
    MUTATIONS[parts.__name__] = parts
    return parts


def with_book(book: type[Book]) -> Callable[[int, int], LedgerLane]:
    def make(partition: int, lanes: int) -> LedgerLane:
        lane = LedgerLane(partition, lanes, clock_us=lambda: 1)
        lane.book = book(partition, lambda owner: lane_of(owner, lanes))
        return lane

    return make


# --- transactions


@planted
class OffsetsBeforeOutputs(Parts):
    """A crash between the two loses what was read."""

    class writer(Writer):
        async def commit(self, outboxes: Iterable[Any], offsets: Any) -> None:
            await super().commit([], offsets)
            await super().commit(outboxes, {})


@planted
class OutputsBeforeOffsets(Parts):
    """A crash between the two posts what was read twice."""

    class writer(Writer):
        async def commit(self, outboxes: Iterable[Any], offsets: Any) -> None:
            await super().commit(outboxes, {})
            await super().commit([], offsets)


@planted
class OutputsOutsideOfTheTransaction(Parts):
    """What a transaction that is aborted has written stays."""

    class producer(Producer):
        async def send_batch(self, records: Any, topic: str, *, partition: int) -> Any:
            broker, tp = self.network.broker, TopicPartition(topic, partition)
            return self.network.ask(lambda: broker.append(tp, records.drafts), "produce")


@planted
class NoFence(Parts):
    """A lane's new owner goes on under the old one's epoch, and so does a zombie."""

    class producer(Producer):
        async def start(self) -> None:
            broker, name = self.network.broker, self.transactional_id
            try:
                self.epoch = broker.epoch(name)
            except KeyError:
                await super().start()


@planted
class TransactionalIdOfTheWorker(Parts):
    """The id belongs to the worker instead of the lane: nobody is fenced when the lane moves."""

    transactional_id = staticmethod(lambda partition, process: f"{GROUP}-{process}-{partition}")


@planted
class FenceAfterRestore(Parts):
    """The old owner can still commit while the new one reads, which does not look at the offsets again."""

    class runner(Runner):
        async def _prepare(self) -> None:
            await self._given.wait()
            if not self.restored:
                make, self._make_writer = self._make_writer, None
                await self._restore()
                self._make_writer = make
                assert make is not None
                self._transactions = make()
                await self._transactions.start()
                if self._given.is_set():
                    self._group.resume(self.done)
                    self._reading = True
                    return
            await super()._prepare()


@planted
class CommitRetriedAfterUnknownOutcome(Parts):
    """A commit without an answer may hold all the same."""

    class writer(Writer):
        async def commit(self, outboxes: Iterable[Any], offsets: Any) -> None:
            kept = list(outboxes)
            try:
                await super().commit(kept, offsets)
            except KafkaTimeoutError:
                await super().commit(kept, offsets)


# --- reading


@planted
class AbortIgnored(Parts):
    """Fetches bring what was never committed."""

    committed_only = False


@planted
class RestoreReadsUncommitted(Parts):
    """A lane's state holds what a killed worker had not committed."""

    class log(PartitionLog):
        def _end(self, log: Log) -> int:
            return log.end

        def _read(self, log: Log) -> Any:
            return lambda start, count: log.read(start, count, committed_only=False)


class UncheckedBook(Book):
    def check(self) -> None: ...


@planted
class RestoreStopsEarly(Parts):
    """The last record of the changelog is not read, and nobody checks the sum."""

    lane = staticmethod(with_book(UncheckedBook))

    class log(PartitionLog):
        async def read(
            self, topic: str, last: int | None = None, start: int | None = None
        ) -> AsyncIterator[Sequence[Any]]:
            kept: list[Any] = []
            async for records in super().read(topic, last, start):
                kept += records
            if kept[:-1]:
                yield kept[:-1]


@planted
class RestoreForgetsUnspentAccounts(Parts):
    """A restored account of zero yen starts at version zero again."""

    class book(Book):
        def restore(self, stored: Any) -> None:
            if stored.posted_minor:
                super().restore(stored)

    lane = staticmethod(with_book(book))


@planted
class LegsSkippedOnRestore(Parts):
    """A new owner begins with the legs that come, not with those that wait."""

    class runner(Runner):
        async def _restore(self) -> None:
            await super()._restore()
            broker = self._group.network.broker  # type: ignore[attr-defined]
            self.done.update({tp: broker.logs[tp].stable_end for tp in self.tps if tp.topic == LEGS})
            broker.offsets.update(self.done)
            self.committed = dict(self.done)


# --- rebalances


@planted
class HalfOfABatchLostAtARebalance(Parts):
    """What is queued when a lane is taken away counts as done."""

    class runner(Runner):
        async def drain(self) -> None:
            for chunk in self._chunks:
                self.done[TopicPartition(chunk.topic, chunk.partition)] = chunk.next_offset
            await super().drain()


@planted
class StaleStateKept(Parts):
    """A lane that comes back keeps its state, though another worker has had it meanwhile."""

    class runner(Runner):
        async def _prepare(self) -> None:
            await self._given.wait()
            if self.restored:
                self.committed = await self._group.committed(self.tps)
                self.done = dict(self.committed)
                assert self._transactions is not None
                await self._transactions.start()
            await super()._prepare()


# --- the book


@planted
class DuplicateLeg(Parts):
    """A leg is sent twice when there are several."""

    class book(Book):
        def take_outbox(self) -> Any:
            return {lane: legs + legs[2:3] for lane, legs in super().take_outbox().items()}

    lane = staticmethod(with_book(book))


@planted
class VersionNotRaised(Parts):
    """A second change within a batch keeps its version."""

    class book(Book):
        def _apply(self, slot: Slot, *rest: Any) -> Any:
            touched = slot.cause is not None
            code = super()._apply(slot, *rest)
            slot.version -= touched
            return code

    lane = staticmethod(with_book(book))


@planted
class LegsInFlightNotCounted(Parts):
    """The lane's own account of its legs stands still."""

    class book(UncheckedBook):
        def _count_in_flight(self, debit_minor: int, cause: int) -> None:
            self.families[IN_FLIGHT_FAMILY] += debit_minor

    lane = staticmethod(with_book(book))


@planted
class BalancesOfLegsNotWritten(Parts):
    """What legs change is known to the lane and not to its changelog."""

    class lane(LedgerLane):  # type: ignore[assignment]
        def __init__(self, partition: int, lanes: int) -> None:
            super().__init__(partition, lanes, clock_us=lambda: 1)

        def _emit_balances(self, batch: Batch, rows: MoveRows) -> None:
            if batch.topic != LEGS:
                super()._emit_balances(batch, rows)


# --- the rules


def _rule(name: str, event_type: str, rule: Any) -> None:
    MUTATIONS[name] = type(name, (Parts,), {})
    RULES[name] = {event_type: rule}


_refund = postings._refund_completed
_rule("SwappedSides", "WithdrawalFailed", postings._withdrawal_requested)
_rule("RefundIgnored", "RefundCompleted", postings._no_lines)
_rule("RefundAboveTheCap", "RefundCompleted", lambda body, balances: _refund(body, _Poor()))
_rule("ClaimForgotten", "TopUpReversed", lambda body, balances: postings._top_up_reversed(body, _Rich()))


class _Poor:
    def posted(self, account: str) -> int:
        return 0


class _Rich:
    def posted(self, account: str) -> int:
        return 1_000_000_000


@contextmanager
def with_rules_of(name: str) -> Iterator[None]:
    """Within the block the ledger posts by the mutation's rules."""
    with pytest.MonkeyPatch.context() as patch:
        for event_type, rule in RULES.get(name, {}).items():
            patch.setitem(postings.RULES, event_type, rule)
        yield
