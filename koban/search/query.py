"""What people type to find payments, and what it means.

One line: words of whatever is at hand. An amount (``1200円``, ``¥1,200``, ``1.2千``), a time (``昨日 18時ごろ``,
``11/21``), the last digits of a payment number, a status (``返金``, ``refunded``), a way of paying, else a part of the
store's name. ``key:value`` says which is meant (``status:refunded amount>=1000 store:渋谷``), ``-`` before a word takes
away, quotes make text of anything. Every text has a meaning and none raises: the meaning is a tuple of ``Chip``, each
of which prints back as the words it came from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from koban.search import amounts, times
from koban.search.document import Status

CHARACTERS_MAX = 200
"""Of a query; the rest is not read, and ``Query.cut`` says so."""
WORDS_MAX = 20
"""Of a query, alike."""
NUMBER_DIGITS_MIN = 3
"""Fewer digits are an amount, never the end of a payment number."""
AMOUNT_DIGITS_MAX = 8
"""More digits are a payment number, never an amount, unless something says yen."""


class Field(StrEnum):
    """What a chip is about."""

    AT = "at"
    AMOUNT = "amount"
    REFUNDED = "refunded"
    STATUS = "status"
    PAID_WITH = "with"
    NUMBER = "number"
    NUMBER_OR_AMOUNT = "number_or_amount"
    STORE = "store"
    TERMINAL = "terminal"
    WALLET = "wallet"
    MERCHANT = "merchant"


class Chip(msgspec.Struct, frozen=True):
    """One part of a query's meaning. ``low`` and ``high`` are included bounds (yen, or UTC µs); None is no bound."""

    field: Field
    source: str
    """The words that mean this and nothing else."""
    negated: bool = False
    values: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None


class Query(msgspec.Struct, frozen=True):
    """A query's meaning. ``cut`` is true when the text was longer than a query may be."""

    chips: tuple[Chip, ...]
    cut: bool = False

    def text(self) -> str:
        """A text that means this query: what an address or a saved search holds."""
        return " ".join(chip.source for chip in self.chips)

    def toggled(self, word: Chip) -> Query:
        """The query with a chip put in, or taken out when it says the same already."""
        kept = tuple(chip for chip in self.chips if _same(chip) != _same(word))
        return Query(kept if len(kept) < len(self.chips) else (*self.chips, word), cut=self.cut)

    def has(self, word: Chip) -> bool:
        """Whether a chip says the same."""
        return any(_same(chip) == _same(word) for chip in self.chips)

    def without(self, position: int) -> Query:
        """The query without one of its chips."""
        return Query(self.chips[:position] + self.chips[position + 1 :])


def _same(chip: Chip) -> tuple[Field, tuple[str, ...], bool]:
    return chip.field, chip.values, chip.negated


