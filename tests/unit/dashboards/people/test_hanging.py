"""A database that takes a question and never answers keeps nobody who is known from reading, and holds up nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from dashboards.people import guard
from dashboards.people.database import Database
from schemas.errors import Transient
from tests.unit.dashboards.people.browsers import House


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """From when it is called, the database does not answer before the test is over."""
    over = threading.Event()

    def hang(_: Database) -> None:
        over.wait()
        raise Transient("the test is over")

    def begin() -> None:
        monkeypatch.setattr(Database, "transaction", hang)
        monkeypatch.setattr(guard, "KNOWN_S_MAX", 0.05)
        monkeypatch.setattr(guard, "LOOK_UP_S_MAX", 0.05)

    yield begin
    over.set()


def test_who_is_known_reads_on_while_the_database_hangs(house: House, silence: Callable[[], None]) -> None:
    known = house.browser("kei", "operator")
    assert known.get("/operations").status_code == 200
    silence()
    house.world.later(60)
    assert known.get("/operations").status_code == 200
    assert known.get("/payments.csv").status_code == 503, "an export that can't be recorded does not happen"
    stranger = house.browser()
    stranger.has_session("somebody-else-altogether")
    assert stranger.get("/operations").status_code == 503
