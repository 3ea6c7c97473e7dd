"""What every desk is made of: the sources that the console asks, and how its pages are rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastapi import APIRouter

from dashboards.people.rights import Right
from dashboards.sources.jobs import Jobs
from dashboards.sources.reports import Reports
from koban.settings import Settings
from sinks.alert_search import AlertSearch
from sinks.payment_search import PaymentSearch

if TYPE_CHECKING:
    from dashboards.live import Live
    from dashboards.pages import Pages


class Console(NamedTuple):
    """One console: what a desk's routes may use."""

    settings: Settings
    pages: Pages
    live: Live
    search: PaymentSearch
    alerts: AlertSearch
    jobs: Jobs
    reports: Reports


class Desk(NamedTuple):
    """A desk: a place on the rail, and the routes behind it."""

    name: str
    """Its text is the message ``nav.<name>``."""
    path: str
    """Where the rail leads."""
    routes: Callable[[Console], APIRouter]
    right: Right
    """What all of its routes ask for; who lacks it does not see the desk on the rail."""
    panels: tuple[str, ...] = ()
    """Its live panels, each a template ``panels/<name>.html.j2``; streamed from ``/live?desk=<name>``."""
