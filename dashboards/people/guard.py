"""What stands in front of every route: who asks, whether they may, and whether a form is from one of our own pages.

A route declares ``dependencies=[requires(Right.X)]`` or ``dependencies=[public]``; a test walks all routes and fails on
one that does neither. With ``records`` the act is in the audit log before the route's own code runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from anyio import to_thread
from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from dashboards.forms import BadFormError, fields
from dashboards.people import credentials
from dashboards.people.audit import Actor
from dashboards.people.rights import SESSION_ONLY, Right, may
from dashboards.people.roles import Person, Via
from dashboards.people.service import FRESH_S, People
from koban.search.request import Scope
from schemas.errors import Transient

READING = frozenset({"GET", "HEAD"})
FORM_TOKEN = "csrf"  # noqa: S105  # the name of a field
FORM_HEADER = "X-CSRF-Token"
NEVER_RECORDED = frozenset({FORM_TOKEN, "password", "old_password", "new_password", "code"})
HASHED = frozenset({"value"})
VALUE_CHARACTERS_MAX = 300
VISITOR_COOKIE = "koban_visitor"
RETRY_AFTER_S = 3
LOOK_UP_S_MAX, KNOWN_S_MAX = 1.8, 0.4
"""The longest that a look-up is waited for; and where the person is known and only reads."""


class NotSignedInError(HTTPException):
    """Nobody in particular asks: say who you are first."""

    def __init__(self) -> None:
        super().__init__(401, "sign in, or send a token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})


class ForbiddenError(HTTPException):
    """Somebody asks who may not; says which right is missing."""

    def __init__(self, right: Right) -> None:
        super().__init__(403, f"the right {right} is missing")
        self.right = right


class ForeignFormError(HTTPException):
    """A change that no page of ours asked for."""

    def __init__(self, reason: str) -> None:
        super().__init__(403, f"this form is not from a page of this session: {reason}")


class AccountsDownError(HTTPException):
    """Nobody can be let in while the accounts can't be read."""

    def __init__(self) -> None:
        super().__init__(503, "the accounts' database does not answer", {"Retry-After": str(RETRY_AFTER_S)})


class KnowsPeople:
    """Gives every request the people that may be behind it, and an id for the logs."""

    def __init__(self, app: ASGIApp, people: People) -> None:
        self._app = app
        self._people = people

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        scope.setdefault("state", {}).update(people=self._people, request_id=request_id)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        await self._app(scope, receive, named)


class Requirement:
    """The dependency of a guarded route."""

    def __init__(self, right: Right, records: str = "") -> None:
        self.right = right
        self.records = records

    async def met(self, request: Request) -> None:
        """Raises what keeps the request out; else ``person_of`` knows whose it is."""
        person = viewer_of(request) or await identified(request)
        if person is None:
            raise NotSignedInError
        request.state.person = person
        if not may(person, self.right) or (self.right in SESSION_ONLY and person.via is not Via.SESSION):
            raise ForbiddenError(self.right)
        if request.method not in READING and person.via is Via.SESSION:
            await check_form(request, session_secret(request))
        if self.records:
            await record(request, self.records, _target(request), await _parameters(request))


class Public:
    """The dependency of a route that is anybody's."""

    async def met(self, request: Request) -> None:
        """Lets everybody in."""


def requires(right: Right, *, records: str = "") -> Any:
    """What a route declares that asks for a right; ``records`` names the act in the audit log (``noun:verb``)."""
    return Depends(Requirement(right, records).met)


public: Any = Depends(Public().met)
"""What a route declares that is anybody's."""


def people_of(request: Request) -> People:
    """The people of the application, also from a mounted one."""
    people: People = request.state.people
    return people


def person_of(request: Request) -> Person:
    """Whose request it is. Only behind ``requires``."""
    person: Person = request.state.person
    return person


def scope_of(request: Request) -> Scope:
    """Whose payments the person may find."""
    return person_of(request).scope


def viewer_of(request: Request) -> Person | None:
    """Whose request it is, or None where nobody was asked for."""
    person: Person | None = getattr(request.state, "person", None)
    return person


def actor_of(request: Request) -> Actor:
    """Whom the audit log names for this request."""
    return Actor.of(person_of(request), request.state.request_id)


def session_cookie(request: Request) -> str:
    """The name of the session's cookie. Over https browsers hold the prefix to its promise: this host alone set it."""
    return "__Host-koban" if request.url.scheme == "https" else "koban_session"


