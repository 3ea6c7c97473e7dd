"""The console's pages with every source down, and with an index that answers as we please."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.app import create_app
from dashboards.board import Answer, board
from dashboards.listing import PAGE_ROWS_MAX
from dashboards.live import VIEWERS_MAX
from dashboards.sources.catalogue import sources
from dashboards.sources.workers import Stage
from koban.search.query import Query
from koban.search.request import Scope, Sort, cursor_of
from koban.settings import Settings
from schemas.errors import Transient
from sinks.alert_search import AlertPage, AlertSearch
from sinks.payment_search import Found, PaymentSearch
from tests.unit.dashboards.people.world import World

NOON_US = 1_763_780_400_000_000
XSS = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
HIT: dict[str, Any] = {
    "payment_id": "0472993188201143902",
    "version": 2,
    "status": "partially_refunded",
    "amount_minor": 1200,
    "gross_minor": 1200,
    "refunded_minor": 200,
    "canceled_minor": 0,
    "net_minor": 1000,
    "refund_pending_minor": 0,
    "kinds": ["points", "money"],
    "tenders": [{"kind": "points", "amount_minor": 200}, {"kind": "money", "amount_minor": 1000}],
    "merchant_id": "m-1",
    "store_id": "s-1",
    "store_name": XSS,
    "terminal_id": "t-1",
    "code": "CPM",
    "wallet_id": "w-1",
    "occurred_at_us": NOON_US,
    "topic": "payments-valid",
    "partition": 2,
    "offset": 77,
    "story": [
        [1, NOON_US, "e-1", "PaymentCompleted", 1200, None, 2, 70, NOON_US],
        [2, NOON_US + 5, "e-2", "RefundCompleted", 200, "r-1", 2, 77, NOON_US],
    ],
}
TOTALS = {"count": 1, "gross_minor": 1200, "refunded_minor": 200, "canceled_minor": 0, "net_minor": 1000}


FACETS_FOUND = {"status": {"completed": 0, "refunded": 1}, "with": {"points": 1, "card": 0}}


def settings(folder: Path) -> Settings:
    """Everything points at a port where nobody listens."""
    nowhere = "127.0.0.1:9"
    return Settings.from_environ(
        {
            "KOBAN_DATA_DIR": str(folder),
            "KOBAN_KAFKA_BOOTSTRAP": nowhere,
            "KOBAN_OPENSEARCH_URL": f"http://{nowhere}",
            "KOBAN_CONSOLE_URL": "http://127.0.0.1:8080",
        }
    )


class Console:
    """A client within the test's own event loop, of somebody with every right of the platform's own people. Nothing is
    polled: the server's life is not begun."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self._sources = sources(settings(folder))
        self._world = World(folder)
        self.app = create_app(settings(folder), self._sources, self._world.people)
        transport = httpx.ASGITransport(self.app)
        cookies = {"koban_session": self._world.signed_in("kei", "operator", "auditor")}
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", cookies=cookies)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self._runner.run(self._client.get(path, **more))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self._sources.close())
        self._world.people.close()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with asyncio.Runner() as runner:
        made = Console(runner, tmp_path)
        yield made
        made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Query, Scope, str | None]]:
    """An index that answers one payment to whatever is asked; what was asked is kept."""
    calls: list[tuple[Query, Scope, str | None]] = []

    async def search(_: Any, query: Query, scope: Scope, *, size: int, cursor: str | None = None, sort: Sort) -> Found:
        calls.append((query, scope, cursor))
        return Found(
            1,
            None if cursor else TOTALS,
            [HIT],
            cursor_of(NOON_US, "p") if size < PAGE_ROWS_MAX else None,
            NOON_US,
            9,
            FACETS_FOUND,
        )

    async def payment(_: Any, number: str, scope: Scope) -> dict[str, Any] | None:
        return HIT if number == HIT["payment_id"] else None

    monkeypatch.setattr(PaymentSearch, "search", search)
    monkeypatch.setattr(PaymentSearch, "payment", payment)
    return calls


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/operations",
        "/ledger",
        "/payments",
        "/payments?q=1200円 昨日 18時ごろ&lang=en",
        "/payments/no-1",
        "/nowhere",
    ],
)
def test_pages_are_served_whatever_is_down(console: Console, path: str) -> None:
    """With every source down each page is a page, says so, and carries its guards."""
    answer = console.get(path)
    assert answer.status_code == {"/": 200, "/operations": 200, "/ledger": 200, "/nowhere": 404}.get(path, 503)
    assert "<main" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("absent", ["store_id", "store_name", "terminal_id", "code", "topic"])
