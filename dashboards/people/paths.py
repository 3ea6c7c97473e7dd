"""Where somebody goes on after signing in: to an address of this console, and of no other host."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from fastapi import Request

from dashboards.people.rights import Right, may
from dashboards.people.roles import Person

CHARACTERS_MAX = 2_000
DATA = (".json", ".csv", ".parquet", ".ndjson")


def local(path: str) -> str:
    """The path where it leads to a page of ours, else empty. Browsers read ``//host``, ``/\\host`` as other hosts."""
    if not path.startswith("/") or len(path) > CHARACTERS_MAX or path[1:2] in {"/", "\\"}:
        return ""
    if any(sign < " " or sign in {"\\", "\x7f"} for sign in path):
        return ""
    place = urlsplit(path)
    return "" if place.scheme or place.netloc or place.path.startswith("/sign-") else path


def home_of(person: Person) -> str:
    """The first page of a person's work."""
    return "/" if may(person, Right.LIVE_READ) else "/payments"


def sign_in_address(request: Request) -> str:
    """Where to sign in, to come back to what was asked for."""
    back = ""
    if request.method == "GET":
        back = local(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    return f"/sign-in?{urlencode({'next': back})}" if back not in {"", "/"} else "/sign-in"


def wants_page(request: Request) -> bool:
    """Whether whoever asks reads pages, or data."""
    if request.url.path.endswith(DATA) or "authorization" in request.headers:
        return False
    accepted = request.headers.get("accept", "*/*")
    return "text/html" in accepted or "*/*" in accepted
