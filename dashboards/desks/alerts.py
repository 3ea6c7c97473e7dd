"""Alerts: every fraud alert that was raised, as a list."""

from __future__ import annotations

from fastapi import APIRouter, Request

from dashboards.console import Console
from dashboards.list_routes import list_routes
from dashboards.listing import Asked, Column, Listing, Slice, opened, sealed

ALERTS = Listing(
    name="alerts",
    path="/alerts",
    columns=(
        Column("last_at_us", "moment", sorts=True),
        Column("typology", "tag"),
        Column("wallet_id", "wallet"),
        Column("payments", "count", sorts=True),
        Column("merchants", "count"),
        Column("amount_minor", "yen", sorts=True),
        Column("first_at_us", "moment"),
        Column("event_id", "mono", shown=False),
        Column("signals", "count", shown=False),
        Column("alert_id", "mono", shown=False),
    ),
    key="alert_id",
    order="-last_at_us",
    facets=("typology",),
)


def routes(console: Console) -> APIRouter:
    """``/alerts`` and the same as data."""

    async def source(_: Request, ask: Asked) -> Slice:
        after = None if ask.cursor is None else opened(ask.cursor, ALERTS, ask.sort)
        found = await console.alerts.page(
            text=ask.text, chosen=ask.chosen, field=ask.column, falls=ask.falls, size=ask.size, after=after
        )
        rows = [{column.name: row.get(column.name) for column in ALERTS.columns} for row in found.rows]
        place = (rows[-1][ask.column], rows[-1][ALERTS.key]) if rows else ()
        return Slice(rows, found.total, sealed(ALERTS, ask.sort, place) if found.more else None, found.counts)

    return list_routes(console, "alerts", ALERTS, source, lambda: console.live.board.fresh["index"])
