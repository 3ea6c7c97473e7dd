"""CloudEvents 1.0 in Kafka's binary mode: the value stays as it is, the attributes travel as headers.

Each derived record says what it is (`ce_type`), who made it (`ce_source`), when (`koban_at_us`), which payment it
belongs to (`ce_correlationid`) and which record caused it (`ce_causationid`). Header values are UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from koban.events import EVENT_TYPES, Event, payment_id

Headers = list[tuple[str, bytes]]

TYPE_PREFIX = "koban."
SOURCE_PREFIX = "/koban/"
CONTENT_TYPE = b"application/json"
_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT = ("content-type", CONTENT_TYPE)
_EVENT_TYPE_VALUES = {struct: f"{TYPE_PREFIX}{name}".encode() for name, struct in EVENT_TYPES.items()}


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """A record's attributes, read back. A field is None when its header is missing or is no UTF-8."""

    id: str | None = None
    type: str | None = None
    source: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    at_us: int | None = None


class HeaderMaker:
    """Makes the headers of one stage's records; what never changes is computed once, since this runs per record."""

    __slots__ = ("_constant", "_types")

    def __init__(self, stage: str) -> None:
        source = f"{SOURCE_PREFIX}{stage}".encode()
        self._constant: Headers = [_SPECVERSION, _CONTENT, ("ce_source", source)]
        self._types: dict[str, tuple[str, bytes]] = {}

    def event(self, event: Event, at_us: int) -> Headers:
        """Headers of a record whose value is `event`; `at_us` is when the stage made the record."""
        event_id = event.event_id
        headers = [
            *self._constant,
            ("ce_type", _EVENT_TYPE_VALUES[type(event)]),
            ("ce_id", event_id.encode()),
            ("koban_at_us", b"%d" % at_us),
        ]
        payment = payment_id(event)
        if payment is not None:
            headers.append(("ce_correlationid", payment.encode()))
        if event.causation_id is not None:
            headers.append(("ce_causationid", event.causation_id.encode()))
        return headers

    def derived(
        self,
        record_type: str,
        record_id: str,
        at_us: int,
        *,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> Headers:
        """Headers of a record that is no event (a journal entry, an alert); `record_type` is like `journal-entry`."""
        kind = self._types.get(record_type)
        if kind is None:
            kind = self._types[record_type] = ("ce_type", f"{TYPE_PREFIX}{record_type}".encode())
        headers = [*self._constant, kind, ("ce_id", record_id.encode()), ("koban_at_us", b"%d" % at_us)]
        if correlation_id is not None:
            headers.append(("ce_correlationid", correlation_id.encode()))
        if causation_id is not None:
            headers.append(("ce_causationid", causation_id.encode()))
        return headers


def read(headers: Iterable[tuple[str, bytes | None]]) -> Attributes:
    """The attributes in a record's headers; foreign and broken headers are passed over, never raised about."""
    found = texts(headers)
    at = found.get("koban_at_us", "")
    return Attributes(
        id=found.get("ce_id"),
        type=found.get("ce_type"),
        source=found.get("ce_source"),
        correlation_id=found.get("ce_correlationid"),
        causation_id=found.get("ce_causationid"),
        at_us=int(at) if at.isascii() and at.isdecimal() and len(at) <= 18 else None,
    )


def texts(headers: Iterable[tuple[str, bytes | None]]) -> Mapping[str, str]:
    """Headers as text, without those that are none; of a repeated name the last one counts, as in Kafka."""
    found: dict[str, str] = {}
    for name, value in headers:
        if value is None:
            continue
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            continue
    return found
