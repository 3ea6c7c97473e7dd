"""Sessions, links and tokens: what lets somebody in, until when, and what is kept of it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from dashboards.people.accounts import AccountError
from dashboards.people.database import Database
from dashboards.people.roles import Role
from dashboards.people.service import STALE_S
from schemas.errors import Transient
from tests.unit.dashboards.people.world import IDLE_S, MAX_S, SHELL, World


def test_a_session_ends_by_idleness_and_by_age(world: World) -> None:
    secret = world.signed_in("kei", "fraud")
    for _ in range(MAX_S // (IDLE_S - 60)):
        world.later(IDLE_S - 60)
        assert world.people.by_session(secret, reads=True) is not None
    world.later(IDLE_S - 60)
    assert world.people.by_session(secret, reads=True) is None, "however busy"
    again = world.people.sign_in("kei", "correct horse battery", "127.0.0.1", "r")
    assert again is not None
    world.later(IDLE_S)
    assert world.people.by_session(again, reads=True) is None


def test_every_sign_in_has_an_id_of_its_own_and_signing_out_ends_one(world: World) -> None:
    one = world.signed_in("kei", "fraud")
    other = world.people.sign_in("kei", "correct horse battery", "127.0.0.1", "r")
    assert other is not None
    assert one != other
    world.people.sign_out(one, SHELL)
    assert world.people.by_session(one, reads=True) is None
    person = world.people.by_session(other, reads=True)
    assert person is not None
    assert world.people.sessions.count(person) == 1
    world.people.sign_out_everywhere(person, SHELL)
    assert world.people.by_session(other, reads=True) is None


def test_no_secret_is_in_the_database(world: World) -> None:
    """Whoever reads it signs in as nobody."""
    secrets = [world.signed_in("kei", "fraud"), world.people.tokens.create("kei", Role.FRAUD, "probe", 1, SHELL)[0]]
    person = world.people.accounts.named("kei")
    assert person is not None
    secrets.append(world.people.sessions.make_code(person, 60, SHELL))
    with world.people.database.engine.connect() as here:
        tables = here.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        stored = " ".join(str(row) for table in tables for row in here.execute(text(f"SELECT * FROM {table}")))
    assert len(tables) >= 8
    for secret in [*secrets, "correct horse battery"]:
        assert secret not in stored


def test_a_link_signs_in_once_and_in_time(world: World) -> None:
    person = world.add("kei", "fraud")
    code = world.people.sessions.make_code(person, 60, SHELL)
    secret = world.people.sign_in_by_code(code, "127.0.0.1", "r")
    assert secret is not None
    assert world.people.by_session(secret, reads=True) is not None
    assert world.people.sign_in_by_code(code, "127.0.0.1", "r") is None
    late = world.people.sessions.make_code(person, 60, SHELL)
    world.later(60)
    assert world.people.sign_in_by_code(late, "127.0.0.1", "r") is None


def test_a_token_has_one_role_of_its_owner_and_an_end(world: World) -> None:
    world.add("kei", "fraud", "finance")
    tokens = world.people.tokens
    secret, row = tokens.create("kei", Role.FINANCE, "month's close", 2, SHELL)
    person = world.people.by_token(secret, reads=True)
    assert person is not None
    assert person.roles == {Role.FINANCE}
    assert [one.token_id for one in tokens.of("kei")] == [row.token_id]
    world.later(2 * 86_400)
    assert world.people.by_token(secret, reads=True) is None
    with pytest.raises(AccountError, match="does not have the role operator"):
        tokens.create("kei", Role.OPERATOR, "x", 1, SHELL)
    with pytest.raises(AccountError, match="366 days"):
        tokens.create("kei", Role.FRAUD, "x", 367, SHELL)


def test_a_token_is_revoked_by_its_owner_and_by_nobody_elses_name(world: World) -> None:
    world.add("kei", "fraud")
    world.add("mei", "fraud")
    secret, row = world.people.tokens.create("kei", Role.FRAUD, "probe", 1, SHELL)
    with pytest.raises(AccountError, match="no token"):
        world.people.revoke_token(row.token_id, SHELL, "mei")
    assert world.people.by_token(secret, reads=True) is not None
    world.people.revoke_token(row.token_id, SHELL, "kei")
    assert world.people.by_token(secret, reads=True) is None


def test_while_the_database_is_away_who_was_known_reads_and_nobody_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not open to strangers, and not for long."""
    secret = world.signed_in("kei", "operator")
    assert world.people.by_session(secret, reads=True) is not None

    def away(_: Database) -> None:
        raise Transient("away")

    monkeypatch.setattr(Database, "transaction", away)
    world.later(60)
    assert world.people.by_session(secret, reads=True) is not None
    with pytest.raises(Transient):
        world.people.by_session(secret, reads=False)
    with pytest.raises(Transient):
        world.people.by_session("somebody else", reads=True)
    world.later(STALE_S)
    with pytest.raises(Transient):
        world.people.by_session(secret, reads=True)