_REFUNDED = (Status.REFUNDED.value, Status.PARTIALLY_REFUNDED.value)
STATUS_WORDS: dict[str, tuple[str, ...]] = {
    "完了": (Status.COMPLETED.value,),
    "支払済": (Status.COMPLETED.value,),
    "返金": _REFUNDED,
    "返金済": _REFUNDED,
    "全額返金": (Status.REFUNDED.value,),
    "一部返金": (Status.PARTIALLY_REFUNDED.value,),
    "取消": (Status.CANCELED.value,),
    "取り消し": (Status.CANCELED.value,),
    "キャンセル": (Status.CANCELED.value,),
    "cancelled": (Status.CANCELED.value,),
    "与信": (Status.AUTHORIZED.value,),
    "オーソリ": (Status.AUTHORIZED.value,),
    "承認": (Status.AUTHORIZED.value,),
    "authorised": (Status.AUTHORIZED.value,),
    "無効": (Status.VOIDED.value,),
    "期限切れ": (Status.EXPIRED.value,),
    "失効": (Status.EXPIRED.value,),
    **{status.value: (status.value,) for status in Status},
    "refunded": _REFUNDED,
    "partial": (Status.PARTIALLY_REFUNDED.value,),
}
PAID_WITH_WORDS: dict[str, tuple[str, ...]] = {
    "残高": ("money", "money_lite"),
    "balance": ("money", "money_lite"),
    "ポイント": ("points", "points_ltd"),
    "points": ("points", "points_ltd"),
    "クーポン": ("voucher",),
    "クレジット": ("card",),
    "カード": ("card",),
    "card": ("card",),
    "後払い": ("paylater",),
    "あと払い": ("paylater",),
    **{kind: (kind,) for kind in ("voucher", "points_ltd", "money", "money_lite", "paylater")},
}
KEYS: dict[str, Field] = {
    "status": Field.STATUS,
    "状態": Field.STATUS,
    "amount": Field.AMOUNT,
    "金額": Field.AMOUNT,
    "refunded": Field.REFUNDED,
    "返金額": Field.REFUNDED,
    "at": Field.AT,
    "day": Field.AT,
    "date": Field.AT,
    "日時": Field.AT,
    "日付": Field.AT,
    "number": Field.NUMBER,
    "id": Field.NUMBER,
    "番号": Field.NUMBER,
    "store": Field.STORE,
    "店舗": Field.STORE,
    "terminal": Field.TERMINAL,
    "端末": Field.TERMINAL,
    "wallet": Field.WALLET,
    "with": Field.PAID_WITH,
    "支払": Field.PAID_WITH,
    "merchant": Field.MERCHANT,
    "加盟店": Field.MERCHANT,
}
_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_KEYED = re.compile(rf"^(?P<key>{'|'.join(KEYS)})(?P<operator>:|>=|<=|>|<|=)(?P<value>.+)\Z", re.IGNORECASE)
_COMPARED = re.compile(r"^(?P<operator>>=|<=|>|<|=)(?P<value>.+)\Z")
_NUMBER_LIKE = re.compile(r"^(?=(?:[^\d]*\d){4})[a-z0-9][a-z0-9-]*\Z")
_QUOTES = str.maketrans({"「": '"', "」": '"', "“": '"', "”": '"', "『": '"', "』": '"'})


def parse(text: str, now_us: int) -> Query:
    """What a text means at an instant (UTC µs), which gives words like 昨日 their day. Never raises."""
    normal = unicodedata.normalize("NFKC", text[:CHARACTERS_MAX]).translate(_QUOTES)
    printable = "".join(sign if sign.isprintable() else " " for sign in normal)
    words = _WORD.findall(printable)
    chips = [_chip(word, now_us) for word in words[:WORDS_MAX]]
    found = tuple(dict.fromkeys(_with_days(filter(None, chips), now_us)))
    return Query(found, cut=len(text) > CHARACTERS_MAX or len(words) > WORDS_MAX)


class _Loose(msgspec.Struct, frozen=True):
    """A time of day that has not met its day."""

    source: str
    negated: bool
    clock: times.Clock


def _chip(word: str, now_us: int) -> Chip | _Loose | None:
    negated = len(word) > 1 and word[0] in "-−"
    word = word[1:] if negated else word
    quoted = '"' in word
    bare = _unquoted(word)
    if not bare.strip("-−"):
        return None
    if match := _KEYED.match(word):
        value = _unquoted(match["value"])
        chip = _keyed(KEYS[match["key"].lower()], match["operator"], value, now_us)
        if chip is not None:
            return _signed(chip, negated, f"{match['key']}{match['operator']}", value)
    if quoted:
        return _signed(Chip(Field.STORE, "", values=(bare,)), negated, "", bare, quote=True)
    found = _plain(bare.lower(), now_us)
    if isinstance(found, times.Clock):
        return _Loose(f"-{bare}" if negated else bare, negated, found)
    return _signed(found, negated, "", bare)


def _signed(chip: Chip, negated: bool, prefix: str, value: str, *, quote: bool = False) -> Chip:
    quote = quote or " " in value
    source = f"{'-' if negated else ''}{prefix}{_quoted(value) if quote else value}"
    return msgspec.structs.replace(chip, source=source, negated=negated)


def _unquoted(word: str) -> str:
    return " ".join(word.replace('"', " ").split()) if '"' in word else word


def _quoted(value: str) -> str:
    return f'"{value}"'


