"""The console as one application: the desks' routers, the API, static files, live changes and health pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from dashboards import health, stream
from dashboards.api.app import create_api
from dashboards.api.ledger import LedgerAnswers
from dashboards.console import Console
from dashboards.desks import DESKS
from dashboards.guards import add_guards
from dashboards.live import Live
from dashboards.pages import Pages
from dashboards.sources.bounded import Bounded
from dashboards.static_files import PREFIX, StaticFiles
from koban.settings import Settings
from sinks.alert_search import AlertSearch
from sinks.mysql_book_queries import MySqlBookQueries
from sinks.payment_search import PaymentSearch


def create_app(settings: Settings) -> FastAPI:
    """The application. It begins to poll when the server begins, and stops with it."""
    search = PaymentSearch(settings.opensearch_url)
    alerts = AlertSearch(settings.opensearch_url)
    book = MySqlBookQueries(settings.mysql_url)
    threads = Bounded("MySQL")
    files = StaticFiles()
    pages = Pages(files, DESKS)
    live = Live(settings, search, pages.panel, {desk.name: desk.panels for desk in DESKS if desk.panels}, book=book)
    console = Console(settings, pages, live, search, alerts)
    figures = health.Figures(live)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        await live.stop()
        await search.close()
        await alerts.close()
        threads.close()
        book.close()

    app = FastAPI(title="Koban", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.console = console
    add_guards(app, settings, figures.seconds)
    app.mount(PREFIX, files, name="static")
    app.mount("/v1", create_api(LedgerAnswers(book, settings.payment_partitions), threads=threads))
    app.include_router(health.routes(figures))
    app.include_router(stream.routes(live))
    for desk in DESKS:
        app.include_router(desk.routes(console))
    _add_errors(app, pages)
    return app


def _add_errors(app: FastAPI, pages: Pages) -> None:
    @app.exception_handler(404)
    async def missing(request: Request, _: Exception) -> Response:
        if request.url.path.endswith(".json"):
            return JSONResponse({"error": "not found"}, 404)
        return pages.error(request, 404, "error.text")
