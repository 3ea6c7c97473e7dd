"""Text of others stays text: markup in pages, formulas in spreadsheets, wherever somebody's words are shown."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from dashboards.people import audit
from koban.search.query import Query
from koban.search.request import Scope, Sort
from sinks.payment_search import Found, PaymentSearch
from tests.unit.dashboards.people.browsers import House
from tests.unit.dashboards.people.test_rights import FIELDS
from tests.unit.dashboards.people.world import SHELL

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><svg/onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
]
FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1+1", '=HYPERLINK("http://evil.example")']
PAGES = (
    *(("/payments", name) for name in ("", "q", "sort")),
    *(("/audit", name) for name in ("", "q", "actor", "cursor")),
    ("/payments/p-1", ""),
    ("/sign-in", "next"),
    ("/account", "done"),
)
"""A page and the parameter that brings the text along."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A payment whose store's name a test sets."""
    one = {**FIELDS, "payment_id": "p-1", "merchant_id": "m-1", "store_id": "s-1"}

    async def search(_: Any, query: Query, scope: Scope, *, size: int, cursor: str | None = None, sort: Sort) -> Found:
        return Found(1, None, [one], None, 1, 1, {})

    async def payment(_: Any, number: str, scope: Scope) -> dict[str, Any]:
        return one

    monkeypatch.setattr(PaymentSearch, "search", search)
    monkeypatch.setattr(PaymentSearch, "payment", payment)
    return one


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_and_never_run(house: House, store: dict[str, Any], text: str) -> None:
    """On every page that shows it, from a store, a query, an account's label or the log."""
    store["store_name"] = text
    browser = house.browser("kei", "operator", "auditor")
    house.world.people.record(SHELL, "letters:replay", text, {"why": text})
    for path, name in PAGES:
        answer = browser.get(path, params={name: text} if name else {})
        assert answer.status_code in {200, 303, 400}, path
        for piece in ("<script>alert", "<img src=x", "<svg/onload", "' onmouseover='", 'href="javascript:', ">49"):
            assert piece not in answer.text, (path, piece)
    page = browser.send("/account", "/account/tokens", label=text, role="operator", days="1").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_runs_nothing(house: House, store: dict[str, Any], text: str) -> None:
    """What begins like a formula is quoted, in the export of payments and of the log."""
    store["store_name"] = text
    browser = house.browser("kei", "operator", "auditor")
    house.world.people.record(SHELL, "letters:replay", text, {})
    for path, column in (("/payments.csv", "store_name"), ("/audit.csv", "target")):
        cells = {row[column] for row in csv.DictReader(io.StringIO(browser.get(path).text.removeprefix("\ufeff")))}
        assert f"'{text}" in cells, path
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells), path
    assert browser.get("/payments.json").json()["hits"][0]["store_name"] == text, "data is as it is"
    assert audit.verify(house.world.people.database).broken is None
