"""What the operations page shows, made of what the sources say. Pure: answers and an instant in, a board out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from dashboards.books import Books, books
from dashboards.sources.index import IndexState
from dashboards.sources.jobs import JobState
from dashboards.sources.offsets import Offsets
from dashboards.sources.platform import Component
from dashboards.sources.reports import Report
from dashboards.sources.topics import Newest, Seen
from dashboards.sources.workers import Stage, imbalance_of
from dashboards.standing import SILENT
from dashboards.standing import STALE_S as STALE_S
from dashboards.standing import Answer as Answer
from dashboards.standing import Freshness as Freshness
from dashboards.standing import freshness as freshness
from dashboards.upkeep import LAG_S_WARN, StoreRow, broken, lag_of, stores
from koban.events import Event, HoldEnded, Payment
from koban.records import Alert, Balance, Campaign
from koban.search.document import concerns
from schemas.codec import decode_valid
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent

ROWS = 12
LAG_RECORDS_WARN = 2_000
CHECKPOINT_S_WARN = 60.0
JOB_LAG_S_WARN = 30.0
"""A job tells how far it has read with each checkpoint, and waits for late events before that."""
UPKEEP = ("offsets", "flink", "mysql", "lake_files", "reports")
"""Sources of the operations desk. One that a console does not ask is one that was never heard of."""
STALE_S_OF = {"offsets": 10.0, "flink": 10.0, "reports": 10.0, "lake_files": 20.0}
"""Some sources are asked more seldom."""

Tone = Literal["ok", "warn", "bad", "none"]
T = TypeVar("T")


class Node(msgspec.Struct, frozen=True):
    """A stage on the map; None is what nobody says."""

    name: str
    tone: Tone
    rate_per_s: float | None = None
    lag_records: int | None = None
    p99_s: float | None = None
    checkpoint_age_s: float | None = None
    down_since: float | None = None
    lag_s: float | None = None
    """Since the oldest record that it has not read came in."""
    p50_s: float | None = None
    dead_letters: int | None = None
    """Records that it rejected, and batches that it tried again, since the console first saw it."""
    retries: int | None = None
    flink: bool = False


class Intake(msgspec.Struct, frozen=True):
    """Where the events that came in are: sent = valid + duplicates + dead letters + waiting."""

    sent: int | None
    valid: int
    duplicates: int
    dead_letters: int
    waiting: int | None
    by_reason: tuple[tuple[str, int], ...]


class CampaignRow(msgspec.Struct, frozen=True):
    """A campaign's budget, to the yen."""

    campaign_id: str
    name: str
    budget_minor: int
    left_minor: int
    decisions: int

    @property
    def granted_minor(self) -> int:
        """Yen granted so far."""
        return self.budget_minor - self.left_minor

    @property
    def granted_bp(self) -> int:
        """Share of the budget that is granted, in basis points."""
        return self.granted_minor * 10_000 // self.budget_minor


class PaymentRow(msgspec.Struct, frozen=True):
    """An event of a payment, as it just passed the gate."""

    key: str
    at: float
    payment_id: str
    event_type: str
    merchant_id: str
    store_name: str
    amount_minor: int


class LetterRow(msgspec.Struct, frozen=True):
    """A rejected record."""

    key: str
    at: float
    code: str
    reason: str
    stage: str
    producer: str
    origin: str
    place: str
    """Where the letter lies, as its page is addressed."""


class Board(msgspec.Struct, frozen=True):
    """The whole page."""

    now: float
    fresh: dict[str, Freshness]
    """Source → how current it is."""
    nodes: dict[str, Node]
    intake: Intake | None
    totals: dict[str, int | None]
    imbalance_minor: int | None
    books: Books
    payments: list[PaymentRow]
    balances: list[Balance]
    alerts: list[Alert]
    letters: list[LetterRow]
    campaigns: list[CampaignRow]
    components: dict[str, Component]
    troubles: dict[str, float]
    """What is behind or down, and since when; what the banner says."""
    offsets: Offsets | None = None
    jobs: dict[str, JobState] = {}
    stores: list[StoreRow] = []
    reports: dict[str, Report] = {}
    answers: Mapping[str, Answer] = {}
    """What other sources said, by their names."""


