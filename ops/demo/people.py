"""The demo's people: one account a role and two merchants, with passwords made at that moment, and a link to get in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

import msgspec

from dashboards.people.accounts import AccountError
from dashboards.people.audit import Actor
from dashboards.people.credentials import system_randomness
from dashboards.people.roles import Grant, Person, Role
from dashboards.people.service import People
from koban.settings import Settings
from schemas.errors import Transient

LINK_S = 86_400
PASSWORD_BYTES = 12
READY_S_MAX = 30.0
BY = Actor.at_shell("demo")
EVERYTHING = "demo"
"""All of the platform's own roles in one account: who looks at a demo wants to see all of it."""


class DemoAccount(msgspec.Struct, frozen=True):
    """An account of this demo."""

    name: str
    roles: str
    password: str


class DemoPeople(msgspec.Struct, frozen=True):
    """Who may sign in, and the address that signs in once as ``demo``."""

    accounts: tuple[DemoAccount, ...]
    link: str


def make(settings: Settings, merchants: Sequence[str]) -> DemoPeople:
    """The accounts, made or given new passwords. Raises Transient when the database does not come up in time."""
    people = People.of(settings)
    try:
        _until_ready(people.database.migrate)
        made, persons = [], {}
        for name, grants in _wanted(merchants).items():
            password = system_randomness(PASSWORD_BYTES)
            persons[name] = _account(people, name, grants, password)
            made.append(DemoAccount(name, " ".join(grant.text() for grant in grants), password))
        code = people.sessions.make_code(persons[EVERYTHING], LINK_S, BY)
    finally:
        people.close()
    return DemoPeople(tuple(made), f"{settings.console_url}/sign-in/once?{urlencode({'code': code})}")


def _wanted(merchants: Sequence[str]) -> dict[str, tuple[Grant, ...]]:
    staff = [role for role in Role if role is not Role.MERCHANT]
    wanted = {EVERYTHING: tuple(Grant(role) for role in staff)}
    wanted |= {f"demo-{role}": (Grant(role),) for role in staff}
    return wanted | {f"demo-merchant-{at}": (Grant(Role.MERCHANT, one),) for at, one in enumerate(merchants, 1)}


def _account(people: People, name: str, grants: tuple[Grant, ...], password: str) -> Person:
    try:
        return people.accounts.add(name, grants, password, BY)
    except AccountError:  # of the demo that this one goes on from
        people.accounts.reset(name, password, BY)
    person = people.accounts.named(name)
    if person is None:
        raise AccountError(f"{name} is disabled; `koban users enable {name}` lets it in again")
    return person


def _until_ready(work: Callable[[], None]) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while True:
        try:
            return work()
        except Transient:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)
