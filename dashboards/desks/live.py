"""What happens now: money as it moves, and where every event went."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dashboards.console import Console
from dashboards.view import view_of


def routes(console: Console) -> APIRouter:
    """``/``."""
    router = APIRouter()

    @router.get("/")
    async def live(request: Request) -> Response:
        panels = console.live.panels(view_of(request), "live")
        return console.pages.page(request, "now.html.j2", panels=panels, desk="live")

    return router
