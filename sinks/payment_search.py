"""Searches over payments: hits, exact totals of the same query, and how far the index is complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from opensearchpy import AsyncOpenSearch, NotFoundError, OpenSearchException

from koban.search.query import Query
from koban.search.request import FACETS, TOTALS, Scope, Sort, cursor_of, request, within
from schemas.errors import Transient
from sinks.opensearch_schema import ALERTS, PROGRESS
from sinks.payment_store import ALIAS

TIMEOUT_S = 1.5
"""A person waits no longer; then the answer is that the index is not there."""
PROGRESS_S_MAX = 1.0
"""How far the index is complete is asked at most so often: an instant from before still holds, and promises less."""


class Found(msgspec.Struct, frozen=True):
    """One page of an answer. ``totals`` is of all hits, and given with the first page only."""

    total: int
    totals: dict[str, int] | None
    hits: list[dict[str, Any]]
    next: str | None
    complete_to_us: int | None
    """Every payment that came in before this can be found; None when the indexing stage never said."""
    took_ms: int
    facets: dict[str, dict[str, int]] = {}
    """Field → word of the query language → its hits; given with the totals."""


class PaymentSearch:
    """Asks the index. Use within one event loop; ``close`` when done."""

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_s = timeout_s
        self._client = AsyncOpenSearch(hosts=[url], timeout=timeout_s, max_retries=0)
        self._monotonic = monotonic
        self._complete_to: tuple[float, int | None] | None = None

    async def search(
        self, query: Query, scope: Scope, *, size: int, cursor: str | None = None, sort: Sort = Sort.NEWEST
    ) -> Found:
        """One page, in an order. Raises Transient when the index does not answer, CursorError for a bad cursor."""
        body = request(query, scope, size=size, cursor=cursor, sort=sort)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._page(body, scope, sort)
        except TimeoutError as error:
            raise Transient(f"the index does not answer within {self._timeout_s:g} s") from error

    async def _page(self, body: dict[str, Any], scope: Scope, sort: Sort) -> Found:
        routing = {"routing": scope.merchant_id} if scope.merchant_id else {}
        complete_to_us = await self._lately()  # before the search: it must not promise what came in between
        answer = await self._search(ALIAS, body, routing)
        if answer["timed_out"] or answer["_shards"]["failed"]:
            raise Transient("the index answered in part only")  # a part would look like an exact total
        hits = [hit["_source"] for hit in answer["hits"]["hits"]]
        total = answer["hits"]["total"]["value"]
        return Found(
            total=total,
            totals=_totals(answer, total) if "aggs" in body else None,
            hits=hits,
            next=cursor_of(hits[-1][sort.field], hits[-1]["payment_id"], sort) if len(hits) == body["size"] else None,
            complete_to_us=complete_to_us,
            took_ms=answer["took"],
            facets=_facets(answer) if "aggs" in body else {},
        )

    async def payment(self, payment_id: str, scope: Scope) -> dict[str, Any] | None:
        """The document of one payment in a scope, its story included. Raises Transient."""
        filters = [{"term": {"payment_id": payment_id}}, *within(scope)]
        answer = await self._search(ALIAS, {"query": {"bool": {"filter": filters}}, "size": 2}, {})
        hits = answer["hits"]["hits"]
        source: dict[str, Any] | None = hits[0]["_source"] if hits else None
        return source

    async def counts(self) -> dict[str, int]:
        """How many payments and alerts can be found now. Raises Transient."""
        return {name: (await self._search(name, {"size": 0, "track_total_hits": True}, {}))["hits"]["total"]["value"]
                for name in (ALIAS, ALERTS)}  # fmt: skip

    async def complete_to_us(self) -> int | None:
        """The instant up to which every lane is indexed. Raises Transient."""
        answer = await self._search(PROGRESS, {"size": 0, "aggs": {"oldest": {"min": {"field": "complete_to_us"}}}}, {})
        oldest = answer.get("aggregations", {}).get("oldest", {}).get("value")
        return None if oldest is None else int(oldest)

    async def _lately(self) -> int | None:
        """``complete_to_us`` as of a moment ago."""
        now = self._monotonic()
        if self._complete_to is None or now - self._complete_to[0] > PROGRESS_S_MAX:
            self._complete_to = (now, await self.complete_to_us())
        return self._complete_to[1]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _search(self, index: str, body: dict[str, Any], params: dict[str, str]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await self._client.search(index=index, body=body, params=params)
        except NotFoundError:
            return _NOTHING
        except OpenSearchException as error:
            raise Transient(f"the index does not answer: {type(error).__name__}") from error
        return answer


_NOTHING: dict[str, Any] = {
    "took": 0,
    "timed_out": False,
    "_shards": {"failed": 0},
    "hits": {"total": {"value": 0}, "hits": []},
}
"""What an index that was never written to holds."""


def _totals(answer: dict[str, Any], count: int) -> dict[str, int]:
    """Sums come as floating point numbers; below 2**53 yen, which no filter of payments reaches, they are exact."""
    sums = answer.get("aggregations", {})
    return {"count": count, **{name: int(sums.get(name, {}).get("value") or 0) for name in TOTALS}}


def _facets(answer: dict[str, Any]) -> dict[str, dict[str, int]]:
    sums = answer.get("aggregations", {})
    buckets = {field.value: sums.get(field.value, {}).get("buckets", {}) for field in FACETS}
    return {name: {word: one["doc_count"] for word, one in words.items()} for name, words in buckets.items()}
