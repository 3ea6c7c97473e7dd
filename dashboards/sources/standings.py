"""How accounts stand now, from the ledger workers that keep them: each question goes to the lane's owner."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec

from dashboards.sources.workers import ports_of
from koban.ledger.standing import PATH, Standing, Standings, decode_standings, latest
from koban.settings import Settings
from schemas.partitioning import lanes_of

TIMEOUT_S = 0.6
"""A worker that takes longer is not waited for: the book answers then."""
STAGE = "ledger"


class UnansweredError(Exception):
    """Not every lane that keeps a part of the account answered."""


class LiveStandings:
    """Asks ledger workers, one after the other, the one that had the lane the last time first. Thread-safe."""

    def __init__(self, platform_file: Path, token: str, lanes: int) -> None:
        self._file = platform_file
        self._lanes = lanes
        self._owners: dict[int, int] = {}
        """Lane → port of the worker that last answered for it."""
        self._client = httpx.Client(
            timeout=TIMEOUT_S, trust_env=False, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        self._token = token

    @classmethod
    def of(cls, settings: Settings) -> LiveStandings:
        """Those of a platform."""
        return cls(settings.data_dir / "platform.json", settings.ledger_token, settings.payment_partitions)

    def ask(self, account: str) -> list[Standing]:
        """How an account stands, one part a lane; nothing for one that was never posted to. Raises UnansweredError."""
        try:
            wanted = set(lanes_of(account, self._lanes))
        except ValueError as error:
            raise UnansweredError(str(error)) from error
        if not self._token:
            raise UnansweredError("there is no token for the ledger workers")
        told: set[int] = set()
        found: list[Standing] = []
        for port in self._ports(wanted):
            answer = self._answer(port, account)
            if answer is None:
                continue
            told.update(answer.lanes)
            self._owners.update(dict.fromkeys(answer.lanes, port))
            found += answer.found
            if wanted <= told:
                return latest(found)
        raise UnansweredError(f"no worker answers for lanes {sorted(wanted - told)}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ports(self, wanted: set[int]) -> list[int]:
        try:
            named = ports_of(self._file)
        except (OSError, ValueError) as error:
            raise UnansweredError(f"no platform is known here: {error}") from error
        ports = [port for name, port in named.items() if name == STAGE or name.startswith(f"{STAGE}-")]
        first = {self._owners.get(lane) for lane in wanted}
        return sorted(ports, key=lambda port: port not in first)

    def _answer(self, port: int, account: str) -> Standings | None:
        try:
            answer = self._client.get(f"http://127.0.0.1:{port}{PATH}", params={"account": account})
            answer.raise_for_status()
            return decode_standings(answer.content)
        except (httpx.HTTPError, msgspec.DecodeError):
            return None
