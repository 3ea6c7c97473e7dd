"""Card numbers in text, found in every usual disguise.

What counts as a card number:

- in free text, an unbroken run of 13 to 19 digits that passes Luhn; or a run broken by spaces, dashes or dots that
  passes Luhn and either starts like an issuer's card of that length or is grouped like a card (4-4-4-4, 4-6-5, …);
  or the first or last 15 or 16 of 20 and more digits, if they start like an issuer's card and pass Luhn;
- in an identifier, only a part that stands alone between signs that are no letters or digits, has 13 to 16 digits,
  starts like an issuer's card of that length and passes Luhn. Payment numbers have 19 digits, and one digit string
  in ten passes Luhn: they must not be taken for cards;
- as a JSON number, digits that start like an issuer's card of that length and pass Luhn.

Digits are all Unicode decimals (full-width, circled, …). UUIDs and long hexadecimal hashes are no cards.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

DIGITS_MIN, DIGITS_MAX = 13, 19
ID_DIGITS_MAX = 16
_GLUED_LENGTHS = (15, 16)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_DOUBLED_SIGNS = str.maketrans("0123456789", "0246813579")
RUN = re.compile(r"[0-9](?:[ .\-]{0,3}+[0-9]){12,}+")
_HASH = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32,})(?![0-9A-Za-z])"
)
_HEX_LETTER = re.compile(r"[A-Fa-f]")
_CARD_GROUPS = frozenset({(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)})
_SPACES = "\0\t\n\v\f\r\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff\u3000"
_DASHES = "\u30fc\uff70\u2212\uff0d\u2043\u00b7\u30fb\uff0e\uff65"


class Span(NamedTuple):
    """A card number's place in a text, from ``start`` up to but not including ``end``."""

    start: int
    end: int


class _Plain(dict[int, str]):
    """Maps each code point to a plain sign of the same length: digits to 0-9, odd spaces and dashes to ' ' and '-'."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        digit = unicodedata.digit(sign, None)
        if digit is not None:
            plain = str(digit)
        elif sign in _SPACES or unicodedata.category(sign) == "Zs":
            plain = " "
        elif sign in _DASHES or unicodedata.category(sign) == "Pd":
            plain = "-"
        else:
            plain = sign
        self[code] = plain
        return plain


_PLAIN = _Plain()


def plain(text: str) -> str:
    """The text with every digit as 0-9 and every space and dash as ' ' and '-'; positions stay the same."""
    return text if text.isascii() and text.isprintable() else text.translate(_PLAIN)


def luhn(digits: str) -> bool:
    """Whether the digits 0-9 pass the check that all card numbers pass (ISO/IEC 7812-1, annex B)."""
    doubled = digits[-2::-2].translate(_DOUBLED_SIGNS)
    return (sum(map(int, digits[-1::-2])) + sum(map(int, doubled))) % 10 == 0


def issued(digits: str) -> bool:
    """Whether a card scheme issues numbers of this start and this length."""
    two, four, length = int(digits[:2]), int(digits[:4]), len(digits)
    if digits[0] == "4":
        return length in (13, 16, 19)  # Visa
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204:
        return length == 16  # Mastercard, Mir
    if two in (34, 37):
        return length == 15  # American Express
    if 3528 <= four <= 3589:
        return length >= 16  # JCB
    if two in (36, 38, 39) or 300 <= int(digits[:3]) <= 305:
        return length >= 14  # Diners Club
    if two in (60, 62, 64, 65, 81, 82):
        return length >= 16  # Discover, UnionPay, RuPay
    if two in (50, 56, 57, 58, 63, 67):
        return length >= 13  # Maestro
    return four == 9792 and length == 16  # Troy


class _Run(NamedTuple):
    """A run of digits: the digits alone, each one's place in the text, and where unbroken groups begin and end."""

    digits: str
    places: list[int]
    bounds: list[int]


def _runs(text: str) -> Iterator[_Run]:
    for match in RUN.finditer(text):
        yield _run(match.group(), match.start())


def _run(run: str, start: int) -> _Run:
    if run.isdecimal():
        return _Run(run, list(range(start, start + len(run))), [0, len(run)])
    places = [start + at for at, sign in enumerate(run) if sign.isdecimal()]
    bounds = [0, *(at for at in range(1, len(places)) if places[at] != places[at - 1] + 1), len(places)]
    return _Run("".join(sign for sign in run if sign.isdecimal()), places, bounds)


def in_text(text: str) -> Iterator[Span]:
    """Card numbers in free text."""
    text = plain(text)
    hashes: list[Span] | None = None
    for run in _runs(text):
        for first, last in _cards_of_run(run):
            if hashes is None:
                hashes = [Span(*h.span()) for h in _HASH.finditer(text) if _HEX_LETTER.search(h.group())]
            span = Span(run.places[first], run.places[last - 1] + 1)
            if not any(h.start <= span.start and span.end <= h.end for h in hashes):
                yield span


def _cards_of_run(run: _Run) -> Iterator[tuple[int, int]]:
    """Places (first digit, behind the last digit) of the parts of a run that are card numbers."""
    sums = _LuhnSums(run.digits)
    bounds = run.bounds
    for at, first in enumerate(bounds[:-1]):
        if bounds[at + 1] - first > DIGITS_MAX:
            yield from _cards_within(run.digits, sums, first, bounds[at + 1])
        for end in range(at + 1, len(bounds)):
            last = bounds[end]
            length = last - first
            if length > DIGITS_MAX:
                break
            if length < DIGITS_MIN or not sums.pass_between(first, last):
                continue
            groups = tuple(bounds[g + 1] - bounds[g] for g in range(at, end))
            if len(groups) == 1 or groups in _CARD_GROUPS or issued(run.digits[first:last]):
                yield first, last


def _cards_within(digits: str, sums: _LuhnSums, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Card numbers at either end of an unbroken group longer than any card: an expiry or zeros were glued to them."""
    for length in _GLUED_LENGTHS:
        for first in (start, end - length):
            if sums.pass_between(first, first + length) and issued(digits[first : first + length]):
                yield first, first + length


class _LuhnSums:
    """Luhn's check of any part of a digit string in constant time, by sums over its prefixes."""

    __slots__ = ("_even", "_odd")

    def __init__(self, digits: str) -> None:
        even = odd = 0
        self._even, self._odd = [0], [0]  # sums that leave the digits at even (odd) places as they are
        for place, sign in enumerate(digits):
            digit = int(sign)
            doubled = _DOUBLED[digit]
            even += doubled if place & 1 else digit
            odd += digit if place & 1 else doubled
            self._even.append(even)
            self._odd.append(odd)

    def pass_between(self, first: int, last: int) -> bool:
        sums = self._odd if (last - 1) & 1 else self._even
        return (sums[last] - sums[first]) % 10 == 0


def in_identifier(text: str) -> bool:
    """Whether an identifier is, or has as a part between signs, a card number."""
    text = plain(text)
    if _HASH.fullmatch(text):
        return False
    for run in _runs(text):
        for first, last in _cards_of_run(run):
            start, end = run.places[first], run.places[last - 1] + 1
            digits = run.digits[first:last]
            alone = not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())
            if alone and last - first <= ID_DIGITS_MAX and issued(digits):
                return True
    return False


def in_number(number: float) -> bool:
    """Whether a JSON number's digits are a card number."""
    if isinstance(number, float):
        if not number.is_integer():
            return False
        number = int(number)
    digits = str(abs(number)) if abs(number) < 10**DIGITS_MAX else ""
    return len(digits) >= DIGITS_MIN and luhn(digits) and issued(digits)
