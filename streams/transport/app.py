"""The face of the batched transport: a Faust app whose agents get micro-batches of one partition."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import cached_property
from typing import Any, NoReturn, TypeVar

import faust
import mode
from aiokafka import TopicPartition
from faust.app.base import BootStrategy
from faust.types import TP
from mode import Service

from koban.settings import Settings
from streams.transport import logs
from streams.transport.assignor import LaneAssignor
from streams.transport.batch import Batch
from streams.transport.connecting import connected
from streams.transport.desk import Desk, Handler
from streams.transport.driver import Consumer, Transport
from streams.transport.health import HealthServer, Page
from streams.transport.lane import Lane
from streams.transport.lane_log import LaneLog
from streams.transport.metrics import StageMetrics
from streams.transport.runner import Limits, Runner
from streams.transport.watchdog import Watchdog
from streams.transport.writers import IdempotentWriter, TransactionalWriter

logger = logging.getLogger("koban.transport")

FETCH_BYTES = 1024 * 1024
"""Of one partition in one fetch: larger fetches fall out of the processor's caches and are slower to read."""
QUEUE_BYTES_MAX = 8 * 1024 * 1024
DRAIN_S_MAX = 20.0
"""A lane must finish its batch within this when it is taken away; else the worker crashes, and the batch is undone."""
REBALANCE_S_MAX = 30.0
CRASH_S_MAX = 20.0
"""A crashed worker that has not come to its end by then is ended the hard way."""
CANCEL_S_MAX = 1.0
"""What still runs when all services have stopped is cancelled, and has this long to take notice."""
GC_THRESHOLDS = (500_000, 20, 100)
"""A search for cyclic garbage looks at all records that wait: a few lanes' batches are tens of thousands. By Python's
default (700), and still by 50,000, it would search again and again and find nothing: a tenth of the ledger's time."""

BatchHandler = Callable[[Batch], Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=BatchHandler)
Work = Callable[[], Coroutine[Any, Any, None]]
WorkT = TypeVar("WorkT", bound=Work)


class Boot(BootStrategy):
    """The services of a batched worker: no tables, no streams, no web server, no sensors."""

    def server(self) -> Iterable[Service]:
        app = self.app
        return [app.health, app.consumer, app.subscriber, app._fetcher]


class PromptWorker(mode.Worker):
    """Ends as soon as everything has: the usual worker sleeps for one second to two on its way out, and a lane's next
    owner waits for that."""

    def _gather_all(self) -> None:
        if tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_S_MAX))

    async def _sentinel_task(self) -> None:
        await asyncio.sleep(0)


class _Worker(PromptWorker, faust.Worker):
    """Faust's own, but for its end."""


