"""Operations: the flow, the processes behind it, and what they rejected."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dashboards.console import Console
from dashboards.view import view_of


def routes(console: Console) -> APIRouter:
    """``/operations``."""
    router = APIRouter()

    @router.get("/operations")
    async def operations(request: Request) -> Response:
        panels = console.live.panels(view_of(request), "operations")
        return console.pages.page(request, "operations.html.j2", panels=panels, desk="operations")

    return router
