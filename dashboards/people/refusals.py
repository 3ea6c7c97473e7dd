"""What somebody sees who is not let in: the sign-in, or a page that says what is missing; data gets data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from dashboards.people.guard import (
    READING,
    AccountsDownError,
    ForbiddenError,
    ForeignFormError,
    NotSignedInError,
    viewer_of,
)
from dashboards.people.paths import home_of, sign_in_address, wants_page

if TYPE_CHECKING:
    from dashboards.pages import Pages


def add_refusals(app: FastAPI, pages: Pages) -> None:
    """Answers for the guard's exceptions, within the application's own pages."""

    @app.exception_handler(NotSignedInError)
    async def not_signed_in(request: Request, error: Exception) -> Response:
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
        if wants_page(request):
            return RedirectResponse(sign_in_address(request), 303, headers={"Cache-Control": "no-store"})
        return _data(error)

    @app.exception_handler(ForbiddenError)
    async def forbidden(request: Request, error: Exception) -> Response:
        assert isinstance(error, ForbiddenError)
        viewer = viewer_of(request)
        if request.url.path == "/" and request.method in READING and viewer and (home := home_of(viewer)) != "/":
            return RedirectResponse(home, 303)
        return _told(request, error, "people.forbidden", "people.forbidden_text", {"right": error.right.value})

    @app.exception_handler(ForeignFormError)
    async def foreign(request: Request, error: Exception) -> Response:
        return _told(request, error, "people.foreign_form", "people.foreign_form_text", {})

    @app.exception_handler(AccountsDownError)
    async def down(request: Request, error: Exception) -> Response:
        return _told(request, error, "people.down", "people.down_text", {})

    def _told(request: Request, error: Exception, title: str, text: str, values: dict[str, Any]) -> Response:
        assert isinstance(error, HTTPException)
        if not wants_page(request):
            return _data(error)
        page = pages.page(
            request, "people/refused.html.j2", status=error.status_code, title=title, text=text, values=values, desk=""
        )
        page.headers.update(error.headers or {})
        return page


def _data(error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
