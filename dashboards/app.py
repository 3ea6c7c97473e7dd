"""The console: pages, their JSON, live changes, and the health pages of every process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

from dashboards import payments
from dashboards.api.app import create_api
from dashboards.api.ledger import LedgerAnswers
from dashboards.board import Board
from dashboards.books import document
from dashboards.formats import FILTERS
from dashboards.language import LANGUAGES, Language, message, negotiated
from dashboards.live import PANELS, VIEWERS_MAX, Live, event
from dashboards.sources.bounded import Bounded
from koban.settings import Settings
from sinks.mysql_book_queries import MySqlBookQueries
from sinks.payment_search import PaymentSearch

HERE = Path(__file__).parent
THEMES = ("light", "dark")
COOKIE_S = 365 * 86_400
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


def create_app(settings: Settings) -> FastAPI:
    """The application. Starts to poll with its first request, stops with the server."""
    search = PaymentSearch(settings.opensearch_url)
    book = MySqlBookQueries(settings.mysql_url)
    threads = Bounded("MySQL")
    pages = Pages()
    live = Live(settings, search, pages.panel)
    pages.live = live

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        await live.stop()
        await search.close()
        threads.close()
        book.close()

    app = FastAPI(title="Koban", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.live, app.state.search, app.state.pages = live, search, pages
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.mount("/v1", create_api(LedgerAnswers(book, settings.payment_partitions), threads=threads))
    _add_guards(app, settings)
    _add_health(app, live)
    _add_pages(app, pages, live)
    payments.add_routes(app, pages, search)
    return app


class Pages:
    """Renders templates in a request's language and theme."""

    def __init__(self) -> None:
        self.live: Live | None = None
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= FILTERS | {"translated": lambda key, language: message(language, key)}
        self._templates.globals |= {"static": static_url, "urlencode": urlencode}

    def render(self, template: str, language: Language, **values: Any) -> str:
        """A template's markup. Everything in ``values`` is text and escaped."""
        return self._templates.get_template(template).render(lang=language, t=partial(message, language), **values)

    def panel(self, name: str, board: Board, language: Language) -> str:
        """A live panel's inner markup."""
        history = list(self.live.history) if self.live else []
        return self.render(f"panels/{name}.html.j2", language, board=board, history=history)

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page; a language or theme that the address asks for is remembered."""
        language = language_of(request)
        theme = _chosen(request, "theme", THEMES)
        markup = self.render(
            template, language, request=request, theme=theme, address=partial(address, request), **values
        )
        response = HTMLResponse(
            markup, status, headers={"Cache-Control": "no-store", "Vary": "Accept-Language, Cookie"}
        )
        for name in ("lang", "theme"):
            if (asked := request.query_params.get(name)) in (*LANGUAGES, *THEMES):
                response.set_cookie(name, asked or "", max_age=COOKIE_S, httponly=True, samesite="lax")
        return response


def language_of(request: Request) -> Language:
    """The language of a request."""
    return negotiated(
        request.query_params.get("lang"), request.cookies.get("lang"), request.headers.get("accept-language")
    )


def _chosen(request: Request, name: str, values: tuple[str, ...]) -> str:
    for asked in (request.query_params.get(name), request.cookies.get(name)):
        if asked in values:
            return str(asked)
    return ""


def address(request: Request, **changes: str | None) -> str:
    """This page's address with some parameters changed; None takes one out."""
    parameters = {**request.query_params, **changes}
    kept = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path


_static_urls: dict[str, str] = {}


def static_url(name: str) -> str:
    """The address of a static file, with its content's hash, so that it can be kept for ever."""
    if name not in _static_urls:
        digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
        _static_urls[name] = f"/static/{name}?v={digest}"
    return _static_urls[name]


def _add_guards(app: FastAPI, settings: Settings) -> None:
    """Headers on every answer, and no foreign host name: a page elsewhere must not read this one by DNS rebinding."""

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call(request)
        response.headers.update(HEADERS)
        if request.url.path.startswith("/static/") and "v" in request.query_params:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    host = urlsplit(settings.console_url).hostname or "127.0.0.1"
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=sorted({"127.0.0.1", "localhost", host}))


def _add_health(app: FastAPI, live: Live) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("koban_console_viewers", "Open live pages", registry=registry).set_function(lambda: live.viewers)
    up = Gauge("koban_console_source_up", "1 while the source answers", ["source"], registry=registry)
    seconds = Histogram("koban_http_request_seconds", "Time of a page", ["page"], buckets=SECONDS, registry=registry)

    @app.middleware("http")
    async def timed(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        response = await call(request)
        route = request.scope.get("route")
        seconds.labels(getattr(route, "path", "other")).observe(time.perf_counter() - started)
        return response

    @app.get("/-/live")
    async def alive() -> dict[str, Any]:
        return {"live": True, "stage": "console"}

    @app.get("/-/ready")
    async def ready() -> dict[str, Any]:
        """The console is ready whatever its sources are: it says what is down, which is when it is needed most."""
        return {"ready": True, "stage": "console"}

    @app.get("/-/version")
    async def versions() -> dict[str, Any]:
        return {"version": version("koban"), "stage": "console"}

    @app.get("/metrics")
    async def metrics() -> Response:
        for name, poller in live.pollers.items():
            up.labels(name).set(poller.down_since is None and poller.at is not None)  # type: ignore[attr-defined]  # pollers of several values
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _add_pages(app: FastAPI, pages: Pages, live: Live) -> None:
    @app.get("/")
    async def operations(request: Request) -> Response:
        panels = live.panels(language_of(request))
        return pages.page(request, "operations.html.j2", panels=panels, desk="operations")

    @app.get("/ledger")
    async def ledger(request: Request) -> Response:
        panels = live.panels(language_of(request), "ledger")
        return pages.page(request, "ledger.html.j2", panels=panels, desk="ledger")

    @app.get("/ledger.json")
    async def ledger_data() -> dict[str, Any]:
        return document(live.board.books)

    @app.get("/live")
    async def changes(request: Request, desk: str = "operations") -> Response:
        if desk not in PANELS:
            return PlainTextResponse("no such desk", 404)
        if live.viewers >= VIEWERS_MAX:
            return PlainTextResponse("too many live pages", 503, headers={"Retry-After": "10"})
        language = language_of(request)

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: 2000\n\n"
            async for change in live.changes(language, desk):
                yield event(change)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.exception_handler(404)
    async def missing(request: Request, _: Exception) -> Response:
        if request.url.path.endswith(".json"):
            return JSONResponse({"error": "not found"}, 404)
        return pages.page(request, "error.html.j2", status=404, title="error.title", text="error.text", desk="")
