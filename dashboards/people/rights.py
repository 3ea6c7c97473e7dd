"""Rights: one table says which roles have which. A route declares the right it asks for; see ``guard``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from dashboards.people.roles import Person, Role


class Right(StrEnum):
    """Something that may be done."""

    LIVE_READ = "live:read"
    LEDGER_READ = "ledger:read"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_OF_ALL = "payments:all"
    ALERTS_READ = "alerts:read"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_ACT = "operations:act"
    LISTS_EXPORT = "lists:export"
    BOOKS_READ = "books:read"
    AUDIT_READ = "audit:read"
    ACCOUNT_OWN = "account:own"


_STAFF = frozenset(Role) - {Role.MERCHANT}

ROLES: Mapping[Right, frozenset[Role]] = {
    Right.LIVE_READ: _STAFF,
    Right.LEDGER_READ: frozenset({Role.FINANCE, Role.OPERATOR, Role.AUDITOR}),
    # A merchant finds its own payments alone: its scope is a filter of every query, see `Person.scope`.
    Right.PAYMENTS_READ: frozenset(Role),
    Right.PAYMENTS_OF_ALL: _STAFF,
    Right.ALERTS_READ: frozenset({Role.FRAUD, Role.OPERATOR, Role.AUDITOR}),
    Right.OPERATIONS_READ: frozenset({Role.OPERATOR, Role.AUDITOR}),
    Right.OPERATIONS_ACT: frozenset({Role.OPERATOR}),
    # Of the lists that a role may read, as a whole and to a file.
    Right.LISTS_EXPORT: frozenset(Role) - {Role.MARKETING},
    Right.BOOKS_READ: frozenset({Role.FRAUD, Role.FINANCE, Role.OPERATOR, Role.AUDITOR}),
    Right.AUDIT_READ: frozenset({Role.AUDITOR}),
    Right.ACCOUNT_OWN: frozenset(Role),
}
"""Right → who has it. A right that is not here is nobody's."""

SESSION_ONLY = frozenset({Right.ACCOUNT_OWN})
"""Not for tokens: one that leaked must not make others, or outlive its end by a new password."""


def may(person: Person | None, right: Right) -> bool:
    """Whether somebody has a right; nobody in particular has none."""
    return person is not None and bool(ROLES.get(right, frozenset()) & person.roles)
