"""Where a text leads: to a desk, a payment, a wallet, else to the search; never out of the console."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.desks import DESKS
from dashboards.jump import target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ledger", "/ledger"),
        ("元帳", "/ledger"),
        (" operations ", "/operations"),
        ("0472993188201143902", "/payments/0472993188201143902"),
        ("1143", "/payments?q=1143"),
        ("w-17", "/payments?q=wallet%3Aw-17"),
        ("昨日 1200円", "/payments?q=%E6%98%A8%E6%97%A5+1200%E5%86%86"),
        ("", "/payments"),
    ],
)
def test_a_text_leads_somewhere(text: str, expected: str) -> None:
    assert target(text, DESKS) == expected


@given(
    st.one_of(st.text(), st.sampled_from(["//evil.example", "https://evil.example", "/\\evil", "javascript:alert(1)"]))
)
def test_no_text_leads_out(text: str) -> None:
    place = urlsplit(target(text, DESKS))
    assert (place.scheme, place.netloc) == ("", "")
    assert place.path in {desk.path for desk in DESKS} or place.path.startswith("/payments/")
