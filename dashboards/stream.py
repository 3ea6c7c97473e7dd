"""Live changes, as server-sent events: a desk's panels as they change."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from dashboards.live import VIEWERS_MAX, Live, event
from dashboards.view import view_of

RETRY_MS = 2_000
"""A page that lost the stream asks again after so long."""


def routes(live: Live) -> APIRouter:
    """``/live?desk=NAME``."""
    router = APIRouter()

    @router.get("/live")
    async def changes(request: Request, desk: str = "live") -> Response:
        if desk not in live.desks:
            return PlainTextResponse("no such desk", 404)
        if live.viewers >= VIEWERS_MAX:
            return PlainTextResponse("too many live pages", 503, headers={"Retry-After": "10"})
        view = view_of(request).of_panels

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: %d\n\n" % RETRY_MS
            async for change in live.changes(view, desk):
                yield event(change)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return router
