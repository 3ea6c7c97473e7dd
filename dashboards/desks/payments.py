"""Payments: the search, as a page and as data, and a payment's own page."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from dashboards.chips import chips
from dashboards.console import Console
from dashboards.exports import FORMS
from dashboards.list_routes import add_file, answered, exports, shown
from dashboards.listing import Asked, BadListError, Column, FacetValue, Listing, Slice, asked
from dashboards.people.guard import ForbiddenError, scope_of
from dashboards.people.rights import Right
from dashboards.view import address
from koban.business_time import to_datetime
from koban.search.document import PaymentDocument, Step
from koban.search.query import CHARACTERS_MAX, Query, parse
from koban.search.request import FACETS, CursorError, Scope, Sort, facet_chip
from schemas.errors import Transient
from sinks.payment_search import Found, PaymentSearch

_ID_CHARACTERS_MAX = 64
_LABELS = {
    **{word: f"status.{word}" for word in ("completed", "authorized", "refunded", "canceled", "voided", "expired")},
    **{word: f"kind.{word}" for word in ("points", "voucher", "card", "paylater")},
    "balance": "kind.money",
}

PAYMENTS = Listing(
    name="payments",
    path="/payments",
    columns=(
        Column("occurred_at_us", "moment", sorts=True),
        Column("payment_id", "number"),
        Column("store_name"),
        Column("terminal_id", "mono"),
        Column("merchant_id", "merchant"),
        Column("kinds", "kinds"),
        Column("status", "status"),
        Column("amount_minor", "yen", sorts=True),
        Column("net_minor", "yen"),
        Column("gross_minor", "yen", shown=False),
        Column("canceled_minor", "yen", shown=False),
        Column("refunded_minor", "yen", shown=False),
        Column("refund_pending_minor", "yen", shown=False),
        Column("wallet_id", "mono", shown=False),
        Column("store_id", "mono", shown=False),
        Column("code", "mono", shown=False),
        Column("version", "count", shown=False),
    ),
    key="payment_id",
    order=Sort.NEWEST.value,
)


def routes(console: Console) -> APIRouter:
    """The routes of payments. A merchant finds its own; the platform's people find all, and may name a merchant."""
    router = APIRouter()
    pages, search = console.pages, console.search

    @router.get("/payments")
    async def page(request: Request) -> Response:
        try:
            wanted = Wanted(request)
            found, trouble = await wanted.found(search), ""
        except BadListError:
            return pages.error(request, 400, "error.cursor", title="error.bad", desk="payments")
        except Transient:
            found, trouble = None, "search.down"
        values = shown(request, PAYMENTS, wanted.ask, _slice(found))
        values |= {"wanted": wanted, "found": found, "trouble": trouble, "chips": chips(wanted.query)}
        values["facets"] = _facets(request, wanted.query, found)
        return pages.page(request, "payments.html.j2", status=503 if trouble else 200, desk="payments", **values)

    @router.get("/payments.json", dependencies=[exports(PAYMENTS)])
    async def listing(request: Request) -> Response:
        async def answer() -> Response:
            return JSONResponse(_answer(await Wanted(request).found(search)))

        return await answered(answer)

    async def source(request: Request, ask: Asked) -> Slice:
        return _slice(await Wanted(request).found(search, ask))

    for form in FORMS:
        add_file(router, PAYMENTS, source, form)

    @router.get("/payments/{number}.json")
    async def payment_data(request: Request, number: str) -> Response:
        document, status = await _document(search, number, scope_of(request))
        if document is None:
            return JSONResponse({"error": "not found" if status == 404 else "the index does not answer"}, status)
        return JSONResponse(document | {"story": [_step(step) for step in document.get("story", [])]})

    @router.get("/payments/{number}")
    async def payment(request: Request, number: str) -> Response:
        document, status = await _document(search, number, scope_of(request))
        if document is None:
            text = "payment.missing" if status == 404 else "search.down"
            return pages.error(request, status, text, desk="payments")
        story = [_step(step) for step in document.get("story", [])]
        whole = PaymentDocument.with_all_fields(document)
        fresh = console.live.board.fresh["index"]
        return pages.page(request, "payment.html.j2", payment=whole, story=story, fresh=fresh, desk="payments")

    return router


class Wanted:
    """What an address asks for, within what a person may find. Raises BadListError, ForbiddenError."""

    def __init__(self, request: Request) -> None:
        parameters, scope = request.query_params, scope_of(request)
        self.ask = asked(parameters, PAYMENTS)
        self.text = parameters.get("q", "")[: CHARACTERS_MAX + 1]
        self.merchant = parameters.get("merchant", "")[:_ID_CHARACTERS_MAX]
        if scope.merchant_id is not None and self.merchant not in {"", scope.merchant_id}:
            raise ForbiddenError(Right.PAYMENTS_OF_ALL)
        self.scope = Scope.of_merchant(self.merchant) if self.merchant and scope.merchant_id is None else scope
        self.query: Query = parse(self.text, time.time_ns() // 1000)

    async def found(self, search: PaymentSearch, ask: Asked | None = None) -> Found:
        """The answer, or that to another page of the same. Raises Transient, BadListError for a cursor."""
        ask = ask or self.ask
        try:
            return await search.search(self.query, self.scope, size=ask.size, cursor=ask.cursor, sort=Sort(ask.sort))
        except CursorError as error:
            raise BadListError(str(error)) from error


def _answer(found: Found) -> dict[str, Any]:
    """The answer as other programs read it."""
    complete_to = found.complete_to_us
    return {
        "total": found.total,
        "totals": found.totals,
        "hits": found.hits,
        "facets": found.facets,
        "next": found.next,
        "complete_to": None if complete_to is None else to_datetime(complete_to).isoformat(),
    }


def _slice(found: Found | None) -> Slice:
    if found is None:
        return Slice((), 0, None, {})
    return Slice([PaymentDocument.with_all_fields(hit) for hit in found.hits], found.total, found.next, {})


def _facets(request: Request, query: Query, found: Found | None) -> dict[str, list[FacetValue]]:
    """Words of the query language with how many payments each would find; a link writes or deletes the word."""
    shown: dict[str, list[FacetValue]] = {}
    for field in FACETS:
        counts = found.facets.get(field.value, {}) if found else {}
        chips = {word: facet_chip(field, word) for word in counts}
        values = [
            FacetValue(
                word, count, query.has(chips[word]), _with(request, query.toggled(chips[word])), label=_LABELS[word]
            )
            for word, count in counts.items()
            if count or query.has(chips[word])
        ]
        if values:
            shown[field.value] = values
    return shown


def _with(request: Request, query: Query) -> str:
    return address(request, q=query.text(), cursor=None)


async def _document(search: PaymentSearch, number: str, scope: Scope) -> tuple[dict[str, Any] | None, int]:
    if len(number) > _ID_CHARACTERS_MAX:
        return None, 404
    try:
        document = await search.payment(number, scope)
    except Transient:
        return None, 503
    return document, 200 if document else 404


def _step(step: list[Any]) -> dict[str, Any]:
    return dict(zip(Step.__struct_fields__, step, strict=False))