def test_a_payment_is_shown_whatever_its_producer_left_out(
    console: Console, asked: list[Any], monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    """Documents hold no empty fields, and foreign producers send few."""
    monkeypatch.delitem(HIT, absent)
    for path in ("/payments?q=1200", f"/payments/{HIT['payment_id']}"):
        answer = console.get(path)
        assert answer.status_code == 200
        assert HIT["payment_id"][-4:] in answer.text


def test_pages_need_no_inline_script_or_style(console: Console, asked: list[Any]) -> None:
    """What the policy forbids is not there: no inline script, style, handler, nor anything from another host."""
    for path in ("/", "/operations", "/ledger", "/alerts", "/payments?q=1200", f"/payments/{HIT['payment_id']}"):
        text = console.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\"", text), path
        assert not re.search(r"(src|href)=\"(https?:)?//", text), path


def test_static_files_are_kept_for_ever_by_their_hash(console: Console) -> None:
    """The page names them by content, so that an upgrade is seen at once."""
    addresses = re.findall(r"\"(/static/[^\"]+)\"", console.get("/").text)
    assert len(addresses) >= 4
    for address in addresses:
        answer = console.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


def test_the_first_page_is_light(console: Console) -> None:
    """At most 100 KB over the wire, scripts and styles and all."""
    packed = {"accept-encoding": "gzip"}
    page = console.get("/", headers=packed)
    answers = [page, *(console.get(each, headers=packed) for each in re.findall(r"\"(/static/[^\"]+)\"", page.text))]
    assert sum(int(answer.headers["content-length"]) for answer in answers) <= 100_000


def test_text_of_merchants_stays_text(console: Console, asked: list[Any]) -> None:
    """A store's name with markup in it is shown, never run; so is a query."""
    for path in ("/payments", f"/payments/{HIT['payment_id']}", f"/payments?q={XSS}&merchant={XSS}"):
        text = console.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "&lt;script&gt;" in text, path


def test_the_address_is_the_state(console: Console, asked: list[tuple[Query, Scope, str | None]]) -> None:
    """Query, merchant and place in the list are taken from the address, and the chips' links take one part out."""
    text = console.get("/payments", params={"q": "1200円 渋谷", "merchant": "m-1", "cursor": "abc", "lang": "ja"}).text
    query, scope, cursor = asked[0]
    assert (query.text(), scope, cursor) == ("1200円 渋谷", Scope.of_merchant("m-1"), "abc")
    assert "金額 = ¥1,200" in text
    assert "店舗: 渋谷" in text
    assert "q=%E6%B8%8B%E8%B0%B7&amp;merchant=m-1&amp;lang=ja" in text, "without the amount, on the first page"


@pytest.mark.parametrize(
    ("query", "chip"),
    [
        ("2025-11-21", "2025-11-21, all day"),
        ("2025-11-20..2025-11-22", "2025-11-20 – 2025-11-22"),
        ("2025-11-21 18:00", "2025-11-21 18:00 – 18:01"),
        ("at>=2025-11-21", "from 2025-11-21 00:00"),
        (">=1000", "amount ≥ ¥1,000"),
        ("amount:1000~2000", "amount ¥1,000 – ¥2,000"),
        ("返金", "status: refunded / partly refunded"),
        ("-card", "not paid with: card"),
        ("1143", "number ends …1143 or ¥1,143"),
        ("wallet:w-1", "wallet: w-1"),
    ],
)
def test_chips_say_how_the_query_was_understood(console: Console, asked: list[Any], query: str, chip: str) -> None:
    """In the reader's language, not in the query's."""
    text = re.sub(r"\s+", " ", console.get("/payments", params={"q": query, "lang": "en"}).text)
    assert f">{chip} <" in text


