"""The tables of people: made by the migrations, as the models say."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from schemas.errors import Transient
from tests.unit.dashboards.people.world import World


def test_migrations_make_what_the_models_say_and_may_run_again(world: World) -> None:
    world.people.database.migrate()
    world.people.database.migrate()
    world.people.database.check()


def test_the_audit_log_cannot_be_changed_or_cut(world: World) -> None:
    """The database itself refuses, whoever asks."""
    world.add("kei", "fraud")
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"):
        with pytest.raises(DatabaseError, match="only ever appended"), world.people.database.engine.begin() as here:
            here.execute(text(statement))
    assert world.people.database.engine.connect().scalar(text("SELECT COUNT(*) FROM audit_log")) == 1


def test_a_database_that_is_away_is_left_alone_for_a_while() -> None:
    """Nobody waits again for a server that has just not answered."""
    from dashboards.people.database import REST_S, Database

    now = [0.0]
    database = Database("mysql://koban@127.0.0.1:1/koban", lambda: now[0])
    for expected in ("OperationalError", "does not answer$"):
        with pytest.raises(Transient, match=expected), database.transaction():
            pass
    now[0] = REST_S
    with pytest.raises(Transient, match="OperationalError"), database.transaction():
        pass
    database.close()
