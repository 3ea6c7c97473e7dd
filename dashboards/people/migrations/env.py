"""How alembic reaches the database: over the connection that its caller has."""

from __future__ import annotations

from alembic import context

from dashboards.people.database import VERSION_TABLE
from dashboards.people.models import Base


def _ours(name: str | None, kind: str, _: object) -> bool:
    """The books lie in the same database and are migrated on their own."""
    return kind != "table" or name in Base.metadata.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_name=_ours,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
