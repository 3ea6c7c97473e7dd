"""The contracts as checks that every store passes: ``check_contract`` for a sink, ``check_book`` for a book."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from koban.events import Line
from koban.ledger.history import Axis
from koban.records import Entry
from sinks.book import Amounts, Book, BookQueries, PostedEntry
from sinks.contract import Item, Outcome, Result, Sink

INDEX = "contract-suite"
START_US = 1_700_000_000_000_000
"""The times of a book's checks count from here."""


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


async def check_book(book: Book, asked: BookQueries) -> None:
    """Run every check; the book must be empty, and ``asked`` must be of the same store as ``book``."""
    await _repeats(book, asked)
    await _two_axes(book, asked)
    await _pages(book, asked)
    _names(asked)
    await _marks(book, asked)


def posted_entry(position: int, recorded_at_us: int, entry_id: str, occurred_at_us: int, **debits: int) -> PostedEntry:
    """An entry of a journal, its times from START_US on; in the names of ``debits`` ``_`` is a dot and ``__`` an @."""
    lines = tuple(Line(account.replace("__", "@").replace("_", "."), debit) for account, debit in debits.items())
    entry = Entry(
        entry_id=entry_id,
        event_id=entry_id,
        event_type="TopUpCompleted",
        occurred_at_us=START_US + occurred_at_us,
        lines=lines,
    )
    return PostedEntry(position, START_US + recorded_at_us, msgspec.json.encode(entry))


async def _repeats(book: Book, asked: BookQueries) -> None:
    batch = [posted_entry(at, 100, f"r-{at}", 50 + at, U_r_money=1, M_r_payable=-1) for at in (0, 2, 3)]
    assert await book.append(0, []) == []
    assert outcomes(await book.append(0, batch)) == ["written"] * 3
    more = [*batch, posted_entry(4, 101, "r-4", 60, U_r_money=1, M_r_payable=-1)]
    assert outcomes(await book.append(0, more)) == ["stale"] * 3 + ["written"], (
        "a batch that comes again, and is longer"
    )
    mixed = [PostedEntry(5, START_US, b"{}"), posted_entry(6, 102, "r-2", 60, U_r_money=1, M_r_payable=-1)]
    results = await book.append(0, [*mixed, posted_entry(7, 102, "r-7", 60, U_r_money=1, M_r_payable=-1)])
    assert outcomes(results) == ["refused", "refused", "written"], "no entry, and an entry that the book has elsewhere"
    assert results[0].reason
    assert "r-2" in results[1].reason
    assert asked.balance_at(["U.r.money"], START_US + 1_000, Axis.RECORDED) == Amounts(5, 5), "each once"
    stored = asked.entry("r-4")
    assert stored is not None
    assert (stored.lane, stored.position, stored.recorded_at_us) == (0, 4, START_US + 101)
    assert [line.debit_minor for line in stored.entry.lines] == [1, -1]
    assert asked.entry("r-5") is None


async def _two_axes(book: Book, asked: BookQueries) -> None:
    """Lines that come late, from two lanes, and a lane whose clock went back."""
    await book.append(1, [posted_entry(0, 200, "a-0", 150, U_a_money=1, X_rounding=-1)])
    await book.append(1, [posted_entry(1, 190, "a-1", 120, U_a_money=2, X_rounding=-2)])
    await book.append(2, [posted_entry(0, 210, "a-2", 110, U_a_money=4, X_rounding=-4)])
    await book.append(1, [posted_entry(2, 220, "a-3", 180, U_a_money=8, X_rounding=-8)])
    recorded = [(199, 0), (200, 3), (209, 3), (210, 7), (219, 7), (220, 15)]
    business = [(109, 0), (110, 4), (119, 4), (120, 6), (149, 6), (150, 7), (179, 7), (180, 15)]
    for axis, answers in ((Axis.RECORDED, recorded), (Axis.BUSINESS, business)):
        for at_us, expected in answers:
            amounts = asked.balance_at(["U.a.money"], START_US + at_us, axis)
            assert amounts == Amounts(expected, expected.bit_count()), f"{axis} at {at_us}"
    assert asked.balance_at(["U.nobody.money"], START_US + 1_000, Axis.BUSINESS) == Amounts()


async def _pages(book: Book, asked: BookQueries) -> None:
    """A statement in pages is the statement in one, whatever lanes and equal times it crosses."""
    for lane in (3, 4):
        entries = [
            posted_entry(at, 300 + at // 4, f"p-{lane}-{at}", at, U_p_money=1, M_p_payable=-1) for at in range(9)
        ]
        assert outcomes(await book.append(lane, entries)) == ["written"] * 9
    accounts = ["U.p.money", "M.p.payable"]
    whole = asked.statement(accounts, 100)
    assert len(whole) == 36
    assert (whole[0].sum_minor, whole[-1].sum_minor) == (0, 1)
    places = [(line.recorded_at_us, line.lane, line.position, line.line) for line in whole]
    assert places == sorted(places, reverse=True)
    for limit in (1, 5, 36):
        paged = asked.statement(accounts, limit)
        while page := asked.statement(accounts, limit, places[len(paged) - 1]):
            paged += page
        assert paged == whole


def _names(asked: BookQueries) -> None:
    assert asked.accounts("U.") == ["U.a.money", "U.p.money", "U.r.money"]
    assert asked.accounts("U.a.mone") == ["U.a.money"]
    assert asked.known("U.a.money")
    assert not asked.known("U.a.mone")
    kinds = {"U.money": (3, 27, 38), "M.payable": (2, 23, -23), "X.rounding": (1, 4, -15)}
    assert asked.trial_balance() == kinds


async def _marks(book: Book, asked: BookQueries) -> None:
    """A lane is complete to its last entry, or further when somebody says so; never less than before."""
    for told_us in (500, 400):
        await book.mark(2, START_US + told_us)
    marks = {mark.lane: (mark.complete_to_us - START_US, mark.entries_to) for mark in asked.marks()}
    assert marks == {0: (102, 8), 1: (220, 3), 2: (500, 1), 3: (302, 9), 4: (302, 9)}
