"""Days and times of day as people type them, in Japanese business time: ``昨日``, ``11/21``, ``18時ごろ``, ``18:00``.

A day and a time of day are parsed apart and joined, so that they may be typed as one word or two. Nothing here reads a
clock: what "today" is comes in.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

import msgspec

from koban.business_time import JST, US_PER_S, business_date

_DAY_S = 86_400
_AROUND_S = 1_800
_FIRST_YEAR, _LAST_YEAR = 2010, 2099
_DAYS_AGO = {
    "今日": 0, "本日": 0, "きょう": 0, "today": 0,
    "昨日": 1, "きのう": 1, "yesterday": 1,
    "一昨日": 2, "おととい": 2,
}  # fmt: skip
_PERIODS = {
    "今週": "week", "this week": "week", "先週": "last week", "last week": "last week",
    "今月": "month", "this month": "month", "先月": "last month", "last month": "last month",
}  # fmt: skip
_DATE = re.compile(r"^(?:(?P<year>\d{4})[-/年.])?(?P<month>\d{1,2})[-/月.](?P<day>\d{1,2})日?\Z")
_AGO = re.compile(r"^(?P<days>\d{1,3})日前\Z")
_MONTH = re.compile(r"^(?:(?P<year>\d{4})[-/年])(?P<month>\d{1,2})月?\Z")
_CLOCK = re.compile(
    r"^(?P<half>午前|午後|am|pm)?(?P<hour>\d{1,2})"
    r"(?:時(?:(?P<past>半)|(?P<minute>\d{1,2})分)?|:(?P<minute2>\d{2}))?(?P<half2>am|pm)?(?P<around>ごろ|頃|ころ)?\Z"
)
_JOINT = re.compile(r"^(?P<day>.+?)[の@]?(?P<clock>(?:午前|午後|am|pm)?\d{1,2}(?:時|:|am|pm).*)\Z")
_RANGE = re.compile(r"^(?P<first>[^〜~]+?)(?:[〜~]|\.\.|から)(?P<last>[^〜~]+?)(?:まで)?\Z")


class Span(msgspec.Struct, frozen=True):
    """From ``start_us`` up to, not including, ``end_us``, in UTC microseconds."""

    start_us: int
    end_us: int


class Clock(msgspec.Struct, frozen=True):
    """A part of some day: seconds from its midnight, the end not included."""

    start_s: int
    end_s: int


def span(text: str, now_us: int) -> Span | None:
    """The time that a text with a day in it means: a day, a period, a range of days, or a day and a time of day."""
    return _days(text, now_us) or _range(text, now_us) or _joint(text, now_us)


def clock(text: str) -> Clock | None:
    """The part of a day that a text means, without its day: ``18時``, ``18:05``, ``午後6時半ごろ``, ``18時〜19時``."""
    if match := _RANGE.match(text):
        first, last = _moment(match["first"]), _moment(match["last"])
        if first is None or last is None:
            return None
        return Clock(first.start_s, last.start_s) if first.start_s < last.start_s else None
    return _moment(text)


def on_day(day: Span, part: Clock) -> Span:
    """A part of the first day of a span."""
    return Span(day.start_us + part.start_s * US_PER_S, day.start_us + part.end_s * US_PER_S)


def lately(part: Clock, now_us: int) -> Span:
    """A part of today; of yesterday when today's has not begun."""
    today = _day_span(business_date(now_us))
    found = on_day(today, part)
    if found.start_us <= now_us:
        return found
    return on_day(_day_span(business_date(now_us) - timedelta(days=1)), part)


def day_label(at_us: int) -> str:
    """An instant as people read it, in JST: ``2025-11-21 17:30``."""
    return datetime.fromtimestamp(at_us // US_PER_S, JST).strftime("%Y-%m-%d %H:%M")


def _days(text: str, now_us: int) -> Span | None:
    today = business_date(now_us)
    if text in _PERIODS:
        return _period(_PERIODS[text], today)
    if match := _MONTH.match(text):
        return _month(int(match["year"]), int(match["month"]))
    day = _day(text, today)
    return None if day is None else _day_span(day)


def _day(text: str, today: date) -> date | None:
    if text in _DAYS_AGO:
        return today - timedelta(days=_DAYS_AGO[text])
    if match := _AGO.match(text):
        return today - timedelta(days=int(match["days"]))
    if match := _DATE.match(text):
        month, day = int(match["month"]), int(match["day"])
        if match["year"]:
            return _valid(int(match["year"]), month, day)
        found = _valid(today.year, month, day)
        return found if found and found <= today else _valid(today.year - 1, month, day)
    return None


def _valid(year: int, month: int, day: int) -> date | None:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _period(name: str, today: date) -> Span:
    if name.endswith("week"):
        monday = today - timedelta(days=today.weekday() + (7 if name == "last week" else 0))
        start = _day_span(monday).start_us
        return Span(start, start + 7 * _DAY_S * US_PER_S)
    first = today.replace(day=1)
    if name == "last month":
        first = (first - timedelta(days=1)).replace(day=1)
    found = _month(first.year, first.month)
    assert found is not None
    return found


def _month(year: int, month: int) -> Span | None:
    first = _valid(year, month, 1)
    if first is None:
        return None
    after = (first + timedelta(days=31)).replace(day=1)
    return Span(_day_span(first).start_us, _day_span(after).start_us)


def _range(text: str, now_us: int) -> Span | None:
    match = _RANGE.match(text)
    if match is None:
        return None
    first, last = _days(match["first"], now_us), _days(match["last"], now_us)
    if first is None or last is None or first.start_us >= last.end_us:
        return None
    return Span(first.start_us, last.end_us)


def _joint(text: str, now_us: int) -> Span | None:
    match = _JOINT.match(text)
    if match is None:
        return None
    day, part = _days(match["day"], now_us), clock(match["clock"])
    return None if day is None or part is None else on_day(day, part)


def _moment(text: str) -> Clock | None:
    match = _CLOCK.match(text)
    if match is None or text.isdecimal() or not _is_clock(match):
        return None
    hour, minute = _hour(match), 30 if match["past"] else int(match["minute"] or match["minute2"] or 0)
    if hour > 24 or minute > 59 or (hour == 24 and minute):
        return None
    start_s = hour * 3600 + minute * 60
    if match["around"]:
        return Clock(start_s - _AROUND_S, start_s + _AROUND_S)
    exact = match["past"] or match["minute"] or match["minute2"]
    return Clock(start_s, start_s + (60 if exact else 3600))


def _is_clock(match: re.Match[str]) -> bool:
    return bool("時" in match[0] or match["minute2"] or match["half2"] or match["half"])


def _hour(match: re.Match[str]) -> int:
    hour, half = int(match["hour"]), match["half"] or match["half2"]
    if half in ("午後", "pm") and hour < 12:
        return hour + 12
    return 0 if half in ("午前", "am") and hour == 12 else hour


def _day_span(day: date) -> Span:
    start = int(datetime(day.year, day.month, day.day, tzinfo=JST).timestamp()) * US_PER_S
    return Span(start, start + _DAY_S * US_PER_S)
