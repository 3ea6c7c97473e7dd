"""Events to bytes and back. Decoding is the check: what decodes is a valid event, what doesn't says why.

One decoder for all event types, made once: the `event_type` tag picks the type while the bytes are read, so nothing is
parsed twice. The encoding is canonical: the same event always gives the same bytes.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec

from koban.events import AnyEvent, Event, inconsistency
from schemas.errors import InvalidEvent, ReasonCode

_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(AnyEvent)
_ENCODER = msgspec.json.Encoder(order="deterministic")
_HASH_BYTES = 16
_AT_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>.+)`)?\Z", re.DOTALL)
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")
_TYPES = re.compile(r"^Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`\Z")
_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_LONG_DIGITS = re.compile(r"\d(?:[ -]?\d){7,}")
_SHOWN_CHARACTERS_MAX = 40


def decode(raw: bytes) -> Event:
    """The event in `raw`, UTF-8 JSON from anywhere. Raises InvalidEvent, whose reason says field, expected and got."""
    event = decode_valid(raw)
    contradiction = inconsistency(event)
    if contradiction is not None:
        path = contradiction.split(" ", 1)[0]
        raise InvalidEvent(ReasonCode.INCONSISTENT, contradiction, path)
    return event


def decode_valid(raw: bytes) -> Event:
    """The event in `raw` from a topic behind the gate: checks types and constraints, not sums. Raises InvalidEvent."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(raw, error) from None


def encode(event: Event) -> bytes:
    """The event's canonical bytes: fields in the contract's order, defaults left out, no spaces."""
    return _ENCODER.encode(event)


def body_hash(event: Event) -> str:
    """32 hex digits that are equal exactly when two events say the same.

    `recorded_at_us` is left out: a producer that sends an event again stamps it anew, and means the same event.
    """
    if event.recorded_at_us is not None:
        event = msgspec.structs.replace(event, recorded_at_us=None)
    return blake2b(_ENCODER.encode(event), digest_size=_HASH_BYTES).hexdigest()


def _invalid(raw: bytes, error: Exception) -> InvalidEvent:
    """The error that a person can act on, from what the decoder raised. Runs for bad events alone, so may take time."""
    if not raw:
        return InvalidEvent(ReasonCode.EMPTY, "the record has no value")
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(raw):
        return InvalidEvent(ReasonCode.NOT_UTF8, "the value is not UTF-8 text")
    if isinstance(error, RecursionError):
        return InvalidEvent(ReasonCode.TOO_DEEP, "the value is nested too deeply to be read")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidEvent(ReasonCode.NOT_JSON, f"the value is not JSON: {error}")
    match = _AT_PATH.match(str(error))
    assert match is not None
    at = match["path"] or "$"
    if match["key"]:
        path = at.removeprefix("$.")
        expected = match["what"].removeprefix("Expected ").replace("`", "")
        return InvalidEvent(ReasonCode.OUT_OF_BOUNDS, f"{path}: expected each key to be {expected}", path)
    return _invalid_field(raw, match["what"], at)


def _invalid_field(raw: bytes, what: str, at: str) -> InvalidEvent:
    path = at.removeprefix("$").removeprefix(".")
    if missing := _MISSING.search(what):
        field = missing["field"]
        full = f"{path}.{field}" if path else field
        code = ReasonCode.UNKNOWN_TYPE if full == "event_type" else ReasonCode.MISSING_FIELD
        return InvalidEvent(code, f"{full}: expected a value, got nothing", full)
    if path == "event_type":
        shown = _shown(raw, "$.event_type")
        return InvalidEvent(
            ReasonCode.UNKNOWN_TYPE, f"event_type: expected an event of the contracts, got {shown}", "event_type"
        )
    where = path or "the value"
    if unknown := _UNKNOWN.search(what):
        field = _LONG_DIGITS.sub("(digits)", unknown["field"])[:_SHOWN_CHARACTERS_MAX]
        return InvalidEvent(ReasonCode.UNKNOWN_FIELD, f"{where}: expected no field {field}, got one", path or None)
    if types := _TYPES.match(what):
        return InvalidEvent(
            ReasonCode.WRONG_TYPE, f"{where}: expected {types['expected']}, got {types['got']}", path or None
        )
    expected = what.removeprefix("Expected ").replace("`", "")
    if what.startswith("Invalid enum value"):
        expected = "a value of the contract's list"
    code = ReasonCode.OUT_OF_BOUNDS
    return InvalidEvent(code, f"{where}: expected {expected}, got {_shown(raw, at)}", path or None)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(raw: bytes, at: str) -> str:
    """The value at a decoder's path, short, and without long runs of digits: a reason must not carry a card number."""
    try:
        value = _walk(msgspec.json.decode(raw), at)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return "something else"
    if isinstance(value, list | dict):
        return f"{len(value)} items"
    text = _LONG_DIGITS.sub("(digits)", repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}… ({len(text)} characters)"


def _walk(value: Any, at: str) -> Any:
    for step in _STEP.finditer(at.removeprefix("$")):
        if step["index"] == "...":
            return next(iter(value.values())) if isinstance(value, dict) else value
        value = value[int(step["index"])] if step["index"] is not None else value[step["field"]]
    return value
