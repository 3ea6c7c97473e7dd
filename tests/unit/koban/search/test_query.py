"""What people type, what it means, and that it can never mean somebody else's payments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.business_time import JST
from koban.search.query import CHARACTERS_MAX, WORDS_MAX, Field, parse
from koban.search.request import FACETS, CursorError, Scope, Sort, after, cursor_of, facet_chip, request


def jst(text: str) -> int:
    """UTC µs of a Japanese time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=JST).timestamp()) * 1_000_000


NOW = jst("2025-11-22 12:00:00")  # a Saturday

AMOUNTS: list[tuple[str, int | None, int | None]] = [
    ("1200円", 1200, 1200),
    ("１２００円", 1200, 1200),
    ("¥1,200", 1200, 1200),
    ("￥1200", 1200, 1200),
    ("1,200", 1200, 1200),
    ("1.2千", 1200, 1200),
    ("1.2千円", 1200, 1200),
    ("3万", 30_000, 30_000),
    ("1万2千円", 12_000, 12_000),
    ("1億円", 100_000_000, 100_000_000),
    ("千円", 1000, 1000),
    ("1.5k", 1500, 1500),
    ("80", 80, 80),
    ("1000円以上", 1000, None),
    ("1000以下", None, 1000),
    ("1000円未満", None, 999),
    (">=1000", 1000, None),
    (">1000円", 1001, None),
    ("<1000", None, 999),
    ("1000〜2000円", 1000, 2000),
    ("2000~1000", 1000, 2000),
    ("1,000-2,000円", 1000, 2000),
    ("amount:1200", 1200, 1200),
    ("金額:1200円", 1200, 1200),
    ("amount>=1.2千", 1200, None),
    ("amount:1000~2000", 1000, 2000),
]


@pytest.mark.parametrize(("text", "low", "high"), AMOUNTS)
def test_amounts(text: str, low: int | None, high: int | None) -> None:
    """Yen in every way they are written."""
    (chip,) = parse(text, NOW).chips
    assert (chip.field, chip.low, chip.high) == (Field.AMOUNT, low, high)


TIMES = [
    ("今日", "2025-11-22 00:00:00", "2025-11-23 00:00:00"),
    ("昨日", "2025-11-21 00:00:00", "2025-11-22 00:00:00"),
    ("おととい", "2025-11-20 00:00:00", "2025-11-21 00:00:00"),
    ("3日前", "2025-11-19 00:00:00", "2025-11-20 00:00:00"),
    ("yesterday", "2025-11-21 00:00:00", "2025-11-22 00:00:00"),
    ("先月", "2025-10-01 00:00:00", "2025-11-01 00:00:00"),
    ("今週", "2025-11-17 00:00:00", "2025-11-24 00:00:00"),
    ("先週", "2025-11-10 00:00:00", "2025-11-17 00:00:00"),
    ("11/21", "2025-11-21 00:00:00", "2025-11-22 00:00:00"),
    ("12/31", "2024-12-31 00:00:00", "2025-01-01 00:00:00"),
    ("11月21日", "2025-11-21 00:00:00", "2025-11-22 00:00:00"),
    ("2025-11-21", "2025-11-21 00:00:00", "2025-11-22 00:00:00"),
    ("2024/2/29", "2024-02-29 00:00:00", "2024-03-01 00:00:00"),
    ("2025年10月", "2025-10-01 00:00:00", "2025-11-01 00:00:00"),
    ("11/20〜11/21", "2025-11-20 00:00:00", "2025-11-22 00:00:00"),
    ("2025-11-20..2025-11-21", "2025-11-20 00:00:00", "2025-11-22 00:00:00"),
    ("昨日 18時", "2025-11-21 18:00:00", "2025-11-21 19:00:00"),
    ("昨日18時ごろ", "2025-11-21 17:30:00", "2025-11-21 18:30:00"),
    ("昨日の18時半", "2025-11-21 18:30:00", "2025-11-21 18:31:00"),
    ("11/21 18:00", "2025-11-21 18:00:00", "2025-11-21 18:01:00"),
    ("11/21@18:00", "2025-11-21 18:00:00", "2025-11-21 18:01:00"),
    ("yesterday 6pm", "2025-11-21 18:00:00", "2025-11-21 19:00:00"),
    ("18:00 11/21", "2025-11-21 18:00:00", "2025-11-21 18:01:00"),
    ("18時ごろ", "2025-11-21 17:30:00", "2025-11-21 18:30:00"),
    ("9時", "2025-11-22 09:00:00", "2025-11-22 10:00:00"),
    ("午後6時", "2025-11-21 18:00:00", "2025-11-21 19:00:00"),
    ("6pm", "2025-11-21 18:00:00", "2025-11-21 19:00:00"),
    ("午前12時", "2025-11-22 00:00:00", "2025-11-22 01:00:00"),
    ("9時〜11時", "2025-11-22 09:00:00", "2025-11-22 11:00:00"),
    ("at:昨日", "2025-11-21 00:00:00", "2025-11-22 00:00:00"),
]


