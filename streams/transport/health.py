"""A worker's own pages on loopback: ``/metrics``, ``/-/live``, ``/-/ready``, ``/-/version``, and those of its stage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web
from mode import Service
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

Page = Callable[[web.Request], Awaitable[web.Response]]


class HealthServer(Service):
    """Answers from the worker's event loop: no answer within a few seconds means that the loop is stuck."""

    def __init__(
        self,
        stage: str,
        port: int,
        registry: CollectorRegistry,
        ready: Callable[[], bool],
        pages: Mapping[str, Page] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.port = port
        """The port asked for (0: any), and once started the port listened on."""
        self._registry = registry
        self._ready = ready
        self._pages = pages or {}
        self._runner: web.AppRunner | None = None

    async def on_start(self) -> None:
        app = web.Application()
        for path, page in self._pages.items():
            app.router.add_get(path, page)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/-/live", self._live)
        app.router.add_get("/-/ready", self._readiness)
        app.router.add_get("/-/version", self._version)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.log.info("health and metrics on http://127.0.0.1:%s", self.port)

    async def on_stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True, "stage": self.stage})

    async def _readiness(self, _: web.Request) -> web.Response:
        ready = self._ready()
        return web.json_response({"ready": ready, "stage": self.stage}, status=200 if ready else 503)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": version("koban"), "stage": self.stage})
