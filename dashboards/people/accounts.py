"""Accounts: made and changed from the shell by whoever runs the platform, each change with its audit record."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dashboards.people import audit
from dashboards.people.audit import Actor
from dashboards.people.credentials import Randomness
from dashboards.people.database import Database
from dashboards.people.models import NAME_CHARACTERS_MAX, ApiToken, SignInCode, User, UserGrant, UserSession
from dashboards.people.passwords import PasswordError, Passwords
from dashboards.people.roles import Grant, Person, Role, Via, checked

Clock = Callable[[], int]
"""Now, in UTC microseconds."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]*")


class AccountError(ValueError):
    """An account that is not there, is there already, or can't be so; says what is wrong."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as lists show it."""

    name: str
    roles: list[str]
    created_at_us: int
    disabled_at_us: int | None
    has_password: bool


class Accounts:
    """Add, list, disable, enable, reset; and check a password."""

    def __init__(self, database: Database, passwords: Passwords, clock: Clock, randomness: Randomness) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._randomness = randomness

    def add(self, name: str, grants: Sequence[Grant], password: str | None, by: Actor) -> Person:
        """Makes an account. Raises AccountError, GrantError, PasswordError, Transient."""
        known_as, roles = account_name(name), checked(tuple(grants))
        user = User(
            user_id=self._randomness(12),
            name=known_as,
            password_hash=None if password is None else self._passwords.hashed(password, known_as),
            created_at_us=self._clock(),
            grants=[UserGrant(role=g.role.value, merchant_id=g.merchant_id, store_id=g.store_id) for g in roles],
        )
        details = {"roles": [grant.text() for grant in roles], "password": password is not None}
        try:
            with self._database.transaction() as session:
                session.add(user)
                session.flush()
                audit.append(session, by, "users:add", known_as, details, self._clock())
        except IntegrityError as error:
            raise AccountError(f"there is an account {known_as} already") from error
        return person_of(user, Via.COMMAND)

    def all(self) -> list[Account]:
        """Every account, by name. Raises Transient."""
        with self._database.transaction() as session:
            users = session.scalars(select(User).order_by(User.name)).all()
        return [
            Account(
                name=user.name,
                roles=[grant.text() for grant in grants_of(user)],
                created_at_us=user.created_at_us,
                disabled_at_us=user.disabled_at_us,
                has_password=user.password_hash is not None,
            )
            for user in users
        ]

    def count(self) -> int:
        """How many accounts there are. Raises Transient."""
        with self._database.transaction() as session:
            return session.scalar(select(func.count()).select_from(User)) or 0

    def disable(self, name: str, by: Actor) -> None:
        """Nobody signs in by it any more, and whoever is signed in is out. Raises AccountError, Transient."""
        with self._database.transaction() as session:
            user = _named(session, name)
            before, user.disabled_at_us = user.disabled_at_us, user.disabled_at_us or self._clock()
            _close_everything(session, user.user_id, self._clock())
            details = {"before": {"disabled_at_us": before}, "after": {"disabled_at_us": user.disabled_at_us}}
            audit.append(session, by, "users:disable", user.name, details, self._clock())

    def enable(self, name: str, by: Actor) -> None:
        """A disabled account may sign in again. Raises AccountError, Transient."""
        with self._database.transaction() as session:
            user = _named(session, name)
            before, user.disabled_at_us = user.disabled_at_us, None
            details = {"before": {"disabled_at_us": before}, "after": {"disabled_at_us": None}}
            audit.append(session, by, "users:enable", user.name, details, self._clock())

    def reset(self, name: str, password: str, by: Actor) -> None:
        """A new password; sessions, tokens, links end. Raises AccountError, PasswordError, BusyError, Transient."""
        made = self._passwords.hashed(password, account_name(name))
        with self._database.transaction() as session:
            user = _named(session, name)
            user.password_hash = made
            closed = _close_everything(session, user.user_id, self._clock())
            audit.append(session, by, "users:reset", user.name, closed, self._clock())

    def change_password(self, person: Person, old: str, new: str, by: Actor) -> None:
        """One's own, by showing the old one; all sessions end. Raises PasswordError, BusyError, Transient."""
        with self._database.transaction() as session:
            known = session.scalar(select(User.password_hash).where(User.user_id == person.user_id))
        if not self._passwords.matches(old, known):
            raise PasswordError("the old password is another one")
        made = self._passwords.hashed(new, person.name)
        with self._database.transaction() as session:
            user = session.get_one(User, person.user_id)
            user.password_hash = made
            session.execute(delete(UserSession).where(UserSession.user_id == user.user_id))
            audit.append(session, by, "account:password", user.name, {}, self._clock())

    def authenticated(self, name: str, password: str) -> Person | None:
        """Whose name and password these are. Takes as long for names that nobody has. Raises BusyError, Transient."""
        try:
            known_as = account_name(name)
        except AccountError:
            known_as = ""
        with self._database.transaction() as session:
            user = session.scalars(select(User).where(User.name == known_as)).one_or_none()
        known = user.password_hash if user else None
        if not self._passwords.matches(password, known) or user is None or user.disabled_at_us is not None:
            return None
        if known is not None and self._passwords.is_outdated(known):
            self._rehash(user, password)
        return person_of(user, Via.SESSION)

    def named(self, name: str) -> Person | None:
        """The person whose enabled account has this name. Raises Transient."""
        try:
            known_as = account_name(name)
        except AccountError:
            return None
        with self._database.transaction() as session:
            user = session.scalars(select(User).where(User.name == known_as)).one_or_none()
        return None if user is None or user.disabled_at_us is not None else person_of(user, Via.SESSION)

    def _rehash(self, user: User, password: str) -> None:
        try:
            made = self._passwords.hashed(password, user.name)
        except PasswordError:  # rules became stricter since: the hash stays as it is
            return
        with self._database.transaction() as session:
            session.get_one(User, user.user_id).password_hash = made


def account_name(name: str) -> str:
    """A name in the one way it is kept: lower case, without full-width twins. Raises AccountError."""
    known_as = unicodedata.normalize("NFKC", name).strip().lower()
    if len(known_as) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(known_as):
        raise AccountError(f"a name has up to {NAME_CHARACTERS_MAX} letters, digits and . _ @ + -, a letter first")
    return known_as


def grants_of(user: User) -> tuple[Grant, ...]:
    """The roles of a row."""
    return tuple(sorted(Grant(Role(one.role), one.merchant_id, one.store_id) for one in user.grants))


def person_of(user: User, via: Via, credential_id: str = "", role: Role | None = None) -> Person:
    """The person of a row; with ``role``, as no more than that."""
    grants = tuple(grant for grant in grants_of(user) if role is None or grant.role is role)
    return Person(user_id=user.user_id, name=user.name, grants=grants, via=via, credential_id=credential_id)


def _named(session: Session, name: str) -> User:
    user = session.scalars(select(User).where(User.name == account_name(name))).one_or_none()
    if user is None:
        raise AccountError(f"there is no account {name!r}; `koban users list` shows them")
    return user


def _close_everything(session: Session, user_id: str, now_us: int) -> dict[str, int]:
    """Ends what an account lets in by; gives how much of each there was."""
    tokens = session.scalars(
        select(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at_us.is_(None))
    ).all()
    for token in tokens:
        token.revoked_at_us = now_us
    sessions = session.scalars(select(UserSession).where(UserSession.user_id == user_id)).all()
    for one in sessions:
        session.delete(one)
    session.execute(delete(SignInCode).where(SignInCode.user_id == user_id))
    return {"sessions_closed": len(sessions), "tokens_revoked": len(tokens)}
