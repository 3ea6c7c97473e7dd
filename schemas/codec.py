"""Events to bytes and back. Decoding is the check: what decodes is a valid event, what doesn't says why.

One decoder for all event types, made once: the `event_type` tag picks the type while the bytes are read, so nothing is
parsed twice. The encoding is canonical: the same event always gives the same bytes.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from koban.events import AnyEvent, Event, inconsistency
from koban.gate.inspection import why_unreadable
from schemas.errors import InvalidEvent, ReasonCode

_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(AnyEvent)
_ENCODER = msgspec.json.Encoder(order="deterministic")
_HASH_BYTES = 16


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
    """The error that a person can act on, in the gate's words. Runs for bad events alone, so may take time."""
    if not raw:
        return InvalidEvent(ReasonCode.EMPTY, "the record has no value")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return InvalidEvent(ReasonCode.NOT_UTF8, "the value is not UTF-8 text")
    if isinstance(error, RecursionError):
        return InvalidEvent(ReasonCode.TOO_DEEP, "the value is nested too deeply to be read")
    why = why_unreadable(raw, error)
    field, expected, _ = why.reason.partition(": expected ")
    return InvalidEvent(ReasonCode(why.code.value), why.reason, field if expected and field != "the value" else None)
