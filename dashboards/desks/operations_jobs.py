"""A Flink job's page: a savepoint, a stop, going on. What was asked is under way when the answer comes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from dashboards.console import Console
from dashboards.people.guard import requires
from dashboards.people.rights import Right
from dashboards.sources.jobs import ACTIONS, ErrandUnderWayError
from dashboards.view import view_of
from jobs.control import NAMES

SEE_OTHER = 303
CONFLICT = 409


def routes(console: Console) -> APIRouter:
    """``/operations/jobs/{name}`` and its actions."""
    router = APIRouter()

    def shown(request: Request, name: str, problem: str = "", status: int = 200) -> Response:
        panels = console.live.panels(view_of(request), "operations")
        values = {"name": name, "actions": ACTIONS, "problem": problem, "panels": panels, "desk": "operations"}
        return console.pages.page(request, "operations_job.html.j2", status=status, **values)

    @router.get("/operations/jobs/{name}")
    async def one(request: Request, name: str) -> Response:
        if name not in NAMES:
            return console.pages.error(request, 404, "error.text", desk="operations")
        return shown(request, name)

    @router.post("/operations/jobs/{name}/{action}", dependencies=[requires(Right.OPERATIONS_ACT, records="jobs:act")])
    async def act(request: Request, name: str, action: str) -> Response:
        if name not in NAMES or action not in ACTIONS:
            return console.pages.error(request, 404, "error.text", desk="operations")
        try:
            console.jobs.begin(name, action)
        except ErrandUnderWayError as error:
            return shown(request, name, str(error), CONFLICT)
        return RedirectResponse(f"/operations/jobs/{name}", SEE_OTHER)

    return router
