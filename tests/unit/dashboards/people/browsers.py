"""Browsers of several people on one console, without a server in between; each keeps its own cookies."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx

from dashboards.app import create_app
from dashboards.sources.catalogue import sources
from koban.settings import Settings
from tests.unit.dashboards.people.world import World

BASE = "http://127.0.0.1:8080"


class Browser:
    """Somebody's browser: reads pages, sends the forms that are on them."""

    def __init__(self, house: House, **headers: str) -> None:
        self._house = house
        accept = {"accept": "text/html,*/*;q=0.8"}
        self.client = httpx.AsyncClient(transport=house.transport, base_url=BASE, headers=accept | headers)

    def has_session(self, secret: str) -> None:
        """As if its cookie had been copied here."""
        self.client.cookies.set("koban_session", secret, domain="127.0.0.1")

    @property
    def session(self) -> str:
        return self.client.cookies["koban_session"]

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self._house.runner.run(self.client.get(path, **more))

    def post(self, path: str, data: dict[str, str], **more: Any) -> httpx.Response:
        return self._house.runner.run(self.client.post(path, data=data, **more))

    def send(self, on: str, path: str, **fields: str) -> httpx.Response:
        """A form of the page ``on``, with its token."""
        return self.post(path, {"csrf": token_on(self.get(on)), **fields})

    def sign_in(self, name: str, password: str, back: str = "") -> httpx.Response:
        return self.send("/sign-in", "/sign-in", name=name, password=password, next=back)


class House:
    """A console with its people."""

    def __init__(
        self, runner: asyncio.Runner, folder: Path, provider: httpx.AsyncBaseTransport | None = None, **more: str
    ) -> None:
        self.runner = runner
        self.world = World(folder)
        nowhere = "127.0.0.1:9"
        named = {"DATA_DIR": str(folder), "KAFKA_BOOTSTRAP": nowhere, "OPENSEARCH_URL": f"http://{nowhere}"}
        named |= {"CONSOLE_URL": BASE, "MYSQL_URL": "mysql://koban@127.0.0.1:1/koban"} | more
        settings = Settings.from_environ({f"KOBAN_{name}": text for name, text in named.items()})
        self._sources = sources(settings)
        self.app = create_app(settings, self._sources, self.world.people, provider)
        self.transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50_000))
        self._browsers: list[Browser] = []

    def browser(self, name: str = "", *roles: str, **headers: str) -> Browser:
        """A browser; with a name, of somebody who is signed in."""
        made = Browser(self, **headers)
        self._browsers.append(made)
        if name:
            made.has_session(self.world.signed_in(name, *roles))
        return made

    def close(self) -> None:
        for browser in self._browsers:
            self.runner.run(browser.client.aclose())
        self.runner.run(self._sources.close())
        self.world.people.close()


def token_on(page: httpx.Response) -> str:
    """The token in a page's forms."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found, page.text[:2000]
    return found[1]
