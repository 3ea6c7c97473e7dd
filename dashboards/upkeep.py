"""What the operations desk shows beside the flow: stores and how current they are, groups and how late. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from dashboards.sources.jobs import JobState
from dashboards.sources.offsets import GROUP_PREFIX, GroupLag, Offsets
from dashboards.sources.platform import Component
from dashboards.sources.stores import BookState, LakeState
from dashboards.standing import Answer, Freshness, freshness

LAG_S_WARN = 10.0
"""A reader further behind is late, however few records that are."""
STORE_S_WARN = 10.0
LAKE_S_WARN = 60.0
"""The lake closes a file a checkpoint; without events there is none."""


class Lag(msgspec.Struct, frozen=True):
    """How far a stage is behind in all that it reads: records in sum, seconds at worst."""

    records: int
    seconds: float
    rate_per_s: float | None


class StoreRow(msgspec.Struct, frozen=True):
    """A store: how current it is, and what waits for it. ``what`` is a message key."""

    name: str
    fresh: Freshness
    what: str
    count: int | None = None
    text: str = ""


def lag_of(offsets: Offsets | None, stage: str) -> Lag | None:
    """A stage's lag by its consumer group; None when it has none, or nobody says."""
    lags = [lag for lag in offsets.lags() if stage_of(lag) == stage] if offsets else []
    if not lags:
        return None
    rates = [lag.rate_per_s for lag in lags if lag.rate_per_s is not None]
    return Lag(
        records=sum(lag.records for lag in lags),
        seconds=max(lag.seconds for lag in lags),
        rate_per_s=sum(rates) if rates else None,
    )


def stage_of(lag: GroupLag) -> str:
    """The stage or job that a consumer group belongs to."""
    return lag.group.removeprefix(GROUP_PREFIX).replace("-", "_")


def stores(
    now: float, index: Freshness, documents: int | None, book: Answer, lake: Answer, lake_lag: Lag | None
) -> list[StoreRow]:
    """The stores of the flow's end. ``index`` is as current as its slowest lane already.

    The lake gets no file while there are no events: an old one is late only if the lake's job is.
    """
    lake_s_warn = LAKE_S_WARN if lake_lag is None or lake_lag.seconds > LAG_S_WARN else float("inf")
    return [
        StoreRow("opensearch", index, "store.documents", documents),
        _row("mysql", now, book, _book_at, STORE_S_WARN, "store.lanes", _lanes),
        _row("lake", now, lake, _lake_at, lake_s_warn, "store.hours", _hours),
    ]


def _row(
    name: str,
    now: float,
    answer: Answer,
    complete_to: Callable[[Answer], float | None],
    warn_s: float,
    what: str,
    told: Callable[[Answer], tuple[int | None, str]],
) -> StoreRow:
    plain = freshness(now, answer)
    count, text = told(answer)
    at = complete_to(answer)
    if plain.state in ("down", "empty"):
        return StoreRow(name, plain, what, count, text)
    if at is None:
        return StoreRow(name, Freshness("empty"), what, count, text)
    state: Literal["behind", "ok"] = "behind" if now - at > warn_s else "ok"
    return StoreRow(name, Freshness(state, at=at, since=at), what, count, text)


def _book_at(answer: Answer) -> float | None:
    return answer.value.complete_to if isinstance(answer.value, BookState) else None


def _lanes(answer: Answer) -> tuple[int | None, str]:
    return (answer.value.lanes, "") if isinstance(answer.value, BookState) else (None, "")


def _lake_at(answer: Answer) -> float | None:
    return answer.value.newest_file_at if isinstance(answer.value, LakeState) else None


def _hours(answer: Answer) -> tuple[int | None, str]:
    return (answer.value.hours, answer.value.newest_hour) if isinstance(answer.value, LakeState) else (None, "")


def broken(components: Mapping[str, Component]) -> dict[str, float]:
    """Components that were at work once and are not now, and since when."""
    return {name: component.since for name, component in components.items() if component.broken}


def idle(jobs: Mapping[str, JobState]) -> list[str]:
    """Jobs that a person stopped."""
    return [name for name, job in jobs.items() if job.held]
