"""Sessions on the server: a random id in a cookie, its hash in a row, an end by time and an end by idleness."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select

from dashboards.people import audit
from dashboards.people.accounts import Clock, person_of
from dashboards.people.audit import Actor
from dashboards.people.credentials import SECRET_BYTES, Randomness, hashed, short_id
from dashboards.people.database import Database
from dashboards.people.models import SignInCode, User, UserSession
from dashboards.people.roles import Person, Via

SEEN_EVERY_US = 30_000_000
"""How exactly idleness is known: a row is written at most this often."""
_US_PER_S = 1_000_000


class Lifetimes(msgspec.Struct, frozen=True):
    """How long a session lasts at most, and without a request."""

    max_s: int
    idle_s: int


class Sessions:
    """Open, find, close; and links that sign in once."""

    def __init__(self, database: Database, lifetimes: Lifetimes, clock: Clock, randomness: Randomness) -> None:
        self._database = database
        self._lifetimes = lifetimes
        self._clock = clock
        self._randomness = randomness

    def open(self, person: Person, address: str, how: str, request_id: str) -> str:
        """Signs somebody in; gives the new session's secret id. Raises Transient."""
        secret, now_us = self._randomness(SECRET_BYTES), self._clock()
        kept = hashed(secret)
        row = UserSession(
            id_sha256=kept, user_id=person.user_id, created_at_us=now_us, seen_at_us=now_us,
            expires_at_us=now_us + self._lifetimes.max_s * _US_PER_S, address=address[:64],
        )  # fmt: skip
        signed_in = msgspec.structs.replace(person, via=Via.SESSION, credential_id=short_id(kept))
        with self._database.transaction() as session:
            session.execute(delete(UserSession).where(UserSession.expires_at_us < now_us))
            session.add(row)
            details = {"how": how, "address": address}
            audit.append(session, Actor.of(signed_in, request_id), "session:open", person.name, details, now_us)
        return secret

    def person(self, secret: str) -> Person | None:
        """Whose session this is, unless it has ended. Counts as a sign of life. Raises Transient."""
        now_us, kept = self._clock(), hashed(secret)
        with self._database.transaction() as session:
            row = session.get(UserSession, kept)
            if row is None or self._ended(row, now_us) or row.user.disabled_at_us is not None:
                return None
            if now_us - row.seen_at_us > SEEN_EVERY_US:
                row.seen_at_us = now_us
            return person_of(row.user, Via.SESSION, short_id(kept))

    def _ended(self, row: UserSession, now_us: int) -> bool:
        return now_us >= row.expires_at_us or now_us >= row.seen_at_us + self._lifetimes.idle_s * _US_PER_S

    def close(self, secret: str, by: Actor) -> None:
        """Signs out: the id is worth nothing from now on. Raises Transient."""
        with self._database.transaction() as session:
            row = session.get(UserSession, hashed(secret))
            if row is not None:
                session.delete(row)
                audit.append(session, by, "session:close", row.user.name, {}, self._clock())

    def close_all(self, person: Person, by: Actor) -> int:
        """Ends every session of a person; gives how many there were. Raises Transient."""
        with self._database.transaction() as session:
            rows = session.scalars(select(UserSession).where(UserSession.user_id == person.user_id)).all()
            for row in rows:
                session.delete(row)
            audit.append(session, by, "session:close_all", person.name, {"sessions_closed": len(rows)}, self._clock())
        return len(rows)

    def count(self, person: Person) -> int:
        """How many sessions of a person are open now. Raises Transient."""
        now_us = self._clock()
        with self._database.transaction() as session:
            rows = session.scalars(select(UserSession).where(UserSession.user_id == person.user_id)).all()
        return sum(not self._ended(row, now_us) for row in rows)

    def make_code(self, person: Person, lasts_s: int, by: Actor) -> str:
        """A code that signs a person in once, for the address of a link. Raises Transient."""
        code, now_us = self._randomness(SECRET_BYTES), self._clock()
        row = SignInCode(code_sha256=hashed(code), user_id=person.user_id, expires_at_us=now_us + lasts_s * _US_PER_S)
        with self._database.transaction() as session:
            session.add(row)
            audit.append(session, by, "session:link", person.name, {"lasts_s": lasts_s}, now_us)
        return code

    def use_code(self, code: str) -> Person | None:
        """Whom a code signs in; it is used up by that. Raises Transient."""
        now_us = self._clock()
        with self._database.transaction() as session:
            row = session.get(SignInCode, hashed(code), with_for_update=True)
            if row is None:
                return None
            session.delete(row)
            user = session.get_one(User, row.user_id)
            if now_us >= row.expires_at_us or user.disabled_at_us is not None:
                return None
            return person_of(user, Via.SESSION)
