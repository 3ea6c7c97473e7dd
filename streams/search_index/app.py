"""The stage: valid events and alerts in, documents out, at least once; what the index refuses is dead-lettered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
from opensearchpy import AsyncOpenSearch, OpenSearchException

from koban.records import Alert
from koban.settings import Settings
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent, ReasonCode, Transient
from sinks.contract import Item, Outcome, Sink
from sinks.opensearch import OpenSearchSink
from sinks.opensearch_schema import ALERTS, ensure
from sinks.payment_store import OpenSearchPayments
from sinks.retrying import RetryingSink
from streams.search_index.indexing import STAGE, Indexer, Rejected
from streams.search_index.progress import Progress, item_of
from streams.transport import Batch, BatchApp, Record

logger = logging.getLogger("koban.search_index")

EVENTS, ALERT_STATES, DEAD_LETTERS = "payments-valid", "alerts", "payments-dlq"
WRITE_TIMEOUT_S = 8.0
WRITE_ATTEMPTS_MAX = 2
"""Within a batch; then the transport holds the batch, says so, and has it tried again."""
PROGRESS_EVERY_S = 1.0

_alert = msgspec.json.Decoder(Alert)


def search_index_app(settings: Settings) -> BatchApp:
    """The stage's worker."""
    app = BatchApp(STAGE, settings)
    logging.getLogger("opensearch").setLevel(logging.WARNING)  # it logs every request
    sink = RetryingSink(
        OpenSearchSink(settings.opensearch_url, timeout_s=WRITE_TIMEOUT_S), attempts_max=WRITE_ATTEMPTS_MAX
    )
    store = OpenSearchPayments(settings.opensearch_url)
    indexer = Indexer(store, sink)
    schema = Schema(settings.opensearch_url)
    progress = Progress(STAGE)

    work = Work()

    @app.batches(EVENTS)
    async def payments(batch: Batch) -> None:
        with work:
            await schema.ensured()
            done = await indexer.index(batch.partition, batch.records)
        dead_letter(batch, done.rejected)
        progress.indexed(batch.partition, batch.records[-1].timestamp * 1000)
        app.count("indexed", done.documents)
        app.count("unchanged", done.unchanged)
        app.count("rejected", len(done.rejected))

    @app.batches(ALERT_STATES)
    async def alerts(batch: Batch) -> None:
        with work:
            await schema.ensured()
            rejected = await index_alerts(sink, batch.records)
        dead_letter(batch, rejected)
        app.count("alerts", len(batch.records) - len(rejected))

    @app.beside
    async def tell_progress() -> None:
        while not app.should_stop:
            await asyncio.sleep(PROGRESS_EVERY_S)
            marks = progress.marks(app.desk.lags(EVENTS), time.time_ns() // 1000)
            await sink_quietly(sink, [item_of(mark) for mark in marks])
        await work.finished()
        await sink.close()
        await store.close()

    @app.beside
    async def prepare() -> None:
        """So early that a search finds indices before anything is in them."""
        try:
            await schema.ensured()
        except Transient as error:
            logger.warning("%s; the first batch will wait for it", error)

    return app


class Work:
    """Batches that use the connections now; they are closed after the last one."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def finished(self) -> None:
        """Returns when no batch is in work."""
        await self._idle.wait()


class Schema:
    """Puts templates and indices once a worker's life, before it writes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._done = False

    async def ensured(self) -> None:
        """Returns when the schema is in place. Raises Transient when OpenSearch does not answer."""
        if self._done:
            return
        client = AsyncOpenSearch(hosts=[self._url], timeout=WRITE_TIMEOUT_S)
        try:
            await ensure(client)
        except OpenSearchException as error:
            raise Transient(f"the indices can't be set up: {error}") from error
        finally:
            await client.close()
        self._done = True


async def index_alerts(sink: Sink, records: Sequence[Record]) -> Rejected:
    """Write the latest state of each alert; gives what can never be written. Raises Transient."""
    rejected: Rejected = []
    latest: dict[str, tuple[Item, Record]] = {}
    for record in records:
        try:
            alert = _alert.decode(record.value or b"")
        except msgspec.DecodeError as error:
            rejected.append((record, InvalidEvent(ReasonCode.WRONG_TYPE, f"no alert: {error}")))
            continue
        item = Item(ALERTS, alert.alert_id, msgspec.json.encode(alert), alert.signals)
        if alert.alert_id not in latest or latest[alert.alert_id][0].version < item.version:
            latest[alert.alert_id] = (item, record)
    results = await sink.write([item for item, _ in latest.values()])
    for (_, record), result in zip(latest.values(), results, strict=True):
        if result.outcome is Outcome.RETRY:
            raise Transient(result.reason)
        if result.outcome is Outcome.REFUSED:
            rejected.append((record, InvalidEvent(ReasonCode.REFUSED, f"the index refuses it: {result.reason}")))
    return rejected


def dead_letter(batch: Batch, rejected: Rejected) -> None:
    """Emit what was rejected, as it came, with its reason and place."""
    for record, error in rejected:
        letter = DeadLetter.of(
            error,
            stage=STAGE,
            topic=batch.topic,
            partition=batch.partition,
            offset=record.offset,
            at_us=time.time_ns() // 1000,
            producer=STAGE,
        )
        batch.emit(DEAD_LETTERS, record.value, key=record.key, headers=letter.headers(), timestamp_ms=record.timestamp)


async def sink_quietly(sink: Sink, items: Sequence[Item]) -> None:
    """Write what is told again a second later anyway: failures are left to the batches to report."""
    if items:
        await sink.write(items)
