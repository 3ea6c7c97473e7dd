"""OpenSearch as a sink: bulk requests of bounded size, a few in flight, and an answer for each item."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import msgspec
import orjson

from schemas.errors import Transient
from sinks.contract import WRITTEN, Item, Outcome, Result
from sinks.opensearch_http import BUSY, OpenSearchHttp

REQUEST_BYTES_MAX = 5_000_000
"""OpenSearch gets slower, not faster, on bulk requests above some 15 MB."""
REQUEST_ITEMS_MAX = 5_000
REQUESTS_IN_FLIGHT_MAX = 2
TIMEOUT_S = 30.0

_BULK = "/_bulk?filter_path=items.*.status,items.*.error.type,items.*.error.reason"


_NOT_THE_ITEMS_FAULT = frozenset({"cluster_block_exception", "index_not_found_exception"})
"""A disk that is too full blocks writes with 403; an index that is not there yet, or no longer, answers 404."""


class _Fault(msgspec.Struct):
    type: str = ""
    reason: str = ""


class _ItemAnswer(msgspec.Struct):
    status: int
    error: _Fault | None = None


class _BulkAnswer(msgspec.Struct):
    items: list[dict[str, _ItemAnswer]] = []


_answer = msgspec.json.Decoder(_BulkAnswer)


class OpenSearchSink:
    """Writes items with external versions: the store keeps the highest version of each key."""

    def __init__(
        self,
        url: str,
        *,
        request_bytes_max: int = REQUEST_BYTES_MAX,
        request_items_max: int = REQUEST_ITEMS_MAX,
        in_flight_max: int = REQUESTS_IN_FLIGHT_MAX,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._http = OpenSearchHttp(url, timeout_s=timeout_s)
        self._request_bytes_max = request_bytes_max
        self._request_items_max = request_items_max
        self._in_flight = asyncio.Semaphore(in_flight_max)

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """See ``Sink.write``. An unreachable OpenSearch makes every item ``RETRY``."""
        lines = [_lines(item) for item in items]
        cuts = list(self._cuts(lines))
        answers = await asyncio.gather(*(self._send(items[a:b], lines[a:b]) for a, b in cuts))
        return [result for answer in answers for result in answer]

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _cuts(self, lines: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        """Ranges of items that fit a request. An item larger than a request goes alone."""
        start = size = 0
        for at, line in enumerate(lines):
            if at > start and (size + len(line) > self._request_bytes_max or at - start >= self._request_items_max):
                yield start, at
                start, size = at, 0
            size += len(line)
        if start < len(lines):
            yield start, len(lines)

    async def _send(self, items: Sequence[Item], lines: Sequence[bytes]) -> list[Result]:
        try:
            async with self._in_flight:
                status, body = await self._http.request("POST", _BULK, b"".join(lines))
        except Transient as error:
            return [Result(Outcome.RETRY, error.reason)] * len(items)
        if status == 200:
            return _results(items, body)
        reason = f"OpenSearch answers {status}: {body[:200].decode(errors='replace')}"
        if status in BUSY:
            return [Result(Outcome.RETRY, reason)] * len(items)
        if len(items) == 1:
            return [Result(Outcome.REFUSED, reason)]
        # The whole request was refused (too large, or one item breaks its form): halve it until the culprit is alone.
        half = len(items) // 2
        return [*await self._send(items[:half], lines[:half]), *await self._send(items[half:], lines[half:])]


def _lines(item: Item) -> bytes:
    """An item's two lines of a bulk request; one when it deletes."""
    target: dict[str, object] = {"_index": item.index, "_id": item.key}
    if item.routing is not None:
        target["routing"] = item.routing
    if item.body is None:
        return orjson.dumps({"delete": target}) + b"\n"
    target |= {"version": item.version, "version_type": "external"}
    return b"%b\n%b\n" % (orjson.dumps({"index": target}), item.body)


def _results(items: Sequence[Item], body: bytes) -> list[Result]:
    answers = _answer.decode(body).items
    assert len(answers) == len(items), f"{len(items)} items, but {len(answers)} answers"
    return [_result(item, next(iter(answer.values()))) for item, answer in zip(items, answers, strict=True)]


def _result(item: Item, answer: _ItemAnswer) -> Result:
    if answer.status in (200, 201) or (answer.status == 404 and item.body is None):
        return WRITTEN
    fault = answer.error or _Fault()
    reason = f"{fault.type}: {fault.reason}"
    if answer.status == 409:
        return Result(Outcome.STALE, reason)
    if answer.status in BUSY or fault.type in _NOT_THE_ITEMS_FAULT:
        return Result(Outcome.RETRY, reason)
    return Result(Outcome.REFUSED, reason)
