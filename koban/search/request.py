"""A query as the request that OpenSearch gets. Made of allow-listed clauses only: what people type is never syntax.

A merchant's scope is a filter beside the whole of the query, so no text can widen it; the caller routes by the same
merchant, so that only its shard is asked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from koban.search.document import reversed_number
from koban.search.query import Chip, Field, Query

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


class CursorError(ValueError):
    """A cursor that no search gave out."""


def request(query: Query, scope: Scope, *, size: int = PAGE_DEFAULT, cursor: str | None = None) -> dict[str, Any]:
    """The body of a search: the newest first, every hit counted, totals over all of them. Raises CursorError."""
    body: dict[str, Any] = {
        "query": {"bool": conditions(query, scope)},
        "sort": [{"occurred_at_us": "desc"}, {"payment_id": "desc"}],
        "size": max(1, min(size, PAGE_MAX)),
        "track_total_hits": True,
        "timeout": "2s",
        "_source": {"excludes": ["story", "number_reversed"]},
    }
    if cursor is None:
        body["aggs"] = {name: {"sum": {"field": name}} for name in TOTALS}
    else:
        body["search_after"] = list(after(cursor))
    return body


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


def cursor_of(occurred_at_us: int, payment_id: str) -> str:
    """The opaque place behind a hit, from which the next page goes on."""
    return base64.urlsafe_b64encode(msgspec.json.encode((occurred_at_us, payment_id))).decode().rstrip("=")


def after(cursor: str) -> tuple[int, str]:
    """The sort values that a cursor stands for. Raises CursorError."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=tuple[int, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise CursorError("this cursor was not given out by a search") from error


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
