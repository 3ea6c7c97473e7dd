"""The ledger: the trial balance, each lane, and the latest seals; as a page and as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dashboards.books import document
from dashboards.console import Console
from dashboards.people.guard import requires
from dashboards.people.rights import Right
from dashboards.view import view_of


def routes(console: Console) -> APIRouter:
    """``/ledger`` and ``/ledger.json``."""
    router = APIRouter()

    @router.get("/ledger")
    async def ledger(request: Request) -> Response:
        panels = console.live.panels(view_of(request), "ledger")
        return console.pages.page(request, "ledger.html.j2", panels=panels, desk="ledger")

    @router.get("/ledger.json", dependencies=[requires(Right.LISTS_EXPORT, records="ledger:export")])
    async def ledger_data() -> dict[str, Any]:
        return document(console.live.board.books)

    return router
