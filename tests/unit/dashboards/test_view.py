"""The address keeps what it does not change."""

from __future__ import annotations

import pytest
from fastapi import Request

from dashboards.view import View, address, view_of


def asked(query: str, cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return Request({"type": "http", "path": "/list", "query_string": query.encode(), "headers": headers})


@pytest.mark.parametrize(
    ("query", "changes", "expected"),
    [
        ("a=1&b=2&b=3", {"a": "9"}, "/list?a=9&b=2&b=3"),
        ("a=1&b=2&b=3", {"b": "9"}, "/list?a=1&b=9"),
        ("a=1&b=2&b=3", {"b": None}, "/list?a=1"),
        ("a=1", {"a": None}, "/list"),
        ("", {"c": "x y&"}, "/list?c=x+y%26"),
        ("empty=&a=1", {}, "/list?a=1"),
    ],
)
def test_an_address_with_changes(query: str, changes: dict[str, str | None], expected: str) -> None:
    assert address(asked(query), **changes) == expected


def test_the_same_address_in_another_form() -> None:
    assert address(asked("a=1"), "/list.csv") == "/list.csv?a=1"


@pytest.mark.parametrize(
    ("query", "cookie", "expected"),
    [
        ("lang=en&theme=dark&zone=utc", "", View("en", "dark", "utc")),
        ("", "lang=en; theme=dark; zone=utc", View("en", "dark", "utc")),
        ("zone=jst", "zone=utc", View("ja", "", "jst")),
        ("lang=xx&theme=<b>&zone=mars", "", View("ja", "", "jst")),
    ],
)
def test_a_view_is_of_known_choices_only(query: str, cookie: str, expected: View) -> None:
    """The address before what was chosen earlier; anything else is as if nothing was said."""
    assert view_of(asked(query, cookie)) == expected
