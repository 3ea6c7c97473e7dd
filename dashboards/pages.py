"""Pages and panels: templates rendered in a reader's view."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context

from dashboards import formats
from dashboards.board import Board
from dashboards.console import Desk
from dashboards.language import message, messages
from dashboards.people.guard import page_values
from dashboards.series import Series
from dashboards.static_files import StaticFiles
from dashboards.view import ZONES, View, address, remember, view_of

STAGES = frozenset(
    (
        *("gate", "ledger", "seals", "book", "search_index", "alerts"),
        *("fraud_patterns", "cashback", "volumes", "lake"),
    )
)
"""Stages and jobs that have a text ``node.<name>``; others are shown by their names."""
TEMPLATES = Path(__file__).parent / "templates"
HTMX_CONFIG = json.dumps({"includeIndicatorCSS": False, "defaultTimeout": 10_000})
"""The style is in koban.css."""


class Pages:
    """Renders templates. Everything that goes in is text and escaped."""

    def __init__(self, files: StaticFiles, desks: Iterable[Desk]) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters |= formats.FILTERS
        self._templates.filters |= {
            "translated": lambda key, language: message(language, key),
            "clock": _in_zone(formats.clock),
            "moment": _in_zone(formats.moment),
        }
        self._templates.globals |= {
            "static": files.address,
            "urlencode": urlencode,
            "desks": tuple(desks),
            "stage_names": STAGES,
            "htmx_config": HTMX_CONFIG,
        }
        self._compile()

    def _compile(self) -> None:
        """Now, so that no reader waits for it: on a platform that is starting up the first page took seconds."""
        messages()
        for name in self._templates.list_templates(filter_func=lambda name: name.endswith(".j2")):
            self._templates.get_template(name)

    def render(self, template: str, view: View, **values: Any) -> str:
        """A template's markup."""
        texts = partial(message, view.language)
        return self._templates.get_template(template).render(
            lang=view.language, theme=view.theme, zone=view.zone, t=texts, **values
        )

    def panel(self, name: str, view: View, board: Board, series: Series) -> str:
        """A live panel's inner markup."""
        return self.render(f"panels/{name}.html.j2", view, board=board, series=series)

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page; what the address asks for in language, theme or zone is remembered.

        It knows who looks (``person``, ``may(right)``); forms carry the session's token by ``csrf_field()``.
        """
        values |= page_values(request)
        markup = self.render(template, view_of(request), request=request, address=partial(address, request), **values)
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Language, Cookie"}
        response = HTMLResponse(markup, status, headers=headers)
        remember(request, response)
        return response

    def error(
        self, request: Request, status: int, text: str, *, title: str = "error.title", desk: str = ""
    ) -> HTMLResponse:
        """A page that says what is wrong; ``title`` and ``text`` are message keys."""
        return self.page(request, "error.html.j2", status=status, title=title, text=text, desk=desk)


def _in_zone(form: Any) -> Any:
    """A filter that shows an instant in the reader's zone."""

    @pass_context
    def shown(context: Context, at: Any) -> str:
        zone: tzinfo = ZONES[context["zone"]]
        text: str = form(at, zone)
        return text

    return shown