def _plain(word: str, now_us: int) -> Chip | times.Clock:
    """The meaning of a word that does not say its field; the first that fits."""
    if match := _COMPARED.match(word):
        chip = _keyed(Field.AMOUNT, match["operator"], match["value"], now_us)
        if chip is not None:
            return chip
    if word in STATUS_WORDS:
        return Chip(Field.STATUS, "", values=STATUS_WORDS[word])
    if word in PAID_WITH_WORDS:
        return Chip(Field.PAID_WITH, "", values=PAID_WITH_WORDS[word])
    if found := times.span(word, now_us):
        return _time(found)
    if part := times.clock(word):
        return part
    if money := amounts.money(word):
        return Chip(Field.AMOUNT, "", low=money.low, high=money.high)
    return _number(word) or Chip(Field.STORE, "", values=(word,))


def _number(word: str) -> Chip | None:
    if not word.isascii() or not _NUMBER_LIKE.match(word):
        if not (word.isascii() and word.isdecimal()):
            return None
        if len(word) < NUMBER_DIGITS_MIN:
            return Chip(Field.AMOUNT, "", low=int(word), high=int(word))
    if not word.isdecimal():
        return Chip(Field.NUMBER, "", values=(word,))
    if len(word) > AMOUNT_DIGITS_MAX or word.startswith("0"):
        return Chip(Field.NUMBER, "", values=(word,))
    return Chip(Field.NUMBER_OR_AMOUNT, "", values=(word,), low=int(word), high=int(word))


def _time(found: times.Span) -> Chip:
    return Chip(Field.AT, "", low=found.start_us, high=found.end_us - 1)


def _keyed(field: Field, operator: str, value: str, now_us: int) -> Chip | None:
    """The meaning of ``key:value``; None when the value does not fit the key, so that the word is read as text."""
    word = value.lower()
    match field:
        case Field.AMOUNT | Field.REFUNDED:
            found = amounts.compared(operator, word)
            return Chip(field, "", low=found.low, high=found.high) if found else None
        case Field.AT:
            return _keyed_time(operator, word, now_us)
        case _ if operator not in (":", "=") or not value:
            return None
        case Field.STATUS:
            return Chip(field, "", values=STATUS_WORDS[word]) if word in STATUS_WORDS else None
        case Field.PAID_WITH:
            return Chip(field, "", values=PAID_WITH_WORDS[word]) if word in PAID_WITH_WORDS else None
        case _:
            return Chip(field, "", values=(value,))


def _keyed_time(operator: str, value: str, now_us: int) -> Chip | None:
    part = times.clock(value)
    found = times.lately(part, now_us) if part else times.span(value, now_us)
    if found is None:
        return None
    match operator:
        case ">=":
            return Chip(Field.AT, "", low=found.start_us)
        case ">":
            return Chip(Field.AT, "", low=found.end_us)
        case "<=":
            return Chip(Field.AT, "", high=found.end_us - 1)
        case "<":
            return Chip(Field.AT, "", high=found.start_us - 1)
    return _time(found)


def _with_days(chips: Iterable[Chip | _Loose], now_us: int) -> Iterator[Chip]:
    """Join times of day to the first day that is named; one that meets no day is the latest such time."""
    rest = list(chips)
    day = next((chip for chip in rest if isinstance(chip, Chip) and _is_one_day(chip)), None)
    joined = {loose: _joined(day, loose, now_us) for loose in rest if day and isinstance(loose, _Loose)}
    for chip in rest:
        if isinstance(chip, Chip):
            if chip is not day or not any(joined.values()):
                yield chip
            continue
        found = joined.get(chip) or _time(times.lately(chip.clock, now_us))
        yield msgspec.structs.replace(found, source=found.source or chip.source, negated=chip.negated)


def _joined(day: Chip, loose: _Loose, now_us: int) -> Chip | None:
    """A day and a time of day as the one word that means both; None where there is no such word."""
    if loose.negated:
        return None
    chip = _chip(f"{day.source}{'@' if day.source.isascii() else 'の'}{loose.source}", now_us)
    return chip if isinstance(chip, Chip) and chip.field is Field.AT else None


_DAY_US = 86_400_000_000


def _is_one_day(chip: Chip) -> bool:
    bounded = chip.field is Field.AT and chip.low is not None and chip.high is not None
    return bounded and not chip.negated and (chip.high or 0) - (chip.low or 0) == _DAY_US - 1
