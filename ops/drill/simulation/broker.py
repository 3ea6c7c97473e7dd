"""A broker in memory: partitions, transactions and fencing, committed offsets, a consumer group, compaction.

It is as strict as Kafka where the ledger leans on it: an older producer of a transactional id is fenced, offsets sent
in a transaction hold with it, readers of committed records stop at the first open transaction and skip aborted ones, a
transaction that stays open is aborted, and markers take offsets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from ops.drill.simulation.clockwork import Clockwork
from streams.transport.assignor import share

TRANSACTION_TIMEOUT_S = 60.0
SESSION_S = 6.0
REBALANCE_S_MAX = 30.0


class Transaction:
    """What one producer writes between begin and end."""

    __slots__ = ("began_at_s", "offsets", "partitions", "state")

    def __init__(self, began_at_s: float) -> None:
        self.began_at_s = began_at_s
        self.state: Literal["open", "committed", "aborted"] = "open"
        self.partitions: set[TopicPartition] = set()
        self.offsets: dict[TopicPartition, int] = {}


class Stored:
    """A record in a partition, or, without `value` and key, the marker of a transaction's end."""

    __slots__ = ("headers", "key", "marker", "offset", "timestamp", "transaction", "value")

    def __init__(
        self,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        transaction: Transaction | None,
        *,
        marker: bool = False,
    ) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.transaction = transaction
        self.marker = marker
        self.headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def is_open(self) -> bool:
        return self.transaction is not None and self.transaction.state == "open"

    @property
    def is_aborted(self) -> bool:
        return self.transaction is not None and self.transaction.state == "aborted"


class Draft(NamedTuple):
    """A record on its way to the broker."""

    timestamp: int
    key: bytes | None
    value: bytes | None


