"""Live changes, as server-sent events: a desk's panels as they change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from dashboards.live import VIEWERS_MAX, Live, event
from dashboards.people.guard import ForbiddenError, is_still_signed_in, person_of, requires
from dashboards.people.rights import Right, may
from dashboards.view import view_of

STILL_EVERY_S = 10.0
"""The live page of somebody who was signed out meanwhile ends after so long."""
RETRY_MS = 2_000
"""A page that lost the stream asks again after so long."""


def routes(live: Live, rights: Mapping[str, Right]) -> APIRouter:
    """``/live?desk=NAME``, for who may open the desk."""
    router = APIRouter()

    @router.get("/live", dependencies=[requires(Right.LIVE_READ)])
    async def changes(request: Request, desk: str = "live") -> Response:
        if desk not in live.desks:
            return PlainTextResponse("no such desk", 404)
        if not may(person_of(request), rights[desk]):
            raise ForbiddenError(rights[desk])
        if live.viewers >= VIEWERS_MAX:
            return PlainTextResponse("too many live pages", 503, headers={"Retry-After": "10"})
        view = view_of(request).of_panels

        async def stream() -> AsyncIterator[bytes]:
            yield b"retry: %d\n\n" % RETRY_MS
            asked_at = time.monotonic()
            async for change in live.changes(view, desk):
                yield event(change)
                if time.monotonic() - asked_at > STILL_EVERY_S:
                    if not await is_still_signed_in(request):
                        return
                    asked_at = time.monotonic()

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return router
