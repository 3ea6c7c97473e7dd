"""The tables of people. Times are UTC microseconds; of secrets only the SHA-256 is kept, in hex."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

ID_CHARACTERS = 64
NAME_CHARACTERS_MAX = 100
_PLACE = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
"""Names are compared to the letter, whatever the server's default is."""


class Base(DeclarativeBase):
    """All tables of people."""

    __table_args__: Any = _PLACE


class User(Base):
    """An account. Without a password it signs in by OpenID Connect alone."""

    __tablename__ = "users"

    user_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    created_at_us: Mapped[int] = mapped_column(BigInteger)
    disabled_at_us: Mapped[int | None] = mapped_column(BigInteger)
    grants: Mapped[list[UserGrant]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="UserGrant.role, UserGrant.store_id"
    )


class UserGrant(Base):
    """A role of a user; a merchant's with its merchant, and with a store or, empty, all of its stores."""

    __tablename__ = "user_grants"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(20), primary_key=True)
    merchant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    store_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)


class UserSession(Base):
    """Somebody signed in. Gone with the sign-out; expired ones go at the next sign-in of anybody."""

    __tablename__ = "user_sessions"
    __table_args__ = (
        Index("user_sessions_of", "user_id"),
        Index("user_sessions_expired", "expires_at_us"),
        _PLACE,
    )

    id_sha256: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    created_at_us: Mapped[int] = mapped_column(BigInteger)
    seen_at_us: Mapped[int] = mapped_column(BigInteger)
    expires_at_us: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class ApiToken(Base):
    """A token for programs, with one of its owner's roles. ``token_id`` names it, the secret is kept as its hash."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("api_tokens_of", "user_id"), _PLACE)

    token_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    secret_sha256: Mapped[str] = mapped_column(String(ID_CHARACTERS), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX))
    role: Mapped[str] = mapped_column(String(20))
    created_at_us: Mapped[int] = mapped_column(BigInteger)
    expires_at_us: Mapped[int] = mapped_column(BigInteger)
    used_at_us: Mapped[int | None] = mapped_column(BigInteger)
    revoked_at_us: Mapped[int | None] = mapped_column(BigInteger)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class SignInCode(Base):
    """A link that signs somebody in once. Gone when it was used."""

    __tablename__ = "sign_in_codes"

    code_sha256: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    expires_at_us: Mapped[int] = mapped_column(BigInteger)


class AuditRecord(Base):
    """One act. Written once: the database itself refuses to change or remove it."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_log_of", "actor"), Index("audit_log_about", "action"), _PLACE)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at_us: Mapped[int] = mapped_column(BigInteger)
    actor_id: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    actor: Mapped[str] = mapped_column(String(NAME_CHARACTERS_MAX))
    roles: Mapped[str] = mapped_column(String(100))
    via: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(60))
    target: Mapped[str] = mapped_column(String(200))
    request_id: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    details: Mapped[str] = mapped_column(Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"))
    previous_sha256: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    sha256: Mapped[str] = mapped_column(String(ID_CHARACTERS))


class AuditHead(Base):
    """Where the log ends: one row, locked by whoever appends, so that two records never follow the same one."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(ID_CHARACTERS))
