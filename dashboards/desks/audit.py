"""The audit log: who changed and exported what, as a list, the newest first."""

from __future__ import annotations

import time
from functools import partial

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from dashboards.board import Freshness
from dashboards.console import Console
from dashboards.list_routes import list_routes
from dashboards.listing import Asked, Column, Listing, Slice, opened, sealed
from dashboards.people import audit
from dashboards.people.guard import people_of

AUDIT = Listing(
    name="audit",
    path="/audit",
    columns=(
        Column("seq", "count", sorts=True),
        Column("at_us", "moment"),
        Column("actor"),
        Column("roles", "mono"),
        Column("action", "tag"),
        Column("target", "wrap"),
        Column("details", "wrap"),
        Column("request_id", "mono", shown=False),
        Column("via", "mono", shown=False),
        Column("actor_id", "mono", shown=False),
        Column("previous_sha256", "mono", shown=False),
        Column("sha256", "mono", shown=False),
    ),
    key="seq",
    order="-seq",
    facets=("action", "actor"),
)


def routes(console: Console) -> APIRouter:
    """``/audit`` and the same as data."""

    async def source(request: Request, ask: Asked) -> Slice:
        people = people_of(request)
        place = None if ask.cursor is None else int(opened(ask.cursor, AUDIT, ask.sort)[0])
        look = partial(
            audit.page, people.database, text=ask.text, chosen=ask.chosen, after=place, falls=ask.falls, limit=ask.size
        )
        found = await run_in_threadpool(look)
        rows = [{column.name: getattr(record, column.name) for column in AUDIT.columns} for record in found.records]
        last = found.records[-1].seq if found.more else None
        return Slice(rows, found.total, sealed(AUDIT, ask.sort, (last, last)) if last else None, found.counts)

    def fresh() -> Freshness:
        """A record is there before what it records is done."""
        return Freshness("ok", at=time.time())

    return list_routes(console, "audit", AUDIT, source, fresh)
