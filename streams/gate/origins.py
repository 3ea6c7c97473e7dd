"""Where and when a record first came in, whatever topics it passed since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schemas.cloudevents import Headers, texts

REPLAY_OF = "koban_replay_of"
"""Header of a replayed dead letter: `partition:offset` in the dead-letter topic."""
_EARLIEST_MS = 1_262_304_000_000
_OFFSET_DIGITS_MAX = 18


class Origin(NamedTuple):
    """A record's place on the topic on which it came in."""

    topic: str
    partition: int
    offset: int

    def headers(self) -> Headers:
        return [
            ("koban_origin_topic", self.topic.encode()),
            ("koban_origin_partition", b"%d" % self.partition),
            ("koban_origin_offset", b"%d" % self.offset),
        ]


def origin_of(headers: Iterable[tuple[str, bytes | None]], here: Origin) -> Origin:
    """The origin that a moved record's headers name; ``here`` if they don't, as on a record that nobody moved."""
    found = texts(headers)
    topic = found.get("koban_origin_topic")
    partition = found.get("koban_origin_partition", "")
    offset = found.get("koban_origin_offset", "")
    if topic is None or not (_is_number(partition) and _is_number(offset)):
        return here
    return Origin(topic, int(partition), int(offset))


def sent_ms(timestamp_ms: int, now_us: int, ahead_s_max: int) -> int:
    """When a record was sent (UTC ms): what its producer says, or now if that is no time, before 2010 or to come."""
    now_ms = now_us // 1_000
    return timestamp_ms if _EARLIEST_MS <= timestamp_ms <= now_ms + ahead_s_max * 1_000 else now_ms


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _OFFSET_DIGITS_MAX
