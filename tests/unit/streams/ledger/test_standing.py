"""How an account stands now: told when all of it is committed, by the lane that has it, to who may know."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from koban.ledger.facts import StoredBalance
from koban.ledger.standing import PATH, Standing, Standings, decode_standings, latest
from schemas.partitioning import lane_of
from streams.ledger.lane import LaneClosedError, LedgerLane
from streams.ledger.standing_page import StandingPage
from streams.transport import Batch
from tests.unit.streams.ledger.test_lane import LANE, LANES, VALID, WALLET, Stored, payment, top_up

ACCOUNT = f"U.{WALLET}.money"
TOKEN = "let-me-in"


class NoLog:
    """A lane that never wrote anything."""

    async def read(self, *_: Any, **__: Any) -> Any:
        for nothing in ():
            yield nothing


async def lane_at_rest(partition: int = LANE) -> LedgerLane:
    lane = LedgerLane(partition, LANES, clock_us=lambda: 1)
    await lane.restore(NoLog())  # type: ignore[arg-type]  # it reads like a LaneLog
    return lane


async def post(lane: LedgerLane, *values: bytes) -> None:
    await lane.on_batch(Batch(VALID, LANE, [Stored(i, 1, WALLET.encode(), value) for i, value in enumerate(values)], 9))


def test_an_answer_in_the_middle_of_a_transaction_waits_for_its_end() -> None:
    """And is given before the next batch can change it."""

    async def story() -> tuple[Standing | None, Standing | None]:
        lane = await lane_at_rest()
        await post(lane, top_up("t-1"))
        asked = asyncio.create_task(lane.standing(ACCOUNT))
        await asyncio.sleep(0)
        assert not asked.done()
        await lane.on_written({})
        await post(lane, top_up("t-2"))
        first = await asked
        await lane.on_written({})
        return first, await lane.standing(ACCOUNT)

    assert asyncio.run(story()) == (Standing(LANE, 1000, 0, 0, 1), Standing(LANE, 2000, 0, 0, 2))


def test_a_lane_that_went_elsewhere_tells_nothing() -> None:
    """Neither to who asks afterwards nor to who was waiting: somebody else may have posted since."""

    async def story() -> None:
        lane = await lane_at_rest()
        await post(lane, top_up("t-1"))
        waiting = asyncio.create_task(lane.standing(ACCOUNT))
        await asyncio.sleep(0)
        await lane.close()
        for answer in (waiting, lane.standing(ACCOUNT)):
            with pytest.raises(LaneClosedError):
                await answer

    asyncio.run(story())


def test_who_asked_and_left_is_no_trouble() -> None:
    """A reader's own time limit."""

    async def story() -> None:
        lane = await lane_at_rest()
        await post(lane, top_up("t-1"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await lane.standing(ACCOUNT)
        await lane.on_written({})

    asyncio.run(story())


def test_held_money_and_parts_of_the_house() -> None:
    """By the name that events use, and by the part's own; the other lane's part is not told."""

    async def story() -> None:
        lane = await lane_at_rest()
        await post(lane, top_up("t-1"), payment("p-1"))
        await lane.on_written({})
        for name in ("A.bank_clearing.unnamed", f"A.bank_clearing.unnamed@{LANE}"):
            assert await lane.standing(name) == Standing(LANE, 1000, 0, 0, 1)
        assert await lane.standing(f"A.bank_clearing.unnamed@{LANE + 1}") is None
        assert await lane.standing("L.in_flight") == Standing(LANE, 300, 0, 0, 1)
        assert await lane.standing("U.nobody.money") is None
        lane.book.restore(StoredBalance("U.w-1.held.money", 40, 1))
        assert await lane.standing("U.w-1.held.money") == Standing(LANE, 40, 40, 0, 1)

    asyncio.run(story())


def ask(page: StandingPage, account: str, token: str | None = TOKEN) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def asked() -> Any:
        return await page(make_mocked_request("GET", f"{PATH}?account={account}", headers=headers))

    return asyncio.run(asked())


def page_of(*lanes: int, token: str = TOKEN) -> StandingPage:
    page = StandingPage(LANES, token)
    for number in lanes:
        lane = page.has(asyncio.run(lane_at_rest(number)))
        lane.book.restore(StoredBalance(f"A.bank@{number}", 5 + number, 1))
        if number == LANE:
            lane.book.restore(StoredBalance(ACCOUNT, 70, 3))
    return page


@pytest.mark.parametrize(("of_worker", "shown"), [(TOKEN, None), (TOKEN, "guess"), (TOKEN, ""), ("", ""), ("", None)])
def test_balances_are_told_to_who_shows_the_token(of_worker: str, shown: str | None) -> None:
    """A worker without one tells nobody."""
    answer = ask(page_of(LANE, token=of_worker), ACCOUNT, shown)
    assert answer.status == 401
    assert b"70" not in answer.body


def test_the_page_tells_what_is_here() -> None:
    """An owner's account of its own lane; an account of the house of each lane that the worker has."""
    others = [lane for lane in range(LANES) if lane != LANE]
    here = ask(page_of(LANE, others[0]), ACCOUNT)
    assert decode_standings(here.body) == Standings([LANE], [Standing(LANE, 70, 0, 0, 3)])
    assert decode_standings(ask(page_of(*others), ACCOUNT).body) == Standings([], [])
    house = decode_standings(ask(page_of(*others), "A.bank").body)
    assert house == Standings(others, [Standing(lane, 5 + lane, 0, 0, 1) for lane in others])
    assert ask(page_of(LANE), "nonsense").status == 400


def test_of_two_workers_the_lanes_owner_counts() -> None:
    """One that lost the lane and does not know it yet is at an older version."""
    old, new = Standing(1, 5, 0, 0, 7), Standing(1, 9, 0, 0, 8)
    other = Standing(0, 1, 0, 0, 1)
    assert latest([old, new, other]) == latest([new, other, old]) == [other, new]


def test_what_is_sent_is_what_is_read() -> None:
    standings = Standings([lane_of(WALLET, LANES)], [Standing(1, -5, 0, 0, 7)])
    assert decode_standings(msgspec.json.encode(standings)) == standings
