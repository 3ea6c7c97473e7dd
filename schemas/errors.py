"""What went wrong, typed by what the caller must do: dead-letter, slow down, or try again."""

from __future__ import annotations

from enum import StrEnum


class ReasonCode(StrEnum):
    """Why a record is dead-lettered, in order of precedence: the first that applies is the one given."""

    meaning: str
    """What the code says, for documents and tools."""

    def __new__(cls, code: str, meaning: str = "") -> ReasonCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    EMPTY = "empty", "No value at all."
    TOO_LARGE = "too_large", "More bytes than `event_bytes_max`."
    NOT_UTF8 = "not_utf8", "The bytes are no UTF-8 text."
    NUL_BYTE = "nul_byte", "A NUL, plain or escaped: text columns behind the gate can't hold it."
    TOO_DEEP = "too_deep", "Nested more deeply than `event_depth_max`."
    NOT_JSON = "not_json", "The text is no JSON."
    UNKNOWN_TYPE = "unknown_type", "`event_type` is missing or names no event of the contracts."
    MISSING_FIELD = "missing_field", "A required field is missing."
    WRONG_TYPE = "wrong_type", "A field holds another type of value than the contract says."
    UNKNOWN_FIELD = "unknown_field", "A closed object (a tender, a line) holds a field that the contract does not know."
    UNKNOWN_CURRENCY = "unknown_currency", "Money in a currency that the books don't keep."
    OUT_OF_BOUNDS = "out_of_bounds", "A field's value is outside the contract's limits, pattern or list."
    PLATFORM_EVENT = "platform_event", "Only the platform itself may say this, on a topic of its own."
    INCONSISTENT = (
        "inconsistent",
        "Each field is fine, but together they contradict each other, like tenders and amount.",
    )
    CLOCK = "clock", "The event happened later than it was sent: its producer's clock is ahead."
    CARD_NUMBER = "card_number", "A field holds what looks like a card number."
    CARD_SECRET = "card_secret", "A field is named like a security code, a PIN or track data."
    CONFLICT = "conflict", "The event id was used before with another body."
    REFUSED = "refused", "A stage behind the gate refused the event: the reason names the rule."


class StageError(Exception):
    """What every such error carries: where the record lies, if it is known by then, and the reason."""

    def __init__(
        self, reason: str, *, topic: str | None = None, partition: int | None = None, offset: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def __str__(self) -> str:
        where = "" if self.topic is None else f" (at {self.topic}/{self.partition}@{self.offset})"
        return f"{self.reason}{where}"


class InvalidEvent(StageError):  # noqa: N818  # the house rules name it by what the caller must do
    """Dead-letter the record; trying again can't help. `path` is the offending field, like `body.amount_minor`."""

    def __init__(
        self,
        code: ReasonCode,
        reason: str,
        path: str | None = None,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(reason, topic=topic, partition=partition, offset=offset)
        self.code = code
        self.path = path


class Backpressure(StageError):  # noqa: N818  # the house rules name it by what the caller must do
    """Stop reading until the one behind has caught up, then go on with the same record."""


class Transient(StageError):  # noqa: N818  # the house rules name it by what the caller must do
    """Try the same record again after a pause; nothing of it has taken effect."""