def board(
    now: float,
    workers: Answer,
    topics: Answer,
    index: Answer,
    platform: Answer,
    known_troubles: Mapping[str, float] | None = None,
    others: Mapping[str, Answer] | None = None,
) -> Board:
    """The page at an instant. Troubles that are known already keep the time since when."""
    others = others or {}
    stages: dict[str, Stage] = workers.value or {}
    offsets: Offsets | None = others.get("offsets", SILENT).value
    newest: Newest = topics.value or Newest({}, {})
    records = newest.records
    found: IndexState | None = index.value
    nodes = {node.name: node for node in _nodes(stages, offsets)}
    fresh = {
        "workers": freshness(now, workers),
        "topics": freshness(now, topics),
        "index": _index_freshness(now, index),
        "platform": freshness(now, platform),
        **{
            name: freshness(now, others.get(name, SILENT), STALE_S_OF.get(name, STALE_S))
            for name in {**dict.fromkeys(UPKEEP), **others}
        },
    }
    components: dict[str, Component] = platform.value or {}
    return Board(
        now=now,
        fresh=fresh,
        nodes=nodes,
        intake=_intake(stages.get("gate"), newest),
        totals={
            "entries": _total(stages, "ledger", "posted"),
            "documents": found.payments if found else None,
            "alerts": found.alerts if found else None,
        },
        imbalance_minor=imbalance_of(stages),
        books=books(stages, [seen.value for seen in records.get("ledger-seals", ())]),
        payments=_rows(records.get("payments-valid", ()), _payment_row),
        balances=_latest_balances(records.get("balances", ())),
        alerts=_latest_alerts(records.get("alerts", ())),
        letters=_rows(records.get("payments-dlq", ()), _letter_row),
        campaigns=_campaigns(records.get("campaigns", ()), records.get("cashback", ())),
        components=components,
        troubles=_troubles(fresh, nodes, broken(components), now, known_troubles or {}),
        offsets=offsets,
        jobs=others.get("flink", SILENT).value or {},
        stores=stores(
            now,
            fresh["index"],
            found.payments if found else None,
            others.get("mysql", SILENT),
            others.get("lake_files", SILENT),
            lag_of(offsets, "lake"),
        ),
        reports=others.get("reports", SILENT).value or {},
        answers=others,
    )


def _index_freshness(now: float, answer: Answer) -> Freshness:
    """The index is as current as its slowest lane."""
    plain = freshness(now, answer)
    if plain.state == "down" or answer.value is None or answer.value.complete_to_us is None:
        return plain
    complete_to = answer.value.complete_to_us / 1e6
    return Freshness("behind" if now - complete_to > STALE_S else "ok", at=complete_to, since=complete_to)


def _nodes(stages: Mapping[str, Stage], offsets: Offsets | None) -> Iterator[Node]:
    for stage in stages.values():
        if stage.name != "jobs":
            yield _stage_node(stage, offsets)
            continue
        for job, running in stage.jobs.items():
            yield _job_node(stage, job.replace("-", "_"), running, stage.checkpoint_age_s.get(job), offsets)


def _stage_node(stage: Stage, offsets: Offsets | None) -> Node:
    lag = lag_of(offsets, stage.name)
    records, seconds = stage.lag_records or 0, lag.seconds if lag else 0.0
    late = records > LAG_RECORDS_WARN or (records > 0 and (stage.rate_per_s == 0 or seconds > LAG_S_WARN))
    return Node(
        stage.name,
        "bad" if not stage.up else "warn" if late else "ok",
        rate_per_s=stage.rate_per_s,
        lag_records=stage.lag_records if stage.up else lag.records if lag else None,
        p99_s=stage.p99_s,
        down_since=stage.down_since,
        lag_s=lag.seconds if lag else None,
        p50_s=stage.p50_s,
        dead_letters=stage.dead_letters,
        retries=stage.retries,
    )


def _job_node(stage: Stage, job: str, running: bool, age_s: float | None, offsets: Offsets | None) -> Node:
    """A Flink job: its keeper says whether it runs, its consumer group how far it is. Its latency nobody measures."""
    lag = lag_of(offsets, job)
    late = (age_s is not None and age_s > CHECKPOINT_S_WARN) or (lag is not None and lag.seconds > JOB_LAG_S_WARN)
    return Node(
        job,
        "bad" if not running or not stage.up else "warn" if late else "ok",
        rate_per_s=lag.rate_per_s if lag and running else None,
        lag_records=lag.records if lag else None,
        checkpoint_age_s=age_s,
        down_since=stage.down_since,
        lag_s=lag.seconds if lag else None,
        flink=True,
    )


def _intake(gate: Stage | None, newest: Newest) -> Intake | None:
    if gate is None or not gate.totals:
        return None
    by_reason = {
        outcome.removeprefix("dead_lettered_"): count
        for outcome, count in gate.totals.items()
        if outcome.startswith("dead_lettered_")
    }
    return Intake(
        sent=newest.counted.get("payments"),
        valid=gate.totals.get("valid", 0),
        duplicates=gate.totals.get("duplicate", 0),
        dead_letters=sum(by_reason.values()),
        waiting=gate.lag_records,
        by_reason=tuple(sorted(by_reason.items(), key=lambda each: -each[1])),
    )


