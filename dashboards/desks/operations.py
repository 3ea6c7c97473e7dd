"""Operations: the flow, the processes behind it, what they rejected, and what a person can do about it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from dashboards.console import Console
from dashboards.desks import operations_jobs, operations_letters, operations_topics, operations_trace
from dashboards.people.guard import requires
from dashboards.people.rights import Right
from dashboards.view import view_of

SEE_OTHER = 303
PANELS = (
    *("banner", "flow", "intake", "stores", "stages", "components"),
    *("jobs", "groups", "letters", "reports"),
)


def routes(console: Console) -> APIRouter:
    """``/operations`` and all below it."""
    router = APIRouter()

    @router.get("/operations")
    async def operations(request: Request) -> Response:
        panels = console.live.panels(view_of(request), "operations")
        return console.pages.page(request, "operations.html.j2", panels=panels, desk="operations")

    @router.post("/operations/doctor", dependencies=[requires(Right.OPERATIONS_ACT, records="operations:doctor")])
    async def examine() -> Response:
        """Calls the doctor; its report appears on the page when it is done."""
        console.reports.call_doctor()
        return RedirectResponse("/operations", SEE_OTHER)

    for part in (operations_jobs, operations_letters, operations_topics, operations_trace):
        router.include_router(part.routes(console))
    return router
