"""Dead letters and reasons keep everything but card numbers and card secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.gate import cards
from koban.gate.masking import excerpt, without_cards
from tests.unit.koban.gate.cards_in_disguise import DISGUISES, TEST_CARDS
from tests.unit.koban.gate.examples import raw

CARD = "4111111111111111"


def digits_of(value: bytes) -> str:
    return "".join(sign for sign in cards.plain(value.decode("utf-8", "replace")) if sign.isdecimal())


def test_a_card_keeps_its_first_six_and_last_four_digits() -> None:
    """The bytes between stay as many, and all else is untouched."""
    value = raw(body__memo=f"card {CARD}!")
    assert without_cards(value) == (value.replace(CARD.encode(), b"411111******1111"), True)


@pytest.mark.parametrize("escaped", [False, True], ids=["unescaped", "escaped"])
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("broken", [False, True], ids=["json", "broken"])
def test_no_disguise_survives(disguise: str, escaped: bool, broken: bool) -> None:
    """Whether the value is JSON or broken, no test card is left in it."""
    for card in TEST_CARDS:
        text = json.dumps({"memo": DISGUISES[disguise](card)}, ensure_ascii=escaped)
        value, masked = without_cards(text.encode()[: -1 if broken else None])
        assert masked
        assert card not in digits_of(value)


@pytest.mark.parametrize(
    "value",
    [
        raw(),
        raw()[:-1],
        raw(aggregate_id="4000000000000000006", correlation_id="4000000000000000006"),
        raw(aggregate_id="4000000000000000006")[:-1],
        b"\xff\xfe\x00garbage",
        b"",
        b"\0" * 1000,
        b"[" * 100_000,
    ],
)
def test_values_without_cards_stay_as_they_are(value: bytes) -> None:
    """Ids, times and garbage are kept to the byte."""
    assert without_cards(value) == (value, False)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_masked(value: bytes) -> None:
    """Never an error, and nothing changes but what is masked."""
    clean, masked = without_cards(value)
    assert masked or clean == value


def test_bytes_around_a_card_survive_even_if_they_are_no_text() -> None:
    """Broken UTF-8 beside a card number is kept."""
    assert without_cards(b"\xff\xfe" + CARD.encode() + b"\x80") == (b"\xff\xfe411111******1111\x80", True)


def test_utf_16_does_not_hide_a_card() -> None:
    """Text in the wrong encoding is masked too."""
    value, masked = without_cards(CARD.encode("utf-16-le"))
    assert masked
    assert value.decode("utf-16-le") == "411111******1111"


def test_secrets_go_altogether() -> None:
    """Security codes, PINs and track data lose their value, whatever its type."""
    value, masked = without_cards(b'{"cvv":"123","PIN": 9876, "track2":"x\\"y","pinned":"yes"')
    assert masked
    assert value == b'{"cvv":"***","PIN": "***", "track2":"***","pinned":"yes"'


@pytest.mark.parametrize(
    "value",
    [b"4" * 10**7, b"4 " * (10**7 // 2), CARD.encode() * 600_000, f"{CARD},".encode() * 600_000, "あ".encode() * 10**6],
    ids=["digits", "spaced", "glued", "listed", "kana"],
)  # fmt: skip
def test_ten_hostile_megabytes_are_masked_within_the_time_limit(value: bytes) -> None:
    """A value of any size and content is masked in bounded time, and holds no card afterwards."""
    clean, _ = without_cards(value)
    assert len(clean) == len(value)
    assert CARD.encode() not in clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        (CARD, "411111******1111"),
        (f"x{CARD[:12]}", "x411111**1111"),
        ("a" * 50, "a" * 40 + "… (50 characters)"),
        ("\ud800", "?"),
    ],
)
def test_an_excerpt_is_short_and_masked(text: str, shown: str) -> None:
    """Long texts are cut after masking, so that no cut leaves more of a card than a mask does."""
    assert excerpt(text) == shown
