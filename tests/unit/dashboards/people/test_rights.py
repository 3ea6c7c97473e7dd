"""Every route declares what it asks for, and every role gets what the table says and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.people.credentials import form_token
from dashboards.people.declarations import Declaration, declarations
from dashboards.people.guard import READING
from dashboards.people.rights import ROLES, Right
from dashboards.people.roles import Role
from koban.search.query import Query
from koban.search.request import Scope, Sort
from sinks.payment_search import Found, PaymentSearch
from tests.unit.dashboards.people.browsers import Browser, House, token_on

OPEN = {"/static": "files without data", "/v1/openapi.json": "the description of the API"}
"""Routes that can't declare anything and need not."""
DATA = (".json", ".csv", ".parquet", ".ndjson")
NOT_EXPORTS = {
    "/payments/{number}.json": "one payment, as on its page",
    "/operations/trace.json": "one payment's way, as on its page",
    "/series.json": "figures of the live charts",
}
RECORDS_ITSELF = re.compile(r"^/(sign-|account/)")
"""Acts on accounts: their records are written with the rows themselves."""


def routes(house: House) -> list[Declaration]:
    return declarations(house.app.routes)


def test_every_route_declares_a_right_or_that_it_is_anybodys(house: House) -> None:
    """A new page without one is found here, not by a stranger."""
    found = routes(house)
    assert len(found) > 25
    undeclared = [route.path for route in found if not route.requirements and not route.is_public]
    assert sorted(undeclared) == sorted(OPEN)
    assert not [route.path for route in found if route.requirements and route.is_public]


def test_what_is_anybodys_is_a_short_list(house: House) -> None:
    assert sorted({route.path for route in routes(house) if route.is_public}) == [
        "/-/live", "/-/ready", "/-/version", "/metrics", "/sign-in", "/sign-in/once",
    ]  # fmt: skip


def test_every_right_is_asked_for_somewhere_and_somebodys() -> None:
    assert set(ROLES) == set(Right)
    assert all(ROLES.values())


def test_every_export_and_every_change_is_recorded(house: House) -> None:
    """By the guard, or by what makes the change."""
    for route in routes(house):
        changes = bool(route.methods - READING)
        exports = route.path.endswith(DATA) and route.path not in {*OPEN, *NOT_EXPORTS}
        if (changes and not RECORDS_ITSELF.match(route.path)) or exports:
            assert any(requirement.records for requirement in route.requirements), route.path


def test_a_role_gets_what_the_table_says_on_every_route(house: House) -> None:
    """Role × route. What is allowed may fail for want of a source or a form's token, never with a missing right."""
    people = {role: house.browser(f"{role}-1", _grant(role)) for role in Role}
    stranger = house.browser()
    for route in routes(house):
        for method in route.methods - {"HEAD"} if route.requirements else ():
            _look(stranger, method, route.path, expected=None)
            for role, browser in people.items():
                _look(browser, method, route.path, expected=all(role in ROLES[one.right] for one in route.requirements))


def _grant(role: Role) -> str:
    return "merchant:m-1" if role is Role.MERCHANT else role.value


def _look(browser: Browser, method: str, path: str, *, expected: bool | None) -> None:
    asked = re.sub(r"\{[a-z_]+\}", "x-1", path)
    if path == "/live":
        asked += "?desk=nowhere"  # a stream that is there never ends
    if method == "GET":
        answer = browser.get(asked)
    else:
        # Who may not has the form's token: the right alone is in the way. Who may lacks it: nothing is done.
        headers = {"x-csrf-token": form_token(browser.session)} if expected is False else {}
        answer = browser.post(asked, {}, headers=headers)
    told = f"{method} {path}: {answer.status_code}"
    missing = answer.status_code == 403 and ("missing" in answer.text or "権限" in answer.text)
    # Who has no live desk comes home elsewhere.
    missing |= path == "/" and answer.headers.get("location") == "/payments"
    if expected is None:
        assert answer.status_code == 401 or answer.headers.get("location", "").startswith("/sign-in"), told
    else:
        assert missing == (not expected), told
        assert answer.status_code != 401, told


