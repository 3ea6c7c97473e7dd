"""One lane of the ledger: events and legs in; journal entries, balances and legs to other lanes out.

All of a batch's output is written in one transaction with its offsets, so each event and each leg takes effect once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import msgspec

from koban.events import PLATFORM_EVENTS
from koban.ledger.book import Book
from koban.ledger.facts import (
    Fact,
    StoredBalance,
    decode_balance,
    decode_entry,
    decode_fact,
    decode_legs,
    decode_waiting,
)
from koban.ledger.lives import Changes, Store
from koban.ledger.moves import Moves
from koban.ledger.outcomes import Outcome
from koban.ledger.postings import UnknownEventTypeError
from koban.ledger.refusals import Refusal
from koban.ledger.standing import Standing
from koban.ledger.steps import apply, began_at_us
from koban.records import WaitingRefund
from schemas import codec
from schemas.cloudevents import HeaderMaker
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent, ReasonCode
from schemas.partitioning import lane_of
from streams.ledger.rows import MoveRows
from streams.ledger.store import Coverage, LaneStore, Loss, StoreLostError
from streams.transport import Batch, Lane, LaneLog, Span
from streams.transport.batch import Record

VALID, CASHBACK, LEGS, REPLAYS = TOPICS = ("payments-valid", "cashback", "ledger-legs", "ledger-replays")
JOURNAL, BALANCES, WAITING, DEAD_LETTERS = "journal", "balances", "refunds-waiting", "payments-dlq"
STORED = (BALANCES, JOURNAL)
"""What a store is a checkpoint of."""
LEGS_IN_RECORD_MAX = 2_000
OPEN_PAUSES_S = (0.1, 0.3, 0.6, 1.0)
"""Between the tries to open a store that another worker has."""
ROWS_AT_ONCE = 5_000
"""Rows of a store that are taken over before the worker's other tasks have a turn."""
ENTRIES_AT_ONCE = 50_000
"""Entries of the whole journal that are applied before what they changed goes to the store."""

_encode = msgspec.json.Encoder().encode
_headers = HeaderMaker("ledger")
_log = logging.getLogger(__name__)


class LaneClosedError(Exception):
    """The lane went to another worker, or is made anew."""


