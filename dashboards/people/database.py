"""The database of people: MySQL by the platform's own setting, one transaction a unit of work, and its migrations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from schemas.errors import Transient
from sinks.mysql import MIGRATING_S_MAX, place_of

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "people_migrations"
ANSWER_S_MAX = 2
"""A page waits no longer for it."""
CONNECTIONS_MAX = 8
CONNECTION_AGE_S_MAX = 300
REST_S = 3.0
"""After it did not answer it is left alone for so long: pages must not queue up behind a server that hangs."""

_NO_CONNECTION = {1040, 1045, 1053, 2002, 2003, 2005, 2006, 2013, 2055}
"""MySQL's numbers for a server that is away, full, or refuses us."""


class Database:
    """Transactions on a database. Its methods block: call them from a thread."""

    def __init__(self, url: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.engine = _sqlite(url) if url.startswith("sqlite:") else _mysql(url)
        self._monotonic = monotonic
        self._resting_until = 0.0
        self._migrated = False

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A unit of work, committed at its end. Raises Transient when the database does not answer."""
        with self._answering():
            if not self._migrated:
                self.migrate()
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session

    def migrate(self) -> None:
        """Brings the tables up to date; does nothing when they are. Raises Transient."""
        with self._answering(), self.engine.connect() as connection, _alone(connection):
            command.upgrade(_alembic(connection), "head")
            connection.commit()
        self._migrated = True

    def check(self) -> None:
        """Raises alembic's CommandError when models and migrations say different things."""
        with self.engine.connect() as connection:
            command.check(_alembic(connection))

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        if self._monotonic() < self._resting_until:
            raise Transient("the accounts' database does not answer")
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            if _unreachable(error):
                self._resting_until = self._monotonic() + REST_S
            raise Transient(f"the accounts' database does not answer: {type(error).__name__}") from error


def _unreachable(error: Exception) -> bool:
    """Whether the server is at fault, and not a lock or a statement."""
    if not isinstance(error, DBAPIError):
        return True
    arguments = error.orig.args if error.orig else ()
    return bool(arguments) and arguments[0] in _NO_CONNECTION


def _mysql(url: str) -> Engine:
    place = place_of(url)
    address = URL.create(
        "mysql+pymysql",
        username=place["user"] or None,
        password=place["password"] or None,
        host=place["host"],
        port=place["port"],
        database=place["database"],
        query={"charset": "utf8mb4"},
    )
    waits = {"connect_timeout": ANSWER_S_MAX, "read_timeout": ANSWER_S_MAX, "write_timeout": ANSWER_S_MAX}
    return create_engine(
        address,
        isolation_level="READ COMMITTED",
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=ANSWER_S_MAX,
        pool_recycle=CONNECTION_AGE_S_MAX,
        pool_pre_ping=True,
        connect_args=waits,
    )


def _sqlite(url: str) -> Engine:
    """The same on a file. A transaction is a writer's from its start, as the audit log's lock is on MySQL."""
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def connected(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3's: BEGIN is ours
        connection.execute("PRAGMA foreign_keys = ON")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Nobody else migrates meanwhile."""
    if connection.dialect.name == "sqlite":
        yield
        return
    if connection.scalar(text(f"SELECT GET_LOCK(CONCAT(DATABASE(), '.people'), {MIGRATING_S_MAX})")) != 1:
        raise Transient("another process is making the accounts' tables")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.people'))"))


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
