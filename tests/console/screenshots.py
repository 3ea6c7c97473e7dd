"""Renews the pictures of README and docs: ``python -m tests.console.screenshots URL [FOLDER]``.

The console at URL is one that runs, at best during a demo, so that the pictures show what is really there. URL may be a
link that signs in.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

from tests.console.conftest import CHROMIUM, TIMEOUT_MS, WIDE

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
PAGES = {
    "live": "/",
    "payments": "/payments",
    "alerts": "/alerts",
    "ledger": "/ledger",
    "operations": "/operations",
    "topics": "/operations/topics",
    "letters": "/operations/letters",
    "job": "/operations/jobs/cashback",
    "audit": "/audit",
    "account": "/account",
}
LOOKS = (("en", "light"), ("ja", "dark"))
SETTLED_MS = 4_000
"""Live pages get so long to fill their charts."""


def main(url: str, folder: Path) -> list[Path]:
    """Every page in English and light, and in Japanese and dark; gives the files written."""
    place = urlsplit(url)
    site = f"{place.scheme}://{place.netloc}"
    written = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport=WIDE, reduced_motion="reduce")
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.goto(url)
        for (language, theme), (name, path) in product(LOOKS, PAGES.items()):
            file = folder / f"{name}-{language}-{theme}.png"
            written.append(picture(page, f"{site}{path}?lang={language}&theme={theme}", file))
        browser.close()
    return written


def picture(page: Page, address: str, file: Path) -> Path:
    """One page as it looks once it has settled."""
    page.goto(address)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=file)
    return file


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or urlsplit(sys.argv[1]).scheme not in ("http", "https"):
        sys.exit(f"{__doc__}")
    for each in main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) == 3 else FOLDER):
        print(each)  # noqa: T201  # the answer