def session_secret(request: Request) -> str:
    """The session's secret id, or empty."""
    return request.cookies.get(session_cookie(request), "")[: credentials.CHARACTERS_MAX]


async def identified(request: Request) -> Person | None:
    """Whose request it is: by its token where it has one, else by its session. Raises AccountsDownError.

    A database that hangs is not waited for where somebody known only reads, and never longer than `LOOK_UP_S_MAX`.
    """
    people, reads = people_of(request), request.method in READING
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    by_token = kind.lower() == "bearer"
    secret = token if by_token else session_secret(request)
    if not 0 < len(secret) <= credentials.CHARACTERS_MAX:
        return None
    if fresh := people.known(secret, FRESH_S):  # no thread is needed to say so
        return fresh
    known = people.known(secret) if reads else None
    look_up = partial(people.by_token if by_token else people.by_session, secret, reads=reads)
    try:
        async with asyncio.timeout(LOOK_UP_S_MAX if known is None else KNOWN_S_MAX):
            return await people.look_ups.answer((secret, by_token, reads), look_up)
    except TimeoutError as error:
        if known is not None:
            return known
        raise AccountsDownError from error
    except Transient as error:  # of nobody known: the look-up itself falls back on that
        raise AccountsDownError from error


async def look(request: Request) -> None:
    """Looks who asks, for a page that is anybody's and shows it."""
    with suppress(AccountsDownError):
        request.state.person = await identified(request)


async def is_still_signed_in(request: Request) -> bool:
    """Whether the session or token of a request that goes on and on is still good; yes while nobody can tell."""
    try:
        return await identified(request) is not None
    except AccountsDownError:
        return True


async def record(request: Request, action: str, target: str, details: Mapping[str, Any]) -> None:
    """Appends an act of this request's person to the audit log; call it before the act. Raises AccountsDownError."""
    try:
        append = partial(people_of(request).record, actor_of(request), action, target, details)
        async with asyncio.timeout(LOOK_UP_S_MAX):  # beyond it the act is refused, whether or not it is recorded yet
            await to_thread.run_sync(append, abandon_on_cancel=True)
    except (Transient, TimeoutError) as error:
        raise AccountsDownError from error


async def check_form(request: Request, secret: str) -> None:
    """Raises ForeignFormError unless the change comes from a page that this session was given."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForeignFormError("it comes from another site")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise ForeignFormError("it comes from another origin")
    given = request.headers.get(FORM_HEADER) or (await _fields(request)).get(FORM_TOKEN)
    if not secret or not given or not credentials.is_form_token(secret, given):
        raise ForeignFormError("its token is missing or of another session")


def form_token_of(request: Request) -> str:
    """What a page puts into its forms; empty where there is no session and no visitor."""
    secret = session_secret(request) or getattr(request.state, "visitor", "") or visitor_secret(request)
    return credentials.form_token(secret) if secret else ""


def page_values(request: Request) -> dict[str, Any]:
    """What every page needs to know of who looks at it: the person, what they may, and the token of its forms."""
    viewer = viewer_of(request)
    return {"person": viewer, "may": lambda right: may(viewer, Right(right)), "csrf": form_token_of(request)}


def visitor_secret(request: Request) -> str:
    """What stands for a session before there is one."""
    return request.cookies.get(VISITOR_COOKIE, "")[: credentials.CHARACTERS_MAX]


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


async def _parameters(request: Request) -> dict[str, Any]:
    """What was asked for, without what nobody may read later."""
    asked: dict[str, str] = dict(request.query_params)
    if request.method not in READING:
        asked |= await _fields(request)
    kept = {name: _kept(name, value) for name, value in asked.items() if name not in NEVER_RECORDED}
    return {"path": request.url.path, "parameters": kept}


def _kept(name: str, value: str) -> Any:
    """A parameter as it is recorded. Long ones are known by their hash alone: they may hold anything of anybody."""
    if name not in HASHED and len(value) <= VALUE_CHARACTERS_MAX:
        return value
    return {"sha256": credentials.hashed(value), "characters": len(value)}


async def _fields(request: Request) -> dict[str, str]:
    try:
        return await fields(request)
    except BadFormError as error:
        raise HTTPException(400, str(error)) from error


def _target(request: Request) -> str:
    """What the act is about: the address's own parts, else its path."""
    return "/".join(str(value) for value in request.path_params.values()) or request.url.path