def test_a_querys_days_are_business_days_in_any_zone(console: Console, asked: list[Any]) -> None:
    """Who reads times in another zone is told so."""
    text = console.get("/payments?q=2025-11-21&lang=en&zone=utc").text
    assert "2025-11-21, all day JST" in text
    assert "JST ¥" not in console.get("/payments?q=1200円&lang=en&zone=utc").text
    assert "all day JST" not in console.get("/payments?q=2025-11-21&lang=en&zone=jst").text


def test_json_of_the_same_address(console: Console, asked: list[Any]) -> None:
    """The same answer as data, with ids as text and times with their zone."""
    answer = console.get("/payments.json?q=1200円").json()
    assert set(answer) == {"total", "totals", "hits", "facets", "next", "complete_to"}
    assert answer["hits"][0]["payment_id"] == "0472993188201143902"
    assert answer["complete_to"] == "2025-11-22T03:00:00+00:00"
    story = console.get(f"/payments/{HIT['payment_id']}.json").json()["story"]
    assert story[1]["event_type"] == "RefundCompleted"
    assert console.get("/payments/none.json").status_code == 404


def test_facets_write_words_of_the_query(console: Console, asked: list[Any]) -> None:
    """A facet's link adds its word, or deletes it; a word without payments is not offered."""
    text = console.get("/payments", params={"q": "渋谷", "lang": "en"}).text
    assert 'href="/payments?q=%E6%B8%8B%E8%B0%B7+status%3Arefunded&amp;lang=en"' in text
    assert "with%3Acard" not in text
    assert "status%3Acompleted" not in text
    assert 'href="/payments?q=%E6%B8%8B%E8%B0%B7"' in console.get("/payments", params={"q": "渋谷 返金"}).text


