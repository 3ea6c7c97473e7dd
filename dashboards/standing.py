"""How a source stands: what it last said, since when it is silent, and what that makes of a panel. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

STALE_S = 5.0
"""A source whose last answer is older is behind, even if it is only slow."""

State = Literal["ok", "empty", "behind", "down"]


class Answer(msgspec.Struct, frozen=True):
    """What a source last said (None: nothing yet), when, and since when it has been silent."""

    value: Any = None
    at: float | None = None
    down_since: float | None = None
    reason: str = ""


SILENT = Answer()


class Freshness(msgspec.Struct, frozen=True):
    """How current a panel is: complete to an instant (s), or silent since one."""

    state: State
    at: float | None = None
    since: float | None = None


def freshness(now: float, answer: Answer, stale_s: float = STALE_S) -> Freshness:
    """How current a source is: silent, late, or answering."""
    if answer.down_since is not None:
        return Freshness("down", at=answer.at, since=answer.down_since)
    if answer.at is None:
        return Freshness("empty")
    return Freshness("behind" if now - answer.at > stale_s else "ok", at=answer.at, since=answer.at)
