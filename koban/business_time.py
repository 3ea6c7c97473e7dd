"""Business time: Japanese days over microseconds in UTC. Japan has no daylight saving, so this is plain arithmetic."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

JST = timezone(timedelta(hours=9), "JST")
US_PER_S = 1_000_000
US_PER_MINUTE = 60 * US_PER_S
_JST_OFFSET_US = 9 * 3600 * US_PER_S
US_PER_DAY = 86_400 * US_PER_S
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def business_date(at_us: int) -> date:
    """The Japanese calendar day of an instant in UTC microseconds."""
    return date.fromordinal(_EPOCH_ORDINAL + (at_us + _JST_OFFSET_US) // US_PER_DAY)


def next_day_us(at_us: int) -> int:
    """The instant at which the Japanese day after that of an instant begins, both in UTC microseconds."""
    return at_us - (at_us + _JST_OFFSET_US) % US_PER_DAY + US_PER_DAY


def minute_start_us(at_us: int) -> int:
    """The start of the minute that an instant lies in, both in UTC microseconds."""
    return at_us - at_us % US_PER_MINUTE


def to_datetime(at_us: int) -> datetime:
    """The instant as an aware datetime in UTC."""
    return datetime.fromtimestamp(at_us // US_PER_S, UTC) + timedelta(microseconds=at_us % US_PER_S)
