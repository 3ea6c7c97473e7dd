"""The sink contract as checks that every sink passes: run them all on a fresh sink with ``check_contract``."""

from __future__ import annotations

from collections.abc import Sequence

from sinks.contract import Item, Outcome, Result, Sink

INDEX = "contract-suite"


async def check_contract(sink: Sink, index: str = INDEX) -> None:
    """Run every check; the sink must be empty under ``index``. Raises AssertionError naming what does not hold."""
    for check in (_nothing, _versions, _order, _deletes, _one_bad_among_many):
        await check(sink, index)


def outcomes(results: Sequence[Result]) -> list[str]:
    """The bare outcomes."""
    return [result.outcome.value for result in results]


def _item(index: str, key: str, version: int = 1, body: bytes | None = b'{"status":"completed"}') -> Item:
    return Item(index, key, body, version, routing="m-1")


async def _nothing(sink: Sink, index: str) -> None:
    assert await sink.write([]) == [], f"no items give no results in {index}"


async def _versions(sink: Sink, index: str) -> None:
    for version, expected in ((2, "written"), (2, "stale"), (1, "stale"), (3, "written")):
        assert outcomes(await sink.write([_item(index, "a", version)])) == [expected], f"version {version}"


async def _order(sink: Sink, index: str) -> None:
    await sink.write([_item(index, "b", 5)])
    mixed = [_item(index, "x"), _item(index, "b", 4), _item(index, "bad", 1, b"[1]"), _item(index, "y")]
    results = await sink.write(mixed)
    assert outcomes(results) == ["written", "stale", "refused", "written"], "results come in the order of the items"
    assert results[2].reason, "a refusal says why"


async def _deletes(sink: Sink, index: str) -> None:
    await sink.write([_item(index, "d")])
    gone = [_item(index, "d", body=None), _item(index, "never", body=None)]
    assert outcomes(await sink.write(gone)) == ["written", "written"], "deleting works whether something was there"


async def _one_bad_among_many(sink: Sink, index: str) -> None:
    items = [_item(index, f"many-{number}") for number in range(1000)]
    items[371] = _item(index, "many-371", 1, b"[]")
    results = await sink.write(items)
    refused = [at for at, result in enumerate(results) if result.outcome is Outcome.REFUSED]
    assert refused == [371], "the bad item is refused alone"
    assert sum(result.outcome is Outcome.WRITTEN for result in results) == 999, "all others are written"