def test_the_list_is_sorted_by_its_headings(console: Console, asked: list[Any]) -> None:
    text = console.get("/payments?sort=-amount_minor").text
    assert '<th scope="col" class="num" aria-sort="descending"><a href="/payments?sort=amount_minor"' in text
    assert console.get("/payments?sort=wallet_id").status_code == 400


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_exports_of_the_same_address(console: Console, asked: list[tuple[Query, Scope, str | None]], form: str) -> None:
    """The same query in the same scope, from the first row; a download that is not kept."""
    answer = console.get(f"/payments.{form}", params={"q": "1200円", "merchant": "m-1", "cursor": "x"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="payments.{form}"'
    assert answer.headers["cache-control"] == "no-store"
    query, scope, cursor = asked[0]
    assert (query.text(), scope, cursor) == ("1200円", Scope.of_merchant("m-1"), None)
    if form == "csv":
        assert "0472993188201143902" in answer.text


def test_a_list_of_a_source_that_is_down(console: Console) -> None:
    """Page and data say so; nothing is shown as if there were nothing."""
    assert console.get("/alerts").status_code == 503
    for form in ("json", "csv", "parquet"):
        answer = console.get(f"/alerts.{form}")
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["error"]


def test_alerts_are_a_list(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filtered, ordered and paged by the address; the next page is behind the last row."""
    row = {"alert_id": "a-1", "typology": "T07", "wallet_id": "w-1", "first_at_us": 1, "last_at_us": NOON_US}
    row |= {"payments": 12, "merchants": 3, "amount_minor": 54321}
    calls: list[dict[str, Any]] = []

    async def page(_: Any, **question: Any) -> AlertPage:
        calls.append(question)
        return AlertPage([row], 7, more=True, counts={"typology": {"T07": 7, "T01": 2}})

    monkeypatch.setattr(AlertSearch, "page", page)
    text = console.get("/alerts?typology=T07&q=w-&sort=-amount_minor&lang=en").text
    assert "¥54,321" in text
    assert 'href="/alerts?q=w-&amp;sort=-amount_minor&amp;lang=en"' in text, "without the typology"
    (following,) = re.findall(r'href="/alerts\?([^"]+)" rel="next"', text)
    assert console.get("/alerts.json?" + following.replace("&amp;", "&")).json()["rows"][0]["alert_id"] == "a-1"
    first, second = calls
    assert first == {
        "text": "w-", "chosen": {"typology": ("T07",)}, "field": "amount_minor", "falls": True, "size": 50,
        "after": None,
    }  # fmt: skip
    assert second["after"] == (54321, "a-1")
    assert console.get("/alerts?cursor=x").status_code == 400


def test_a_payments_page(console: Console, asked: list[Any]) -> None:
    """Its story, its money and where it was read."""
    text = console.get(f"/payments/{HIT['payment_id']}?lang=en").text
    for part in ("partly refunded", "¥1,200", "−¥200", "¥1,000", "e-2", "payments-valid/2@77", "points"):
        assert part in text, part


def test_a_bad_cursor_is_told(console: Console) -> None:
    """A made-up place in the list is a bad request, not an error of the server."""
    assert console.get("/payments?cursor=x!").status_code == 400
    assert console.get("/payments.json?cursor=x!").status_code == 400


def test_an_index_that_is_down_is_told(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says so with status 503 and keeps what was typed."""

    async def search(*_: Any, **__: Any) -> Found:
        raise Transient("down")

    monkeypatch.setattr(PaymentSearch, "search", search)
    answer = console.get("/payments?q=1200円&lang=en")
    assert answer.status_code == 503
    assert "The search index does not answer" in answer.text
    assert 'value="1200円"' in answer.text


def test_language_and_theme_are_remembered(console: Console) -> None:
    """A choice in the address holds for the pages after it."""
    assert 'lang="en" data-theme="dark"' in console.get("/?lang=en&theme=dark").text
    again = console.get("/", headers={"accept-language": "ja"})
    assert 'lang="en" data-theme="dark"' in again.text


def test_times_are_shown_in_the_zone_that_was_chosen(console: Console, asked: list[Any]) -> None:
    """Japanese time unless the address or an earlier choice says otherwise."""
    path = f"/payments/{HIT['payment_id']}"
    assert "2025-11-22 12:00:00" in console.get(path).text
    assert "2025-11-22 03:00:00" in console.get(f"{path}?zone=utc").text
    assert "2025-11-22 03:00:00" in console.get(path).text
    assert "2025-11-22 12:00:00" in console.get(f"{path}?zone=jst").text


def test_foreign_host_names_are_refused(console: Console) -> None:
    """A page elsewhere that made its name resolve to this machine gets nothing."""
    assert console.get("/", headers={"host": "evil.example"}).status_code == 400


def test_health_pages(console: Console) -> None:
    """Live, ready, version and metrics, like every process."""
    assert console.get("/-/live").json()["live"] is True
    assert console.get("/-/ready").json()["ready"] is True
    assert console.get("/-/version").json()["stage"] == "console"
    metrics = console.get("/metrics").text
    assert 'koban_console_source_up{source="topics"} 0.0' in metrics
    assert "koban_http_request_seconds_bucket" in metrics
    assert "0472993188201143902" not in metrics


def test_the_ledger_as_data(console: Console) -> None:
    """The same figures as the page's; nothing is claimed while nobody says anything."""
    answer = console.get("/ledger.json").json()
    assert (answer["verdict"], answer["total_minor"], answer["seals"]) == ("nothing", None, [])


def test_no_more_live_pages_than_can_be_served(console: Console) -> None:
    """One more is told to come back."""
    console.app.state.console.live.viewers = VIEWERS_MAX
    answer = console.get("/live?desk=live")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_only_desks_that_there_are_have_changes(console: Console) -> None:
    assert console.get("/live?desk=nowhere").status_code == 404


@pytest.mark.parametrize(
    ("minor", "up", "text"), [(5, True, "The books do not balance"), (0, False, "can&#39;t be told"), (0, True, None)]
)
def test_books_out_of_balance_are_told_on_every_live_desk(
    console: Console, minor: int, up: bool, text: str | None
) -> None:
    """A banner of its own, whether they are off or nobody can tell."""
    figures = {"koban_ledger_imbalance_minor": {("0",): minor}, "koban_ledger_balance_minor": {("0", "U"): minor}}
    stages = {"ledger": Stage("ledger", up=up, figures=figures)}
    live = console.app.state.console.live
    live.board = board(1.0, Answer(stages, at=1.0), Answer(), Answer(), Answer())
    for path in ("/?lang=en", "/ledger?lang=en"):
        page = console.get(path).text
        assert ("do not balance" in page or "can&#39;t be told" in page) == (text is not None)
        assert text is None or text in page