class LedgerLane(Lane):
    """The book of one lane, fed by batches.

    `count` counts outcomes, `imbalance` is told by how many yen the books are out of balance, and `clock_us` says the
    time in UTC microseconds. `trial_balance` is told the sums of the accounts by family after each batch.
    With a `store` the lane writes a checkpoint every `checkpoint_s` seconds, and a restart reads only what the log has
    beyond it. `lives` makes an empty store of what is known of payments.
    """

    def __init__(
        self,
        partition: int,
        lanes: int,
        count: Callable[[str, int], None] = lambda outcome, n: None,
        imbalance: Callable[[int], None] = lambda minor: None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        trial_balance: Callable[[Mapping[str, int]], None] = lambda families: None,
        store: LaneStore | None = None,
        checkpoint_s: float = 5.0,
        lives: Callable[[], Store] = Store,
    ) -> None:
        super().__init__(partition)
        self._lanes = lanes
        self._lives = lives
        self._store = store
        self._checkpoint_s = checkpoint_s
        self._checkpoint_due_at = 0.0
        self._written: dict[str, int] = {}
        """Topic → where the log goes on behind what the lane knows."""
        self._settled = False
        """All that the lane knows is committed."""
        self._closed = False
        self._asked: list[tuple[str, asyncio.Future[Standing | None]]] = []
        """Who wants to know how an account stands, once all is committed."""
        self._begin()
        self._count = count
        self._imbalance = imbalance
        self._clock_us = clock_us
        self._trial_balance = trial_balance

    async def restore(self, log: LaneLog) -> None:
        """Rebuilds the book from the balances, the waiting refunds and the journal that the lane itself wrote.

        The store spares most of that; whatever is wrong with it, the log has everything.
        """
        if self._store is None or not await self._restore_from_store(self._store, log):
            await self._restore_from_log(log)
        self._settle()
        self._imbalance(0)
        self._trial_balance(self.book.families)

    def _begin(self) -> None:
        self.book = Book(self.partition, lambda owner: lane_of(owner, self._lanes), self._lives())

    async def _restore_from_log(self, log: LaneLog) -> None:
        restore, store = self.book.restore, self._store
        async for records in log.read(BALANCES):
            balances = [decode_balance(record.value) for record in records if record.value is not None]
            for balance in balances:
                restore(balance)
            if store is not None:
                store.fill(balances)
        await self._restore_waiting(log)
        await self._restore_lives(log, 0)
        self.book.check()
        await self._checkpoint()

    async def _restore_from_store(self, store: LaneStore, log: LaneLog) -> bool:
        """False when the store is lost: the book is empty then, and the store made anew, or not used."""
        spans = {topic: await log.span(topic) for topic in STORED}
        try:
            coverage = await self._opened(store, spans)
            offsets, self.book.store.clock_us = coverage.offsets, coverage.clock_us
            await self._take_over(store, log, offsets[BALANCES])
            await self._restore_waiting(log)
            await self._restore_lives(log, offsets[JOURNAL])
            if self.book.imbalance_minor():
                raise StoreLostError(Loss.UNBALANCED)
        except StoreLostError as lost:
            self._lose(store, lost, spans)
            return False
        self._written = {topic: span.end for topic, span in spans.items()}
        self._count("store_restored", 1)
        return True

    async def _opened(self, store: LaneStore, spans: Mapping[str, Span]) -> Coverage:
        """Waits a little for a worker of this machine that is just letting go of the lane."""
        for pause_s in OPEN_PAUSES_S:
            try:
                return store.open(spans)
            except StoreLostError as lost:
                if lost.loss is not Loss.IN_USE:
                    raise
            await asyncio.sleep(pause_s)
        return store.open(spans)

    def _lose(self, store: LaneStore, lost: StoreLostError, spans: Mapping[str, Span]) -> None:
        _log.warning("lane %s: the store is %s; its state is read from the whole log", self.partition, lost)
        self._count(f"store_{lost.loss}", 1)
        self._written = {topic: span.end for topic, span in spans.items()}
        if lost.loss is Loss.IN_USE:
            self._store = None
        else:
            try:
                store.start_anew()
            except StoreLostError as error:
                _log.warning("lane %s works on without a store: %s", self.partition, error)
                self._store = None
        self._begin()

    async def _take_over(self, store: LaneStore, log: LaneLog, offset: int) -> None:
        """The store's balances, or newer ones from the log beyond it."""
        newest: dict[str, StoredBalance] = {}
        async for records in log.read(BALANCES, start=offset):
            balances = (decode_balance(record.value) for record in records if record.value is not None)
            newest.update((balance.account, balance) for balance in balances)
        restore = self.book.restore
        for number, balance in enumerate(store.balances(), 1):
            newer = newest.get(balance.account)
            if newer is None:
                restore(balance)
            elif newer.version < balance.version:
                raise StoreLostError(Loss.AHEAD, f"{balance.account} at version {balance.version}")
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        for balance in newest.values():
            restore(balance, in_store=False)

    async def _restore_lives(self, log: LaneLog, offset: int) -> None:
        """The store's lives, if it covers any of the journal, and what the journal from `offset` on changed in them."""
        lives = self.book.store
        if self._store is not None and offset:
            await self._take_over_lives(self._store)
        entries = 0
        async for records in log.read(JOURNAL, start=offset):
            for record in records:
                if record.value is not None and record.key is not None:
                    apply(decode_entry(record.value), record.key.decode(), lives)
            entries += len(records)
            if not offset and entries >= ENTRIES_AT_ONCE:
                entries = 0
                changes = self._take_changes()
                if self._store is not None:
                    self._store.fill((), changes)

    async def _take_over_lives(self, store: LaneStore) -> None:
        lives = self.book.store
        for number, (key, life) in enumerate(store.lives(), 1):
            lives.restore(key.decode(), life)
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        for generation, stones in store.tombstones():
            lives.restore_tombstones(generation, stones)

    async def _restore_waiting(self, log: LaneLog) -> None:
        """Queues come back in their order: a refund is written once when it begins to wait, and once when it ends."""
        there: dict[bytes, WaitingRefund] = {}
        async for records in log.read(WAITING):
            for record in records:
                assert record.key is not None
                if record.value is None:
                    there.pop(record.key, None)
                else:
                    there[record.key] = decode_waiting(record.value)
        for refund in there.values():
            self.book.waiting.restore(refund)

    async def on_batch(self, batch: Batch) -> None:
        """Posts events or applies legs, then writes what that left behind; nothing, when the books don't balance."""
        self._settled = False
        at_us = self._clock_us()
        if batch.topic == LEGS:
            self._arrive(batch)
        else:
            self._post(batch, at_us)
        drift_minor = self.book.drift_minor
        self._imbalance(drift_minor)
        assert drift_minor == 0, f"lane {self.partition} is out of balance by {drift_minor} yen"
        self._emit(batch, at_us)
        self._trial_balance(self.book.families)

    # --- the store

    async def on_written(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Writes a checkpoint now and then; all that the lane knows is committed when this is called."""
        self._settle()
        if self._store is None:
            self._take_changes()
            self.book.take_unstored()
            return
        for topic in STORED:
            end = ends.get((topic, self.partition))
            if end is not None:
                self._written[topic] = end
        if time.monotonic() >= self._checkpoint_due_at:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Outside of the event loop, where the other lanes work on. A store that can't be written is given up."""
        store = self._store
        if store is None:
            return
        balances, changes = self.book.take_unstored(), self._take_changes()
        try:
            await asyncio.to_thread(store.write, balances, changes, dict(self._written))
        except asyncio.CancelledError:
            self._give_up(store)  # what was to be written may be missing in it
            raise
        except Exception as error:  # rocksdict raises nothing more special
            self._give_up(store)
            self._count("store_unwritable", 1)
            _log.warning("lane %s works on without a store: %s", self.partition, error)
        self._checkpoint_due_at = time.monotonic() + self._checkpoint_s

    def _take_changes(self) -> Changes:
        changes = self.book.store.take_changes(began_at_us)
        if changes.forgotten:
            self._count("lives_forgotten", changes.forgotten)
        return changes

    def _give_up(self, store: LaneStore) -> None:
        store.close()
        self._store = None

    async def close(self) -> None:
        """Leaves a store that covers everything, unless the lane was broken off in the middle of something."""
        self._closed = True
        self._answer()
        store = self._store
        if store is None:
            return
        if self._settled:
            await self._checkpoint()
        store.close()

    # --- asked from outside

    async def standing(self, account: str) -> Standing | None:
        """How an account stands, all of it committed; None when nothing was ever posted to it in this lane.

        Raises LaneClosedError when the lane went elsewhere.
        """
        if self._settled and not self._closed:
            return self.book.standing(account)
        answer: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._asked.append((account, answer))
        if self._closed:
            self._answer()
        return await answer

    def _settle(self) -> None:
        self._settled = True
        if self._asked:
            self._answer()

    def _answer(self) -> None:
        """At once, and not when those who asked have their turn: by then the next batch may be in work."""
        asked, self._asked = self._asked, []
        for account, answer in asked:
            if answer.done():
                continue
            if self._closed:
                answer.set_exception(LaneClosedError(f"lane {self.partition} is not here any more"))
            else:
                answer.set_result(self.book.standing(account))

    # --- in

    def _post(self, batch: Batch, at_us: int) -> None:
        """Each record is posted before the next one is read: what it needs is then still in the processor's cache."""
        pay, post, read = self.book.pay, self.book.post, _cashback if batch.topic == CASHBACK else decode_fact
        posted = len(batch)
        for record in batch.records:
            try:
                fact, key, at_ms = read(record.value or b""), record.key or b"", record.timestamp
                if pay(fact, key, at_ms):
                    continue
                entry = post(fact, key, at_ms)
            except (msgspec.DecodeError, UnicodeDecodeError, UnknownEventTypeError, InvalidEvent) as error:
                self._reject(batch, record, error, at_us)
                posted -= 1
                continue
            if entry is None:
                posted -= 1
            elif isinstance(entry, Refusal):
                self._refuse(batch, record, entry, at_us)
                posted -= 1
        self._count(Outcome.POSTED, posted)

    def _arrive(self, batch: Batch) -> None:
        applied = 0
        for record in batch.records:
            assert record.value is not None
            legs = decode_legs(record.value).legs
            for breach in self.book.arrive_all(legs, record.timestamp):
                self._count(f"breach_{breach}", 1)
            applied += len(legs)
        self._count("legs_applied", applied)

    # --- out

    def _refuse(self, batch: Batch, record: Record, refusal: Refusal, at_us: int) -> None:
        self._dead_letter(batch, record, InvalidEvent(ReasonCode.REFUSED, refusal.reason), at_us)
        self._count(Outcome.REFUSED, 1)
        self._count(f"refused_{refusal.code}", 1)

    def _reject(self, batch: Batch, record: Record, error: Exception, at_us: int) -> None:
        self._dead_letter(batch, record, _reason(record.value or b"", error), at_us)
        self._count(Outcome.REJECTED, 1)

    def _dead_letter(self, batch: Batch, record: Record, error: InvalidEvent, at_us: int) -> None:
        letter = DeadLetter.of(
            error,
            stage="ledger",
            topic=batch.topic,
            partition=batch.partition,
            offset=record.offset,
            at_us=at_us,
            producer="cashback" if batch.topic == CASHBACK else "gate",
        )
        batch.emit(
            DEAD_LETTERS,
            record.value,
            key=record.key,
            headers=letter.headers(),
            timestamp_ms=record.timestamp,
            partition=self.partition,
        )

    def _emit(self, batch: Batch, at_us: int) -> None:
        """What the batch leaves behind. Each record carries the timestamp of the record that let it come about."""
        moves = self.book.take_moves()
        rows = MoveRows(moves, at_us)
        if moves.rows:
            for entry in moves.entries.values():
                for breach in entry.breaches:
                    self._count(f"breach_{breach.code}", 1)
            batch.emit_rows(JOURNAL, self.partition, rows.journal())
        self._emit_waiting(batch, moves, at_us)
        self._emit_legs(batch, moves, rows, at_us)
        self._emit_balances(batch, rows)

    def _emit_waiting(self, batch: Batch, moves: Moves, at_us: int) -> None:
        changed = self.book.waiting.take_changed()
        if not changed:
            return
        times_ms = moves.times_of_events()
        for event_id, refund in changed.items():
            batch.emit(
                WAITING,
                None if refund is None else _encode(refund),
                key=event_id.encode(),
                headers=_headers.derived("waiting-refund", event_id, at_us),
                timestamp_ms=times_ms[event_id],
                partition=self.partition,
            )
            self._count("refund_waits" if refund is not None else "refund_waits_no_more", 1)

    def _emit_legs(self, batch: Batch, moves: Moves, rows: MoveRows, at_us: int) -> None:
        """Legs of one destination share records: each carries the timestamp of its first leg, the one waiting most."""
        for lane, all_legs in self.book.take_outbox().items():
            for start in range(0, len(all_legs), LEGS_IN_RECORD_MAX):
                legs = all_legs[start : start + LEGS_IN_RECORD_MAX]
                entry_id, at_ms = moves.sent(legs[0])
                batch.emit(
                    LEGS,
                    rows.legs(self.partition, lane, legs),
                    headers=_headers.derived("ledger-legs", f"{entry_id}:{lane}", at_us),
                    timestamp_ms=at_ms,
                    partition=lane,
                )

    def _emit_balances(self, batch: Batch, rows: MoveRows) -> None:
        balances = rows.balances(self.book.take_touched())
        if balances is not None:
            batch.emit_rows(BALANCES, self.partition, balances)


def _cashback(raw: bytes) -> Fact:
    """A decision of the cashback job. No gate stands before its topic, so it is checked here. Raises InvalidEvent."""
    event = codec.decode(raw)
    if type(event).__name__ not in PLATFORM_EVENTS:
        raise InvalidEvent(ReasonCode.REFUSED, f"{type(event).__name__} does not belong on {CASHBACK}")
    return decode_fact(codec.encode(event))


def _reason(raw: bytes, error: Exception) -> InvalidEvent:
    """Why a record can't be posted, in words; the ledger's own decoder is quick and says little."""
    if isinstance(error, InvalidEvent):
        return error
    try:
        codec.decode(raw)
    except InvalidEvent as invalid:
        return invalid
    return InvalidEvent(ReasonCode.UNKNOWN_TYPE, f"the books have no rule for this event: {error}", "event_type")
