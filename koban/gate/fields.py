"""Which fields of a JSON text hold a card number or a card's secrets.

First a quick look at the bytes, which every event gets; then, for suspects, a slow and exact look at each field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from koban.events import EVENT_TYPES
from koban.gate import cards

_SHOWN_MAX = 40
_DIGIT = bytes.maketrans(b"123456789" + bytes(range(0x91, 0x9A)), b"0" * 9 + b"\x90" * 9)
_ODD_LEADS = b"\xd9\xdb\xdf\xe0\xe1\xe2\xea\xf0"
"""First bytes of UTF-8 for the scripts that have digits of their own, ASCII and full-width ones aside."""
_FLAT = bytes(0 if lead in _ODD_LEADS else to for lead, to in enumerate(_DIGIT))
_JSON_SPACE = b" \t\r\n"
_BETWEEN_DIGITS = bytes(range(0x80, 0x100)) + b"-."
_TIME = b'_us":' + b"0" * 16
_PAYMENT_NUMBER = b'_id":"' + b"0" * 19 + b'"'
_FULL_WIDTH_DIGIT = b"\xef\xbc\x90"
_OPEN_NAMES = b'"facts"'
"""Under it a name tells nothing, so times and ids can't be taken out."""
_LONG_RUN = b"0" * cards.DIGITS_MIN
_DIGIT_RUN = re.compile(rb"[0-9]{%d,}" % cards.DIGITS_MIN)
_SECRET = re.compile(
    r"(?:card_?|security_?)?(?:cvv2?|cvc2?|cv2|csc)(?:_?code|_?value)?|card_?pin|pin_?(?:block|code|number)|pin"
    r"|track_?[123](?:_?data)?|track_?data|magstripe"
)
SECRET_VALUE = re.compile(rf'("(?:{_SECRET.pattern})"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,}}\]]+)', re.IGNORECASE)
"""A secret field and its value in a text that need not be JSON."""


def _identifiers() -> frozenset[str]:
    """Names of the contract's fields whose type is an identifier: text that must fit a pattern, alone or in a list."""
    names = {"account"}  # an account's name is made of its owner's id
    schemas = msgspec.json.schema_components(EVENT_TYPES.values())[1]
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            options = [field, field.get("items", {}), *field.get("anyOf", ())]
            if any("pattern" in option for option in options):
                names.add(name)
    return frozenset(names)


IDENTIFIERS = _identifiers()


def long_runs(value: bytes, expected: int) -> int:
    """How many runs of 13 digits a JSON text has at most, whatever stands between digits; -1 if it can't be told.

    Works on the bytes as a whole, without looking into escapes. It can't be told when digits of other scripts could be
    there. If there are more than ``expected``, 19-digit payment numbers in id fields are not counted.
    """
    flat = value.translate(_FLAT, _JSON_SPACE)
    if _FULL_WIDTH_DIGIT in flat or b"\0" in flat:
        return -1
    runs = flat.translate(None, _BETWEEN_DIGITS).count(_LONG_RUN)
    if runs <= expected:
        return runs
    return flat.replace(_PAYMENT_NUMBER, b"").translate(None, _BETWEEN_DIGITS).count(_LONG_RUN)


def may_hold_card(value: bytes) -> bool:
    """Whether a JSON value is worth a closer look for card numbers. Says yes too often, never no to one.

    Works on the bytes as a whole: digits are levelled, what may stand between digits is dropped, and what every event
    has (times, 19-digit payment numbers) is taken out. What is left and has a run of 13 digits is a suspect, and so is
    any text in which digits could be hidden: escapes, full-width and other scripts' digits.
    """
    if b"\\" in value or _OPEN_NAMES in value:
        return True
    flat = value.translate(_FLAT, _JSON_SPACE)
    if _FULL_WIDTH_DIGIT in flat or b"\0" in flat:
        return True
    return _LONG_RUN in flat.replace(_PAYMENT_NUMBER, b"").replace(_TIME, b"").translate(None, _BETWEEN_DIGITS)


def card_field(value: bytes) -> str | None:
    """The path of the first field (or key) of a JSON text that holds a card number; None when there is none."""
    if b"\\" in value:
        value = msgspec.json.encode(msgspec.json.decode(value))  # writes all but control characters unescaped
        if not may_hold_card(value):
            return None
    if not _has_luhn_run(value):
        return None
    return next(cards_in(msgspec.json.decode(value)), None)


def _has_luhn_run(value: bytes) -> bool:
    """Whether any digits of a suspect pass Luhn, or can't be judged without knowing their field."""
    if b"\\" in value:
        return True
    flat = value.translate(_FLAT)
    if _FULL_WIDTH_DIGIT in flat or b"\0" in flat:
        return True
    for run in _DIGIT_RUN.findall(value.translate(None, _JSON_SPACE + _BETWEEN_DIGITS)):
        if len(run) > cards.DIGITS_MAX or run not in value or cards.luhn(run.decode()):
            return True
    return False


def cards_in(value: Any, path: str = "", name: str = "") -> Iterator[str]:
    """The paths of all fields that hold a card number, in the order of the text. ``name`` is the value's own field.

    Under ``facts`` the names are the producer's, so they don't tell an identifier from a text.
    """
    if isinstance(value, str):
        found = cards.in_identifier(value) if name in IDENTIFIERS else next(cards.in_text(value), None) is not None
        if found:
            yield path or "the value"
    elif isinstance(value, dict):
        for key, item in value.items():
            hides = next(cards.in_text(key), None) is not None
            if hides:
                yield f"a key of {path or 'the value'}"
            at = f"{path}.{'(key)' if hides else key[:_SHOWN_MAX]}".removeprefix(".")
            yield from cards_in(item, at, "" if name == "facts" else key)
    elif isinstance(value, list):
        for item in value:
            yield from cards_in(item, path, name)
    elif type(value) in (int, float) and not name.endswith("_us") and cards.in_number(value):
        yield path or "the value"


def holds_secret_mark(value: bytes) -> bool:
    """Whether a name of a card's secret may be in the text at all."""
    lower = value.lower()
    return b"cv" in lower or b"pin" in lower or b"track" in lower or b"csc" in lower or b"magst" in lower


def secret_field(value: bytes) -> str | None:
    """The name of a field that holds a card's secret (security code, PIN, track data); None when there is none."""
    return next(_secrets_in(msgspec.json.decode(value)), None)


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if _SECRET.fullmatch(key.lower()):
                yield key
            yield from _secrets_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets_in(item)
