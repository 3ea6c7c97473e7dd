"""The books over HTTP: answers, limits, and problems that say what to do; over the book in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException

from dashboards.api.app import create_api
from dashboards.api.ledger import LedgerAnswers
from dashboards.app import create_app
from dashboards.people.roles import Role
from dashboards.sources.standings import LiveStandings, UnansweredError
from koban.ledger.standing import Standing
from koban.records import Balance
from koban.settings import Settings
from schemas.errors import Transient
from sinks.memory_book import MemoryBook
from sinks.testing import START_US, posted_entry
from tests.unit.dashboards.people.world import SHELL, World

AT_180 = "2023-11-14T22:13:20.000180Z"
"""START_US and 180 microseconds."""
LANES = 2


class Client:
    """Asks an application, without a server in between."""

    def __init__(self, api: FastAPI, headers: dict[str, str] | None = None) -> None:
        self._transport = httpx.ASGITransport(api)
        self._headers = headers or {}

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://127.0.0.1", headers=self._headers
            ) as client:
                return await client.get(path)

        return asyncio.run(ask())


def _balance(account: str, posted: int, version: int, event: str, held: int = 0) -> Balance:
    return Balance(
        account=account, owner="a", posted_minor=posted, held_minor=held, available_minor=posted - held,
        version=version, as_of_us=START_US + version, event_id=event, entry_id=event,
    )  # fmt: skip


@pytest.fixture
def book() -> MemoryBook:
    made = MemoryBook()

    async def fill() -> None:
        await made.append(0, [posted_entry(at, 200 + at, f"e-{at}", 100 + 40 * at, U_a_money=-at - 1, A_bank__0=at + 1)
                              for at in range(5)])  # fmt: skip
        await made.append(1, [posted_entry(0, 300, "other", 90, U_b_money=-7, A_bank__1=7)])
        await made.mark(0, START_US + 1_000)

    asyncio.run(fill())
    latest = [_balance("U.a.money", 15, 5, "e-4"), _balance("U.a.held.money", 3, 1, "e-1", held=3)]
    latest += [_balance("A.bank@0", 15, 5, "e-4"), _balance("A.bank@1", 7, 1, "other")]
    made.latest = {balance.account: balance for balance in latest}
    return made


@pytest.fixture
def client(book: MemoryBook) -> Client:
    return Client(create_api(LedgerAnswers(book, LANES)))


def get(client: Client, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    kind = "application/json" if status == 200 else "application/problem+json"
    assert answer.headers["content-type"] == kind
    return answer.json()


def test_a_balance_now_is_the_ledgers_own_with_version_and_cause(client: Client) -> None:
    found = get(client, "/accounts/U.a.money/balance")
    assert (found["posted_minor"], found["version"], found["event_id"]) == (15, 5, "e-4")
    assert found["as_of"] == "2023-11-14T22:13:20.000005Z"


class Workers(LiveStandings):
    """Ledger workers that stand so, or don't answer."""

    def __init__(self, found: list[Standing] | None) -> None:
        self._found = found

    def ask(self, account: str) -> list[Standing]:
        if self._found is None:
            raise UnansweredError("silent")
        return self._found


def test_a_balance_now_comes_from_the_worker_that_keeps_the_account(book: MemoryBook) -> None:
    """The cause is what the book knows, which may be a version behind, or nothing yet."""
    live = Workers([Standing(0, 18, 3, 0, 6)])
    found = get(Client(create_api(LedgerAnswers(book, LANES, live))), "/accounts/U.a.money/balance")
    assert (found["posted_minor"], found["available_minor"], found["version"]) == (18, 15, 6)
    assert (found["told_by"], found["book_version"], found["event_id"]) == ("ledger", 5, "e-4")
    new = get(Client(create_api(LedgerAnswers(book, LANES, live))), "/accounts/U.new.money/balance")
    assert (new["version"], new["book_version"], new["as_of"]) == (6, 0, None)


def test_a_balance_now_needs_the_book_only_when_the_worker_is_silent(book: MemoryBook) -> None:
    """And the worker only when the book is."""

    class Down(MemoryBook):
        def live_of(self, accounts: Any) -> Any:
            raise Transient("no answer")

    silent = get(Client(create_api(LedgerAnswers(book, LANES, Workers(None)))), "/accounts/U.a.money/balance")
    assert (silent["told_by"], silent["posted_minor"]) == ("book", 15)
    live = Workers([Standing(0, 18, 0, 0, 6)])
    found = get(Client(create_api(LedgerAnswers(Down(), LANES, live))), "/accounts/U.a.money/balance")
    assert (found["told_by"], found["posted_minor"]) == ("ledger", 18)
    get(Client(create_api(LedgerAnswers(Down(), LANES, Workers(None)))), "/accounts/U.a.money/balance", 503)
    get(Client(create_api(LedgerAnswers(book, LANES, Workers([])))), "/accounts/U.z.money/balance", 404)


def test_an_account_of_the_house_is_the_sum_of_its_lanes(client: Client) -> None:
    assert get(client, "/accounts/A.bank/balance")["posted_minor"] == 22
    assert get(client, "/accounts/A.bank@1/balance")["posted_minor"] == 7
    assert get(client, f"/accounts/A.bank/balance-at?at={AT_180}")["posted_minor"] == 1 + 2 + 3 + 7


def test_an_owners_accounts_come_together(client: Client) -> None:
    found = get(client, "/owners/U.a/balances")
    assert [one["account"] for one in found["accounts"]] == ["U.a.held.money", "U.a.money"]
    assert found["accounts"][0]["available_minor"] == 0


