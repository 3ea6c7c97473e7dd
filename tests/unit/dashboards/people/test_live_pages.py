"""A live page goes on only as long as its reader is signed in."""

from __future__ import annotations

import asyncio

import pytest

from dashboards import stream
from tests.unit.dashboards.people.browsers import House
from tests.unit.dashboards.people.world import SHELL

WAIT_S = 30


def test_a_live_page_ends_with_its_session(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing out elsewhere, or being disabled, closes what is open."""
    monkeypatch.setattr(stream, "STILL_EVERY_S", -1.0)
    browser = house.browser("kei", "operator")
    live = house.app.state.console.live

    async def scenario() -> str:
        async with asyncio.timeout(WAIT_S):
            page = asyncio.create_task(browser.client.get("/live?desk=live"))
            while not live.viewers:  # noqa: ASYNC110  # the page tells nobody that it is open
                await asyncio.sleep(0.01)
            await asyncio.to_thread(house.world.people.sign_out, browser.session, SHELL)
            while not page.done():
                async with live._ticked:
                    live._ticked.notify_all()
                await asyncio.sleep(0.01)
            return (await page).text

    assert "data: {" in house.runner.run(scenario())
    assert live.viewers == 0


@pytest.mark.parametrize(("role", "desk", "status"), [("fraud", "ledger", 403), ("merchant:m-1", "live", 403)])
def test_a_live_desk_asks_for_its_own_right(house: House, role: str, desk: str, status: int) -> None:
    assert house.browser("kei", role).get(f"/live?desk={desk}", headers={"accept": "*/*"}).status_code == status
