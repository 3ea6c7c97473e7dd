"""People on a real MariaDB: migrations, the service, the audit log and its guards, and a server that is away."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from dashboards.people import audit
from dashboards.people.audit import Actor
from dashboards.people.database import Database
from dashboards.people.roles import Grant, Role
from dashboards.people.service import People
from koban.settings import Settings
from ops.platform import Platform, platform
from schemas.errors import Transient
from sinks.mysql import connect, migrate
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

PASSWORD = "correct horse battery"
SHELL = Actor.at_shell("test")


@pytest.fixture(scope="module")
def site() -> Iterator[Settings]:
    """MariaDB, with the book's tables in the same database."""
    with platform(Path(tempfile.mkdtemp(prefix="koban-")), only=("mariadb",), keep=False) as settings:
        with connect(settings.mysql_url) as connection:
            migrate(connection)
        yield settings


@pytest.fixture
def people(site: Settings) -> Iterator[People]:
    made = People.of(site)
    yield made
    made.close()


def test_migrations_from_many_processes_at_once_make_what_the_models_say(site: Settings) -> None:
    """Two consoles and a command that start at once; the book's tables are left alone."""
    databases = [Database(site.mysql_url) for _ in range(4)]
    threads = [threading.Thread(target=database.migrate) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.check()
        database.close()
    with connect(site.mysql_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM postings")
        assert cursor.fetchone() == (0,)


def test_from_an_account_to_its_session_and_back(people: People) -> None:
    """Names of any letter case, roles with places, links, tokens, and what a reset ends."""
    kei = people.accounts.add("Kei", [Grant(Role.MERCHANT, "m-1", "s-1")], PASSWORD, SHELL)
    secret = people.sign_in("KEI", PASSWORD, "10.0.0.1", "r-1")
    assert secret is not None
    found = people.by_session(secret, reads=False)
    assert found is not None
    assert found.scope.store_ids == ("s-1",)
    code = people.sessions.make_code(kei, 60, SHELL)
    assert people.sign_in_by_code(code, "10.0.0.1", "r") is not None
    assert people.sign_in_by_code(code, "10.0.0.1", "r") is None
    token, _ = people.tokens.create("kei", Role.MERCHANT, "till", 1, SHELL)
    assert people.by_token(token, reads=False) is not None
    people.accounts.reset("kei", "another battery staple", SHELL)
    again = People(people.database, people.sessions._lifetimes)
    assert again.by_session(secret, reads=False) is None
    assert again.by_token(token, reads=False) is None


def test_records_side_by_side_make_one_chain_that_nobody_can_change(people: People) -> None:
    """Four writers, each in transactions of its own; then the database refuses an update and a delete."""

    def write(name: str) -> None:
        for number in range(25):
            people.record(Actor.at_shell(name), "test:write", f"t-{number}", {"文": "店 'x'\n"})

    threads = [threading.Thread(target=write, args=(f"w{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(audit.newest(people.database, action="test:write", limit=200)) == 100
    verdict = audit.verify(people.database)
    assert verdict.broken is None
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"):
        with pytest.raises(DatabaseError, match="only ever appended"), people.database.engine.begin() as here:
            here.execute(text(statement))
    assert audit.verify(people.database) == verdict


def test_who_takes_the_guards_off_is_found(site: Settings, people: People) -> None:
    """An administrator of the database can change a row; the chain names it."""
    for number in range(3):
        people.record(SHELL, "test:tamper", f"t-{number}", {})
    victim = audit.newest(people.database, action="test:tamper", limit=3)[1]
    with people.database.engine.begin() as here:
        guard = here.execute(text("SHOW CREATE TRIGGER audit_log_no_update")).mappings().one()
        here.execute(text("DROP TRIGGER audit_log_no_update"))
        here.execute(text("UPDATE audit_log SET target = 'other' WHERE seq = :seq"), {"seq": victim.seq})
    try:
        broken = audit.verify(people.database).broken
        assert broken is not None
        assert broken.seq == victim.seq
    finally:
        with people.database.engine.begin() as here:
            here.execute(text("UPDATE audit_log SET target = :to WHERE seq = :seq"),
                         {"to": victim.target, "seq": victim.seq})  # fmt: skip
            here.exec_driver_sql(guard["SQL Original Statement"])
    assert audit.verify(people.database).broken is None


def _records(people: People) -> bool:
    try:
        people.record(SHELL, "test:back", "t", {})
    except Transient:
        return False
    return True


def _record_until_refused(people: People) -> None:
    for _ in range(1_000):
        people.record(SHELL, "test:away", "t", {})


def test_a_server_that_was_killed_is_away_and_comes_back_by_itself(site: Settings, people: People) -> None:
    """Who was in goes on reading meanwhile, nothing is changed, and no connection is left for dead."""
    people.accounts.add("rei", [Grant(Role.OPERATOR)], PASSWORD, SHELL)
    secret = people.sign_in("rei", PASSWORD, "10.0.0.2", "r")
    assert secret is not None
    assert people.by_session(secret, reads=True) is not None
    here = Platform(site.data_dir)
    (pid,) = (one.pid for one in here.status() if one.name == "mariadb")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Transient):
        _record_until_refused(people)
    assert people.by_session(secret, reads=True) is not None
    wait_for(lambda: _records(people), "MariaDB is not back")
    assert people.by_session(secret, reads=False) is not None
    assert audit.verify(people.database).broken is None
