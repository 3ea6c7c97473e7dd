"""One payment through each stage: when it was where, what it became in the books, what was decided about it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from kafka.errors import KafkaError

from dashboards.console import Console
from dashboards.sources.bounded import Bounded
from koban.business_time import to_datetime
from koban.search.request import Scope
from schemas.errors import Transient
from streams.tracing.nearby import trace_nearby
from streams.tracing.story import Trace

ID_CHARACTERS_MAX = 64
PAGE_S_MAX = 1.4
"""Of looking for the document and reading topics: then the page shows what was found so far."""
DOCUMENT_S_MAX = 0.5
"""The document only tells where to read; an index that does not answer must not take the reading's time."""
ANSWER_S_MAX = 5.0
"""With finding the brokers, which takes seconds of its own where the machine is busy."""
RECENT_MS = 60_000
RECENT_STEP_MS = 3_000
"""Without a document the time is not known: the last minute is looked through, a step at a time."""


def routes(console: Console) -> APIRouter:
    """``/operations/trace?payment=ID`` and the same as JSON."""
    router = APIRouter()
    threads = Bounded("Kafka", limit_s=ANSWER_S_MAX, threads=4)

    async def found(payment_id: str) -> dict[str, Any]:
        began = time.monotonic()
        document, troubles = await _document(console, payment_id)
        within_s = PAGE_S_MAX - (time.monotonic() - began)
        times = _times_ms(document) or _recent_ms()
        result, whole = Trace(payment_id), False
        try:
            result, whole = await threads.ask(
                lambda: trace_nearby(console.settings, payment_id, times, within_s=within_s)
            )
        except (KafkaError, Transient):
            troubles.append("kafka")
        result.documents = [document] if document else []
        return {"trace": result, "document": document, "troubles": troubles, "whole": whole, "dated": bool(document)}

    @router.get("/operations/trace")
    async def page(request: Request, payment: str = "") -> Response:
        payment = payment.strip()[:ID_CHARACTERS_MAX]
        values = await found(payment) if payment else {"trace": None, "troubles": []}
        missing = payment and not values["trace"].found
        status = 503 if missing and values["troubles"] else 404 if missing else 200
        values |= {"payment_id": payment}
        return console.pages.page(request, "operations_trace.html.j2", status=status, desk="operations", **values)

    @router.get("/operations/trace.json")
    async def data(payment: str) -> Response:
        values = await found(payment.strip()[:ID_CHARACTERS_MAX])
        trace = values["trace"]
        body = {
            "payment_id": trace.payment_id,
            "hops": [hop | {"at": to_datetime(hop["at_us"]).isoformat()} for hop in trace.hops],
            "entries": trace.entries,
            "documents": trace.documents,
            "decisions": trace.decisions,
            "complete": values["whole"] and values["dated"] and not values["troubles"],
        }
        return JSONResponse(body, 200 if trace.found else 503 if values["troubles"] else 404)

    return router


async def _document(console: Console, payment_id: str) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        async with asyncio.timeout(DOCUMENT_S_MAX):
            return await console.search.payment(payment_id, Scope.operator()), []
    except (Transient, TimeoutError):
        return None, ["index"]


def _times_ms(document: dict[str, Any] | None) -> list[int]:
    """The Kafka timestamps of a document's events; a step of its story has it last."""
    return [int(step[-1]) // 1_000 for step in document.get("story", ())] if document else []


def _recent_ms() -> list[int]:
    now_ms = time.time_ns() // 1_000_000
    return list(range(now_ms - RECENT_MS, now_ms, RECENT_STEP_MS))
