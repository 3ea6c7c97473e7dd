"""What happens now: money as it moves, and where every event went."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from dashboards.console import Console
from dashboards.view import view_of


def routes(console: Console) -> APIRouter:
    """``/``, and what its charts draw."""
    router = APIRouter()

    @router.get("/")
    async def live(request: Request) -> Response:
        panels = console.live.panels(view_of(request), "live")
        return console.pages.page(request, "now.html.j2", panels=panels, desk="live")

    @router.get("/series.json")
    async def series(since: Annotated[float, Query(ge=0, le=1e12)] = 0.0) -> dict[str, Any]:
        """The ticks after ``since`` (seconds since the epoch): instants, and a list a figure."""
        return console.live.series.since(since)

    return router
