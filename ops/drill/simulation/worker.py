"""A ledger worker: the product's desk, runners, lanes and transactional writers on a simulated network.

What is simulated is Kafka's client: its group member, its fetches, its producer. A request takes a while to arrive and
so does its answer; the process can end, freeze or be cut off at any of these points.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.record.memory_records import MemoryRecords

from ops.drill.simulation.broker import Broker, Draft, Group, Log, Member, Stored
from ops.drill.simulation.clockwork import Process
from streams.ledger.lane import TOPICS, LedgerLane
from streams.transport.app import group_of
from streams.transport.desk import Desk, Handler
from streams.transport.fetched import Chunk
from streams.transport.lane import Lane
from streams.transport.record_batch import RecordBatch
from streams.transport.runner import Limits, Runner
from streams.transport.writers import BATCH_BYTES_MAX, TransactionalWriter

T = TypeVar("T")

GROUP = group_of("ledger")
HEARTBEAT_S = 2.0
DRAIN_S_MAX = 20.0
LATENCY_S_MAX = 0.02
EVENT_AT_US = 1_700_000_000_000_000


class Mishaps(Protocol):
    """Decides what becomes of a request that writes."""

    def of_request(self, process: Process, name: str) -> tuple[bool, bool]:
        """Whether it arrives, and whether its answer does. May kill or freeze the process meanwhile."""
        ...


class Network:
    """One connection between a process and the broker: requests arrive in the order in which they are sent."""

    def __init__(self, process: Process, broker: Broker, mishaps: Mishaps) -> None:
        self.process = process
        self.broker = broker
        self._mishaps = mishaps
        self._arrived_at_s = 0.0

    def another(self) -> Network:
        """A connection beside this one."""
        return Network(self.process, self.broker, self._mishaps)

    def ask(self, request: Callable[[], T], name: str = "") -> asyncio.Future[T]:
        """Sends a request. With a `name` it can be cut off: then nobody knows whether it was carried out."""
        process, clock = self.process, self.process.clock
        answer: asyncio.Future[T] = process.create_future()
        if not process.alive:
            return answer
        arrives, answered = self._mishaps.of_request(process, name) if name else (True, True)

        def arrive() -> None:
            outcome: T | Exception
            try:
                outcome = request() if arrives else KafkaTimeoutError()
            except Exception as error:
                outcome = error
            if not answered:
                outcome = KafkaTimeoutError()
            clock.later(clock.random.random() * LATENCY_S_MAX, lambda: settle(outcome))

        def settle(outcome: T | Exception) -> None:
            if answer.done() or not process.alive:
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self._arrived_at_s = max(self._arrived_at_s, clock.now_s + clock.random.random() * LATENCY_S_MAX)
        clock.at(self._arrived_at_s, arrive)
        return answer


class Written(NamedTuple):
    """What the broker says of a record batch: where it lies."""

    topic: str
    partition: int
    offset: int


class Producer:
    """What the product's transactional writer asks of Kafka's client."""

    def __init__(self, network: Network, transactional_id: str) -> None:
        self.network = network
        self.transactional_id = transactional_id
        self.epoch = -1
        self._txn_manager = self
        self._in_transaction = False

    def is_in_transaction(self) -> bool:
        return self._in_transaction

    async def start(self) -> None:
        broker, name = self.network.broker, self.transactional_id
        self.epoch = await self.network.ask(lambda: broker.fence(name), "fence")

    async def stop(self) -> None:
        """Nothing is left to send."""

    async def partitions_for(self, topic: str) -> range:
        return range(self.network.broker.topics[topic])

    async def begin_transaction(self) -> None:
        self._in_transaction = True

    async def send_batch(self, batch: RecordBatch, topic: str, *, partition: int) -> asyncio.Future[Written]:
        tp, broker = TopicPartition(topic, partition), self.network.broker
        records = MemoryRecords(bytes(batch._build())).next_batch()
        drafts = [Draft(record.timestamp, record.key, record.value) for record in records]

        def produce() -> Written:
            offset = broker.logs[tp].end
            broker.produce(self.transactional_id, self.epoch, tp, drafts)
            return Written(topic, partition, offset)

        return self.network.ask(produce, "produce")

    async def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, Any], group: str) -> None:
        positions, broker = {tp: place.offset for tp, place in offsets.items()}, self.network.broker
        await self.network.ask(lambda: broker.send_offsets(self.transactional_id, self.epoch, positions), "offsets")

    async def commit_transaction(self) -> None:
        broker = self.network.broker
        await self.network.ask(lambda: broker.commit(self.transactional_id, self.epoch), "commit")
        self._in_transaction = False

    async def abort_transaction(self) -> None:
        broker = self.network.broker
        await self.network.ask(lambda: broker.abort(self.transactional_id, self.epoch), "abort")
        self._in_transaction = False


class Writer(TransactionalWriter):
    """The product's writer with a simulated producer in place of aiokafka's."""

    def __init__(self, producer: Producer) -> None:
        # Not the parent's: it would make a real producer.
        self._producer = producer
        self._new_batch = partial(RecordBatch, BATCH_BYTES_MAX)
        self._partitions = {}
        self._group = GROUP


class PartitionLog:
    """The committed past of one partition number, as the product's lanes read it."""

    def __init__(self, network: Network, partition: int) -> None:
        self.network = network
        self.partition = partition

    async def read(self, topic: str, last: int | None = None, start: int | None = None) -> AsyncIterator[Sequence[Any]]:
        """In lists of a few records, with a request each, so that anything can happen in between."""
        log, random = self.network.broker.logs[TopicPartition(topic, self.partition)], self.network.process.clock.random
        end = await self.network.ask(lambda: self._end(log))
        position = start or 0 if last is None else max(0, end - 2 * last)
        while position < end:
            at, count = position, random.choice((20, 100, 1_000))
            read = self._read(log)
            records, position = await self.network.ask(lambda: read(at, count), "restore")  # noqa: B023  # awaited
            found = [record for record in records if record.offset < end]
            if found:
                yield found

    def _end(self, log: Log) -> int:
        return log.stable_end

    def _read(self, log: Log) -> Callable[[int, int], tuple[list[Stored], int]]:
        return log.read


