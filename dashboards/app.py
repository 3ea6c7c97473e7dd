"""The console as one application: the desks' routers, the API, static files, live changes and health pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from dashboards import forms, health, jump, stream
from dashboards.api.app import create_api
from dashboards.api.ledger import LedgerAnswers
from dashboards.console import Console
from dashboards.desks import DESKS
from dashboards.guards import add_guards
from dashboards.live import Live
from dashboards.pages import Pages
from dashboards.people.guard import KnowsPeople, look, public, requires
from dashboards.people.openid import OpenId
from dashboards.people.refusals import add_refusals
from dashboards.people.rights import Right
from dashboards.people.routes import create_router
from dashboards.people.service import People
from dashboards.sources.catalogue import Sources, sources
from dashboards.sources.jobs import Jobs
from dashboards.sources.reports import Reports
from dashboards.sources.standings import LiveStandings
from dashboards.static_files import PREFIX, StaticFiles
from koban.settings import Settings


def create_app(
    settings: Settings,
    asked: Sources | None = None,
    people: People | None = None,
    provider: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The application over the sources, people and sign-in provider that settings name, or over others.

    It polls while the server runs. Every router is mounted with what it asks for; ``people.declarations`` is how a test
    finds the one that is not.
    """
    asked = asked or sources(settings)
    accounts = people or People.of(settings)
    openid = OpenId(settings, accounts.randomness, provider)
    files = StaticFiles()
    pages = Pages(files, DESKS)
    live = Live(asked.polled, pages.panel, {desk.name: desk.panels for desk in DESKS if desk.panels})
    console = Console(
        settings,
        pages,
        live,
        asked.search,
        asked.alerts,
        asked.jobs or Jobs(settings),
        asked.reports or Reports(settings),
    )
    figures = health.Figures(live)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        await live.stop()
        await asked.close()
        standings.close()
        await openid.close()
        accounts.close()

    app = FastAPI(
        title="Koban",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=forms.BODY_BYTES_MAX,
    )
    app.state.console, app.state.people = console, accounts
    app.add_middleware(KnowsPeople, people=accounts)
    add_guards(app, settings, figures.seconds)
    app.mount(PREFIX, files, name="static")
    standings = LiveStandings.of(settings)
    answers = LedgerAnswers(asked.book, settings.payment_partitions, standings)
    api = create_api(answers, [requires(Right.BOOKS_READ)], asked.threads)
    app.mount("/v1", api)
    app.include_router(health.routes(figures), dependencies=[public])
    app.include_router(stream.routes(live, {desk.name: desk.right for desk in DESKS}))
    app.include_router(jump.routes(DESKS))
    app.include_router(create_router(pages, openid))
    for desk in DESKS:
        app.include_router(desk.routes(console), dependencies=[requires(desk.right)])
    _add_errors(app, pages)
    add_refusals(app, pages)
    return app


def _add_errors(app: FastAPI, pages: Pages) -> None:
    @app.exception_handler(404)
    async def missing(request: Request, _: Exception) -> Response:
        if request.url.path.endswith(".json"):
            return JSONResponse({"error": "not found"}, 404)
        await look(request)
        return pages.error(request, 404, "error.text")
