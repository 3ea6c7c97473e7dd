"""Signing in, changing and signing out in a real browser, as a person does it, with the policy in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.console.test_pages_in_a_browser import findings
from tests.unit.dashboards.people.world import PASSWORD

Look = Callable[..., Any]


def test_from_a_closed_page_to_it_and_out_again(look: Look) -> None:
    page = look("/payments?q=1200&lang=en", signed_in=False)
    assert page.url.endswith("/sign-in?next=%2Fpayments%3Fq%3D1200%26lang%3Den")
    page.fill("[name=name]", "kei")
    page.fill("[name=password]", "a wrong password")
    page.click("main button.primary")
    page.wait_for_selector("[role=alert]")
    page.fill("[name=name]", "kei")
    page.fill("[name=password]", PASSWORD)
    page.click("main button.primary")
    page.wait_for_url("**/payments?q=1200&lang=en")
    page.click(".rail-foot a[href='/account']")
    page.click("form[action='/sign-out'] button")
    page.wait_for_url("**/sign-in")
    page.goto(page.url.replace("/sign-in", "/account"))
    assert "/sign-in" in page.url


def test_a_token_is_made_shown_once_and_revoked(look: Look) -> None:
    page = look("/account?lang=en")
    page.fill("[name=label]", "month's close")
    page.select_option("[name=role]", "auditor")
    page.click("form[action='/account/tokens'] button")
    assert page.inner_text(".secret").startswith("koban_")
    page.click("text=Revoke")
    page.wait_for_selector("[role=status]")
    assert page.locator(".secret").count() == 0
    assert "revoked" in page.inner_text("table.rows")


@pytest.mark.parametrize("language", ["ja", "en"])
def test_everybody_can_sign_in(look: Look, language: str) -> None:
    """In both themes, at every width, with keys alone."""
    page = look("/sign-in", signed_in=False, locale=language, bypass_csp=True)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert findings(page) == []
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.keyboard.type("kei")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".rail a[href='/audit']")
