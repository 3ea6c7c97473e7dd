"""A query as the request that OpenSearch gets. Made of allow-listed clauses only: what people type is never syntax.

A merchant's scope is a filter beside the whole of the query, so no text can widen it; the caller routes by the same
merchant, so that only its shard is asked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import msgspec

from koban.search.document import reversed_number
from koban.search.query import PAID_WITH_WORDS, STATUS_WORDS, Chip, Field, Query

PAGE_MAX = 200
PAGE_DEFAULT = 50
TOTALS = ("gross_minor", "refunded_minor", "canceled_minor", "net_minor")
Clause = dict[str, Any]


class Scope(msgspec.Struct, frozen=True):
    """Whose payments may be found. Made with ``of_merchant`` or ``operator``, never by leaving a name out."""

    merchant_id: str | None
    store_ids: tuple[str, ...] = ()
    """Only these stores of the merchant; empty for all."""

    @classmethod
    def of_merchant(cls, merchant_id: str, store_ids: tuple[str, ...] = ()) -> Scope:
        """One merchant's payments and nothing else."""
        assert merchant_id, "a merchant's scope names the merchant"
        return cls(merchant_id, store_ids)

    @classmethod
    def operator(cls) -> Scope:
        """Every merchant's payments: for the platform's own staff."""
        return cls(None)


class Sort(StrEnum):
    """The order of hits; ``-`` is falling. Payments of the same value are in the order of their numbers."""

    NEWEST = "-occurred_at_us"
    OLDEST = "occurred_at_us"
    LARGEST = "-amount_minor"
    SMALLEST = "amount_minor"

    @property
    def field(self) -> str:
        """What is compared."""
        return self.value.removeprefix("-")

    @property
    def direction(self) -> str:
        """``asc`` or ``desc``."""
        return "desc" if self.value.startswith("-") else "asc"


FACETS: dict[Field, tuple[str, ...]] = {
    Field.STATUS: ("completed", "authorized", "refunded", "canceled", "voided", "expired"),
    Field.PAID_WITH: ("balance", "points", "voucher", "card", "paylater"),
}
"""Field → the words whose payments are counted beside a search. Each word is a chip of the query language."""


class CursorError(ValueError):
    """A cursor that no search gave out."""


def request(
    query: Query, scope: Scope, *, size: int = PAGE_DEFAULT, cursor: str | None = None, sort: Sort = Sort.NEWEST
) -> dict[str, Any]:
    """The body of a search: every hit counted, totals and facets over all of them. Raises CursorError."""
    body: dict[str, Any] = {
        "query": {"bool": conditions(query, scope)},
        "sort": [{sort.field: sort.direction}, {"payment_id": sort.direction}],
        "size": max(1, min(size, PAGE_MAX)),
        "track_total_hits": True,
        "timeout": "2s",
        "_source": {"excludes": ["story", "number_reversed"]},
    }
    if cursor is None:
        body["aggs"] = {name: {"sum": {"field": name}} for name in TOTALS} | {
            field.value: {"filters": {"filters": {word: _clause(facet_chip(field, word)) for word in words}}}
            for field, words in FACETS.items()
        }
    else:
        body["search_after"] = list(after(cursor, sort))
    return body


def facet_chip(field: Field, word: str) -> Chip:
    """The chip that a facet's word puts into a query."""
    words = STATUS_WORDS if field is Field.STATUS else PAID_WITH_WORDS
    return Chip(field, f"{field.value}:{word}", values=words[word])


def conditions(query: Query, scope: Scope) -> dict[str, list[Clause]]:
    """The filters of a query within a scope; every hit must pass all of them."""
    filters = within(scope)
    for field in Field:
        wanted = [chip for chip in query.chips if chip.field is field and not chip.negated]
        filters.extend(_together(field, wanted))
    unwanted = [_clause(chip) for chip in query.chips if chip.negated]
    return {"filter": filters, "must_not": unwanted} if unwanted else {"filter": filters}


def within(scope: Scope) -> list[Clause]:
    """The filters that a scope puts beside every query."""
    filters: list[Clause] = []
    if scope.merchant_id is not None:
        filters.append({"term": {"merchant_id": scope.merchant_id}})
    if scope.store_ids:
        filters.append({"terms": {"store_id": list(scope.store_ids)}})
    return filters


def cursor_of(value: int, payment_id: str, sort: Sort = Sort.NEWEST) -> str:
    """The opaque place behind a hit with this value of the field it is sorted by, from which the next page goes on."""
    raw = msgspec.json.encode((sort.value, value, payment_id))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def after(cursor: str, sort: Sort = Sort.NEWEST) -> tuple[int, str]:
    """The sort values that a cursor stands for. Raises CursorError, also for a cursor of another order."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, value, payment_id = msgspec.json.decode(raw, type=tuple[Sort, int, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise CursorError("this cursor was not given out by a search") from error
    if of is not sort:
        raise CursorError("this cursor was given out by a search in another order")
    return value, payment_id


def _together(field: Field, chips: list[Chip]) -> Iterable[Clause]:
    """Chips of one field: exact ones are alternatives, bounds all hold, and so do words of a store's name."""
    every = field in (Field.STORE, Field.NUMBER_OR_AMOUNT)
    alternatives = [_clause(chip) for chip in chips if not every and not _half_bounded(chip)]
    yield from (_clause(chip) for chip in chips if every or _half_bounded(chip))
    if alternatives:
        yield _any(alternatives)


def _half_bounded(chip: Chip) -> bool:
    return not chip.values and (chip.low is None or chip.high is None)


def _any(clauses: list[Clause]) -> Clause:
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}


def _clause(chip: Chip) -> Clause:
    return _CLAUSES[chip.field](chip)


def _bounds(name: str) -> Callable[[Chip], Clause]:
    def clause(chip: Chip) -> Clause:
        if chip.low == chip.high and chip.low is not None:
            return {"term": {name: chip.low}}
        bounds = {"gte": chip.low, "lte": chip.high}
        return {"range": {name: {side: value for side, value in bounds.items() if value is not None}}}

    return clause


def _terms(name: str) -> Callable[[Chip], Clause]:
    return lambda chip: {"terms": {name: list(chip.values)}}


def _number(chip: Chip) -> Clause:
    backwards = reversed_number(chip.values[0])
    if not backwards:  # nothing but separators: no number ends so
        return {"match_none": {}}
    return {"prefix": {"number_reversed": backwards}}


def _number_or_amount(chip: Chip) -> Clause:
    return _any([_bounds("amount_minor")(chip), _number(chip)])


def _store(chip: Chip) -> Clause:
    name = chip.values[0]
    phrases = [{"match_phrase": {field: name}} for field in ("store_name", "store_name.reading", "store_name.bigram")]
    return _any([{"term": {"store_id": name}}, {"match": {"store_name.prefix": name}}, *phrases])


_CLAUSES: dict[Field, Callable[[Chip], Clause]] = {
    Field.AT: _bounds("occurred_at_us"),
    Field.AMOUNT: _bounds("amount_minor"),
    Field.REFUNDED: _bounds("refunded_minor"),
    Field.STATUS: _terms("status"),
    Field.PAID_WITH: _terms("kinds"),
    Field.NUMBER: _number,
    Field.NUMBER_OR_AMOUNT: _number_or_amount,
    Field.STORE: _store,
    Field.TERMINAL: _terms("terminal_id"),
    Field.WALLET: _terms("wallet_id"),
    Field.MERCHANT: _terms("merchant_id"),
}
