"""The routes of a shared list: its page, and the same address as ``.json``, ``.csv`` and ``.parquet``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from dashboards.board import Freshness
from dashboards.console import Console
from dashboards.exports import FORMS, Form, as_file, as_json
from dashboards.listing import Asked, BadListError, Listing, Slice, asked, facets, order_address
from dashboards.people.guard import requires
from dashboards.people.rights import Right
from schemas.errors import Transient

Source = Callable[[Request, Asked], Awaitable[Slice]]
"""Answers what a request asks. Who may see what is decided here: the request says who asks. Raises Transient."""


def list_routes(
    console: Console, desk: str, listing: Listing, source: Source, fresh: Callable[[], Freshness]
) -> APIRouter:
    """A whole list. Its texts are ``nav.<desk>``, ``<list>.find``, ``<list>.empty`` and ``<list>.<column>``."""
    router = APIRouter()

    @router.get(listing.path)
    async def page(request: Request) -> Response:
        try:
            ask = asked(request.query_params, listing)
            found, trouble = await source(request, ask), ""
        except BadListError:
            return console.pages.error(request, 400, "error.list", title="error.bad", desk=desk)
        except Transient:
            found, trouble = Slice((), 0, None, {}), "list.down"
        values = shown(request, listing, ask, found) | {"fresh": fresh(), "trouble": trouble}
        return console.pages.page(request, "list_page.html.j2", status=503 if trouble else 200, desk=desk, **values)

    add_data(router, listing, source)
    return router


def shown(request: Request, listing: Listing, ask: Asked, found: Slice) -> dict[str, Any]:
    """What ``list.html.j2`` needs."""
    return {
        "listing": listing,
        "ask": ask,
        "page": found,
        "facets": facets(request, ask, found.counts),
        "order": partial(order_address, request, listing, ask),
    }


def add_data(router: APIRouter, listing: Listing, source: Source) -> None:
    """The list as data."""

    @router.get(f"{listing.path}.json", name=f"{listing.name}.json", dependencies=[exports(listing)])
    async def data(request: Request) -> Response:
        return await answered(lambda: _page(request))

    async def _page(request: Request) -> Response:
        return as_json(listing, await source(request, asked(request.query_params, listing)))

    for form in FORMS:
        add_file(router, listing, source, form)


def add_file(router: APIRouter, listing: Listing, source: Source, form: Form) -> None:
    """The list as a file of one form."""

    async def file(request: Request) -> Response:
        return await answered(lambda: _whole(request))

    async def _whole(request: Request) -> Response:
        return await as_file(listing, form, asked(request.query_params, listing), partial(source, request))

    path, name = f"{listing.path}.{form}", f"{listing.name}.{form}"
    router.add_api_route(path, file, name=name, dependencies=[exports(listing)])


def exports(listing: Listing) -> Any:
    """What every export of a list asks for beside the desk's right; it is in the audit log before it begins."""
    return requires(Right.LISTS_EXPORT, records=f"{listing.name}:export")


async def answered(answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or what is wrong as data: 400 for what the list does not have, 503 for a source that is down."""
    try:
        return await answer()
    except BadListError as error:
        return JSONResponse({"error": str(error)}, 400)
    except Transient as error:
        return JSONResponse({"error": error.reason}, 503, headers={"Retry-After": "1"})
