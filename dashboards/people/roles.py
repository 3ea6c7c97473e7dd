"""Who somebody is: roles, whose payments they are for, and the person a request comes from."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from koban.search.request import Scope

STORES_MAX = 50
"""Stores that one person may be held to."""


class Role(StrEnum):
    """What somebody works as. ``rights`` says what each may do."""

    FRAUD = "fraud"
    MERCHANT = "merchant"
    FINANCE = "finance"
    MARKETING = "marketing"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Via(StrEnum):
    """How a request shows whose it is."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105  # a word, no secret
    COMMAND = "command"


class GrantError(ValueError):
    """Roles that make no sense together; says why."""


class Grant(msgspec.Struct, frozen=True, order=True):
    """A role somebody has. A merchant's names the brand, and perhaps one store of it."""

    role: Role
    merchant_id: str = ""
    store_id: str = ""

    def text(self) -> str:
        """As people write it: ``fraud``, ``merchant:m-1``, ``merchant:m-1/s-2``."""
        if not self.merchant_id:
            return self.role.value
        return f"{self.role}:{self.merchant_id}" + (f"/{self.store_id}" if self.store_id else "")


def parsed(text: str) -> Grant:
    """The grant that ``text`` writes. Raises GrantError."""
    name, _, place = text.partition(":")
    if name not in set(Role):
        raise GrantError(f"{name!r} is no role; there are {', '.join(Role)}")
    merchant_id, _, store_id = place.partition("/")
    return Grant(Role(name), merchant_id, store_id)


def checked(grants: tuple[Grant, ...]) -> tuple[Grant, ...]:
    """The grants, sorted and without repeats. Raises GrantError where together they would say too little or too much.

    A merchant has no second role: that one would show what the merchant's own must not.
    """
    if not grants:
        raise GrantError("name at least one role")
    merchants = {grant.merchant_id for grant in grants if grant.role is Role.MERCHANT}
    if any(bool(grant.merchant_id) != (grant.role is Role.MERCHANT) for grant in grants):
        raise GrantError("a merchant's role names its merchant (merchant:ID or merchant:ID/STORE), and no other does")
    if merchants and (len(merchants) > 1 or len({grant.role for grant in grants}) > 1):
        raise GrantError("a merchant's account is for one merchant and has no second role")
    if len(grants) > STORES_MAX:
        raise GrantError(f"at most {STORES_MAX} roles or stores")
    return tuple(sorted(set(grants)))


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever a request comes from."""

    user_id: str
    name: str
    grants: tuple[Grant, ...]
    via: Via
    credential_id: str = ""
    """Which session or token: what tells it from others of the same person, and lets nobody in."""

    @property
    def roles(self) -> frozenset[Role]:
        return frozenset(grant.role for grant in self.grants)

    @property
    def scope(self) -> Scope:
        """Whose payments this person may find."""
        merchants = [grant for grant in self.grants if grant.role is Role.MERCHANT]
        if not merchants:
            return Scope.operator()
        stores = {grant.store_id for grant in merchants}
        return Scope.of_merchant(merchants[0].merchant_id, () if "" in stores else tuple(sorted(stores)))
