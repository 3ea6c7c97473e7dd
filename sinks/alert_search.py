"""The alerts that can be found: filtered, counted and ordered by the index."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from opensearchpy import AsyncOpenSearch, NotFoundError, OpenSearchException

from schemas.errors import Transient
from sinks.opensearch_schema import ALERTS

TIMEOUT_S = 1.5
FACETS = ("typology",)
FACET_VALUES_MAX = 100
"""There are at most 100 typologies (``T00`` to ``T99``), so that each one's count is exact."""
KEY = "alert_id"


class AlertPage(msgspec.Struct, frozen=True):
    """A page of alerts. ``counts`` is facet → value → alerts with it that fit everything but the facet's own choice."""

    rows: list[dict[str, Any]]
    total: int
    more: bool
    counts: dict[str, dict[str, int]]


class AlertSearch:
    """Asks the index. Use within one event loop; ``close`` when done."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._client = AsyncOpenSearch(hosts=[url], timeout=timeout_s, max_retries=0)

    async def page(
        self,
        *,
        text: str = "",
        chosen: Mapping[str, Sequence[str]],
        field: str,
        falls: bool,
        size: int,
        after: Sequence[Any] | None = None,
    ) -> AlertPage:
        """A page ordered by ``field``, behind the values ``after``; ``text`` begins a wallet, alert or event id.

        Raises Transient when the index does not answer.
        """
        body = request(text, chosen, field, falls, size, after)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.search(index=ALERTS, body=body)
        except NotFoundError:
            return AlertPage([], 0, more=False, counts={facet: {} for facet in FACETS})
        except TimeoutError as error:
            raise Transient(f"the index does not answer within {self._timeout_s:g} s") from error
        except OpenSearchException as error:
            raise Transient(f"the index does not answer: {type(error).__name__}") from error
        if answer["timed_out"] or answer["_shards"]["failed"]:
            raise Transient("the index answered in part only")
        hits = [hit["_source"] for hit in answer["hits"]["hits"]]
        sums = answer.get("aggregations", {})
        counts = {
            facet: {one["key"]: one["doc_count"] for one in sums.get(facet, {}).get("values", {}).get("buckets", [])}
            for facet in FACETS
        }
        return AlertPage(hits[:size], answer["hits"]["total"]["value"], more=len(hits) > size, counts=counts)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def request(
    text: str,
    chosen: Mapping[str, Sequence[str]],
    field: str,
    falls: bool,
    size: int,
    after: Sequence[Any] | None,
) -> dict[str, Any]:
    """The body of a search. What people type is only ever the beginning of an id or a value of a facet."""
    direction = "desc" if falls else "asc"
    filters = {facet: {"terms": {facet: list(values)}} for facet, values in chosen.items() if facet in FACETS}
    prefixes = [{"prefix": {name: text}} for name in ("wallet_id", KEY, "event_id")]
    body: dict[str, Any] = {
        "query": {"bool": {"should": prefixes, "minimum_should_match": 1}} if text else {"match_all": {}},
        "post_filter": {"bool": {"filter": list(filters.values())}},
        "sort": [{field: direction}, {KEY: direction}],
        "size": size + 1,
        "track_total_hits": True,
        "timeout": "2s",
        "aggs": {
            facet: {
                "filter": {"bool": {"filter": [each for name, each in filters.items() if name != facet]}},
                "aggs": {"values": {"terms": {"field": facet, "size": FACET_VALUES_MAX}}},
            }
            for facet in FACETS
        },
    }
    if after is not None:
        body["search_after"] = list(after)
    return body
