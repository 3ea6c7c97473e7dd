"""What may be shown or kept of a rejected value: everything but card numbers and card secrets.

A card number keeps its first six and last four digits; the digits between become ``*``, so the length stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from koban.gate import cards
from koban.gate.cards import Span
from koban.gate.fields import SECRET_VALUE, cards_in, holds_secret_mark, may_hold_card

_KEPT_FIRST, _KEPT_LAST = 6, 4
_SHOWN_MAX = 40
_LONG_DIGITS = re.compile(r"[0-9](?:[ .\-]{0,3}[0-9]){10,}")
_RUN_JUDGED_MAX = 4_096
"""A longer run of digits is masked as a whole: nobody's text, and not worth the time to search it."""
_RUNS_JUDGED_MAX = 5_000
"""Behind so many runs every digit is masked: a bound on what a hostile value costs."""
_OWN_FIELD = re.compile(r'_(?:id|us)"\s*:\s*"?\Z')
_OWN_FIELD_REACH = 24
_ESCAPED = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[nrt])")
_CARD_SIGNS = frozenset("0123456789 -.")


def excerpt(text: str) -> str:
    """At most 40 characters, in which every long run of digits is masked: for reasons, logs and tables."""
    flat = cards.plain(text)
    shown = _with_masked(text, flat, (Span(*run.span()) for run in _LONG_DIGITS.finditer(flat)))
    shown = shown.encode("utf-8", "replace").decode()
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}… ({len(shown)} characters)"


def without_cards(value: bytes) -> tuple[bytes, bool]:
    """The bytes without card numbers and card secrets, and whether anything was masked.

    In JSON the fields tell what is a card number, as in the inspection. In anything else every run of digits that
    could be one is masked, but for ids and times that can't be. All other bytes stay as they are, readable or not.
    """
    text = value.decode("utf-8", "surrogateescape")
    clean = text
    if may_hold_card(value) or b"\0" in value:
        clean = _clean(value, text)
    if holds_secret_mark(value):
        clean = SECRET_VALUE.sub(r'\1"***"', clean)
    if clean == text:
        return value, False
    return clean.encode("utf-8", "surrogateescape"), True


def _clean(value: bytes, text: str) -> str:
    try:
        if next(cards_in(msgspec.json.decode(value)), None) is None:
            return text
        clean = _clean_text(text)
        parsed = msgspec.json.decode(clean)
        if next(cards_in(parsed), None) is None:
            return clean
        return msgspec.json.encode(_clean_value(parsed)).decode()  # hidden by escapes: the text has to be written anew
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _clean_text(text)


def _clean_text(text: str) -> str:
    """A text of which no fields are known, masked; if need be, with its escaped digits unescaped."""
    unescaped = _ESCAPED.sub(_unescaped, text)
    flat = cards.plain(unescaped)
    clean = _with_masked(unescaped, flat, _suspects(flat))
    return text if clean == unescaped else clean


def _unescaped(escape: re.Match[str]) -> str:
    """A digit, or what may stand between digits, for its JSON escape; other escapes stay."""
    code = escape.group()[2:]
    sign = chr(int(code, 16)) if code else " "
    return sign if cards.plain(sign) in _CARD_SIGNS else escape.group()


def _clean_value(value: Any) -> Any:
    """A parsed value with every string and key masked by the rule for free text, and card numbers as texts."""
    if isinstance(value, str):
        flat = cards.plain(value)
        return _with_masked(value, flat, cards.in_text(flat))
    if isinstance(value, dict):
        return {_clean_value(key): _clean_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_value(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and cards.in_number(value):
        return _clean_value(str(int(value)))
    return value


def _suspects(flat: str) -> Iterator[Span]:
    """What could be a card number in a text whose fields can't be told."""
    for judged, run in enumerate(cards.RUN.finditer(flat)):
        start, end = run.span()
        if judged >= _RUNS_JUDGED_MAX:
            yield Span(start, len(flat))
            return
        if end - start > _RUN_JUDGED_MAX:
            yield Span(start, end)
            continue
        own = _OWN_FIELD.search(flat, max(0, start - _OWN_FIELD_REACH), start) is not None
        if not own or cards.in_identifier(run.group()):
            yield from (Span(start + card.start, start + card.end) for card in cards.in_text(run.group()))


def _with_masked(text: str, flat: str, spans: Iterator[Span]) -> str:
    """The text with the middle digits of each span as ``*``. Spans may overlap; ``flat`` is the text made plain."""
    pieces: list[str] = []
    done = 0
    for start, end in _joined(spans):
        first, last = start, end
        for _ in range(_KEPT_FIRST):
            first = _next_digit(flat, first) + 1
        for _ in range(_KEPT_LAST):
            last = _last_digit(flat, last)
        pieces += text[done:first], text[first:last].translate(_STARS)
        done = max(first, last)
    return text if not pieces else "".join((*pieces, text[done:]))


def _next_digit(flat: str, at: int) -> int:
    while not flat[at].isdecimal():
        at += 1
    return at


def _last_digit(flat: str, at: int) -> int:
    at -= 1
    while not flat[at].isdecimal():
        at -= 1
    return at


class _Stars(dict[int, str]):
    """Maps digits of every script to ``*`` and any other sign to itself."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        self[code] = "*" if cards.plain(sign).isdecimal() else sign
        return self[code]


_STARS = _Stars()


def _joined(spans: Iterator[Span]) -> Iterator[Span]:
    """Overlapping spans as one: between two cards that overlap, only the first and last digits may stay."""
    last: Span | None = None
    for span in sorted(spans):
        if last is not None and span.start < last.end:
            last = Span(last.start, max(last.end, span.end))
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
