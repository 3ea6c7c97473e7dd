"""What the routes of an application say of themselves: the rights they ask for, or that they are anybody's."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute, Mount

from dashboards.people.guard import READING, Public, Requirement


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A route with what it declares."""

    path: str
    methods: frozenset[str]
    requirements: tuple[Requirement, ...] = ()
    is_public: bool = False


def declarations(routes: Iterable[BaseRoute], prefix: str = "") -> list[Declaration]:
    """Every route that an application answers, those of mounted ones included."""
    found: list[Declaration] = []
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        path = prefix + (context.path or "")
        if isinstance(route, Mount):
            found += declarations(route.routes, path) if route.routes else [Declaration(path=path, methods=READING)]
        elif isinstance(route, APIRoute):
            found.append(_declared(path, context.methods or set(), context.dependant))
        else:
            found.append(Declaration(path=path, methods=READING))
    return found


def _declared(path: str, methods: Iterable[str], dependant: object) -> Declaration:
    calls = [getattr(one.call, "__self__", None) for one in getattr(dependant, "dependencies", [])]
    return Declaration(
        path=path,
        methods=frozenset(methods),
        requirements=tuple(call for call in calls if isinstance(call, Requirement)),
        is_public=any(isinstance(call, Public) for call in calls),
    )
