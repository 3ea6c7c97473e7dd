"""The list that every desk shares: what it shows, and what an address asks of it.

An address is a list's whole state: ``q`` is a text to find, each facet's name filters (named several times, any of the
values fits), ``sort`` is a column (``-`` before it: falling), ``cursor`` a place that an answer gave out as ``next``.
The same path with ``.json``, ``.csv`` or ``.parquet`` is the same list as data: one page, the others all of it.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from fastapi import Request
from starlette.datastructures import QueryParams

from dashboards.view import address, toggled

Kind = Literal[
    "text",
    "mono",
    "wrap",
    "tag",
    "yen",
    "count",
    "moment",
    "status",
    "kinds",
    "number",
    "merchant",
    "wallet",
    "letter",
    "topic",
]
"""How a cell is shown (``cells.html.j2``), and what it is as data (``exports.py``). ``moment`` is UTC microseconds."""
NUMBERS: frozenset[Kind] = frozenset({"yen", "count"})
Row = Mapping[str, Any]
Order = tuple[int, Any]

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200
TEXT_CHARACTERS_MAX = 200
VALUES_MAX = 50
"""Values of one facet that an address may name."""
FACET_VALUES_SHOWN = 12
CURSOR_CHARACTERS_MAX = 600


class BadListError(ValueError):
    """An address asks for what the list does not have; the text says what."""


class Column(NamedTuple):
    """A column. Its heading is the message ``<list>.<name>``."""

    name: str
    kind: Kind = "text"
    sorts: bool = False
    shown: bool = True
    """False: only in the data, not on the page."""


class Listing(NamedTuple):
    """A list: where it is, its columns, by which of them it is filtered and ordered."""

    name: str
    path: str
    columns: tuple[Column, ...]
    key: str
    """The column that no two rows share: it decides between rows of the same order."""
    order: str
    """How the list is sorted when nothing is said."""
    facets: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns of the page."""
        return tuple(column for column in self.columns if column.shown)