class Log:
    """One partition."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.end = 0
        self._open: dict[Transaction, int] = {}

    @property
    def stable_end(self) -> int:
        """Where readers of committed records stop for now."""
        return min(self._open.values(), default=self.end)

    def append(self, drafts: Iterable[Draft], transaction: Transaction | None) -> None:
        if transaction is not None:
            self._open.setdefault(transaction, self.end)
        for draft in drafts:
            self.records.append(Stored(self.end, draft.timestamp, draft.key, draft.value, transaction))
            self.end += 1

    def finish(self, transaction: Transaction) -> None:
        """Writes the marker."""
        self._open.pop(transaction, None)
        self.records.append(Stored(self.end, 0, None, None, transaction, marker=True))
        self.end += 1

    def read(self, start: int, count_max: int, *, committed_only: bool = True) -> tuple[list[Stored], int]:
        """Records from an offset on, and the offset behind them and behind what was skipped."""
        upto = self.stable_end if committed_only else self.end
        found: list[Stored] = []
        position = start
        records = self.records
        for index in range(bisect_left(records, start, key=lambda record: record.offset), len(records)):
            record = records[index]
            if record.offset >= upto:
                break
            if len(found) >= count_max:
                return found, position
            position = record.offset + 1
            if not record.marker and not (committed_only and record.is_aborted):
                found.append(record)
        return found, max(position, upto)

    def compact(self) -> None:
        """Leaves the newest committed record of each key below the stable end; offsets stay as they are."""
        stable = self.stable_end
        newest: dict[bytes | None, int] = {}
        for record in self.records:
            if record.offset < stable and not record.marker and not record.is_aborted:
                newest[record.key] = record.offset
        self.records = [
            record
            for record in self.records
            if record.offset >= stable or (not record.marker and newest.get(record.key) == record.offset)
        ]


def _places(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(partitions))


def _offsets(offsets: Mapping[TopicPartition, int]) -> str:
    return "and is at " + ", ".join(f"{tp.topic}@{offset}" for tp, offset in offsets.items()) if offsets else ""


class Broker:
    """Topics, transactions and offsets. `readers` are called after each change of what may be read."""

    def __init__(self, clock: Clockwork, topics: Mapping[str, int]) -> None:
        self.clock = clock
        self.topics = dict(topics)
        self.logs: defaultdict[TopicPartition, Log] = defaultdict(Log)
        self.offsets: dict[TopicPartition, int] = {}
        self.readers: list[Callable[[], None]] = []
        self.transactions = 0
        """That were committed."""
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}

    # --- transactions

    def fence(self, transactional_id: str) -> int:
        """A new epoch; older producers of the id are shut out, and what they left open is aborted."""
        self._end(transactional_id, "aborted")
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        self.clock.note(f"{transactional_id} has epoch {self._epochs[transactional_id]}")
        return self._epochs[transactional_id]

    def epoch(self, transactional_id: str) -> int:
        """The one that may write."""
        return self._epochs[transactional_id]

    def produce(self, transactional_id: str, epoch: int, tp: TopicPartition, drafts: Iterable[Draft]) -> None:
        transaction = self._transaction(transactional_id, epoch)
        transaction.partitions.add(tp)
        self.logs[tp].append(drafts, transaction)

    def send_offsets(self, transactional_id: str, epoch: int, offsets: Mapping[TopicPartition, int]) -> None:
        self._transaction(transactional_id, epoch).offsets.update(offsets)

    def commit(self, transactional_id: str, epoch: int) -> None:
        self._check(transactional_id, epoch)
        self._end(transactional_id, "committed")

    def abort(self, transactional_id: str, epoch: int) -> None:
        self._check(transactional_id, epoch)
        self._end(transactional_id, "aborted")

    def _check(self, transactional_id: str, epoch: int) -> None:
        if epoch != self._epochs.get(transactional_id):
            raise ProducerFenced

    def _transaction(self, transactional_id: str, epoch: int) -> Transaction:
        self._check(transactional_id, epoch)
        transaction = self._open.get(transactional_id)
        if transaction is None:
            transaction = self._open[transactional_id] = Transaction(self.clock.now_s)
            self.clock.later(TRANSACTION_TIMEOUT_S, lambda: self._give_up(transactional_id, transaction))
        return transaction

    def _give_up(self, transactional_id: str, transaction: Transaction) -> None:
        if self._open.get(transactional_id) is transaction:
            self.fence(transactional_id)

    def _end(self, transactional_id: str, state: Literal["committed", "aborted"]) -> None:
        transaction = self._open.pop(transactional_id, None)
        if transaction is None:
            return
        transaction.state = state
        self.clock.note(f"{transactional_id} {state} {_places(transaction.partitions)} {_offsets(transaction.offsets)}")
        for tp in sorted(transaction.partitions):
            self.logs[tp].finish(transaction)
        if state == "committed":
            self.offsets.update(transaction.offsets)
            self.transactions += 1
        self._tell()

    # --- without transactions

    def append(self, tp: TopicPartition, drafts: Iterable[Draft]) -> None:
        self.logs[tp].append(drafts, None)
        self._tell()

    def _tell(self) -> None:
        for reader in self.readers:
            reader()

    def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.offsets.get(tp, 0) for tp in tps}


class Member:
    """A member of the group, as the broker sees it."""

    def __init__(self, name: str, on_assigned: Callable[[int, list[int]], None]) -> None:
        self.name = name
        self.on_assigned = on_assigned
        """Told the generation and the lanes, by a message."""
        self.heard_at_s = 0.0
        self.joined = False
        self.lanes: list[int] = []


class Group:
    """The consumer group: all give everything back at each change, then the lanes are shared out anew."""

    def __init__(self, broker: Broker, lanes: int) -> None:
        self.generation = 0
        self.members: dict[str, Member] = {}
        self._broker = broker
        self._clock = broker.clock
        self._lanes = lanes
        self._rebalancing_since_s: float | None = None

    def join(self, member: Member) -> None:
        """A member has given back what it had and waits for its lanes."""
        self.members[member.name] = member
        member.joined = True
        self._heard(member)
        self._begin()
        self._finish()

    def leave(self, name: str) -> None:
        if self.members.pop(name, None) is not None:
            self._begin()
            self._finish()

    def heartbeat(self, name: str, generation: int) -> bool:
        """False when the member must give back its lanes and join again."""
        member = self.members.get(name)
        if member is None:
            return False
        self._heard(member)
        return generation == self.generation and self._rebalancing_since_s is None

    def commit(self, name: str, generation: int, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commits outside of a transaction; only for a member of this generation."""
        if name not in self.members or generation != self.generation:
            return False
        self._broker.offsets.update(offsets)
        return True

    def _heard(self, member: Member) -> None:
        member.heard_at_s = at = self._clock.now_s
        self._clock.later(SESSION_S, lambda: self._expire(member, at))

    def _expire(self, member: Member, at_s: float) -> None:
        waits = member.joined and self._rebalancing_since_s is not None
        if member.heard_at_s == at_s and not waits and self.members.get(member.name) is member:
            self.leave(member.name)

    def _begin(self) -> None:
        if self._rebalancing_since_s is None:
            self._rebalancing_since_s = began = self._clock.now_s
            self._clock.later(REBALANCE_S_MAX, lambda: self._exclude(began))

    def _exclude(self, began_s: float) -> None:
        if self._rebalancing_since_s == began_s:
            self.members = {name: member for name, member in self.members.items() if member.joined}
            self._finish()

    def _finish(self) -> None:
        if self._rebalancing_since_s is None or not all(member.joined for member in self.members.values()):
            return
        self._rebalancing_since_s = None
        self.generation += 1
        lanes = share(self._lanes, {name: member.lanes for name, member in self.members.items()})
        self._clock.note(f"generation {self.generation}: {lanes}")
        for name, member in self.members.items():
            member.joined = False
            member.lanes = lanes[name]
            self._heard(member)
            member.on_assigned(self.generation, lanes[name])
