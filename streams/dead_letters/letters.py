"""A dead letter: what was rejected, why, where it lies, and whether it was sent again."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from koban.records import ReplayedLetter
from schemas.dead_letters import DeadLetter

TOPIC = "payments-dlq"
REPLAYS_TOPIC = "dlq-replays"
"""What was sent again: the newest record of a place."""


class DeadLettersUnavailableError(Exception):
    """Kafka did not answer, or there is no such topic; says what to do next."""


class NoSuchLetterError(LookupError):
    """There is no dead letter at a place; says which."""


class Place(NamedTuple):
    """Where a dead letter lies: partition and offset in the dead-letter topic, written ``P:OFFSET``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises ValueError for anything but two numbers around a colon."""
        match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,18})", text)
        if match is None:
            raise ValueError(f"{text!r} is no place of a dead letter; it looks like 0:17 (partition:offset)")
        return cls(int(match[1]), int(match[2]))


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. ``about`` is None when its headers are not a dead letter's: a foreign record."""

    place: Place
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    about: DeadLetter | None
    replayed: ReplayedLetter | None = None
    """When it was last sent again, if it ever was."""

    @property
    def at_us(self) -> int:
        """When it was rejected, in UTC microseconds; when its record was sent, if that can't be told."""
        return self.timestamp_ms * 1_000 if self.about is None else self.about.at_us

    @property
    def masked(self) -> bool:
        """Whether card numbers were masked in it: then it is not quite what was sent."""
        return any(name == "koban_masked" for name, _ in self.headers)

    @classmethod
    def of(cls, record: Any, replayed: ReplayedLetter | None = None) -> Letter:
        """A record of the dead-letter topic, as a Kafka client gave it."""
        headers = list(record.headers)
        try:
            about = DeadLetter.read(headers)
        except ValueError:
            about = None
        return cls(
            place=Place(record.partition, record.offset),
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=headers,
            about=about,
            replayed=replayed,
        )