@pytest.mark.parametrize(("text", "start", "end"), TIMES)
def test_times(text: str, start: str, end: str) -> None:
    """Japanese business days and times of day; a time without a day is the latest such time."""
    (chip,) = parse(text, NOW).chips
    assert (chip.field, chip.low, chip.high) == (Field.AT, jst(start), jst(end) - 1)


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("返金", Field.STATUS, ("refunded", "partially_refunded")),
        ("完了", Field.STATUS, ("completed",)),
        ("refunded", Field.STATUS, ("refunded", "partially_refunded")),
        ("Status:Canceled", Field.STATUS, ("canceled",)),
        ("カード", Field.PAID_WITH, ("card",)),
        ("残高", Field.PAID_WITH, ("money", "money_lite")),
        ("1143", Field.NUMBER_OR_AMOUNT, ("1143",)),
        ("0143", Field.NUMBER, ("0143",)),
        ("0472993188201143902", Field.NUMBER, ("0472993188201143902",)),
        ("0472-9931-8820", Field.NUMBER, ("0472-9931-8820",)),
        ("番号:902", Field.NUMBER, ("902",)),
        ("渋谷", Field.STORE, ("渋谷",)),
        ('"1200円 カフェ"', Field.STORE, ("1200円 カフェ",)),
        ("「完了」", Field.STORE, ("完了",)),
        ("store:今日", Field.STORE, ("今日",)),
        ("status:渋谷", Field.STORE, ("status:渋谷",)),
        ("13/45", Field.STORE, ("13/45",)),
        ("terminal:T-1", Field.TERMINAL, ("T-1",)),
        ("wallet:W-9", Field.WALLET, ("W-9",)),
        ("merchant:m-2", Field.MERCHANT, ("m-2",)),
    ],
)
def test_words(text: str, field: Field, values: tuple[str, ...]) -> None:
    """Statuses, ways of paying, payment numbers, ids; anything else is a store's name."""
    (chip,) = parse(text, NOW).chips
    assert (chip.field, chip.values) == (field, values)


def test_the_box_takes_everything_at_once() -> None:
    """What a merchant remembers of a payment, in one line; each part can be taken out again."""
    query = parse("昨日 18時ごろ 1200円 渋谷 -カード", NOW)
    assert [(chip.field.value, chip.source) for chip in query.chips] == [
        ("at", "昨日の18時ごろ"),
        ("amount", "1200円"),
        ("store", "渋谷"),
        ("with", "-カード"),
    ]
    assert query.without(0).text() == "1200円 渋谷 -カード"


def test_limits() -> None:
    """A text that is too long is cut, and says so."""
    assert parse("あ" * (CHARACTERS_MAX + 1), NOW).cut
    many = parse(" ".join(f"w{at}x" for at in range(WORDS_MAX + 5)), NOW)
    assert many.cut
    assert len(many.chips) == WORDS_MAX
    assert not parse("", NOW).chips
    assert not parse(' - "" -"" \x00 ', NOW).chips


ATTEMPTS = ("status:refunded", "merchant:m-2", "OR merchant_id:m-2", "-merchant:m-1", "_routing", '{"match_all":{}}')
SIGNS = "-:\"'()*?~/\\{}[]\u3000\x00\ud7ff"
PIECES = st.sampled_from([*(text for text, *_ in AMOUNTS), *(text for text, *_ in TIMES), *SIGNS, *ATTEMPTS])
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=8).map(" ".join), st.lists(PIECES).map("".join))


