"""The gate's inspection of one value: pure, total, and one verdict for any bytes.

The order of the checks is the order of `RejectCode`. Valid events are nearly all events, so their way is the short
one; whatever costs time (a second parse, a search for a card number field by field) is done for suspects alone.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec

from koban.events import (
    EVENT_TYPES,
    PLATFORM_EVENTS,
    AnyEvent,
    CampaignFact,
    Event,
    body_type,
    inconsistency,
    partition_key,
)
from koban.gate.fields import card_field, holds_secret_mark, long_runs, may_hold_card, secret_field
from koban.gate.known_fields import only_known_fields
from koban.gate.masking import excerpt
from koban.gate.nesting import deeper_than
from koban.gate.seen import HASH_BYTES
from koban.gate.verdict import Accepted, Limits, RejectCode, Rejected

_US_PER_MS = 1_000
_US_PER_S = 1_000_000
_decode = msgspec.json.Decoder(AnyEvent).decode
_encode = msgspec.json.Encoder(order="deterministic").encode

_OPEN_TYPES = frozenset(struct for name, struct in EVENT_TYPES.items() if body_type(name) is CampaignFact)
"""Events whose body has fields that the producer names."""
_PLATFORM_TYPES = frozenset(EVENT_TYPES[name] for name in PLATFORM_EVENTS)
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_AT_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>.+)`)?\Z", re.DOTALL)
_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_CURRENCY = "body.currency"
_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")
_TYPES = re.compile(r"^Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`\Z")


def inspect(value: bytes | None, timestamp_ms: int, limits: Limits) -> Accepted | Rejected:
    """The verdict on a raw value that reached the topic at ``timestamp_ms`` (UTC). Never raises."""
    if not value:
        return Rejected(RejectCode.EMPTY, "the record has no value")
    size = len(value)
    if size > limits.event_bytes_max:
        return Rejected(
            RejectCode.TOO_LARGE, f"the value has {size} bytes, more than the {limits.event_bytes_max} allowed"
        )
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return Rejected(RejectCode.NOT_UTF8, f"the value is not UTF-8 text: {error.reason} at byte {error.start}")
    if b"\0" in value or (b"\\" in value and _ESCAPED_NUL.search(value) is not None):
        return Rejected(RejectCode.NUL_BYTE, "the value holds a NUL character")
    if deeper_than(value, limits.event_depth_max):
        return Rejected(RejectCode.TOO_DEEP, f"the value is nested more than {limits.event_depth_max} levels deep")
    try:
        event = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return why_unreadable(value, error)
    if type(event) in _PLATFORM_TYPES:
        expected = "event_type: expected an event from outside of the platform"
        return Rejected(RejectCode.PLATFORM_EVENT, f"{expected}, got {type(event).__name__}", event.producer)
    contradiction = inconsistency(event)
    if contradiction is not None:
        return Rejected(RejectCode.INCONSISTENT, contradiction, event.producer)
    if event.occurred_at_us > timestamp_ms * _US_PER_MS + limits.clock_ahead_s_max * _US_PER_S:
        return _clock(event, timestamp_ms, limits)
    canonical = _encode(event)
    open_ended = type(event) in _OPEN_TYPES or not (canonical == value or only_known_fields(value))
    if open_ended or _may_hold_card(value, event):
        card = _card(value, event, open_ended)
        if card is not None:
            return card
    return Accepted(event, canonical, _body_hash(event, canonical), partition_key(event))


def _may_hold_card(value: bytes, event: Event) -> bool:
    """Whether an event of the contract's fields alone is worth a closer look: it has long digits beside its times.

    The times must be there as plain digits: only then does a further run of digits show in their number.
    """
    if b"\\" in value or b"%d" % event.occurred_at_us not in value:
        return True
    if event.recorded_at_us is None:
        return long_runs(value, 1) != 1
    return b"%d" % event.recorded_at_us not in value or long_runs(value, 2) != 2


def _card(value: bytes, event: Event, open_ended: bool) -> Rejected | None:
    """The closer look. Names of card secrets are looked for where names are the producer's."""
    if may_hold_card(value) and (where := card_field(value)) is not None:
        return Rejected(RejectCode.CARD_NUMBER, f"{where}: expected no card number, got one", event.producer)
    if open_ended and holds_secret_mark(value) and (secret := secret_field(value)) is not None:
        return Rejected(RejectCode.CARD_SECRET, f"{secret}: expected no card secrets, got the field", event.producer)
    return None


