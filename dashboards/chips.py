"""A query's meaning as the chips of a page: a message each, in the reader's language."""

from __future__ import annotations

from typing import Any

from koban.search.query import Chip, Field, Query
from koban.search.times import day_label


def chips(query: Query) -> list[dict[str, Any]]:
    """Each part of the meaning: a message with its values, and the text that remains without it."""
    return [
        {**_chip(chip), "negated": chip.negated, "rest": query.without(at).text()}
        for at, chip in enumerate(query.chips)
    ]


def _chip(chip: Chip) -> dict[str, Any]:
    """A message key, its plain values, and values that are messages or amounts themselves."""
    match chip.field:
        case Field.AT:
            return _time(chip)
        case Field.AMOUNT | Field.REFUNDED:
            return {"key": _bounds_key(chip), "what": f"chip.{chip.field.value}", "low": chip.low, "high": chip.high}
        case Field.NUMBER_OR_AMOUNT:
            return {"key": "chip.number_or_amount", "values": {"values": chip.values[0]}, "low": chip.low}
        case Field.STATUS | Field.PAID_WITH:
            prefix = "status" if chip.field is Field.STATUS else "kind"
            return {"key": f"chip.{chip.field.value}", "messages": [f"{prefix}.{value}" for value in chip.values]}
        case _:
            return {"key": f"chip.{chip.field.value}", "values": {"values": ", ".join(chip.values)}}


def _time(chip: Chip) -> dict[str, Any]:
    """Bounds as people read them: whole days by their dates, else the first moment that is no longer meant."""
    if chip.low is None or chip.high is None:
        bound = {"low": day_label(chip.low)} if chip.low is not None else {"high": day_label((chip.high or 0) + 1)}
        return {"key": "chip.at_from" if chip.low is not None else "chip.at_to", "values": bound}
    low, high = day_label(chip.low), day_label(chip.high + 1)
    if not low.endswith(_MIDNIGHT) or not high.endswith(_MIDNIGHT):
        end = high.removeprefix(low[: -len(_MIDNIGHT)]).strip()
        return {"key": "chip.at", "values": {"low": low, "high": end}}
    first, last = low.removesuffix(_MIDNIGHT), day_label(chip.high)[: -len(_MIDNIGHT)]
    if first == last:
        return {"key": "chip.day", "values": {"day": first}}
    return {"key": "chip.days", "values": {"first": first, "last": last}}


_MIDNIGHT = " 00:00"


def _bounds_key(chip: Chip) -> str:
    if chip.low == chip.high:
        return "chip.exact"
    if chip.low is not None and chip.high is not None:
        return "chip.between"
    return "chip.least" if chip.low is not None else "chip.most"
