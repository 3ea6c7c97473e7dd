"""The way in and out: the page that asks who somebody is, the cookie of a new session, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from dashboards.people import guard
from dashboards.people.credentials import SECRET_BYTES
from dashboards.people.guard import AccountsDownError, people_of
from dashboards.people.openid import OpenId
from dashboards.people.paths import home_of, local
from schemas.errors import Transient

if TYPE_CHECKING:
    from dashboards.pages import Pages


async def asked(work: Any, *arguments: Any) -> Any:
    """The answer of people, from a thread. Raises AccountsDownError."""
    try:
        return await run_in_threadpool(work, *arguments)
    except Transient as error:
        raise AccountsDownError from error


def sign_in_page(
    pages: Pages, openid: OpenId, request: Request, status: int = 200, trouble: str = "", *, retry_after_s: float = 0
) -> Response:
    known = guard.visitor_secret(request)
    request.state.visitor = known or people_of(request).randomness(SECRET_BYTES)
    back = local(request.query_params.get("next", ""))
    page = pages.page(
        request,
        "people/sign_in.html.j2",
        status=status,
        desk="sign-in",
        trouble=trouble,
        back=back,
        openid=openid.is_on,
    )
    if not known:
        page.set_cookie(guard.VISITOR_COOKIE, request.state.visitor, **cookie(request))
    if retry_after_s:
        page.headers["Retry-After"] = f"{retry_after_s + 0.5:.0f}"
    return page


async def let_in(request: Request, secret: str, back: str) -> Response:
    """A fresh cookie, and on to where the person wanted to go."""
    person = await asked(lambda: people_of(request).by_session(secret, reads=True))
    response = RedirectResponse(local(back) or home_of(person), 303, headers={"Cache-Control": "no-store"})
    response.set_cookie(guard.session_cookie(request), secret, **cookie(request))
    response.delete_cookie(guard.VISITOR_COOKIE)
    return response


def let_out(request: Request) -> Response:
    response = RedirectResponse("/sign-in", 303, headers={"Clear-Site-Data": '"cache", "storage"'})
    response.delete_cookie(guard.session_cookie(request), secure=request.url.scheme == "https", httponly=True)
    return response


def cookie(request: Request) -> dict[str, Any]:
    return {"httponly": True, "samesite": "lax", "secure": request.url.scheme == "https", "path": "/"}
