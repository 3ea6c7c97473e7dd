"""People over SQLite, with a clock that tests set and passwords that cost nothing."""

from __future__ import annotations

import base64
import random
from pathlib import Path

from dashboards.people.audit import Actor
from dashboards.people.database import Database
from dashboards.people.passwords import Passwords
from dashboards.people.roles import Person, parsed
from dashboards.people.service import People
from dashboards.people.sessions import Lifetimes

PASSWORD = "correct horse battery"
SHELL = Actor.at_shell("root")
START_US = 1_763_780_400_000_000
CHEAP = Passwords(time_cost=1, memory_kib=8)
MAX_S, IDLE_S = 3_600, 600


class World:
    """A database of people and the time."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.now_us = START_US
        self._random = random.Random(7)
        self.people = People(
            Database(url or f"sqlite:///{folder / 'people.db'}", monotonic=lambda: self.now_us / 1e6),
            Lifetimes(MAX_S, IDLE_S),
            passwords=CHEAP,
            clock=lambda: self.now_us,
            randomness=lambda size: base64.urlsafe_b64encode(self._random.randbytes(size)).decode().rstrip("="),
            monotonic=lambda: self.now_us / 1e6,
        )

    def add(self, name: str, *roles: str, password: str | None = PASSWORD) -> Person:
        """An account."""
        return self.people.accounts.add(name, [parsed(role) for role in roles], password, SHELL)

    def signed_in(self, name: str, *roles: str) -> str:
        """An account with somebody signed in; gives the session's secret."""
        self.add(name, *roles)
        secret = self.people.sign_in(name, PASSWORD, "127.0.0.1", "r-1")
        assert secret is not None
        return secret

    def later(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)