def _body_hash(event: Event, canonical: bytes) -> bytes:
    """16 bytes over what the event says. A producer that sends it again stamps `recorded_at_us` anew: left out."""
    if event.recorded_at_us is not None:
        canonical = canonical.replace(b',"recorded_at_us":%d' % event.recorded_at_us, b"", 1)
    return blake2b(canonical, digest_size=HASH_BYTES).digest()


def _clock(event: Event, timestamp_ms: int, limits: Limits) -> Rejected:
    ahead_s = (event.occurred_at_us - timestamp_ms * _US_PER_MS) / _US_PER_S
    return Rejected(
        RejectCode.CLOCK,
        f"occurred_at_us: expected at most {limits.clock_ahead_s_max} s after the record was sent, got {ahead_s:.0f} s",
        event.producer,
    )


def why_unreadable(value: bytes, error: Exception) -> Rejected:
    """Why the decoder refused the value. Runs for bad values alone, so it may parse again."""
    try:
        parsed = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        if value.startswith(b"\xef\xbb\xbf"):
            return Rejected(RejectCode.NOT_JSON, "the value starts with a byte order mark, which JSON does not allow")
        return Rejected(RejectCode.NOT_JSON, f"the value is not JSON: {excerpt(str(broken))}")
    if not isinstance(parsed, dict):
        return Rejected(RejectCode.WRONG_TYPE, f"the value: expected object, got {_kind(parsed)}")
    producer = parsed.get("producer")
    producer = excerpt(producer) if isinstance(producer, str) else None
    event_type = parsed.get("event_type")
    if "event_type" not in parsed or (isinstance(event_type, str) and event_type not in EVENT_TYPES):
        got = excerpt(event_type) if isinstance(event_type, str) else "nothing"
        return Rejected(RejectCode.UNKNOWN_TYPE, f"event_type: expected an event of the contracts, got {got}", producer)
    code, reason = _breach(parsed, str(error))
    return Rejected(code, reason, producer)


def _breach(parsed: dict[str, Any], message: str) -> tuple[RejectCode, str]:
    """Code and reason (field, expected, got) of a breach of the contract, from the decoder's message."""
    match = _AT_PATH.match(message)
    assert match is not None
    what, at = match["what"], (match["path"] or "$")
    path = at.removeprefix("$").removeprefix(".")
    where = path or "the value"
    expected = what.removeprefix("Expected ").replace("`", "")
    if missing := _MISSING.search(what):
        field = missing["field"]
        return RejectCode.MISSING_FIELD, f"{f'{path}.{field}' if path else field}: expected a value, got nothing"
    if match["key"]:
        return RejectCode.OUT_OF_BOUNDS, f"{where}: expected each key to be {expected}, got another"
    if "unknown field" in what:
        named = excerpt(what.split("`")[1])
        return RejectCode.UNKNOWN_FIELD, f"{where}: expected the contract's fields, got {named}"
    if types := _TYPES.match(what):
        return RejectCode.WRONG_TYPE, f"{where}: expected {types['expected']}, got {types['got']}"
    got = _walk(parsed, at)
    if what.startswith("Invalid enum value"):
        expected = "a value of the contract's list"
    if expected in ("str", "int", "bool", "object", "array"):
        return RejectCode.WRONG_TYPE, f"{where}: expected {expected}, got {_kind(got)}"
    shown = f"{len(got)} items" if isinstance(got, list | dict) else excerpt(repr(got))
    if path == _CURRENCY:
        return RejectCode.UNKNOWN_CURRENCY, f"{where}: expected a currency that the books keep, got {shown}"
    return RejectCode.OUT_OF_BOUNDS, f"{where}: expected {expected}, got {shown}"


def _walk(value: Any, at: str) -> Any:
    """The value at a decoder's path; at the first item where the path does not say which one."""
    for step in _STEP.finditer(at.removeprefix("$")):
        key = step["field"] or step["index"]
        if isinstance(value, dict):
            value = next(iter(value.values()), None) if key == "..." else value.get(key)
        elif isinstance(value, list):
            place = int(key) if key.isdecimal() else 0
            value = value[place] if place < len(value) else None
    return value


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", type(None): "null"}
    return names.get(type(value), type(value).__name__)
