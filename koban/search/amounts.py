"""Amounts of yen as people type them: ``1200円``, ``¥1,200``, ``1.2千``, ``1万2千円``, ``1000円以上``."""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec

from koban.events import MAX_AMOUNT_MINOR

_UNITS = {"千": 1_000, "k": 1_000, "万": 10_000, "億": 100_000_000}
_SCALED = re.compile(r"(?P<number>\d+(?:\.\d{1,4})?)?(?P<unit>[千万億k])")
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_MONEY = re.compile(
    rf"^(?P<sign>[¥\\])?(?P<scaled>(?:(?:\d+(?:\.\d{{1,4}})?)?[千万億k])*)(?P<plain>{_PLAIN})?(?P<yen>円|yen|jpy)?\Z"
)
_RANGE = re.compile(r"^(?P<low>[^〜~]+)[〜~](?P<high>[^〜~]+)\Z")
_YEN_RANGE = re.compile(r"^(?P<low>[¥\\]?[\d,]+円?)-(?P<high>[¥\\]?[\d,]+円)\Z")
_SIDES = {"以上": ">=", "以下": "<=", "未満": "<", "超": ">"}
_DIGITS_MAX = 13


class Amounts(msgspec.Struct, frozen=True):
    """Amounts from ``low`` to ``high``, both included; None is no bound."""

    low: int | None
    high: int | None


def money(text: str) -> Amounts | None:
    """The amounts that a text means for sure: it has a sign, a unit, thousands separators, a bound or a range."""
    for word, operator in _SIDES.items():
        if text.endswith(word):
            return compared(operator, text.removesuffix(word))
    if match := _YEN_RANGE.match(text) or _RANGE.match(text):
        return _between(match["low"], match["high"])
    amount = _amount(text)
    if amount is None or text.isdecimal():
        return None
    return Amounts(amount, amount)


def compared(operator: str, text: str) -> Amounts | None:
    """The amounts that ``>=1000`` and the like mean; ``=`` and ``:`` may be followed by a range. None for no amount."""
    if operator in (":", "="):
        amount = _amount(text)
        return money(text) if amount is None else Amounts(amount, amount)
    amount = _amount(text)
    if amount is None:
        return None
    match operator:
        case ">=":
            return Amounts(amount, None)
        case ">":
            return Amounts(amount + 1, None)
        case "<=":
            return Amounts(None, amount)
        case "<":
            return Amounts(None, amount - 1)
    raise AssertionError(f"{operator} is no operator")


def _between(low_text: str, high_text: str) -> Amounts | None:
    low, high = _amount(low_text), _amount(high_text)
    if low is None or high is None:
        return None
    return Amounts(min(low, high), max(low, high))


def _amount(text: str) -> int | None:
    match = _MONEY.match(text)
    if match is None or not (match["scaled"] or match["plain"]):
        return None
    if match["scaled"] and match["scaled"][0] in "万億k":
        return None  # 千円 is a thousand yen; nobody writes 万円 for ten thousand
    plain = (match["plain"] or "0").replace(",", "")
    if len(plain) > _DIGITS_MAX or len(match["scaled"]) > 2 * _DIGITS_MAX:
        return None
    total = Fraction(int(plain))
    for part in _SCALED.finditer(match["scaled"]):
        total += Fraction(part["number"] or 1) * _UNITS[part["unit"]]
    if total.denominator != 1 or total > MAX_AMOUNT_MINOR:
        return None
    return int(total)