def _total(stages: Mapping[str, Stage], stage: str, outcome: str) -> int | None:
    found = stages.get(stage)
    return None if found is None else found.totals.get(outcome)


def _rows(records: Iterable[Seen], row: Callable[[Seen], T | None]) -> list[T]:
    rows: list[T] = []
    for seen in records:
        made = row(seen)
        if made is not None:
            rows.append(made)
        if len(rows) == ROWS:
            break
    return rows


def _event(seen: Seen) -> Event | None:
    try:
        return decode_valid(seen.value or b"")
    except InvalidEvent:
        return None


def _payment_row(seen: Seen) -> PaymentRow | None:
    event = _event(seen)
    if event is None or concerns(event) is None:
        return None
    body = event.body
    return PaymentRow(
        key=f"{seen.partition}-{seen.offset}",
        at=seen.timestamp_ms / 1000,
        payment_id=concerns(event) or "",
        event_type=type(event).__name__,
        merchant_id=body.merchant_id,
        store_name=(body.store_name if isinstance(body, Payment) else None) or "",
        amount_minor=body.captured_minor if isinstance(body, HoldEnded) else body.amount_minor,
    )


def _letter_row(seen: Seen) -> LetterRow | None:
    try:
        letter = DeadLetter.read(seen.headers)
    except ValueError:
        return None
    return LetterRow(
        key=f"{seen.partition}-{seen.offset}",
        at=letter.at_us / 1e6,
        code=letter.reason_code.value,
        reason=letter.reason,
        stage=letter.stage,
        producer=letter.producer,
        origin=f"{letter.origin_topic}/{letter.origin_partition}@{letter.origin_offset}",
        place=f"{seen.partition}:{seen.offset}",
    )


def _latest_balances(records: Iterable[Seen]) -> list[Balance]:
    """The accounts that changed last, each once, in its latest version."""
    latest: dict[str, Balance] = {}
    for balance in _decoded(records, _balance):
        known = latest.get(balance.account)
        if known is None or known.version < balance.version:
            latest[balance.account] = balance
    return sorted(latest.values(), key=lambda each: -each.as_of_us)[:ROWS]


def _latest_alerts(records: Iterable[Seen]) -> list[Alert]:
    latest: dict[str, Alert] = {}
    for alert in _decoded(records, _alert):
        known = latest.get(alert.alert_id)
        if known is None or known.signals < alert.signals:
            latest[alert.alert_id] = alert
    return sorted(latest.values(), key=lambda each: -each.last_at_us)[:ROWS]


def _campaigns(definitions: Iterable[Seen], decisions: Iterable[Seen]) -> list[CampaignRow]:
    """Each campaign's pot after its last decision: decisions are numbered, so the last one is known for sure."""
    campaigns: dict[str, Campaign] = {}
    for campaign in _decoded(definitions, _campaign):
        known = campaigns.get(campaign.campaign_id)
        if known is None or known.version < campaign.version:
            campaigns[campaign.campaign_id] = campaign
    last: dict[str, Event] = {}
    for event in filter(None, map(_event, decisions)):
        known_event = last.get(event.aggregate_id)
        if known_event is None or known_event.aggregate_seq < event.aggregate_seq:
            last[event.aggregate_id] = event
    return [
        CampaignRow(
            campaign.campaign_id,
            campaign.name,
            campaign.budget_minor,
            last[name].body.budget_left_minor if name in last else campaign.budget_minor,
            last[name].aggregate_seq if name in last else 0,
        )
        for name, campaign in sorted(campaigns.items())
    ]


def _decoded(records: Iterable[Seen], decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    for seen in records:
        try:
            yield decoder.decode(seen.value or b"")
        except msgspec.DecodeError:
            continue


_balance = msgspec.json.Decoder(Balance)
_alert = msgspec.json.Decoder(Alert)
_campaign = msgspec.json.Decoder(Campaign)


def _troubles(
    fresh: Mapping[str, Freshness],
    nodes: Mapping[str, Node],
    components: Mapping[str, float],
    now: float,
    known: Mapping[str, float],
) -> dict[str, float]:
    """What is silent, down, late or stuck: sources, stages, components; each by the earliest time known of it."""
    found = {name: each.since for name, each in fresh.items() if each.state in ("down", "behind")}
    found |= {name: since or None for name, since in components.items()}
    found |= {node.name: node.down_since for node in nodes.values() if node.tone in ("bad", "warn")}
    return {name: since or known.get(name, now) for name, since in found.items()}
