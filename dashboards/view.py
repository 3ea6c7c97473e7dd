"""How a reader wants pages: language, theme and time zone, from the address, else as chosen before."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Literal, NamedTuple, get_args
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from dashboards.language import LANGUAGES, Language, negotiated
from koban.business_time import JST

Theme = Literal["", "light", "dark"]
"""Empty: as the reader's system has it."""
Zone = Literal["jst", "utc"]
ZONES: dict[Zone, tzinfo] = {"jst": JST, "utc": UTC}
"""A closed list: panels are rendered once for each."""
COOKIE_S = 365 * 86_400
_CHOICES: dict[str, tuple[str, ...]] = {
    "lang": LANGUAGES,
    "theme": tuple(theme for theme in get_args(Theme) if theme),
    "zone": get_args(Zone),
}


class View(NamedTuple):
    """What a page's markup depends on besides its data."""

    language: Language = "ja"
    theme: Theme = ""
    zone: Zone = "jst"

    @property
    def of_panels(self) -> View:
        """What a panel's markup depends on: the theme is the style sheet's."""
        return self._replace(theme="")


def view_of(request: Request) -> View:
    """The view of a request."""
    language = negotiated(
        request.query_params.get("lang"), request.cookies.get("lang"), request.headers.get("accept-language")
    )
    theme: Theme = _chosen(request, "theme") or ""  # type: ignore[assignment]  # one of the choices
    zone: Zone = _chosen(request, "zone") or "jst"  # type: ignore[assignment]  # as above
    return View(language, theme, zone)


def remember(request: Request, response: Response) -> None:
    """What the address asks for holds for the pages after it."""
    for name, choices in _CHOICES.items():
        asked = request.query_params.get(name)
        if asked in choices:
            response.set_cookie(name, asked, max_age=COOKIE_S, httponly=True, samesite="lax")


def address(request: Request, path: str | None = None, **changes: str | None) -> str:
    """This page's address with some parameters changed; None takes one out. Repeated parameters are kept."""
    kept: list[tuple[str, str | None]] = []
    for name, value in request.query_params.multi_items():
        if name not in changes:
            kept.append((name, value))
        elif all(name != known for known, _ in kept):  # where it was, so that an address stays readable
            kept.append((name, changes[name]))
    kept += [(name, value) for name, value in changes.items() if name not in request.query_params]
    parameters = [(name, value) for name, value in kept if value]
    path = request.url.path if path is None else path
    return f"{path}?{urlencode(parameters)}" if parameters else path


def toggled(request: Request, name: str, value: str) -> str:
    """This page's address with a value of a repeated parameter added, or taken out when it is there; from the start."""
    pair = (name, value)
    kept = [each for each in request.query_params.multi_items() if each[0] != "cursor" and each[1]]
    kept = [each for each in kept if each != pair] if pair in kept else [*kept, pair]
    return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path


def _chosen(request: Request, name: str) -> str | None:
    for asked in (request.query_params.get(name), request.cookies.get(name)):
        if asked in _CHOICES[name]:
            return asked
    return None
