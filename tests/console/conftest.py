"""A browser for the console's tests: Chromium as this machine has it, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.world import World, served

CHROMIUM = os.environ.get("KOBAN_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
TIMEOUT_MS = 20_000
HERE = ("http://127.0.0.1:", "data:")
WIDE = {"width": 1440, "height": 1000}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests of a module. Playwright keeps an event loop running in this thread as long as it is
    there: tests elsewhere that run one of their own could not."""
    playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TEST RAN: playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("NO BROWSER TEST RAN: there is no chromium on this machine (KOBAN_TEST_CHROMIUM names one)")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """What the sources say, for one test to change. A parameter names what is down from the start."""
    return World(getattr(request, "param", ()))


@pytest.fixture
def url(world: World, tmp_path: Path) -> Iterator[str]:
    """A console over the test's world."""
    with served(world, tmp_path) as address:
        yield address


@pytest.fixture
def look(browser: Any, url: str, world: World) -> Iterator[Callable[..., Any]]:
    """Opens pages as a reader would. No page may raise, break its own policy, or ask another host for anything."""
    contexts: list[Any] = []
    faults: list[str] = []

    def opened(path: str, *, expect: int = 200, signed_in: bool = True, **options: Any) -> Any:
        context = browser.new_context(viewport=WIDE, reduced_motion="reduce", **options)
        if signed_in:
            context.add_cookies([{"name": "koban_session", "value": world.session, "url": url}])
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"{path}: {error}"))
        page.on("console", lambda told: _policy(path, told, faults))
        page.on("request", lambda sent: sent.url.startswith(HERE) or faults.append(f"{path} asks {sent.url}"))
        answer = page.goto(url + path)
        assert answer is not None
        assert answer.status == expect
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def _policy(path: str, told: Any, faults: list[str]) -> None:
    if "Content Security Policy" in told.text:
        faults.append(f"{path}: {told.text}")
