"""The console as one application: the desks' routers, the API, static files, live changes and health pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from dashboards import health, jump, stream
from dashboards.api.app import create_api
from dashboards.api.ledger import LedgerAnswers
from dashboards.console import Console
from dashboards.desks import DESKS
from dashboards.guards import add_guards
from dashboards.live import Live
from dashboards.pages import Pages
from dashboards.sources.catalogue import Sources, sources
from dashboards.static_files import PREFIX, StaticFiles
from koban.settings import Settings


def create_app(settings: Settings, asked: Sources | None = None) -> FastAPI:
    """The application over the sources that settings name, or over others. It polls while the server runs."""
    asked = asked or sources(settings)
    files = StaticFiles()
    pages = Pages(files, DESKS)
    live = Live(asked.polled, pages.panel, {desk.name: desk.panels for desk in DESKS if desk.panels})
    console = Console(settings, pages, live, asked.search, asked.alerts)
    figures = health.Figures(live)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        await live.stop()
        await asked.close()

    app = FastAPI(title="Koban", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.console = console
    add_guards(app, settings, figures.seconds)
    app.mount(PREFIX, files, name="static")
    app.mount("/v1", create_api(LedgerAnswers(asked.book, settings.payment_partitions)))
    app.include_router(health.routes(figures))
    app.include_router(stream.routes(live))
    app.include_router(jump.routes(DESKS))
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