class Subscriber(Service):
    """Joins the group once the consumer runs."""

    def __init__(self, app: BatchApp, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app

    async def on_start(self) -> None:
        await self._app.consumer.subscribe(self._app.topic_names)

    @Service.task  # type: ignore[untyped-decorator]  # mode has no types
    async def _beat(self) -> None:
        async for _ in self.itertimer(1.0, name="watchdog"):
            self._app.watchdog.beat()


def group_of(stage: str) -> str:
    """The consumer group of a stage's workers; it is also their app's id."""
    return f"koban-{stage}"


class BatchApp(faust.App):
    """A stage's worker. The stage's name is also its consumer group, behind ``koban-``.

    ``exactly_once``: each round of a lane is one Kafka transaction of what it wrote and the offsets it read, under the
    lane's own transactional id; a worker that lost a lane can no longer write for it. Otherwise offsets are committed
    after the handler has returned and all it wrote is acknowledged, so that nothing is lost but may come twice.
    """

    BootStrategy = Boot

    def __init__(self, stage: str, settings: Settings, *, exactly_once: bool = False) -> None:
        self.stage = stage
        self.settings = settings
        self.exactly_once = exactly_once
        self.metrics = StageMetrics(stage)
        self._handlers: list[Handler] = []
        self._beside: list[Work] = []
        self.pages: dict[str, Page] = {}
        """Path → a page of the stage's own, beside health and metrics."""
        self._shared_writer: IdempotentWriter | None = None
        self._crashing = False
        super().__init__(
            group_of(stage),
            broker=[f"aiokafka://{server}" for server in settings.kafka_bootstrap.split(",")],
            datadir=settings.data_dir / "faust",
            autodiscover=False,
            web_enabled=False,
            web_tables_enabled=False,
            web_router_enabled=False,
            web_in_thread=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            key_serializer="raw",
            value_serializer="raw",
            broker_session_timeout=settings.session_timeout_ms / 1000,
            broker_heartbeat_interval=settings.session_timeout_ms / 4000,
            broker_rebalance_timeout=REBALANCE_S_MAX,
            broker_check_crcs=True,
            consumer_max_fetch_size=FETCH_BYTES,
            worker_redirect_stdouts=False,
        )

    # What a stage says of itself.

    def lanes(self, topics: Iterable[str], lane_class: Callable[[int], Lane]) -> None:
        """Reads topics of equal partition counts; partition p of all of them is worked on by ``lane_class(p)``."""
        self._add(Handler(name="", topics=tuple(topics), make_lane=lane_class, retries=False))

    def batches(self, *topics: str) -> Callable[[HandlerT], HandlerT]:
        """Decorates a handler without state. It may raise Transient or Backpressure to get the same batch again."""

        def register(handler: HandlerT) -> HandlerT:
            def make_lane(partition: int) -> Lane:
                return _FunctionLane(partition, handler)

            self._add(Handler(name=handler.__name__, topics=topics, make_lane=make_lane, retries=not self.exactly_once))
            return handler

        return register

    def beside(self, work: WorkT) -> WorkT:
        """Decorates work beside the batches: begun once, when the group first gives this worker its share."""
        self._beside.append(work)
        return work

    def count(self, outcome: str, n: int = 1) -> None:
        """Adds to ``koban_outcomes_total{stage, outcome}``. Outcomes are few and known: never an id."""
        self.metrics.count(outcome, n)

    def main(self) -> NoReturn:
        """Runs the worker until SIGTERM, then drains, commits and exits with 0. After an error it exits with 1."""
        logs.configure(self.stage)
        gc.set_threshold(*GC_THRESHOLDS)
        faulthandler.enable()
        worker = _Worker(self, override_logging=False, redirect_stdouts=False, quiet=True, loglevel="INFO")
        worker.spinner = None
        worker.execute_from_commandline()
        raise AssertionError("a worker ends by SystemExit")

    # What the parts ask.

    @property
    def topic_names(self) -> set[str]:
        return {topic for handler in self._handlers for topic in handler.topics}

    def client_options(self) -> dict[str, Any]:
        """Of every Kafka client of this worker."""
        return {"bootstrap_servers": self.settings.kafka_bootstrap, "client_id": self.conf.id}

    def check_partitions(self, counts: Mapping[str, int]) -> None:
        """Raises ValueError when topics that are read together can't be: their partition counts differ."""
        for handler in self._handlers:
            if len({counts[topic] for topic in handler.topics}) > 1:
                found = ", ".join(f"{topic} has {counts[topic]}" for topic in handler.topics)
                raise ValueError(f"topics of a lane need equal numbers of partitions: {found}")

    @cached_property
    def lanes_assignor(self) -> LaneAssignor:
        return LaneAssignor(handler.topics for handler in self._handlers)

    @cached_property
    def health(self) -> HealthServer:
        port = self.settings.metrics_port
        registry, ready = self.metrics.registry, lambda: self.desk.ready
        return HealthServer(self.stage, port, registry, ready, self.pages, beacon=self.beacon)

    @cached_property
    def subscriber(self) -> Subscriber:
        return Subscriber(self, beacon=self.beacon)

    @cached_property
    def watchdog(self) -> Watchdog:
        return Watchdog(
            self.settings.stall_s_max,
            progress_at=lambda: self.metrics.progress_at,
            behind=lambda: self.desk.behind,
        )

    @cached_property
    def desk(self) -> Desk:
        return Desk(
            self._handlers,
            make_runner=self._make_runner,
            hold=self.consumer.hold,
            stable_ends=self.consumer.stable_ends,
            metrics=self.metrics,
            records_max=self.settings.batch_records_max,
            drain_s_max=DRAIN_S_MAX,
            on_crash=self.crash_soon,
        )

    # Faust's hooks.

    async def on_first_start(self) -> None:
        """Faust would make folders for tables here."""

    async def on_start(self) -> None:
        self.finalize()
        self.watchdog.start()
        if not self.exactly_once:
            self._shared_writer = await connected(lambda: IdempotentWriter(self.client_options(), None))

    async def on_started(self) -> None:
        if self.on_startup_finished:
            await self.on_startup_finished()

    async def on_stop(self) -> None:
        """Finishes the batches in work and commits, before the services stop; after a crash it does neither."""
        if self._crashing or self._crashed.is_set():
            await self.desk.cancel()
        elif self._consumer is not None:
            await self.desk.close()
        if self._shared_writer is not None:
            await self._shared_writer.stop()
        self.watchdog.stop()

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        if not self.should_stop:
            await self.desk.revoke()
            await self.on_partitions_revoked.send(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        if not self.should_stop:
            self.desk.assign(TopicPartition(tp.topic, tp.partition) for tp in assigned)
            self.on_rebalance_end()
            await self.on_partitions_assigned.send(assigned)
            works, self._beside = self._beside, []
            for work in works:
                self.add_future(work())

    def on_rebalance_start(self) -> None:
        self.rebalancing = True

    def on_rebalance_return(self) -> None:
        """Faust's sensors would be told here."""

    def on_rebalance_end(self) -> None:
        self.rebalancing = False

    def on_init_dependencies(self) -> Iterable[Service]:
        services: Iterable[Service] = self.boot_strategy.server()
        return services

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_consumer(self) -> Consumer:
        return Consumer(
            self.transport,
            callback=self.desk_is_fed,
            on_partitions_revoked=self._on_partitions_revoked,
            on_partitions_assigned=self._on_partitions_assigned,
            beacon=self.beacon,
        )

    async def desk_is_fed(self, _: Any) -> None:
        raise NotImplementedError("the driver feeds the desk, not Faust's conductor")

    def agent(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("a batched worker has no streams: use @app.batches or app.lanes")

    # Parts.

    def _add(self, handler: Handler) -> None:
        taken = self.topic_names.intersection(handler.topics)
        if taken or not handler.topics or handler.name in {other.name for other in self._handlers}:
            raise ValueError(f"a topic is read by one handler: {', '.join(sorted(taken)) or handler.topics}")
        self._handlers.append(handler)

    def _make_runner(self, handler: Handler, partition: int, tps: list[TopicPartition]) -> Runner:
        name = f"{handler.name}-{partition}" if handler.name else str(partition)
        settings = self.settings
        return Runner(
            name,
            tps,
            make_lane=lambda: handler.make_lane(partition),
            make_writer=(lambda: self._make_writer(name)) if self.exactly_once else None,
            shared_writer=self._shared_writer,
            group=self.consumer,
            limits=Limits(
                records_max=settings.batch_records_max,
                bytes_max=QUEUE_BYTES_MAX,
                transaction_interval_s=settings.transaction_interval_ms / 1000,
                commit_interval_s=settings.commit_interval_ms / 1000,
            ),
            metrics=self.metrics,
            log=LaneLog(partition, self.client_options(), self.metrics.progress),
            retries=handler.retries,
            on_crash=self.crash_soon,
        )

    def _make_writer(self, lane: str) -> TransactionalWriter:
        return TransactionalWriter(self.client_options(), None, f"{self.conf.id}-{lane}", self.conf.id)

    def crash_soon(self, error: BaseException) -> None:
        """Ends the whole worker because of an error: neither a lane nor a lost name can be mended from inside."""
        if not self._crashing:
            self._crashing = True
            logger.critical("the worker ends: %s: %s", type(error).__name__, error, exc_info=error)
            timer = threading.Timer(CRASH_S_MAX, os._exit, (1,))
            timer.daemon = True
            timer.start()
            self.add_future(self.crash(error))


class _FunctionLane(Lane):
    def __init__(self, partition: int, handler: BatchHandler) -> None:
        super().__init__(partition)
        self._handler = handler

    async def on_batch(self, batch: Batch) -> None:
        await self._handler(batch)