PAYMENTS = {
    "p-a1": {"merchant_id": "m-a", "store_id": "s-1"},
    "p-a2": {"merchant_id": "m-a", "store_id": "s-2"},
    "p-b1": {"merchant_id": "m-b", "store_id": "s-1"},
}


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[Scope]:
    """An index that holds two merchants' payments and keeps to the scope it is asked within; scopes are kept."""
    asked: list[Scope] = []

    def within(scope: Scope) -> list[dict[str, Any]]:
        asked.append(scope)
        found = [{**FIELDS, "payment_id": number, **place} for number, place in PAYMENTS.items()]
        return [one for one in found if scope.merchant_id in (None, one["merchant_id"])
                and (not scope.store_ids or one["store_id"] in scope.store_ids)]  # fmt: skip

    async def search(_: Any, query: Query, scope: Scope, *, size: int, cursor: str | None = None, sort: Sort) -> Found:
        return Found(len(within(scope)), None, within(scope), None, 1, 1, {})

    async def payment(_: Any, number: str, scope: Scope) -> dict[str, Any] | None:
        return next((one for one in within(scope) if one["payment_id"] == number), None)

    monkeypatch.setattr(PaymentSearch, "search", search)
    monkeypatch.setattr(PaymentSearch, "payment", payment)
    return asked


FIELDS: dict[str, Any] = {
    "version": 1, "status": "completed", "amount_minor": 1, "gross_minor": 1, "refunded_minor": 0, "canceled_minor": 0,
    "net_minor": 1, "refund_pending_minor": 0, "kinds": ["money"], "tenders": [], "store_name": "店",
    "wallet_id": "w-1", "occurred_at_us": 1, "topic": "payments-valid", "partition": 0, "offset": 0, "story": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "own"),
    [
        ("merchant:m-a", {"p-a1", "p-a2"}), ("merchant:m-a/s-2", {"p-a2"}), ("merchant:m-b", {"p-b1"}),
        ("finance", set(PAYMENTS)),
    ],
)  # fmt: skip
def test_a_merchant_sees_its_own_payments_whatever_it_asks_for(
    house: House, index: list[Scope], role: str, own: set[str]
) -> None:
    """In the list, its data, and payment by payment; the source is asked within the scope, no page filters."""
    browser = house.browser("kei", role)
    for path in ("/payments", "/payments?q=p-b1", "/payments.json", "/payments.json?q=merchant:m-b"):
        text = browser.get(path).text
        for number in PAYMENTS:
            shown = number in text if path.startswith("/payments.json") else f"/payments/{number}" in text
            assert shown == (number in own), (path, number)
    for number in PAYMENTS:
        for path in (f"/payments/{number}", f"/payments/{number}.json"):
            assert browser.get(path).status_code == (200 if number in own else 404), path
    everyone = Scope.operator()
    assert (everyone in index) == (role == "finance")


@pytest.mark.parametrize("path", ["/payments?merchant=m-b", "/payments.json?merchant=m-b&q=1"])
def test_another_merchants_name_in_the_address_is_refused(house: House, index: list[Scope], path: str) -> None:
    answer = house.browser("kei", "merchant:m-a").get(path)
    assert answer.status_code == 403
    assert "payments:all" in answer.text
    assert not index


def test_a_forbidden_page_names_the_right(house: House) -> None:
    browser = house.browser("kei", "marketing")
    page = browser.get("/audit?lang=en")
    assert page.status_code == 403
    assert "The right that is missing: audit:read" in page.text
    assert browser.get("/audit.json").json() == {"error": "the right audit:read is missing"}


def test_pages_show_the_desks_that_somebody_may_open(house: House) -> None:
    assert 'href="/ledger"' in house.browser("mei", "finance").get("/account").text
    text = house.browser("kei", "merchant:m-a").get("/account").text
    assert 'href="/payments"' in text
    assert 'href="/ledger"' not in text
    assert 'href="/audit"' not in text


def test_a_merchant_comes_home_to_its_payments(house: House) -> None:
    assert house.browser("kei", "merchant:m-a").get("/").headers["location"] == "/payments"


def test_one_form_token_is_on_every_page_of_a_session(house: House) -> None:
    browser = house.browser("kei", "auditor")
    assert token_on(browser.get("/account")) == token_on(browser.get("/account"))