class Asked(NamedTuple):
    """What an address asks of a list."""

    text: str
    chosen: dict[str, tuple[str, ...]]
    """Facet → the values that fit."""
    sort: str
    cursor: str | None
    size: int

    @property
    def column(self) -> str:
        """The column it is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def falls(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.startswith("-")

    @property
    def narrowed(self) -> bool:
        """Whether anything is filtered out."""
        return bool(self.text or self.chosen)


class FacetValue(NamedTuple):
    """A value of a facet: how many rows have it, and the address with it switched."""

    value: str
    rows: int
    chosen: bool
    href: str
    label: str = ""
    """A message key; empty: the value speaks for itself."""


class Slice(NamedTuple):
    """A page of a list, as a source answers."""

    rows: Sequence[Row]
    total: int
    next: str | None
    counts: Mapping[str, Mapping[str, int]]
    """Facet → value → rows that have it and fit everything else."""


def asked(parameters: QueryParams, listing: Listing) -> Asked:
    """What an address asks. Raises BadListError for an order, size or number of values that there is not."""
    sort = parameters.get("sort") or listing.order
    if sort.removeprefix("-") not in {column.name for column in listing.columns if column.sorts}:
        raise BadListError(f"the list is not sorted by {sort[:40]!r}")
    size = parameters.get("size") or str(PAGE_ROWS)
    if not size.isascii() or not size.isdecimal() or not 1 <= int(size[:9]) <= PAGE_ROWS_MAX:
        raise BadListError(f"size is 1 to {PAGE_ROWS_MAX}")
    chosen = {}
    for facet in listing.facets:
        values = tuple(dict.fromkeys(value for value in parameters.getlist(facet) if value))
        if len(values) > VALUES_MAX:
            raise BadListError(f"at most {VALUES_MAX} values of {facet} can be chosen")
        if values:
            chosen[facet] = values
    text = parameters.get("q", "").strip()[:TEXT_CHARACTERS_MAX]
    return Asked(text, chosen, sort, parameters.get("cursor") or None, int(size))


def select(listing: Listing, rows: Iterable[Row], ask: Asked) -> Slice:
    """A page of rows that are all at hand. Raises BadListError for a cursor of another list or order."""
    found = [row for row in rows if _says(listing, row, ask.text)]
    fitting = [row for row in found if _fits(row, ask.chosen)]
    fitting.sort(key=lambda row: _order(row, ask.column) + _order(row, listing.key), reverse=ask.falls)
    start = 0
    if ask.cursor is not None:
        place = opened(ask.cursor, listing, ask.sort)
        start = sum(1 for row in fitting if not _behind(listing, row, place, ask))
    page = fitting[start : start + ask.size]
    more = len(fitting) > start + ask.size
    counts = {facet: _counted(found, facet, ask.chosen) for facet in listing.facets}
    place = (page[-1].get(ask.column), page[-1][listing.key]) if page else ()
    return Slice(page, len(fitting), sealed(listing, ask.sort, place) if more else None, counts)


def sealed(listing: Listing, sort: str, place: Sequence[Any]) -> str:
    """A cursor behind a row, from the values it is ordered by: opaque to those who get it, of this list and order."""
    raw = msgspec.json.encode([listing.name, sort, *place])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def opened(cursor: str, listing: Listing, sort: str) -> tuple[Any, ...]:
    """The place that a cursor stands for. Raises BadListError when it is none of this list and order."""
    try:
        if len(cursor) > CURSOR_CHARACTERS_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, of, *place = msgspec.json.decode(raw, type=list[str | int | float | None])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadListError("the cursor is none of ours: take `next` of the page before") from error
    if (name, of, len(place)) != (listing.name, sort, 2):
        raise BadListError("the cursor belongs to another list or order")
    return tuple(place)


def facets(request: Request, ask: Asked, counts: Mapping[str, Mapping[str, int]]) -> dict[str, list[FacetValue]]:
    """The facets as a page shows them: what is chosen, then the most frequent."""
    shown = {}
    for facet, values in counts.items():
        chosen = ask.chosen.get(facet, ())
        known = {value: values.get(value, 0) for value in (*chosen, *values)}
        ordered = sorted(known, key=lambda value: (value not in chosen, -known[value], value))
        shown[facet] = [
            FacetValue(value, known[value], value in chosen, toggled(request, facet, value))
            for value in ordered[: max(FACET_VALUES_SHOWN, len(chosen))]
        ]
    return shown


def order_address(request: Request, listing: Listing, ask: Asked, column: str) -> str:
    """The address of the list sorted by a column: falling first, rising when it falls already."""
    sort = column if ask.sort == f"-{column}" else f"-{column}"
    return address(request, sort=None if sort == listing.order else sort, cursor=None)


def _says(listing: Listing, row: Row, text: str) -> bool:
    """Whether every word of a text is somewhere in a row."""
    if not text:
        return True
    texts = [str(row.get(column.name) or "") for column in listing.columns if column.kind not in NUMBERS]
    whole = "\n".join(texts).casefold()
    return all(word in whole for word in text.casefold().split())


def _fits(row: Row, chosen: Mapping[str, Sequence[str]]) -> bool:
    return all(str(row.get(facet)) in values for facet, values in chosen.items())


def _counted(rows: Iterable[Row], facet: str, chosen: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """A facet's own choice does not count against its other values: they are what could be chosen besides."""
    others = {name: values for name, values in chosen.items() if name != facet}
    return dict(Counter(str(row[facet]) for row in rows if row.get(facet) is not None and _fits(row, others)))


def _order(row: Row, column: str) -> Order:
    return _ordered(row.get(column))


def _ordered(value: Any) -> Order:
    """Nothing comes before any number, and a number before any text."""
    if value is None:
        return (0, 0)
    return (2, value) if isinstance(value, str) else (1, value)


def _behind(listing: Listing, row: Row, place: Sequence[Any], ask: Asked) -> bool:
    mine = _order(row, ask.column) + _order(row, listing.key)
    theirs = _ordered(place[0]) + _ordered(place[1])
    return mine < theirs if ask.falls else mine > theirs
