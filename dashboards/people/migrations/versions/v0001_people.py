"""Accounts, sessions, tokens, and the audit log with its guards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

_ID, _NAME = sa.String(64), sa.String(100)
_PLACE = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
GENESIS = "0" * 64


def upgrade() -> None:
    """DDL commits by itself in MySQL: a step that was broken off goes on where it was."""
    _accounts()
    _credentials()
    _audit()


def _create(name: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(name, *parts, if_not_exists=True, **_PLACE)


def _index(name: str, table: str, columns: list[str]) -> None:
    """MySQL has no CREATE INDEX IF NOT EXISTS."""
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)


def _accounts() -> None:
    _create(
        "users",
        sa.Column("user_id", _ID, primary_key=True),
        sa.Column("name", _NAME, nullable=False, unique=True),
        sa.Column("password_hash", sa.String(255)),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("disabled_at_us", sa.BigInteger),
    )
    _create(
        "user_grants",
        _user(primary_key=True),
        sa.Column("role", sa.String(20), primary_key=True),
        sa.Column("merchant_id", _ID, primary_key=True),
        sa.Column("store_id", _ID, primary_key=True),
    )


def _credentials() -> None:
    _create(
        "user_sessions",
        sa.Column("id_sha256", _ID, primary_key=True),
        _user(),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("seen_at_us", sa.BigInteger, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sa.Column("address", _ID, nullable=False),
    )
    _index("user_sessions_of", "user_sessions", ["user_id"])
    _index("user_sessions_expired", "user_sessions", ["expires_at_us"])
    _create(
        "api_tokens",
        sa.Column("token_id", _ID, primary_key=True),
        sa.Column("secret_sha256", _ID, nullable=False, unique=True),
        _user(),
        sa.Column("label", _NAME, nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sa.Column("used_at_us", sa.BigInteger),
        sa.Column("revoked_at_us", sa.BigInteger),
    )
    _index("api_tokens_of", "api_tokens", ["user_id"])
    _create(
        "sign_in_codes",
        sa.Column("code_sha256", _ID, primary_key=True),
        _user(),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
    )


def _user(*, primary_key: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("users.user_id", ondelete="CASCADE")
    return sa.Column("user_id", _ID, key, primary_key=primary_key, nullable=False)


def _audit() -> None:
    _create(
        "audit_log",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("actor_id", _ID, nullable=False),
        sa.Column("actor", _NAME, nullable=False),
        sa.Column("roles", sa.String(100), nullable=False),
        sa.Column("via", sa.String(100), nullable=False),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("request_id", _ID, nullable=False),
        sa.Column("details", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False),
        sa.Column("previous_sha256", _ID, nullable=False),
        sa.Column("sha256", _ID, nullable=False),
    )
    _index("audit_log_of", "audit_log", ["actor"])
    _index("audit_log_about", "audit_log", ["action"])
    _create(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("sha256", _ID, nullable=False),
    )
    ignore = "OR IGNORE" if op.get_bind().dialect.name == "sqlite" else "IGNORE"
    op.execute(f"INSERT {ignore} INTO audit_head (id, seq, sha256) VALUES (1, 0, '{GENESIS}')")  # noqa: S608  # our words
    for verb in ("UPDATE", "DELETE"):
        op.execute(_refusal(verb, op.get_bind().dialect.name))


def _refusal(verb: str, dialect: str) -> str:
    """The statement that makes the log refuse ``verb``."""
    name = f"audit_log_no_{verb.lower()}"
    told = "the audit log is only ever appended to"
    if dialect == "sqlite":
        return (
            f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {verb} ON audit_log BEGIN SELECT RAISE(ABORT, '{told}'); END"
        )
    signal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{told}'"
    return f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {verb} ON audit_log FOR EACH ROW {signal}"
