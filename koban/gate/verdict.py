"""The gate's verdicts: an event is accepted, or rejected for exactly one reason."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from koban.events import Event


class RejectCode(StrEnum):
    """Why a record is dead-lettered, in order of precedence: the first that applies is the one given."""

    EMPTY = "empty"
    """No value: a tombstone or no bytes."""
    TOO_LARGE = "too_large"
    """More bytes than `event_bytes_max`."""
    NOT_UTF8 = "not_utf8"
    """The bytes are no UTF-8 text."""
    NUL_BYTE = "nul_byte"
    """A NUL, plain or escaped: text columns behind the gate can't hold it."""
    TOO_DEEP = "too_deep"
    """Nested more deeply than `event_depth_max`. Judged before parsing, so that hostile nesting never reaches it."""
    NOT_JSON = "not_json"
    """The text is no JSON."""
    UNKNOWN_TYPE = "unknown_type"
    """`event_type` is missing or names no event of the contracts."""
    MISSING_FIELD = "missing_field"
    """A required field is missing."""
    WRONG_TYPE = "wrong_type"
    """A field, or the whole value, is of another type than the contract says."""
    UNKNOWN_FIELD = "unknown_field"
    """A closed object (a tender, a line, an actor) holds a field that the contract does not know."""
    UNKNOWN_CURRENCY = "unknown_currency"
    """Money in a currency that the books don't keep."""
    OUT_OF_BOUNDS = "out_of_bounds"
    """A field's value is outside the contract's limits, pattern or list."""
    PLATFORM_EVENT = "platform_event"
    """Only the platform itself says this, on a topic of its own: a cashback decision does not come from outside."""
    INCONSISTENT = "inconsistent"
    """Each field is fine, together they contradict each other (tenders that don't sum to the amount)."""
    CLOCK = "clock"
    """The event happened later than it was sent: its producer's clock is ahead by more than `clock_ahead_s_max`."""
    CARD_NUMBER = "card_number"
    """A string, a key or an open number holds what looks like a card number. Masked in the dead letter."""
    CARD_SECRET = "card_secret"  # noqa: S105  # the name of a reason, not a password
    """A field is named like a security code, a PIN or track data. Masked in the dead letter."""
    CONFLICT = "conflict"
    """The event id was used before with another body."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate lets through; the names and defaults are those of the settings."""

    event_bytes_max: int = 65_536
    event_depth_max: int = 16
    clock_ahead_s_max: int = 60


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A valid event. ``canonical`` is its one encoding; ``body_hash`` are 16 bytes over what the event says."""

    event: Event
    canonical: bytes
    body_hash: bytes
    owner: str


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """The reason names field, expected and got; never a card number. ``producer`` is the sender, if known."""

    code: RejectCode
    reason: str
    producer: str | None = None
