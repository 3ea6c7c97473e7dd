"""Yen as people read them."""

from __future__ import annotations

import pytest

from koban.money import yen


@pytest.mark.parametrize(
    ("amount_minor", "text"),
    [(0, "¥0"), (999, "¥999"), (1_200, "¥1,200"), (-3_603, "-¥3,603"), (10**12, "¥1,000,000,000,000")],
)
def test_the_sign_comes_first_and_thousands_are_grouped(amount_minor, text):
    assert yen(amount_minor) == text
