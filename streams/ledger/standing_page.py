"""A page on the worker's own port: how an account stands in the lanes that the worker has."""

from __future__ import annotations

import asyncio
import hmac

import msgspec
from aiohttp import web

from koban.ledger.standing import Standing, Standings
from schemas.partitioning import lanes_of
from streams.ledger.lane import LaneClosedError, LedgerLane

WAIT_S_MAX = 1.0
"""A lane in the middle of a transaction answers when that holds."""


class StandingPage:
    """Answers from the lanes that it was told of; `lanes` is the number of all lanes.

    Balances are told to who shows the token; without one, to nobody.
    """

    def __init__(self, lanes: int, token: str) -> None:
        self._lanes = lanes
        self._token = token
        self._here: dict[int, LedgerLane] = {}

    def has(self, lane: LedgerLane) -> LedgerLane:
        """The worker was given a lane, or has it anew."""
        self._here[lane.partition] = lane
        return lane

    async def __call__(self, request: web.Request) -> web.Response:
        shown = request.headers.get("Authorization", "").encode()
        if not self._token or not hmac.compare_digest(shown, f"Bearer {self._token}".encode()):
            return web.json_response({"error": "this page wants KOBAN_LEDGER_TOKEN as a bearer token"}, status=401)
        account = request.query.get("account", "")
        try:
            lanes = lanes_of(account, self._lanes)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        asked = [lane for number in lanes if (lane := self._here.get(number)) is not None]
        answers = await asyncio.gather(*(_ask(lane, account) for lane in asked))
        told = [answer for answer in answers if answer is not None]
        found = Standings([lane for lane, _ in told], [standing for _, standing in told if standing is not None])
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")


async def _ask(lane: LedgerLane, account: str) -> tuple[int, Standing | None] | None:
    """None when the lane is not here any more, or not yet, or its transaction takes too long."""
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            return lane.partition, await lane.standing(account)
    except (LaneClosedError, TimeoutError):
        return None
