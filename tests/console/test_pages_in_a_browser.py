"""Every page in a real browser: both languages, both themes, keys, back and forward, live changes, sources down."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.console.relay import relayed
from tests.console.world import PAYMENTS, World, number_of, wait_until

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SERIOUS = ("serious", "critical")
PAGES = {
    "/": 200,
    "/payments": 200,
    "/payments?q=1200円+昨日&sort=-amount_minor": 200,
    f"/payments/{number_of(3)}": 200,
    "/alerts": 200,
    "/ledger": 200,
    "/operations": 200,
    "/audit": 200,
    "/account": 200,
    "/nowhere": 404,
}
LIVE = ("/", "/ledger", "/operations")
Look = Callable[..., Any]


def findings(page: Any) -> list[str]:
    """What axe finds serious: the rule and where."""
    page.add_script_tag(path=str(AXE)) if page.evaluate("typeof axe") == "undefined" else None
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_use_a_page(look: Look, path: str, language: str) -> None:
    """In both themes: nothing that axe finds serious, nothing wider than the screen at 1440, 1024 and 390 pixels."""
    page = look(path, expect=PAGES[path], locale=language, bypass_csp=True)
    assert page.get_attribute("html", "lang") == language
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert findings(page) == []
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        clipped = page.evaluate(
            """[...document.querySelectorAll('main .panel')].filter(
                 panel => panel.getBoundingClientRect().right > innerWidth + 1).length"""
        )
        assert clipped == 0


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_its_own_policy(look: Look, path: str) -> None:
    """With the policy in force nothing is refused, so nothing inline or foreign is asked for."""
    page = look(path, expect=PAGES[path])
    assert page.evaluate("typeof htmx") == "object"
    if path in LIVE:
        page.wait_for_selector("koban-live[data-begun]")


def test_languages_themes_and_zones_are_chosen_and_remembered(look: Look) -> None:
    page = look("/payments?q=渋谷", locale="ja")
    page.click("text=English")
    assert page.get_attribute("html", "lang") == "en"
    assert page.input_value("#search-q") == "渋谷", "what was asked is still asked"
    page.click("text=Dark")
    assert page.get_attribute("html", "data-theme") == "dark"
    first = page.inner_text("table.rows tbody tr td")
    page.click("text=Times are JST")
    assert page.inner_text("table.rows tbody tr td") != first
    page.click(".rail a[href='/ledger']")
    assert (page.get_attribute("html", "lang"), page.get_attribute("html", "data-theme")) == ("en", "dark")


def test_what_arrives_is_shown_without_loading_anew(look: Look, world: World) -> None:
    page = look("/?lang=en")
    page.wait_for_selector("koban-live[data-begun]")
    page.evaluate("window.same = true")
    world.arrived += 3
    tail = number_of(world.arrived - 1)[-4:]
    page.wait_for_selector(f"[data-panel=payments] tbody tr:first-child b:text-is('{tail}')")
    assert page.evaluate("window.same"), "the page was not loaded anew"


def test_a_selection_outlives_what_arrives(look: Look, world: World) -> None:
    """Keys choose a row; new rows above it do not take the choice away."""
    page = look("/?lang=en")
    page.wait_for_selector("koban-live[data-begun]")
    page.keyboard.press("j")
    page.keyboard.press("j")
    chosen = page.inner_text("tr[aria-selected=true] .number")
    world.arrived += 2
    page.wait_for_selector(f"[data-panel=payments] b:text-is('{number_of(world.arrived - 1)[-4:]}')")
    assert page.inner_text("tr[aria-selected=true] .number") == chosen


def test_a_page_says_that_it_is_cut_off(look: Look, world: World, url: str) -> None:
    """When the wire breaks the page says so and keeps what it shows; when it is back the page goes on by itself."""
    with relayed(url) as relay:
        page = look("/ledger?lang=en")
        page.goto(f"{relay.url}/?lang=en")
        page.wait_for_selector("koban-live[data-begun]")
        relay.cut()
        page.wait_for_selector("text=Live updates are interrupted")
        assert page.query_selector("[data-panel=payments] tbody tr") is not None
        relay.mend()
        page.wait_for_selector("text=Live updates are interrupted", state="hidden")
        world.arrived += 1
        page.wait_for_selector(f"[data-panel=payments] b:text-is('{number_of(world.arrived - 1)[-4:]}')")
        page.goto("about:blank")


def test_a_page_that_found_no_room_tries_again(look: Look) -> None:
    """A browser alone would give the stream up for good."""
    page = look("/payments?lang=en")
    page.route("**/live?*", lambda route: route.fulfill(status=503), times=1)
    page.click(".rail a[href='/']")
    page.wait_for_selector("text=Live updates are interrupted")
    page.wait_for_selector("koban-live[data-begun]")
    page.wait_for_selector("text=Live updates are interrupted", state="hidden")


def test_a_page_in_the_background_takes_nothing(look: Look, world: World) -> None:
    """Its stream is closed, and opened again when somebody looks."""
    page = look("/?lang=en")
    page.wait_for_selector("koban-live[data-begun]")
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true" + tell)
    assert page.evaluate("document.querySelector('koban-live').source.readyState") == 2
    world.arrived += 1
    page.evaluate(hide % "false" + tell)
    page.wait_for_selector(f"[data-panel=payments] b:text-is('{number_of(world.arrived - 1)[-4:]}')")


def test_a_search_by_keys_alone(look: Look) -> None:
    """From any page: / to the search, Enter to search, j to a row, Enter to open it. What was found has the keys: the
    field does not take them back."""
    page = look("/ledger?lang=en")
    page.keyboard.press("/")
    page.keyboard.type("渋谷")
    page.keyboard.press("Enter")
    page.wait_for_url("**/payments?q=*")
    page.keyboard.press("j")
    page.keyboard.press("j")
    wanted = page.get_attribute("tr[aria-selected=true] a.number", "href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{wanted}")
    assert "Its story" in page.inner_text("main")


def test_keys_do_not_act_while_somebody_types(look: Look) -> None:
    page = look("/payments?lang=en")
    page.fill("#search-q", "")
    page.type("#search-q", "j?/k")
    assert page.input_value("#search-q") == "j?/k"
    assert not page.is_visible("#help")


def test_help_opens_and_closes(look: Look) -> None:
    """By key and by button; the focus comes back to where it was."""
    page = look("/?lang=en")
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#help", state="hidden")
    page.click("[data-help]")
    page.wait_for_selector("#help[open]")
    page.click("#help .btn")
    page.wait_for_selector("#help", state="hidden")
    assert page.evaluate("document.activeElement.matches('[data-help]')")


def test_a_search_changes_the_address_and_nothing_else(look: Look, url: str) -> None:
    """Search, facet, order, next page: the address says it all, back goes back, and a copied link is the same page."""
    page = look("/payments?lang=en")
    page.evaluate("window.same = true")
    page.fill("#search-q", "渋谷")
    page.keyboard.press("Enter")
    page.wait_for_url("**/payments?q=*")
    page.wait_for_selector(".chip:has-text('store: 渋谷')")
    assert page.evaluate("document.activeElement.id") == "search-q"
    page.click(".facet a:has-text('refunded')")
    page.wait_for_selector(".chip:has-text('status: refunded')")
    page.click("th a:has-text('amount')")
    page.wait_for_selector("th[aria-sort=descending]:has-text('amount')")
    shown = page.inner_text("table.rows tbody")
    assert page.evaluate("window.same"), "one page all along"
    assert "q=%E6%B8%8B%E8%B0%B7+status%3Arefunded" in page.url
    page.goto(page.url)
    assert page.inner_text("table.rows tbody") == shown, "the address is the permalink"


def test_back_and_forward(look: Look) -> None:
    page = look("/payments?lang=en")
    page.click(".facet a:has-text('canceled')")
    page.wait_for_selector(".chip:has-text('status: canceled')")
    narrowed = page.url
    page.go_back()
    page.wait_for_selector(".chip:has-text('status: canceled')", state="detached")
    assert page.url.endswith("/payments?lang=en")
    assert page.input_value("#search-q") == ""
    page.go_forward()
    page.wait_for_selector(".chip:has-text('status: canceled')")
    assert page.url == narrowed
    assert page.input_value("#search-q") == "status:canceled"


def test_pages_of_a_list(look: Look) -> None:
    """Next goes through all of it once; the last page has no next, the others a way back to the first."""
    page = look("/payments?lang=en")
    seen: list[str] = []
    while True:
        seen += page.eval_on_selector_all("a.number", "all => all.map(a => a.getAttribute('href'))")
        following = page.query_selector("a[rel=next]")
        if following is None:
            break
        first = seen[-1]
        following.click()
        page.wait_for_selector(f"a.number[href='{first}']", state="detached")
    assert len(seen) == len(set(seen)) == PAYMENTS
    page.click("text=First page")
    page.wait_for_selector(f"a.number[href='{seen[0]}']")


def test_alerts_are_narrowed_by_facets(look: Look) -> None:
    page = look("/alerts?lang=en")
    page.click(".facet a:has-text('T02')")
    page.wait_for_url("**typology=T02*")
    page.wait_for_selector(".facet a[aria-current]:has-text('T02')")
    assert set(page.eval_on_selector_all("td .tag", "all => all.map(tag => tag.textContent)")) == {"T02"}
    page.click(".facet a:has-text('T02')")
    page.wait_for_selector(".facet a[aria-current]", state="detached")


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
def test_a_list_is_downloaded(look: Look, form: str) -> None:
    page = look("/payments?q=渋谷&lang=en")
    with page.expect_download() as download:
        page.click(f"text={form}")
    assert download.value.suggested_filename == f"payments.{form.lower()}"
    assert Path(download.value.path()).stat().st_size > 500


@pytest.mark.parametrize("source", ["workers", "topics", "index", "platform"])
def test_a_source_that_is_down_is_named(look: Look, world: World, source: str) -> None:
    """Its panels say since when, the banner names it, what was known stays, and all is well again afterwards."""
    page = look("/operations?lang=en" if source == "platform" else "/?lang=en")
    page.wait_for_selector("koban-live[data-begun]")
    world.down.add(source)
    page.wait_for_selector(".banner.warn")
    if source != "index":
        page.wait_for_selector(".fresh.down:visible:has-text('source down since')")
        assert page.query_selector("main table.rows") is not None, "what was known is still shown"
    if source in ("workers", "index"):
        page.wait_for_selector(".kpi.down .fresh:has-text('source down since')")
    world.down.clear()
    page.wait_for_selector(".banner.warn", state="detached")


@pytest.mark.parametrize("world", [("workers", "topics", "index", "platform")], indirect=True)
def test_sources_that_never_answered(look: Look) -> None:
    """Panels without anything to show say that it is down, not that there is nothing."""
    page = look("/?lang=en")
    page.wait_for_selector(".empty.down")
    assert "No alert." not in page.inner_text("main")


def test_books_out_of_balance_are_seen_at_once(look: Look, world: World) -> None:
    page = look("/?lang=en")
    page.wait_for_selector("koban-live[data-begun]")
    assert page.query_selector(".kpi.alarm") is None
    world.imbalance_minor = 7
    page.wait_for_selector(".banner.bad:has-text('The books do not balance')")
    page.wait_for_selector(".kpi.alarm")
    page.click(".banner.bad a")
    page.wait_for_selector("text=out of balance")


def test_a_search_while_the_index_is_down(look: Look, world: World) -> None:
    """What was typed stays, the page says what is wrong, and the next try works."""
    world.down.add("search")
    page = look("/payments?q=渋谷&lang=en", expect=503)
    assert "The search index does not answer" in page.inner_text("[role=alert]")
    world.down.clear()
    page.click("button:text-is('Search')")
    page.wait_for_selector("table.rows")
    assert page.input_value("#search-q") == "渋谷"


def test_without_scripts_everything_can_be_read(look: Look) -> None:
    """Links, forms and panels are the server's: a page without scripts is a page as of now."""
    page = look("/?lang=en", java_script_enabled=False)
    assert re.search(r"[0-9]{4}", page.inner_text("[data-panel=payments]"))
    page.click(".rail a[href='/payments']")
    page.fill("#search-q", "渋谷")
    page.press("#search-q", "Enter")
    assert "store: 渋谷" in page.inner_text(".chips")
    page.click(".facet a:has-text('refunded')")
    assert "status: refunded" in page.inner_text(".chips")


def test_charts_draw_what_comes(look: Look) -> None:
    """Lines grow while the page is open, and the table below says the same."""
    page = look("/?lang=en")
    page.wait_for_selector("koban-chart[data-points] canvas")
    first = int(page.get_attribute("koban-chart", "data-points"))
    wait_until(
        lambda: int(page.get_attribute("koban-chart", "data-points")) > first,
        "the lines do not grow",
        page.wait_for_timeout,
    )
    page.click("summary")
    page.wait_for_selector("[data-panel=pace] td:text-is('301')")


def test_jumping_by_keys(look: Look) -> None:
    """/ and a page's name, or a payment's whole number, and Enter."""
    page = look("/?lang=en")
    page.keyboard.press("/")
    page.keyboard.type("ledger")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ledger")
    page.keyboard.press("/")
    page.keyboard.type(number_of(5))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/payments/{number_of(5)}")


def test_a_list_is_exported_by_key(look: Look) -> None:
    page = look("/alerts?typology=T02&lang=en")
    with page.expect_download() as download:
        page.keyboard.press("e")
    rows = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert len(rows) == 24
    assert all(",T02," in row for row in rows[1:])
