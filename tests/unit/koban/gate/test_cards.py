"""Card numbers are found in any usual disguise, and ids, times and phone numbers are not taken for them."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.gate import cards
from tests.unit.koban.gate.cards_in_disguise import DISGUISES, TEST_CARDS


@pytest.mark.parametrize("card", TEST_CARDS)
def test_test_cards_pass_luhn_and_look_issued(card: str) -> None:
    """The schemes' test numbers are card numbers by every rule."""
    assert cards.luhn(card)
    assert cards.issued(card)


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("card", TEST_CARDS)
def test_text_gives_a_disguised_card_away(card: str, disguise: str) -> None:
    """However a card number is written in free text, its first and last digit are found."""
    text = DISGUISES[disguise](card)
    flat = "".join(sign for sign in cards.plain(text) if sign.isdecimal())
    spans = list(cards.in_text(text))
    assert spans, text
    found = ["".join(s for s in cards.plain(text)[a:b] if s.isdecimal()) for a, b in spans]
    assert card in found or (card in flat and any(card in part or part in card for part in found))


@given(st.text(alphabet="0123456789", min_size=12, max_size=18), st.text(max_size=20), st.text(max_size=20))
def test_any_luhn_run_in_text_is_found(digits: str, before: str, after: str) -> None:
    """13 to 19 digits that pass Luhn, between anything that is neither digit nor letter of a hash, are found."""
    card = digits + next(d for d in "0123456789" if cards.luhn(digits + d))
    assert list(cards.in_text(f"{before}≪{card}≫{after}"))


@given(st.text(alphabet="0123456789", min_size=13, max_size=19))
def test_luhn_equals_the_textbook(digits: str) -> None:
    """The quick check equals doubling every second digit from the right and adding up the digits' sums."""
    total = 0
    for place, sign in enumerate(reversed(digits)):
        number = int(sign) * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    assert cards.luhn(digits) == (total % 10 == 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "コーヒー 2杯 1,280円",
        "090-1234-5678",
        "2026-11-23 10:15:00",
        "1795400000000000",
        "4111111111111112",
        "〒150-0002 渋谷1-2-3 03-1234-5678",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "192.168.100.100",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Amounts, phone numbers, dates, times, hashes and addresses are no cards."""
    assert not list(cards.in_text(text))


def test_uuids_and_hashes_are_never_cards() -> None:
    """Of 20,000 UUIDs and 20,000 hashes none is taken for a card, in text or as an id."""
    source = random.Random(7)
    for _ in range(20_000):
        plain = str(uuid.UUID(int=source.getrandbits(128), version=4))
        digest = f"{source.getrandbits(256):064x}"
        for text in (plain, digest):
            assert text.isdecimal() or not list(cards.in_text(text))
            assert not cards.in_identifier(text)


def test_payment_numbers_are_no_cards_as_ids() -> None:
    """19-digit payment numbers never count as cards in an id field, though one in ten passes Luhn."""
    source = random.Random(8)
    assert not any(cards.in_identifier(str(source.randrange(10**18, 10**19))) for _ in range(20_000))


@pytest.mark.parametrize(
    ("identifier", "is_card"),
    [
        ("4111111111111111", True),
        ("card:4111111111111111", True),
        ("4111-1111-1111-1111", True),
        ("378282246310005", True),
        ("pay.4111111111111111.1", True),
        ("pay4111111111111111", False),
        ("4111111111111112", False),
        ("1041234567890125", False),
        ("4000000000000000006", False),
    ],
)
def test_ids_hold_a_card_only_when_it_stands_alone(identifier: str, is_card: bool) -> None:
    """An id is a card number when a part of it between signs is one, by start, length and Luhn."""
    assert cards.in_identifier(identifier) is is_card


@pytest.mark.parametrize(
    ("number", "is_card"),
    [(4111111111111111, True), (4111111111111111.0, True), (-4111111111111111, True), (10**400, False), (0.5, False),
     (float("inf"), False), (float("nan"), False), (1_000_000_000_000, False), (1795400000000000, False)],
)  # fmt: skip
def test_numbers_hold_a_card_when_issued(number: float, is_card: bool) -> None:
    """A JSON number is a card number by start, length and Luhn; no number is too large or too odd to be asked."""
    assert cards.in_number(number) is is_card


def test_hostile_digit_strings_take_linear_time() -> None:
    """The longest allowed event, all digits or all single digits, is judged within the test's time limit."""
    for text in ("4" * 65_000, "4 " * 32_000, "41 - " * 13_000):
        assert all(span.start < span.end for span in cards.in_text(text))
