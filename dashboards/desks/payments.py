"""Payments: the search, as a page and as JSON, and a payment's own page."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import QueryParams

from dashboards.console import Console
from koban.business_time import to_datetime
from koban.search.document import PaymentDocument, Step
from koban.search.query import CHARACTERS_MAX, Chip, Field, Query, parse
from koban.search.request import PAGE_DEFAULT, CursorError, Scope
from koban.search.times import day_label
from schemas.errors import Transient
from sinks.payment_search import Found, PaymentSearch

_ID_CHARACTERS_MAX = 64


def routes(console: Console) -> APIRouter:
    """The routes of payments. Without accounts, whoever reaches the console is an operator and may name a merchant."""
    router = APIRouter()
    pages, search = console.pages, console.search

    @router.get("/payments")
    async def page(request: Request) -> Response:
        wanted = Wanted(request.query_params)
        found, trouble, status = await wanted.found(search)
        hits = [PaymentDocument.with_all_fields(hit) for hit in found.hits] if found else []
        answer = {"wanted": wanted, "found": found, "hits": hits, "trouble": trouble, "chips": wanted.chips()}
        return pages.page(request, "payments.html.j2", status=status, desk="payments", **answer)

    @router.get("/payments.json")
    async def listing(request: Request) -> Response:
        wanted = Wanted(request.query_params)
        found, trouble, status = await wanted.found(search)
        if found is None:
            return JSONResponse({"error": trouble}, status)
        return JSONResponse(wanted.answer(found))

    @router.get("/payments/{number}.json")
    async def payment_data(number: str) -> Response:
        document, status = await _document(search, number)
        if document is None:
            return JSONResponse({"error": "not found" if status == 404 else "the index does not answer"}, status)
        return JSONResponse(document | {"story": [_step(step) for step in document.get("story", [])]})

    @router.get("/payments/{number}")
    async def payment(request: Request, number: str) -> Response:
        document, status = await _document(search, number)
        if document is None:
            text = "payment.missing" if status == 404 else "search.down"
            return pages.error(request, status, text, desk="payments")
        story = [_step(step) for step in document.get("story", [])]
        whole = PaymentDocument.with_all_fields(document)
        return pages.page(request, "payment.html.j2", payment=whole, story=story, desk="payments")

    return router


class Wanted:
    """What an address asks for."""

    def __init__(self, parameters: QueryParams) -> None:
        self.text = parameters.get("q", "")[: CHARACTERS_MAX + 1]
        self.merchant = parameters.get("merchant", "")[:_ID_CHARACTERS_MAX]
        self.cursor = parameters.get("cursor") or None
        self.query: Query = parse(self.text, time.time_ns() // 1000)

    async def found(self, search: PaymentSearch) -> tuple[Found | None, str, int]:
        """The answer, else a message key and a status."""
        scope = Scope.of_merchant(self.merchant) if self.merchant else Scope.operator()
        try:
            return await search.search(self.query, scope, size=PAGE_DEFAULT, cursor=self.cursor), "", 200
        except CursorError:
            return None, "error.cursor", 400
        except Transient:
            return None, "search.down", 503

    def answer(self, found: Found) -> dict[str, Any]:
        """The answer as other programs read it."""
        complete_to = found.complete_to_us
        return {
            "total": found.total,
            "totals": found.totals,
            "hits": found.hits,
            "next": found.next,
            "complete_to": None if complete_to is None else to_datetime(complete_to).isoformat(),
        }

    def chips(self) -> list[dict[str, Any]]:
        """Each part of the meaning: a message with its values, and the text that remains without it."""
        return [
            {**_chip(chip), "negated": chip.negated, "rest": self.query.without(at).text()}
            for at, chip in enumerate(self.query.chips)
        ]


async def _document(search: PaymentSearch, number: str) -> tuple[dict[str, Any] | None, int]:
    if len(number) > _ID_CHARACTERS_MAX:
        return None, 404
    try:
        document = await search.payment(number, Scope.operator())
    except Transient:
        return None, 503
    return document, 200 if document else 404


def _step(step: list[Any]) -> dict[str, Any]:
    return dict(zip(Step.__struct_fields__, step, strict=False))


def _chip(chip: Chip) -> dict[str, Any]:
    """A message key, its plain values, and values that are messages or amounts themselves."""
    match chip.field:
        case Field.AT:
            return _time(chip)
        case Field.AMOUNT | Field.REFUNDED:
            return {"key": _bounds_key(chip), "what": f"chip.{chip.field.value}", "low": chip.low, "high": chip.high}
        case Field.NUMBER_OR_AMOUNT:
            return {"key": "chip.number_or_amount", "values": {"values": chip.values[0]}, "low": chip.low}
        case Field.STATUS | Field.PAID_WITH:
            prefix = "status" if chip.field is Field.STATUS else "kind"
            return {"key": f"chip.{chip.field.value}", "messages": [f"{prefix}.{value}" for value in chip.values]}
        case _:
            return {"key": f"chip.{chip.field.value}", "values": {"values": ", ".join(chip.values)}}


def _time(chip: Chip) -> dict[str, Any]:
    """Bounds as people read them: whole days by their dates, else the first moment that is no longer meant."""
    if chip.low is None or chip.high is None:
        bound = {"low": day_label(chip.low)} if chip.low is not None else {"high": day_label((chip.high or 0) + 1)}
        return {"key": "chip.at_from" if chip.low is not None else "chip.at_to", "values": bound}
    low, high = day_label(chip.low), day_label(chip.high + 1)
    if not low.endswith(_MIDNIGHT) or not high.endswith(_MIDNIGHT):
        end = high.removeprefix(low[: -len(_MIDNIGHT)]).strip()
        return {"key": "chip.at", "values": {"low": low, "high": end}}
    first, last = low.removesuffix(_MIDNIGHT), day_label(chip.high)[: -len(_MIDNIGHT)]
    if first == last:
        return {"key": "chip.day", "values": {"day": first}}
    return {"key": "chip.days", "values": {"first": first, "last": last}}


_MIDNIGHT = " 00:00"


def _bounds_key(chip: Chip) -> str:
    if chip.low == chip.high:
        return "chip.exact"
    if chip.low is not None and chip.high is not None:
        return "chip.between"
    return "chip.least" if chip.low is not None else "chip.most"
