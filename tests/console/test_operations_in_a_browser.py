"""The operations desk in a real browser: everybody can use its pages, and a letter is mended with the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from koban.settings import Settings
from streams import dead_letters
from streams.dead_letters import Letter, Place, Replay
from tests.console.test_pages_in_a_browser import findings
from tests.unit.koban.gate.examples import raw
from tests.unit.streams.dead_letters.test_mending import letter

Look = Callable[..., Any]
PAGES = (
    *("/operations", "/operations/topics", "/operations/topics/payments-valid", "/operations/jobs/lake"),
    *("/operations/letters", "/operations/letters/0:17", "/operations/trace"),
)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> list[Replay]:
    """A dead-letter topic of forty letters; gives back what is sent."""
    sent: list[Replay] = []
    bad = letter(raw(body__amount_minor=-1200))
    many = [msgspec.structs.replace(bad, place=Place(0, 17 + at)) for at in range(40)]

    def fetch(_: Settings, places: list[Place]) -> list[Letter]:
        return [each for each in many if each.place in places]

    monkeypatch.setattr(dead_letters, "fetch", fetch)
    monkeypatch.setattr(dead_letters, "search", lambda *_, **__: dead_letters.Found(letters=many, complete=True))
    monkeypatch.setattr(dead_letters, "send", lambda _, replays, __: sent.extend(replays))
    return sent


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_use_the_desk(look: Look, path: str, language: str) -> None:
    """In both themes: nothing that axe finds serious, nothing wider than the screen at 1440, 1024 and 390 pixels."""
    page = look(path, locale=language, bypass_csp=True)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert findings(page) == []
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for width in (1440, 1024):
        page.set_viewport_size({"width": width, "height": 900})
        hidden = page.evaluate(
            """[...document.querySelectorAll('[data-panel=components] .scroll, [data-panel=stores] .scroll')].filter(
                 box => box.scrollWidth > box.clientWidth + 1).length"""
        )
        assert hidden == 0, f"a table is cut off at {width} px"


def test_a_letter_is_mended_and_sent_with_the_keyboard(look: Look, letters: list[Replay]) -> None:
    """Down the list, open, mend, try, send: the page says each time what came of it."""
    page = look("/operations/letters?lang=en")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#value")
    page.fill("#value", page.input_value("#value").replace("-1200", "1200"))
    page.focus("button[value=check]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#verdict.ok")
    assert "It would pass" in page.inner_text("#verdict")
    assert letters == []
    page.focus("button[value=replay]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".banner.ok")
    assert [replay.mended for replay in letters] == [True]
