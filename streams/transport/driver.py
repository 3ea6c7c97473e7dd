"""Faust's aiokafka driver, reading micro-batches.

Faust's own consumer hands over one message at a time, through two tasks, a queue, an event and an acknowledgement each;
this one hands what a fetch brought to the lane it belongs to, and runs in the worker's event loop instead of a thread.
It keeps Faust's place in the worker: the same service, started and stopped at the same points, with Faust's settings,
and Faust's app gets the same calls when partitions come and go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers import aiokafka as faust_driver
from faust.types import TP
from mode import Service

from streams.transport.connecting import connected
from streams.transport.fetched import take
from streams.transport.lane_log import METADATA_TIMEOUT_S, MissingTopicError

if TYPE_CHECKING:
    from streams.transport.app import BatchApp

POLL_S = 0.5
"""The drain loop looks after errors at least this often."""
FETCH_WAIT_MS = 100
"""How long the broker holds a fetch without data; data ends the wait at once. aiokafka has one fetch under way: a lane
that was full and has room again waits for the end of the one for the other lanes."""
FETCH_PAUSE_S = 0.005
"""How long fetching waits for what was fetched to be taken (aiokafka: 100 ms). What a full lane leaves there must not
hold up the others for long; without any pause, the next fetch would go out without the partitions just fetched from,
and they would have to wait for its end."""


class LostRecordsError(RuntimeError):
    """Records that this group has not read are gone, or the topic is another one than the group has read."""


class NameTakenError(RuntimeError):
    """The group does not know this worker any more: another one has its name, or it was silent for a session."""


class Listener(ConsumerRebalanceListener):
    """Passes rebalances on. aiokafka only logs what a listener raises, so errors crash the app here."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._consumer.app.on_rebalance_start()
        await self._guarded(self._consumer.on_partitions_revoked(_tps(revoked)))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        consumer = self._consumer
        consumer.app.consumer_generation_id = consumer.kafka._coordinator.generation
        await self._guarded(consumer.on_partitions_assigned(_tps(assigned), consumer.app.consumer_generation_id))

    async def _guarded(self, step: Any) -> None:
        try:
            await step
        except Exception as error:
            await self._consumer.crash(error)