@pytest.mark.parametrize(("axis", "posted", "final"), [("business", 6, False), ("recorded", 0, True)])
def test_a_past_balance_is_of_the_axis_that_was_asked_for(client: Client, axis: str, posted: int, final: bool) -> None:
    found = get(client, f"/accounts/U.a.money/balance-at?at={AT_180}&axis={axis}")
    assert (found["posted_minor"], found["final"], found["at"]) == (posted, final, AT_180)
    assert found["complete_to"] == "2023-11-14T22:13:20.000300Z", "the lane that is furthest behind"


def test_nothing_is_complete_or_final_while_a_lane_has_not_told(book: MemoryBook) -> None:
    client = Client(create_api(LedgerAnswers(book, LANES + 1)))
    found = get(client, f"/accounts/U.a.money/balance-at?at={AT_180}&axis=recorded")
    assert (found["complete_to"], found["final"]) == (None, False)


def test_a_statement_goes_on_page_by_page_with_the_balance_after_each_line(client: Client) -> None:
    pages, path = [], "/accounts/U.a.money/statement?limit=2"
    while True:
        page = get(client, path)
        pages.append([(line["change_minor"], line["balance_minor"]) for line in page["lines"]])
        if page["next"] is None:
            break
        path = f"/accounts/U.a.money/statement?limit=2&cursor={page['next']}"
    assert pages == [[(5, 15), (4, 10)], [(3, 6), (2, 3)], [(1, 1)]]


def test_an_entry_comes_with_its_lines(client: Client) -> None:
    found = get(client, "/entries/e-1")
    assert found["lines"] == [{"account": "U.a.money", "debit_minor": -2}, {"account": "A.bank@0", "debit_minor": 2}]


def test_the_trial_balance_sums_to_zero(client: Client) -> None:
    found = get(client, "/trial-balance")
    assert found["total_minor"] == 0
    assert {one["kind"]: one["debit_minor"] for one in found["kinds"]} == {"A.bank": 22, "U.money": -22}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/accounts/U.z.money/balance", 404, "nothing was ever posted to U.z.money"),
        ("/accounts/U.z.money/statement", 404, "nothing was ever posted"),
        ("/accounts/bank/balance", 400, "no account of the chart"),
        ("/accounts/U.a.money/balance-at?at=yesterday", 400, "no time"),
        ("/accounts/U.a.money/balance-at?at=2026-01-01T00:00:00", 400, "no offset"),
        (f"/accounts/U.a.money/balance-at?at={AT_180}&axis=moon", 400, "business"),
        ("/accounts/U.a.money/balance-at", 400, "at: Field required"),
        ("/accounts/U.a.money/statement?limit=501", 400, "limit"),
        ("/accounts/U.a.money/statement?cursor=AAAA", 400, "none of ours"),
        ("/owners/nobody/balances", 400, "no owner"),
        ("/owners/U.z/balances", 404, "U.z"),
        ("/entries/none", 404, "there is no entry none"),
        ("/nowhere", 404, "no address"),
    ],
)
def test_a_problem_says_what_is_wrong(client: Client, path: str, status: int, said: str) -> None:
    found = get(client, path, status)
    assert found["status"] == status
    assert said in found["detail"]


def test_a_cursor_is_of_its_own_account_alone(client: Client) -> None:
    cursor = get(client, "/accounts/U.a.money/statement?limit=1")["next"]
    found = get(client, f"/accounts/A.bank/statement?cursor={cursor}", 400)
    assert "another account" in found["detail"]


def test_a_store_that_does_not_answer_is_a_503_with_when_to_come_back() -> None:
    class Down(MemoryBook):
        def entry(self, entry_id: str) -> Any:
            raise Transient("MySQL does not take it")

    answer = Client(create_api(LedgerAnswers(Down(), LANES))).get("/entries/e-1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "MySQL" in answer.json()["detail"]


def test_every_route_is_behind_the_guards(book: MemoryBook) -> None:
    """What a later sign-in needs: one dependency, and no route gets past it."""

    def nobody() -> None:
        raise HTTPException(401, "say who you are")

    client = Client(create_api(LedgerAnswers(book, LANES), [Depends(nobody)]))
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) == 6
    for path in paths:
        asked = path.replace("{account}", "U.a.money").replace("{owner}", "U.a").replace("{entry_id}", "e-1")
        assert get(client, asked, 401)["detail"] == "say who you are"


def test_the_console_serves_it_and_says_when_mysql_is_down(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, lake_dir=tmp_path / "lake", mysql_url="mysql://koban@127.0.0.1:1/koban")
    world = World(tmp_path)
    app = create_app(settings, people=world.people)
    get(Client(app), "/v1/trial-balance", 401)
    world.add("kei", "finance")
    token, _ = world.people.tokens.create("kei", Role.FINANCE, "close", 1, SHELL)
    client = Client(app, {"Authorization": f"Bearer {token}"})
    assert client.get("/v1/openapi.json").json()["servers"] == [{"url": "/v1"}]
    down = get(client, "/v1/trial-balance", 503)
    assert "MySQL" in down["detail"]
    assert get(client, "/v1/nowhere", 404)["title"] == "Not Found"
    world.people.close()


def test_every_route_and_answer_is_described(client: Client) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        assert methods["get"]["description"], path
        assert {"200", "400", "404", "503"} <= methods["get"]["responses"].keys(), path