@given(TEXTS)
def test_a_meaning_prints_back(text: str) -> None:
    """Whatever is typed, it means something, and its canonical text means the same."""
    query = parse(text, NOW)
    if len(query.text()) <= CHARACTERS_MAX:
        assert parse(query.text(), NOW).chips == query.chips
    for chip in query.chips:
        assert chip.source
        assert chip.low is None or chip.high is None or chip.low <= chip.high


ALLOWED = {"term", "terms", "range", "prefix", "match", "match_phrase", "match_none", "bool"}


def clauses(condition: dict[str, Any]) -> list[str]:
    """The kinds of all clauses within a bool."""
    found = []
    for part in ("filter", "must_not", "should"):
        for clause in condition.get(part, []):
            (kind,) = clause
            found.append(kind)
            if kind == "bool":
                found += clauses(clause["bool"])
    return found


@given(TEXTS)
def test_no_text_leaves_its_merchant(text: str) -> None:
    """The merchant's filter stands beside everything typed, and only allow-listed clauses are ever sent."""
    body = request(parse(text, NOW), Scope.of_merchant("m-1"))
    condition = body["query"]["bool"]
    assert set(condition) <= {"filter", "must_not"}
    assert condition["filter"][0] == {"term": {"merchant_id": "m-1"}}
    assert set(clauses(condition)) <= ALLOWED


def test_alternatives_and_bounds() -> None:
    """Two statuses are alternatives, two bounds both hold, two words of a name both hold."""
    filters = request(parse("完了 返金 >=1000 <=2000 渋谷 カフェ", NOW), Scope.operator())["query"]["bool"]["filter"]
    assert [next(iter(clause)) for clause in filters] == ["range", "range", "bool", "bool", "bool"]
    assert len(filters[2]["bool"]["should"]) == 2


def test_a_number_is_looked_up_from_its_end() -> None:
    """Four digits are an amount or the end of a payment number: both are looked for."""
    (clause,) = request(parse("1143", NOW), Scope.operator())["query"]["bool"]["filter"]
    assert clause["bool"]["should"] == [{"term": {"amount_minor": 1143}}, {"prefix": {"number_reversed": "3411"}}]
    (clause,) = request(parse("number:--", NOW), Scope.operator())["query"]["bool"]["filter"]
    assert clause == {"match_none": {}}


def test_cursors() -> None:
    """A cursor goes on behind a hit; anything else is refused."""
    body = request(parse("", NOW), Scope.operator(), size=10_000, cursor=cursor_of(NOW, "pay-1"))
    assert body["search_after"] == [NOW, "pay-1"]
    assert body["size"] == 200
    assert after(cursor_of(1, "決済")) == (1, "決済")
    largest = cursor_of(500, "pay-1", Sort.LARGEST)
    assert request(parse("", NOW), Scope.operator(), cursor=largest, sort=Sort.LARGEST)["search_after"] == [
        500,
        "pay-1",
    ]
    with pytest.raises(CursorError, match="another order"):
        after(largest, Sort.SMALLEST)


@pytest.mark.parametrize(("field", "word"), [(field, word) for field, words in FACETS.items() for word in words])
def test_a_facet_is_words_of_the_language(field: Field, word: str) -> None:
    """What a facet counts is what its words find; switched twice, a query is as it was."""
    chip = facet_chip(field, word)
    assert parse(chip.source, NOW).chips == (chip,)
    query = parse("渋谷 1200円", NOW)
    once = query.toggled(chip)
    assert parse(once.text(), NOW).chips == once.chips
    assert once.has(chip)
    assert not query.has(chip)
    assert once.toggled(chip) == query


def test_a_facet_takes_out_the_same_in_other_words() -> None:
    """返金 and status:refunded mean the same."""
    assert parse("返金 渋谷", NOW).toggled(facet_chip(Field.STATUS, "refunded")).text() == "渋谷"


@pytest.mark.parametrize("sort", Sort)
def test_orders(sort: Sort) -> None:
    """Ties are broken by number, in the same direction, so that a cursor is a place."""
    first, second = request(parse("", NOW), Scope.operator(), sort=sort)["sort"]
    assert first == {sort.field: sort.direction}
    assert second == {"payment_id": sort.direction}


@given(st.text(max_size=60))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    """No text that a search did not give out goes on anywhere."""
    with pytest.raises(CursorError):
        after(text + "!")
