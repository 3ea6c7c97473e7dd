"""Jump to what a text names: a desk, a payment by its whole number, else what the search finds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from dashboards.console import Desk
from dashboards.language import LANGUAGES, message
from dashboards.people.guard import person_of, requires
from dashboards.people.rights import Right, may
from koban.search.query import CHARACTERS_MAX

_NUMBER = re.compile(r"[0-9]{16,32}\Z")
"""A whole payment number; fewer digits may be the end of one, or an amount, which the search understands."""
_WALLET = re.compile(r"w-[A-Za-z0-9-]{1,60}\Z")


def routes(desks: Iterable[Desk]) -> APIRouter:
    """``/jump?q=TEXT``."""
    router = APIRouter()
    known = tuple(desks)

    @router.get("/jump", dependencies=[requires(Right.PAYMENTS_READ)])
    async def jump(request: Request) -> Response:
        open_desks = [desk for desk in known if may(person_of(request), desk.right)]
        return RedirectResponse(target(request.query_params.get("q", ""), open_desks), 303)

    return router


def target(text: str, desks: Iterable[Desk]) -> str:
    """Where a text leads: an address of this console, whatever the text is."""
    text = text.strip()[:CHARACTERS_MAX]
    for desk in desks:
        names = {desk.name, *(message(language, f"nav.{desk.name}") for language in LANGUAGES)}
        if text.casefold() in {name.casefold() for name in names}:
            return desk.path
    if _NUMBER.match(text):
        return f"/payments/{quote(text, safe='')}"
    if _WALLET.match(text):
        text = f"wallet:{text}"
    return f"/payments?{urlencode({'q': text})}" if text else "/payments"
