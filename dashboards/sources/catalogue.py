"""Everything that the console asks, in one place: what is polled for live panels, and what a request asks itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from dashboards.sources import jobs as flink
from dashboards.sources import offsets, reports, stores
from dashboards.sources.bounded import Bounded
from dashboards.sources.index import Index
from dashboards.sources.platform import Platform
from dashboards.sources.poller import TIMEOUT_S
from dashboards.sources.topics import Topics
from dashboards.sources.workers import Workers
from koban.settings import Settings
from sinks.alert_search import AlertSearch
from sinks.book import BookQueries
from sinks.mysql_book_queries import MySqlBookQueries
from sinks.payment_search import PaymentSearch

BOOK_THREADS = 2
"""Of the poller; those of the API are its own, so that a book that hangs does not take them all."""
TOPICS_TIMEOUT_S = 5.0
"""Joining a cluster takes longer than a look; nobody waits for it."""


class Polled(NamedTuple):
    """A source that is asked again and again, for all viewers at once. Its name is the message ``source.<name>``."""

    ask: Callable[[], Awaitable[Any]]
    timeout_s: float = TIMEOUT_S
    every_s: float = 1.0


class Sources(NamedTuple):
    """The sources of one console.

    ``workers``, ``topics``, ``index`` and ``platform`` are always polled; a panel finds what another one said in
    ``board.answers[<name>]`` and how fresh that is in ``board.fresh[<name>]``.
    """

    polled: dict[str, Polled]
    search: PaymentSearch
    alerts: AlertSearch
    book: BookQueries
    close: Callable[[], Awaitable[None]]
    jobs: flink.Jobs | None = None
    reports: reports.Reports | None = None
    threads: Bounded | None = None
    """Those that ask the book for the API."""


def sources(settings: Settings) -> Sources:
    """The real ones. Nothing is connected before it is asked."""
    topics, workers = Topics(settings.kafka_bootstrap), Workers(settings.data_dir / "platform.json")
    search, alerts = PaymentSearch(settings.opensearch_url), AlertSearch(settings.opensearch_url)
    book = MySqlBookQueries(settings.mysql_url)
    threads, polling = Bounded("MySQL"), Bounded("MySQL", threads=BOOK_THREADS)
    groups, jobs, reported = offsets.Groups(settings.kafka_bootstrap), flink.Jobs(settings), reports.Reports(settings)
    marks = stores.Book(settings, book, polling)

    async def close() -> None:
        await topics.close()
        await workers.close()
        await search.close()
        await alerts.close()
        await groups.close()
        await jobs.close()
        await reported.close()
        threads.close()
        polling.close()
        book.close()

    polled = {
        "workers": Polled(workers.ask),
        "topics": Polled(topics.ask, TOPICS_TIMEOUT_S),
        "index": Polled(Index(search).ask),
        "platform": Polled(Platform(settings.data_dir).ask),
        "offsets": Polled(groups.ask, offsets.TIMEOUT_S, offsets.EVERY_S),
        "flink": Polled(jobs.ask, flink.TIMEOUT_S, flink.EVERY_S),
        "mysql": Polled(marks.ask, stores.TIMEOUT_S, stores.EVERY_S),
        "lake_files": Polled(stores.Lake(settings).ask, every_s=stores.LAKE_EVERY_S),
        "reports": Polled(reported.ask, every_s=reports.EVERY_S),
    }
    return Sources(polled, search, alerts, book, close, jobs, reported, threads)
