"""The health pages that every process has."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from dashboards.live import Live

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Figures:
    """The console's metrics."""

    def __init__(self, live: Live) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._live = live
        Gauge("koban_console_viewers", "Open live pages", registry=self.registry).set_function(lambda: live.viewers)
        self._up = Gauge("koban_console_source_up", "1 while the source answers", ["source"], registry=self.registry)
        self.seconds = Histogram(
            "koban_http_request_seconds", "Time of a page", ["page"], buckets=SECONDS, registry=self.registry
        )

        self._lag_records = Gauge(
            "koban_group_lag_records",
            "Offsets a consumer group has not read",
            ["group", "topic"],
            registry=self.registry,
        )
        self._lag_seconds = Gauge(
            "koban_group_lag_seconds",
            "Since the oldest record that a consumer group has not read was first seen",
            ["group", "topic"],
            registry=self.registry,
        )
        self._complete_to = Gauge(
            "koban_store_complete_to_seconds",
            "All that was recorded before is in the store; seconds since the epoch",
            ["store"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All of them, as Prometheus reads them. What nobody says any more is not told as if it still held."""
        for gauge in (self._lag_records, self._lag_seconds, self._complete_to):
            gauge.clear()
        board = self._live.board
        for lag in board.offsets.lags() if board.offsets and board.fresh["offsets"].state == "ok" else ():
            self._lag_records.labels(lag.group, lag.topic).set(lag.records)
            self._lag_seconds.labels(lag.group, lag.topic).set(lag.seconds)
        for row in board.stores:
            if row.fresh.at is not None:
                self._complete_to.labels(row.name).set(row.fresh.at)
        for name, poller in self._live.pollers.items():
            self._up.labels(name).set(poller.down_since is None and poller.at is not None)
        return generate_latest(self.registry)


def routes(figures: Figures) -> APIRouter:
    """``/-/live``, ``/-/ready``, ``/-/version`` and ``/metrics``."""
    router = APIRouter()

    @router.get("/-/live")
    async def alive() -> dict[str, Any]:
        return {"live": True, "stage": "console"}

    @router.get("/-/ready")
    async def ready() -> dict[str, Any]:
        """The console is ready whatever its sources are: it says what is down, which is when it is needed most."""
        return {"ready": True, "stage": "console"}

    @router.get("/-/version")
    async def versions() -> dict[str, Any]:
        return {"version": version("koban"), "stage": "console"}

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(figures.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
