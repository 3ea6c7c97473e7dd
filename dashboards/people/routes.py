"""The pages of people: signing in and out, one's own account, and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from dashboards.people import audit, guard
from dashboards.people.accounts import AccountError
from dashboards.people.audit import Found
from dashboards.people.credentials import SECRET_BYTES
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
from dashboards.people.passwords import BusyError, PasswordError
from dashboards.people.paths import home_of, local
from dashboards.people.rights import Right
from dashboards.people.roles import Role
from dashboards.people.service import TooManyTriesError
from schemas.errors import Transient

if TYPE_CHECKING:
    from dashboards.app import Pages

RECORDS = 100
DAYS = 90
"""How long a token lasts unless somebody says otherwise."""
DONE = {"password": "people.done_password", "revoked": "people.done_revoked"}
OWN = requires(Right.ACCOUNT_OWN)


def create_router(pages: Pages) -> APIRouter:
    """All routes of people."""
    router = APIRouter()
    _add_signing(router, pages)
    _add_account(router, pages)
    _add_audit(router, pages)
    return router


def _add_signing(router: APIRouter, pages: Pages) -> None:
    @router.get("/sign-in", dependencies=[public])
    async def sign_in(request: Request) -> Response:
        try:
            person = await guard.identified(request)
        except AccountsDownError:
            person = None
        if person is not None:
            return RedirectResponse(local(request.query_params.get("next", "")) or home_of(person), 303)
        return _sign_in_page(pages, request)

    @router.post("/sign-in", dependencies=[public])
    async def signed_in(request: Request) -> Response:
        await check_form(request, guard.visitor_secret(request))
        form = await request.form()
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        people, asked = people_of(request), (guard.address_of(request), request.state.request_id)
        try:
            secret = await run_in_threadpool(people.sign_in, name, password, *asked)
        except TooManyTriesError as error:
            return _sign_in_page(pages, request, 429, "people.too_many", retry_after_s=error.wait_s)
        except BusyError:
            return _sign_in_page(pages, request, 503, "people.busy", retry_after_s=1)
        except Transient as error:
            raise AccountsDownError from error
        if secret is None:
            return _sign_in_page(pages, request, 401, "people.wrong")
        return await _let_in(request, secret, str(form.get("next", "")))

    @router.get("/sign-in/once", dependencies=[public])
    async def once(request: Request) -> Response:
        code, asked = request.query_params.get("code", ""), (guard.address_of(request), request.state.request_id)
        try:
            secret = await run_in_threadpool(people_of(request).sign_in_by_code, code[:200], *asked)
        except TooManyTriesError as error:
            return _sign_in_page(pages, request, 429, "people.too_many", retry_after_s=error.wait_s)
        except Transient as error:
            raise AccountsDownError from error
        if secret is None:
            return _sign_in_page(pages, request, 401, "people.used_up")
        return await _let_in(request, secret, request.query_params.get("next", ""))

    @router.post("/sign-out", dependencies=[OWN])
    async def sign_out(request: Request) -> Response:
        await _asked(people_of(request).sign_out, session_secret(request), actor_of(request))
        return _let_out(request)


def _add_account(router: APIRouter, pages: Pages) -> None:
    @router.get("/account", dependencies=[OWN])
    async def account(request: Request) -> Response:
        return await _account_page(pages, request, done=DONE.get(request.query_params.get("done", ""), ""))

    @router.post("/account/sign-out-everywhere", dependencies=[OWN])
    async def sign_out_everywhere(request: Request) -> Response:
        await _asked(people_of(request).sign_out_everywhere, person_of(request), actor_of(request))
        return _let_out(request)

    @router.post("/account/password", dependencies=[OWN])
    async def password(request: Request) -> Response:
        form, people, person = await request.form(), people_of(request), person_of(request)
        old, new = str(form.get("old_password", "")), str(form.get("new_password", ""))
        try:
            await _asked(people.change_password, person, old, new, actor_of(request))
        except TooManyTriesError:
            return await _account_page(pages, request, status=429, trouble="people.too_many")
        except BusyError:
            return await _account_page(pages, request, status=503, trouble="people.busy")
        except PasswordError as error:
            return await _account_page(pages, request, status=400, trouble="people.refused", why=str(error))
        asked = (guard.address_of(request), "password change", request.state.request_id)
        secret = await _asked(people.sessions.open, person, *asked)
        return await _let_in(request, secret, "/account?done=password")

    @router.post("/account/tokens", dependencies=[OWN])
    async def token(request: Request) -> Response:
        form, people, person = await request.form(), people_of(request), person_of(request)
        label, role, days = (str(form.get(name, "")) for name in ("label", "role", "days"))
        try:
            wanted = person.name, Role(role), label, int(days or DAYS)
            secret, _ = await _asked(people.tokens.create, *wanted, actor_of(request))
        except (AccountError, ValueError) as error:
            return await _account_page(pages, request, status=400, trouble="people.refused", why=str(error))
        return await _account_page(pages, request, made=secret)

    @router.post("/account/tokens/{token_id}/revoke", dependencies=[OWN])
    async def revoke(request: Request, token_id: str) -> Response:
        try:
            await _asked(people_of(request).revoke_token, token_id, actor_of(request), person_of(request).name)
        except AccountError as error:
            return await _account_page(pages, request, status=404, trouble="people.refused", why=str(error))
        return RedirectResponse("/account?done=revoked", 303)


def _add_audit(router: APIRouter, pages: Pages) -> None:
    @router.get("/audit", dependencies=[requires(Right.AUDIT_READ)])
    async def log(request: Request) -> Response:
        found = await _records(request)
        return pages.page(request, "people/audit.html.j2", desk="audit", found=found, asked=request.query_params)

    @router.get("/audit.json", dependencies=[requires(Right.AUDIT_READ, records="audit:export")])
    async def log_data(request: Request) -> Response:
        found = await _records(request)
        return JSONResponse({"records": [audit.shown(record) for record in found.records], "before": found.before})


async def _records(request: Request) -> Found:
    asked = {name: request.query_params.get(name, "")[:200] for name in ("actor", "action", "target")}
    before = request.query_params.get("before", "")
    place = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None

    def look() -> Found:
        return audit.newest(people_of(request).database, **asked, before=place, limit=RECORDS)

    return await _asked(look)  # type: ignore[no-any-return]  # the function's own type


async def _asked(work: Any, *arguments: Any) -> Any:
    """The answer of people, from a thread. Raises AccountsDownError."""
    try:
        return await run_in_threadpool(work, *arguments)
    except Transient as error:
        raise AccountsDownError from error


async def _account_page(pages: Pages, request: Request, *, status: int = 200, **values: Any) -> Response:
    people, person = people_of(request), person_of(request)
    tokens = await _asked(people.tokens.of, person.name)
    sessions = await _asked(people.sessions.count, person)
    shown = {"made": "", "trouble": "", "why": "", "done": "", "days": DAYS, **values}
    return pages.page(
        request, "people/account.html.j2", status=status, desk="account", tokens=tokens, sessions=sessions,
        now_us=people.clock(), roles=sorted(person.roles), **shown,
    )  # fmt: skip


def _sign_in_page(
    pages: Pages, request: Request, status: int = 200, trouble: str = "", *, retry_after_s: float = 0
) -> Response:
    known = guard.visitor_secret(request)
    request.state.visitor = known or people_of(request).randomness(SECRET_BYTES)
    back = local(request.query_params.get("next", ""))
    page = pages.page(request, "people/sign_in.html.j2", status=status, desk="sign-in", trouble=trouble, back=back)
    if not known:
        page.set_cookie(guard.VISITOR_COOKIE, request.state.visitor, **_cookie(request))
    if retry_after_s:
        page.headers["Retry-After"] = f"{retry_after_s + 0.5:.0f}"
    return page


async def _let_in(request: Request, secret: str, back: str) -> Response:
    """A fresh cookie, and on to where the person wanted to go."""
    person = await _asked(lambda: people_of(request).by_session(secret, reads=True))
    response = RedirectResponse(local(back) or home_of(person), 303, headers={"Cache-Control": "no-store"})
    response.set_cookie(guard.session_cookie(request), secret, **_cookie(request))
    response.delete_cookie(guard.VISITOR_COOKIE)
    return response


def _let_out(request: Request) -> Response:
    response = RedirectResponse("/sign-in", 303, headers={"Clear-Site-Data": '"cache", "storage"'})
    response.delete_cookie(guard.session_cookie(request), secure=request.url.scheme == "https", httponly=True)
    return response


def _cookie(request: Request) -> dict[str, Any]:
    return {"httponly": True, "samesite": "lax", "secure": request.url.scheme == "https", "path": "/"}
