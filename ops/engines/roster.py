"""Who runs in a platform: every component by name, and which are meant by the names on a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ops.engines import apps, dynamodb, flink, kafka, mariadb, opensearch
from ops.engines.component import Component
from ops.engines.site import Site

ENGINES: dict[str, tuple[Callable[[Site], None], Callable[[Site], tuple[Component, ...]]]] = {
    "kafka": (kafka.prepare, kafka.components),
    "flink": (flink.prepare, flink.components),
    "opensearch": (opensearch.prepare, opensearch.components),
    "mariadb": (mariadb.prepare, mariadb.components),
    "dynamodb": (dynamodb.prepare, dynamodb.components),
}
"""Engine → what makes its folders and configuration, and its processes."""

PROCESSES = {
    "kafka": ("kafka",),
    "flink": ("flink-jobmanager", "flink-taskmanager"),
    "opensearch": ("opensearch",),
    "mariadb": ("mariadb",),
    "dynamodb": ("dynamodb",),
}
"""Engine → the names of its processes."""

OPTIONAL = ("dynamodb",)
"""Engines that run only when they are named."""

STANDARD = tuple(engine for engine in ENGINES if engine not in OPTIONAL)
"""Engines that a platform has."""

NAMES = (*ENGINES, *apps.NAMES)
"""What ``--only`` accepts."""


def chosen(only: Iterable[str], *, with_apps: bool, extras: Iterable[str] = ()) -> tuple[str, ...]:
    """Component names for a choice; an empty choice is everything that is not optional. ``extras`` come on top.

    Raises ValueError naming what is unknown.
    """
    names = (*(tuple(only) or (*STANDARD, *(apps.NAMES if with_apps else ()))), *extras)
    if unknown := sorted(set(names) - set(NAMES)):
        raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    wanted = [process for name in names for process in PROCESSES.get(name, (name,))]
    if set(names) & set(apps.NAMES):
        wanted.insert(0, apps.TOPICS)
    return tuple(wanted)


def engines_of(names: Iterable[str]) -> tuple[str, ...]:
    """The engines some processes belong to."""
    return tuple(engine for engine, processes in PROCESSES.items() if set(processes) & set(names))


def prepare(site: Site, names: Iterable[str]) -> None:
    """Installs and configures the engines of the named processes, none of which runs."""
    for engine in engines_of(names):
        ENGINES[engine][0](site)


def components(site: Site) -> dict[str, Component]:
    """The site's components by name, each behind those it starts after."""
    made = [part for engine in engines_of(site.components) for part in ENGINES[engine][1](site)]
    if set(site.components) - {part.name for part in made}:
        made += apps.components(site)
    return {part.name: part for part in made if part.name in site.components}
