"""The pages of people: signing in and out, and one's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from dashboards.forms import fields
from dashboards.people import guard
from dashboards.people.accounts import AccountError
from dashboards.people.entrance import asked, let_in, let_out, sign_in_page
from dashboards.people.guard import (
    AccountsDownError,
    actor_of,
    check_form,
    people_of,
    person_of,
    public,
    requires,
    session_secret,
)
from dashboards.people.openid import OpenId
from dashboards.people.openid_routes import add_openid
from dashboards.people.passwords import BusyError, PasswordError
from dashboards.people.paths import home_of, local
from dashboards.people.rights import Right
from dashboards.people.roles import Role
from dashboards.people.service import TooManyTriesError
from schemas.errors import Transient

if TYPE_CHECKING:
    from dashboards.pages import Pages

BODY_BYTES_MAX = 64 * 1024
DAYS = 90
"""How long a token lasts unless somebody says otherwise."""
DONE = {"password": "people.done_password", "revoked": "people.done_revoked"}
OWN = requires(Right.ACCOUNT_OWN)


def create_router(pages: Pages, openid: OpenId) -> APIRouter:
    """All routes of people."""
    router = APIRouter(max_body_size=BODY_BYTES_MAX)
    _add_signing(router, pages, openid)
    if openid.is_on:
        add_openid(router, pages, openid)
    _add_account(router, pages)
    return router


def _add_signing(router: APIRouter, pages: Pages, openid: OpenId) -> None:
    @router.get("/sign-in", dependencies=[public])
    async def sign_in(request: Request) -> Response:
        try:
            person = await guard.identified(request)
        except AccountsDownError:
            person = None
        if person is not None:
            return RedirectResponse(local(request.query_params.get("next", "")) or home_of(person), 303)
        return sign_in_page(pages, openid, request)

    @router.post("/sign-in", dependencies=[public])
    async def signed_in(request: Request) -> Response:
        await check_form(request, guard.visitor_secret(request))
        form = await fields(request)
        name, password = form.get("name", ""), form.get("password", "")
        people, by = people_of(request), (guard.address_of(request), request.state.request_id)
        try:
            secret = await run_in_threadpool(people.sign_in, name, password, *by)
        except TooManyTriesError as error:
            return sign_in_page(pages, openid, request, 429, "people.too_many", retry_after_s=error.wait_s)
        except BusyError:
            return sign_in_page(pages, openid, request, 503, "people.busy", retry_after_s=1)
        except Transient as error:
            raise AccountsDownError from error
        if secret is None:
            return sign_in_page(pages, openid, request, 401, "people.wrong")
        return await let_in(request, secret, form.get("next", ""))

    @router.get("/sign-in/once", dependencies=[public])
    async def once(request: Request) -> Response:
        code, by = request.query_params.get("code", ""), (guard.address_of(request), request.state.request_id)
        try:
            secret = await run_in_threadpool(people_of(request).sign_in_by_code, code[:200], *by)
        except TooManyTriesError as error:
            return sign_in_page(pages, openid, request, 429, "people.too_many", retry_after_s=error.wait_s)
        except Transient as error:
            raise AccountsDownError from error
        if secret is None:
            return sign_in_page(pages, openid, request, 401, "people.used_up")
        return await let_in(request, secret, request.query_params.get("next", ""))

    @router.post("/sign-out", dependencies=[OWN])
    async def sign_out(request: Request) -> Response:
        await asked(people_of(request).sign_out, session_secret(request), actor_of(request))
        return let_out(request)


def _add_account(router: APIRouter, pages: Pages) -> None:
    @router.get("/account", dependencies=[OWN])
    async def account(request: Request) -> Response:
        return await _account_page(pages, request, done=DONE.get(request.query_params.get("done", ""), ""))

    @router.post("/account/sign-out-everywhere", dependencies=[OWN])
    async def sign_out_everywhere(request: Request) -> Response:
        await asked(people_of(request).sign_out_everywhere, person_of(request), actor_of(request))
        return let_out(request)

    @router.post("/account/password", dependencies=[OWN])
    async def password(request: Request) -> Response:
        form, people, person = await fields(request), people_of(request), person_of(request)
        old, new = form.get("old_password", ""), form.get("new_password", "")
        try:
            await asked(people.change_password, person, old, new, actor_of(request))
        except TooManyTriesError:
            return await _account_page(pages, request, status=429, trouble="people.too_many")
        except BusyError:
            return await _account_page(pages, request, status=503, trouble="people.busy")
        except PasswordError as error:
            return await _account_page(pages, request, status=400, trouble="people.refused", why=str(error))
        by = (guard.address_of(request), "password change", request.state.request_id)
        secret = await asked(people.sessions.open, person, *by)
        return await let_in(request, secret, "/account?done=password")

    @router.post("/account/tokens", dependencies=[OWN])
    async def token(request: Request) -> Response:
        form, people, person = await fields(request), people_of(request), person_of(request)
        label, role, days = (form.get(name, "") for name in ("label", "role", "days"))
        try:
            wanted = person.name, Role(role), label, int(days or DAYS)
            secret, _ = await asked(people.tokens.create, *wanted, actor_of(request))
        except (AccountError, ValueError) as error:
            return await _account_page(pages, request, status=400, trouble="people.refused", why=str(error))
        return await _account_page(pages, request, made=secret)

    @router.post("/account/tokens/{token_id}/revoke", dependencies=[OWN])
    async def revoke(request: Request, token_id: str) -> Response:
        try:
            await asked(people_of(request).revoke_token, token_id, actor_of(request), person_of(request).name)
        except AccountError as error:
            return await _account_page(pages, request, status=404, trouble="people.refused", why=str(error))
        return RedirectResponse("/account?done=revoked", 303)


async def _account_page(pages: Pages, request: Request, *, status: int = 200, **values: Any) -> Response:
    people, person = people_of(request), person_of(request)
    tokens = await asked(people.tokens.of, person.name)
    sessions = await asked(people.sessions.count, person)
    shown = {"made": "", "trouble": "", "why": "", "done": "", "days": DAYS, **values}
    return pages.page(
        request, "people/account.html.j2", status=status, desk="account", tokens=tokens, sessions=sessions,
        now_us=people.clock(), roles=sorted(person.roles), **shown,
    )  # fmt: skip
