"""Signing in by the provider: there, and back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from dashboards.people import guard
from dashboards.people.audit import Actor
from dashboards.people.credentials import hashed
from dashboards.people.entrance import asked, cookie, let_in, sign_in_page
from dashboards.people.guard import people_of, public
from dashboards.people.openid import BACK, OpenId, OpenIdError, packed, unpacked
from dashboards.people.paths import local
from schemas.errors import Transient

if TYPE_CHECKING:
    from dashboards.pages import Pages

COOKIE = "koban_openid"
LASTS_S = 600
CODE_CHARACTERS_MAX = 4_000
log = logging.getLogger(__name__)


def add_openid(router: APIRouter, pages: Pages, openid: OpenId) -> None:
    """The two addresses of the flow."""

    @router.get("/sign-in/oidc", dependencies=[public])
    async def begin(request: Request) -> Response:
        try:
            address, start = await openid.begin(local(request.query_params.get("next", "")))
        except (Transient, OpenIdError) as error:
            log.warning("sign-in by the provider: %s", error)
            return sign_in_page(pages, openid, request, 503, "people.provider_down")
        response = RedirectResponse(address, 303, headers={"Cache-Control": "no-store"})
        response.set_cookie(COOKIE, packed(start), max_age=LASTS_S, **cookie(request))
        return response

    @router.get(BACK, dependencies=[public])
    async def back(request: Request) -> Response:
        start = unpacked(request.cookies.get(COOKIE, ""))
        code, state = (request.query_params.get(name, "")[:CODE_CHARACTERS_MAX] for name in ("code", "state"))
        people, where = people_of(request), guard.address_of(request)
        if start is None or not code or hashed(state) != hashed(start.state):
            return sign_in_page(pages, openid, request, 401, "people.provider_refused")
        try:
            name = await openid.name(start, code, people.clock() // 1_000_000)
        except Transient as error:
            log.warning("sign-in by the provider: %s", error)
            return sign_in_page(pages, openid, request, 503, "people.provider_down")
        except OpenIdError as error:
            log.warning("sign-in by the provider: %s", error)
            return sign_in_page(pages, openid, request, 401, "people.provider_refused")
        person = await asked(people.accounts.named, name)
        if person is None:
            nobody = Actor.nobody(request.state.request_id, where)
            await asked(people.record, nobody, "session:refused", name[:200], {"how": "openid"})
            return sign_in_page(pages, openid, request, 401, "people.no_account")
        secret = await asked(people.sessions.open, person, where, "openid", request.state.request_id)
        response = await let_in(request, secret, start.back)
        response.delete_cookie(COOKIE)
        return response