class Consumer(FaustConsumer):
    """The group's member: subscribes, hands chunks to the app's lanes, commits their offsets."""

    app: BatchApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kafka: AIOKafkaConsumer | None = None
        self._arrived: asyncio.Future[None] | None = None

    @property
    def kafka(self) -> Any:
        """aiokafka's consumer, once started."""
        assert self._kafka is not None, "the consumer is not started"
        return self._kafka

    async def on_start(self) -> None:
        self._kafka = await connected(self._new_client)
        self._kafka._fetcher._prefetch_backoff = FETCH_PAUSE_S
        if self.app.settings.group_instance:
            self._end_when_its_name_is_taken(self._kafka._coordinator)

    def _new_client(self) -> AIOKafkaConsumer:
        conf = self.app.conf
        return AIOKafkaConsumer(
            **self.app.client_options(),
            group_id=conf.id,
            group_instance_id=self.app.settings.group_instance or None,
            partition_assignment_strategy=[self.app.lanes_assignor],
            enable_auto_commit=False,
            # A missing offset is the beginning, but one that is out of range is an error: see `committed`.
            auto_offset_reset="none",
            isolation_level="read_committed",
            check_crcs=conf.broker_check_crcs,
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
        )

    def _end_when_its_name_is_taken(self, coordinator: Any) -> None:
        """aiokafka would join again, and so take the name back: two workers of one name would go on like that."""

        def unknown() -> None:
            """The group does not know the member any more; or the consumer is being closed, which ends here too."""
            if not coordinator._closing.done():
                name = self.app.settings.group_instance
                self.app.crash_soon(NameTakenError(f"{name} is another worker now, or was silent for too long"))

        coordinator.reset_generation = unknown

    async def on_stop(self) -> None:
        if self._kafka is not None:
            await self._kafka.stop()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Joins the group. Raises MissingTopicError when a topic does not come to be in time."""
        topics = set(topics)
        await self._await_topics(topics)
        self.kafka.subscribe(topics=topics, listener=Listener(self))

    async def _await_topics(self, topics: set[str]) -> None:
        deadline = self.loop.time() + METADATA_TIMEOUT_S
        while missing := topics - set(await self.kafka.topics()):
            if self.loop.time() > deadline:
                names = ", ".join(sorted(missing))
                raise MissingTopicError(f"no topic {names}: create the topics with `koban topics apply`")
            await self.sleep(1.0)
        self.kafka._client.set_topics(topics)
        await self.kafka._client.force_metadata_update()
        self.app.check_partitions({topic: len(self.kafka.partitions_for_topic(topic) or ()) for topic in topics})

    async def _drain_messages(self, fetcher: Service) -> None:
        """Faust's fetcher service runs this: hands out what has been fetched, for as long as the worker lives."""
        kafka = self.kafka
        with kafka._subscription.fetch_context():
            while not (self.should_stop or fetcher.should_stop):
                if not await self._drain_once(kafka):
                    await asyncio.wait([cast(Any, self._arrived)], timeout=POLL_S)

    async def _drain_once(self, kafka: Any) -> bool:
        if kafka._closed:
            raise ConsumerStoppedError
        kafka._coordinator.check_errors()
        if kafka._fetcher._fetch_task.done():
            kafka._fetcher._fetch_task.result()
        if self._arrived is None or self._arrived.done():
            self._arrived = kafka._fetcher._create_fetch_waiter()
        if kafka._subscription.reassignment_in_progress:
            return False
        found = False
        for chunk in take(kafka._fetcher, self.app.desk.wanted()):
            self.app.desk.put(chunk)
            found = True
        if found:
            await asyncio.sleep(0)
        return found

    def has_room(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def hold(self, tps: Iterable[TopicPartition]) -> None:
        """Nothing is fetched from these before ``resume``: their lanes are not ready."""
        self.kafka.pause(*tps)

    def resume(self, offsets: Mapping[TopicPartition, int]) -> None:
        for tp, offset in offsets.items():
            self.kafka.seek(tp, offset)
        self.kafka.resume(*offsets)

    async def committed(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the group goes on. Raises LostRecordsError when the partition does not hold that offset (any more)."""
        tps = sorted(tps)
        values = await asyncio.gather(*(self.kafka.committed(tp) for tp in tps))
        starts = await self.kafka.beginning_offsets(tps)
        ends = await self.kafka.end_offsets(tps)
        offsets = {}
        for tp, value in zip(tps, values, strict=True):
            offset = starts[tp] if value is None else value
            if not starts[tp] <= offset <= ends[tp]:
                raise LostRecordsError(_lost(self.app.conf.id, tp, offset, starts[tp], ends[tp]))
            offsets[tp] = offset
        return offsets

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return cast(dict[TopicPartition, int], await self.kafka.end_offsets(list(tps)))

    async def commit(self, offsets: Any = None, start_new_transaction: bool = True) -> bool:
        """Commits. False when the group is rebalancing without us; then the records are read again by somebody."""
        if not offsets:
            return False
        try:
            await self.kafka.commit({tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError) as error:
            self.log.warning("offsets not committed: %s", error)
            return False
        return True

    def stable_ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Last stable offsets as of the latest fetch, of the partitions that were fetched from."""
        assignment = self.kafka._subscription.subscription.assignment
        states = {tp: assignment.state_value(tp) for tp in tps} if assignment else {}
        return {tp: state.lso for tp, state in states.items() if state is not None and state.lso is not None}

    def assignment(self) -> set[TP]:
        return _tps(self._kafka.assignment()) if self._kafka is not None else set()

    @Service.task  # type: ignore[untyped-decorator]  # mode has no types
    async def _commit_handler(self) -> None:
        """Faust's commit timer. Here each lane commits for itself, in step with its work; this keeps the figures."""
        async for _ in self.itertimer(1.0, name="lag"):
            self.app.desk.report()

    @Service.task  # type: ignore[untyped-decorator]  # mode has no types
    async def _commit_livelock_detector(self) -> None:
        """Faust's detector only logs; the app's watchdog ends the worker."""

    # What Faust's streams and tables would call; a batched worker has neither.

    async def seek_to_committed(self) -> Mapping[TP, int]:
        raise NotImplementedError

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return await self.commit(offsets)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's signature
        raise NotImplementedError

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def _to_message(self, tp: TP, record: Any) -> Any:
        raise NotImplementedError

    async def position(self, tp: TP) -> int | None:
        return cast(int, await self.kafka.position(tp))

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        raise NotImplementedError

    def highwater(self, tp: TP) -> int:
        return cast(int, self.kafka.highwater(TopicPartition(*tp)))

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return cast(Mapping[TP, int], await self.kafka.beginning_offsets(partitions))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return cast(Mapping[TP, int], await self.kafka.end_offsets(partitions))

    def topic_partitions(self, topic: str) -> int | None:
        return len(self.kafka.partitions_for_topic(topic) or ()) or None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        raise NotImplementedError

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("topics are created from their contracts: `koban topics apply`")

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        raise NotImplementedError


class Transport(faust_driver.Transport):
    """Faust's aiokafka transport with the consumer above."""

    Consumer = Consumer

    def create_transaction_manager(self, *args: Any, **kwargs: Any) -> Any:
        """None: each lane has a transactional writer of its own (Faust's manager sends outside of transactions)."""


def _tps(partitions: Iterable[TopicPartition]) -> set[TP]:
    return {TP(tp.topic, tp.partition) for tp in partitions}


def _lost(group: str, tp: TopicPartition, offset: int, start: int, end: int) -> str:
    why = "its records were deleted before they were read" if offset < start else "it is not the topic that was read"
    return (
        f"{group} goes on at offset {offset} of {tp.topic}/{tp.partition}, which holds {start} to {end}: {why}. "
        "If the loss is accepted, reset the group's offsets (kafka-consumer-groups --reset-offsets)"
    )


__all__ = ["Consumer", "LostRecordsError", "Transport"]
