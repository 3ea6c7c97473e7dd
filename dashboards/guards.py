"""What every answer carries and every request must pass, whatever page it is for. Plain ASGI: streams stay streams."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from fastapi import FastAPI
from prometheus_client import Histogram
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from koban.settings import Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all browsers call the origin of our own forms `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
COMPRESSED_BYTES_MIN = 1_000
COMPRESSION_LEVEL = 4
"""Pages are made anew each time: beyond this level they get hardly smaller and much slower."""


def add_guards(app: FastAPI, settings: Settings, seconds: Histogram) -> None:
    """Headers, compression, times; no foreign host name: a page elsewhere must not read this by DNS rebinding."""
    host = urlsplit(settings.console_url).hostname or "127.0.0.1"
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_BYTES_MIN, compresslevel=COMPRESSION_LEVEL)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=sorted({"127.0.0.1", "localhost", host}))
    app.add_middleware(Answers, seconds=seconds)


class Answers:
    """Puts the headers on each answer and measures how long it took to begin."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                took_s = time.perf_counter() - started
                headers["Server-Timing"] = f"console;dur={took_s * 1_000:.1f}"  # browsers show it beside their own
                self._seconds.labels(_page(scope)).observe(took_s)
            await send(message)

        await self._app(scope, receive, guarded)


def _page(scope: Scope) -> str:
    """The route's pattern, never what was filled in: ids are no labels."""
    return str(getattr(scope.get("route"), "path", "other"))
