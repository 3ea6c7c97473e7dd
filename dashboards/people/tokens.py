"""API tokens: for programs, each with one role of its owner and an end. Shown once, when it is made."""

from __future__ import annotations

import msgspec
from sqlalchemy import select

from dashboards.people import audit
from dashboards.people.accounts import AccountError, Clock, account_name, person_of
from dashboards.people.audit import Actor
from dashboards.people.credentials import SECRET_BYTES, TOKEN_PREFIX, Randomness, hashed, short_id
from dashboards.people.database import Database
from dashboards.people.models import ApiToken, User
from dashboards.people.roles import Person, Role, Via

DAYS_MAX = 366
PER_USER_MAX = 50
LABEL_CHARACTERS_MAX = 100
USED_EVERY_US = 60_000_000
_US_PER_DAY = 86_400_000_000


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token as lists show it; the secret is not in it."""

    token_id: str
    owner: str
    label: str
    role: str
    created_at_us: int
    expires_at_us: int
    used_at_us: int | None
    revoked_at_us: int | None


class Tokens:
    """Create, find, list, revoke."""

    def __init__(self, database: Database, clock: Clock, randomness: Randomness) -> None:
        self._database = database
        self._clock = clock
        self._randomness = randomness

    def create(self, owner: str, role: Role, label: str, days: int, by: Actor) -> tuple[str, TokenRow]:
        """The token's text, which is not kept, and its row. Raises AccountError, Transient."""
        if not 1 <= days <= DAYS_MAX:
            raise AccountError(f"a token lasts 1 to {DAYS_MAX} days")
        if not label.strip() or len(label) > LABEL_CHARACTERS_MAX:
            raise AccountError(f"say in up to {LABEL_CHARACTERS_MAX} characters what the token is for")
        now_us = self._clock()
        secret = TOKEN_PREFIX + self._randomness(SECRET_BYTES)
        kept = hashed(secret)
        with self._database.transaction() as session:
            user = session.scalars(select(User).where(User.name == account_name(owner))).one_or_none()
            if user is None or user.disabled_at_us is not None:
                raise AccountError(f"there is no enabled account {owner!r}")
            if role not in {Role(grant.role) for grant in user.grants}:
                raise AccountError(f"{user.name} does not have the role {role}")
            alive = [one for one in session.scalars(select(ApiToken).where(ApiToken.user_id == user.user_id))
                     if one.revoked_at_us is None and one.expires_at_us > now_us]  # fmt: skip
            if len(alive) >= PER_USER_MAX:
                raise AccountError(f"{user.name} has {PER_USER_MAX} tokens; revoke one first")
            row = ApiToken(
                token_id=short_id(kept), secret_sha256=kept, user_id=user.user_id, label=label.strip(), role=role.value,
                created_at_us=now_us, expires_at_us=now_us + days * _US_PER_DAY, user=user,
            )  # fmt: skip
            session.add(row)
            details = {"label": row.label, "role": row.role, "expires_at_us": row.expires_at_us, "owner": user.name}
            audit.append(session, by, "tokens:create", row.token_id, details, now_us)
        return secret, _shown(row)

    def person(self, secret: str) -> Person | None:
        """On whose behalf a token speaks, as its one role, unless it has ended. Raises Transient."""
        now_us, kept = self._clock(), hashed(secret)
        with self._database.transaction() as session:
            row = session.scalars(select(ApiToken).where(ApiToken.secret_sha256 == kept)).one_or_none()
            if row is None or row.revoked_at_us is not None or now_us >= row.expires_at_us:
                return None
            if row.user.disabled_at_us is not None:
                return None
            if now_us - (row.used_at_us or 0) > USED_EVERY_US:
                row.used_at_us = now_us
            found = person_of(row.user, Via.TOKEN, row.token_id, Role(row.role))
            return found if found.grants else None  # the role was taken from its owner meanwhile

    def of(self, owner: str | None) -> list[TokenRow]:
        """Tokens of an account, or of all, the newest first. Raises Transient."""
        query = select(ApiToken).order_by(ApiToken.created_at_us.desc(), ApiToken.token_id)
        if owner is not None:
            query = query.join(ApiToken.user).where(User.name == owner)
        with self._database.transaction() as session:
            return [_shown(row) for row in session.scalars(query)]

    def revoke(self, token_id: str, by: Actor, *, owner: str | None = None) -> None:
        """A token is worth nothing from now on; ``owner`` says whose it must be. Raises AccountError, Transient."""
        with self._database.transaction() as session:
            row = session.get(ApiToken, token_id)
            if row is None or (owner is not None and row.user.name != owner):
                raise AccountError(f"there is no token {token_id!r}")
            before, row.revoked_at_us = row.revoked_at_us, row.revoked_at_us or self._clock()
            details = {"before": {"revoked_at_us": before}, "after": {"revoked_at_us": row.revoked_at_us}}
            audit.append(session, by, "tokens:revoke", token_id, details, self._clock())


def _shown(row: ApiToken) -> TokenRow:
    return TokenRow(
        token_id=row.token_id, owner=row.user.name, label=row.label, role=row.role, created_at_us=row.created_at_us,
        expires_at_us=row.expires_at_us, used_at_us=row.used_at_us, revoked_at_us=row.revoked_at_us,
    )  # fmt: skip