class Silent:
    """Metrics that nobody reads."""

    def progress(self) -> None: ...

    def done(self, batches: object) -> None: ...

    def lag(self, topic: str, partition: int, records: int) -> None: ...

    def forget_lag(self, topic: str, partition: int) -> None: ...

    def lanes(self, restoring: int, running: int) -> None: ...

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield


class Parts:
    """What a worker is made of; a planted bug replaces one of them."""

    lane: Callable[[int, int], Lane] = staticmethod(
        lambda partition, lanes: LedgerLane(partition, lanes, clock_us=_one)
    )
    runner: type[Runner] = Runner
    writer: type[Writer] = Writer
    producer: type[Producer] = Producer
    log: type[PartitionLog] = PartitionLog
    transactional_id: Callable[[int, str], str] = staticmethod(lambda partition, process: f"{GROUP}-{partition}")
    committed_only = True
    """What fetches bring."""


def _one() -> int:
    return 1


class Worker:
    """One process of the ledger, from its start to its end. `on_end` is told why it ended; None after a clean stop."""

    def __init__(
        self,
        process: Process,
        network: Network,
        group: Group,
        lanes: int,
        parts: type[Parts],
        on_end: Callable[[Worker, BaseException | None], None],
    ) -> None:
        self.process = process
        self.network = network
        self.records_max = process.clock.random.choice((1, 3, 10, 50))
        self._group = group
        self._lanes = lanes
        self._parts = parts
        self._on_end = on_end
        self._generation = -1
        self._rejoin = asyncio.Event()
        self._positions: dict[TopicPartition, int] = {}
        """Where fetching goes on, of partitions that are not on hold."""
        self._room = asyncio.Event()
        self._assigned: asyncio.Future[tuple[int, list[int]]] | None = None
        self._ending = False
        self._member = Member(process.name, self._on_assigned)
        network.broker.readers.append(self.poke)
        self.desk = Desk(
            [Handler(name="", topics=TOPICS, make_lane=self._make_lane, retries=False)],
            make_runner=self._make_runner,
            hold=self._hold,
            stable_ends=lambda tps: {},
            metrics=Silent(),  # type: ignore[arg-type]
            records_max=self.records_max,
            drain_s_max=DRAIN_S_MAX,
            on_crash=self._crash,
        )
        self._main = process.start(self._run())

    def terminate(self) -> None:
        """As SIGTERM: finishes what is in work, commits, leaves the group, ends."""
        if self.process.alive and not self._ending:
            self._ending = True
            self.process.call_soon(lambda: self.process.create_task(self._stop()))

    # --- the process

    async def _run(self) -> None:
        self.process.create_task(self._guarded(self._fetch()))
        self.process.create_task(self._guarded(self._beat()))
        await self._guarded(self._belong())

    async def _guarded(self, steps: Any) -> None:
        try:
            await steps
        except Exception as error:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        """As the app: an error in a lane ends the whole worker, and its supervisor starts it afresh."""
        if not self._ending:
            self._ending = True
            self.process.create_task(self._die(error))

    async def _die(self, error: BaseException) -> None:
        self._main.cancel()
        try:
            await self.desk.cancel()
        finally:
            self._end(error)

    async def _stop(self) -> None:
        self._main.cancel()
        try:
            await self.desk.close()
            await self.network.ask(lambda: self._group.leave(self._member.name))
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self.process.alive:
            self.process.kill()
            self._on_end(self, error)

    # --- the group

    async def _belong(self) -> None:
        while True:
            self._assigned = self.process.create_future()
            await self.network.ask(lambda: self._group.join(self._member))
            self._generation, lanes = await self._assigned
            self._rejoin.clear()
            self.desk.assign(TopicPartition(topic, lane) for lane in lanes for topic in TOPICS)
            await self._rejoin.wait()
            await self.desk.revoke()

    def _on_assigned(self, generation: int, lanes: list[int]) -> None:
        waiting, clock = self._assigned, self.process.clock

        def settle() -> None:
            if self.process.alive and waiting is not None and not waiting.done():
                waiting.set_result((generation, lanes))

        clock.later(clock.random.random() * LATENCY_S_MAX, settle)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            generation = self._generation
            if not await self.network.ask(lambda: self._group.heartbeat(self._member.name, generation)):  # noqa: B023
                self._rejoin.set()

    # --- what runners ask of the group

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = sorted(tps)
        return await self.network.ask(lambda: self.network.broker.committed(wanted))

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = sorted(tps)
        return await self.network.ask(lambda: {tp: self.network.broker.logs[tp].stable_end for tp in wanted})

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        generation, offsets = self._generation, dict(offsets)
        return await self.network.ask(
            lambda: self._group.commit(self._member.name, generation, offsets), "commit offsets"
        )

    def resume(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._positions.update(offsets)
        self._room.set()

    def has_room(self) -> None:
        self._room.set()

    def _hold(self, tps: Iterable[TopicPartition]) -> None:
        self._positions.clear()

    # --- fetching

    async def _fetch(self) -> None:
        while True:
            wanted = sorted(self.desk.wanted() & self._positions.keys())
            if not wanted:
                self._room.clear()
                await self._room.wait()
                continue
            positions = {tp: self._positions[tp] for tp in wanted}
            self._room.clear()
            found = await self.network.ask(lambda: self._look(positions))  # noqa: B023  # awaited at once
            for tp, (records, next_offset) in found:
                if self._positions.get(tp) == positions[tp]:
                    self._positions[tp] = next_offset
                    self.desk.put(Chunk(tp.topic, tp.partition, records, next_offset, len(records)))
            if not found:
                await self._room.wait()

    def poke(self) -> None:
        """The broker ends a fetch that waits, since there is something new."""
        clock, room = self.process.clock, self._room

        def arrive() -> None:
            if self.process.alive:
                room.set()

        if self.process.alive and not room.is_set():
            clock.later(clock.random.random() * LATENCY_S_MAX, arrive)

    def _look(self, positions: Mapping[TopicPartition, int]) -> list[tuple[TopicPartition, tuple[Any, int]]]:
        """At the broker: some of what there is, of some of the partitions, in any order of topics."""
        random, logs = self.process.clock.random, self.network.broker.logs
        found = []
        for tp, position in positions.items():
            log, committed_only = logs[tp], self._parts.committed_only
            if (log.stable_end if committed_only else log.end) > position:
                records = log.read(position, random.choice((1, 2, 5, 20)), committed_only=committed_only)
                found.append((tp, records))
        random.shuffle(found)
        return found[: random.randint(1, len(found))] if found else found

    # --- lanes

    def _make_lane(self, partition: int) -> Lane:
        return self._parts.lane(partition, self._lanes)

    def _make_runner(self, handler: Handler, partition: int, tps: list[TopicPartition]) -> Runner:
        return self._parts.runner(
            str(partition),
            tps,
            make_lane=lambda: handler.make_lane(partition),
            make_writer=lambda: self._make_writer(partition),
            shared_writer=None,
            group=self,
            limits=Limits(
                records_max=self.records_max, bytes_max=1 << 30, transaction_interval_s=0.02, commit_interval_s=0.5
            ),
            metrics=Silent(),  # type: ignore[arg-type]
            log=self._parts.log(self.network, partition),  # type: ignore[arg-type]  # it reads like a LaneLog
            retries=False,
            on_crash=self._crash,
        )

    def _make_writer(self, partition: int) -> Writer:
        name = self._parts.transactional_id(partition, self.process.name)
        return self._parts.writer(self._parts.producer(self.network.another(), name))


def is_of_the_network(error: BaseException) -> bool:
    """Whether a worker may end for this reason: Kafka was not there, or has shut it out."""
    return isinstance(error, KafkaError | TimeoutError)
