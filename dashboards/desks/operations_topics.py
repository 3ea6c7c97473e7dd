"""Topics: what each holds, who reads it, and how late."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dashboards.console import Console
from dashboards.list_routes import add_data, shown
from dashboards.listing import Asked, BadListError, Column, Listing, Slice, asked, select
from dashboards.sources.offsets import GROUP_PREFIX, TopicState
from dashboards.upkeep import LAG_S_WARN
from schemas.topics import topics as contracts

TOPICS = Listing(
    name="topics",
    path="/operations/topics",
    columns=(
        Column("topic", "topic", sorts=True),
        Column("partitions", "count", sorts=True),
        Column("kept", "count", sorts=True),
        Column("rate_per_s", "count", sorts=True),
        Column("readers", "wrap"),
        Column("lag_records", "count", sorts=True),
        Column("lag_s", "count", sorts=True),
        Column("reading", "tag"),
    ),
    key="topic",
    order="topic",
    facets=("reading",),
)


def routes(console: Console) -> APIRouter:
    """``/operations/topics``, the same as data, and a page a topic."""
    router = APIRouter()

    async def source(_: Request, ask: Asked) -> Slice:
        offsets = console.live.board.offsets
        return select(TOPICS, [row(topic) for topic in offsets.topics.values()] if offsets else [], ask)

    @router.get(TOPICS.path)
    async def page(request: Request) -> Response:
        try:
            ask = asked(request.query_params, TOPICS)
            found = await source(request, ask)
        except BadListError:
            return console.pages.error(request, 400, "error.list", title="error.bad", desk="operations")
        values = shown(request, TOPICS, ask, found) | {"fresh": console.live.board.fresh["offsets"]}
        return console.pages.page(request, "operations_topics.html.j2", desk="operations", **values)

    add_data(router, TOPICS, source)

    @router.get("/operations/topics/{name}")
    async def one(request: Request, name: str) -> Response:
        board = console.live.board
        topic = board.offsets.topics.get(name) if board.offsets else None
        if topic is None:
            text = "error.text" if board.offsets else "empty.down"
            return console.pages.error(request, 404 if board.offsets else 503, text, desk="operations")
        values: dict[str, Any] = {"topic": topic, "contract": contracts().get(name), "fresh": board.fresh["offsets"]}
        return console.pages.page(request, "operations_topic.html.j2", desk="operations", **values)

    return router


def row(topic: TopicState) -> dict[str, Any]:
    """A topic as a row: its worst reader's lag in seconds, all readers' lag in records."""
    worst_s = max((lag.seconds for lag in topic.groups), default=0.0)
    late = "late" if worst_s > LAG_S_WARN else "in_step"
    return {
        "topic": topic.name,
        "partitions": len(topic.ends),
        "kept": topic.offsets,
        "rate_per_s": None if topic.rate_per_s is None else round(topic.rate_per_s),
        "readers": ", ".join(lag.group.removeprefix(GROUP_PREFIX) for lag in topic.groups),
        "lag_records": sum(lag.records for lag in topic.groups) if topic.groups else None,
        "lag_s": round(worst_s) if topic.groups else None,
        "reading": late if topic.groups else "unread",
    }
