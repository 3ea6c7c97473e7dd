"""The platform's own processes: the topics step, the workers, the jobs' keeper and the console."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.engines import flink
from ops.engines.component import WAITED_FOR, WORKS, Component, NotReadyError
from ops.engines.site import Site

ROOT = Path(__file__).resolve().parents[2]
TOPICS = "topics"
CONSOLE = "console"


@dataclass(frozen=True)
class App:
    """One of our processes, started as ``python -m module``."""

    name: str
    module: str
    after: tuple[str, ...]
    unhealthy_s_max: int = 90
    """See ``Component``."""


JOBS_UNHEALTHY_S_MAX = 300
"""The jobs' keeper is not ready while jobs come up; a restart would break their submission off, and begin it again."""
APPS = (
    App("gate", "streams.gate", (TOPICS,)),
    App("ledger", "streams.ledger", (TOPICS,)),
    App("seals", "streams.seals", (TOPICS,)),
    App("alerts", "streams.alerts", (TOPICS,)),
    App("book", "streams.book", (TOPICS, "mariadb")),
    App("search_index", "streams.search_index", (TOPICS, "opensearch")),
    App("jobs", "jobs.keeper", (TOPICS, "flink-jobmanager", "flink-taskmanager"), JOBS_UNHEALTHY_S_MAX),
    App(CONSOLE, "dashboards", (TOPICS,)),
)
NAMES = tuple(app.name for app in APPS)
METRICS = tuple(name for name in NAMES if name != CONSOLE)
"""Apps with a port for health and metrics alone; the console serves them beside its pages."""


def components(site: Site) -> tuple[Component, ...]:
    environ = _environ(site)
    topics = Component(
        name=TOPICS,
        command=(sys.executable, "-m", "ops.cli.main", "topics", "apply"),
        probe=lambda: None,
        endpoint="",
        after=("kafka",),
        environ=environ,
        directory=ROOT,
        once=True,
        kind="step",
    )
    return (topics, *(_component(site, app, environ) for app in APPS))


def _component(site: Site, app: App, environ: Mapping[str, str]) -> Component:
    port = site.ports[CONSOLE] if app.name == CONSOLE else site.metrics_ports[app.name]
    return Component(
        name=app.name,
        command=(sys.executable, "-m", app.module),
        probe=lambda: answers(f"http://127.0.0.1:{port}/-/ready"),
        endpoint=f"http://127.0.0.1:{port}",
        after=app.after,
        environ={**environ, "KOBAN_METRICS_PORT": str(port), "KOBAN_GROUP_INSTANCE": app.name},
        directory=ROOT,
        unhealthy_s_max=app.unhealthy_s_max,
        niceness=WAITED_FOR if app.name == CONSOLE else WORKS,
        kind="app",
    )


def _environ(site: Site) -> dict[str, str]:
    return {**flink.environ(site), **site.settings.environ(), "PYTHONUNBUFFERED": "1"}


def answers(url: str, timeout_s: float = 3.0) -> None:
    """Returns when a GET has a good answer. Raises OSError otherwise; NotReadyError says what is waited for."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):  # noqa: S310  # our own loopback addresses
            pass
    except urllib.error.HTTPError as error:
        raise NotReadyError(_waiting_for(error.read()) or f"{error.code} {error.reason}") from error


def _waiting_for(body: bytes) -> str:
    """What a readiness page says it waits for; empty when it says nothing of the kind."""
    try:
        waiting = json.loads(body)["waiting_for"]
        named = [f"{name} ({why})" if why else name for name, why in waiting.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f"waits for {', '.join(named)}" if named else ""
