"""The audit log: append-only, each record sealed with the hash of the one before.

A record's SHA-256 is over the previous record's hash and the record as canonical JSON. Whoever changes one has to
change all that follow; a copy of a later hash, kept elsewhere, tells it (``koban audit verify --head SEQ:HASH``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from dashboards.people.database import Database
from dashboards.people.models import AuditHead, AuditRecord
from dashboards.people.roles import Person, Via

GENESIS = "0" * 64
DETAILS_BYTES_MAX = 100_000
PAGE_MAX = 200
VALUES_MAX = 50
FACETS: Mapping[str, InstrumentedAttribute[str]] = {"action": AuditRecord.action, "actor": AuditRecord.actor}
_SLICE = 1_000
_SEALED = ("seq", "at_us", "actor_id", "actor", "roles", "via", "action", "target", "request_id", "details")


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something, and by which request."""

    actor_id: str
    name: str
    roles: str
    via: str
    request_id: str = ""

    @classmethod
    def of(cls, person: Person, request_id: str) -> Actor:
        """A person behind a request."""
        via = f"{person.via}:{person.credential_id}"
        return cls(
            actor_id=person.user_id, name=person.name, roles=" ".join(grant.text() for grant in person.grants)[:100],
            via=via, request_id=request_id,
        )  # fmt: skip

    @classmethod
    def at_shell(cls, login: str) -> Actor:
        """Whoever runs a command on a machine that has the database's address."""
        return cls(actor_id="", name=f"shell:{login}"[:100], roles="", via=Via.COMMAND)

    @classmethod
    def nobody(cls, request_id: str, address: str) -> Actor:
        """Somebody who did not say who they are, or could not show it."""
        return cls(actor_id="", name="nobody", roles="", via=f"address:{address}"[:100], request_id=request_id)


class Break(msgspec.Struct, frozen=True):
    """The first record that is not as it was written, and what is wrong with it."""

    seq: int
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """What a verification found."""

    records: int
    head_seq: int
    head_sha256: str
    broken: Break | None


class Page(msgspec.Struct, frozen=True):
    """A page of records, of how many, whether more follow, and how many there are by facet and value."""

    records: Sequence[AuditRecord]
    total: int
    more: bool
    counts: Mapping[str, Mapping[str, int]]


def append(
    session: Session, actor: Actor, action: str, target: str, details: Mapping[str, Any], at_us: int
) -> AuditRecord:
    """Appends within the caller's transaction, so that an act and its record come true together or not at all."""
    head = session.scalars(select(AuditHead).where(AuditHead.id == 1).with_for_update()).one()
    record = AuditRecord(
        seq=head.seq + 1, at_us=at_us, actor_id=actor.actor_id, actor=actor.name, roles=actor.roles, via=actor.via,
        action=action, target=target[:200], request_id=actor.request_id, details=canonical(_bounded(details)),
        previous_sha256=head.sha256,
    )  # fmt: skip
    record.sha256 = sealed(record)
    head.seq, head.sha256 = record.seq, record.sha256
    session.add(record)
    return record


def canonical(value: Any) -> str:
    """JSON in one way: keys sorted, no spaces, text as it is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def sealed(record: AuditRecord) -> str:
    """The hash that a record has to have."""
    body = canonical({name: getattr(record, name) for name in _SEALED})
    return hashlib.sha256(f"{record.previous_sha256}{body}".encode()).hexdigest()


def verify(database: Database, known_head: tuple[int, str] | None = None) -> Verdict:
    """Recomputes every hash. ``known_head`` is a record's number and hash as seen earlier. Raises Transient."""
    with database.transaction() as session:
        head = session.scalars(select(AuditHead).where(AuditHead.id == 1)).one_or_none()
        end = (head.seq, head.sha256) if head else (0, "")
        seq, sha256 = 0, GENESIS
        for record in _all(session):
            if reason := _wrong(record, seq, sha256, known_head):
                return Verdict(seq, *end, Break(record.seq if record.seq == seq + 1 else seq + 1, reason))
            seq, sha256 = record.seq, record.sha256
    known_seq = known_head[0] if known_head else 0
    if (seq, sha256) != end or seq < known_seq:
        reason = f"the log ends at {seq}, and was written up to {max(end[0], known_seq)}: what follows was removed"
        return Verdict(seq, *end, Break(seq + 1, reason))
    return Verdict(seq, *end, None)


def _wrong(record: AuditRecord, seq: int, sha256: str, known_head: tuple[int, str] | None) -> str:
    if record.seq != seq + 1:
        return f"missing: {record.seq} follows {seq}"
    if record.previous_sha256 != sha256:
        return "it does not follow the record before"
    if record.sha256 != sealed(record):
        return "its content is not what was sealed"
    if known_head and record.seq == known_head[0] and record.sha256 != known_head[1]:
        return "its hash is not the one that was known: the log was written anew"
    return ""


def _all(session: Session) -> Iterator[AuditRecord]:
    seq = -1
    while some := session.scalars(
        select(AuditRecord).where(AuditRecord.seq > seq).order_by(AuditRecord.seq).limit(_SLICE)
    ).all():
        yield from some
        seq = some[-1].seq
        session.expunge_all()


def newest(
    database: Database, *, actor: str = "", action: str = "", target: str = "", limit: int
) -> Sequence[AuditRecord]:
    """The latest records. ``action`` is a beginning, like ``users:``. Raises Transient."""
    query = select(AuditRecord).order_by(AuditRecord.seq.desc()).limit(min(limit, PAGE_MAX))
    if actor:
        query = query.where(AuditRecord.actor == actor)
    if action:
        query = query.where(AuditRecord.action.startswith(action, autoescape=True))
    if target:
        query = query.where(AuditRecord.target == target)
    with database.transaction() as session:
        return session.scalars(query).all()


def page(
    database: Database, *, text: str, chosen: Mapping[str, Sequence[str]], after: int | None, falls: bool, limit: int
) -> Page:
    """A page of the log: records that have the text somewhere and a chosen value of each facet. Raises Transient."""
    seq = AuditRecord.seq
    order, place = (seq.desc(), seq.__lt__) if falls else (seq.asc(), seq.__gt__)
    said = _says(text)
    with database.transaction() as session:
        matching = [*said, *_among(chosen)]
        total = session.scalar(select(func.count()).select_from(AuditRecord).where(*matching)) or 0
        here = [] if after is None else [place(after)]
        records = session.scalars(select(AuditRecord).where(*matching, *here).order_by(order).limit(limit + 1)).all()
        counts = {facet: _counted(session, facet, [*said, *_among(chosen, but=facet)]) for facet in FACETS}
    return Page(records[:limit], total, len(records) > limit, counts)


def _says(text: str) -> list[ColumnElement[bool]]:
    """Every word of the text is somewhere in the record."""
    places = (AuditRecord.target, AuditRecord.details, AuditRecord.request_id, AuditRecord.roles)
    return [or_(*(place.contains(word, autoescape=True) for place in places)) for word in text.split()]


def _among(chosen: Mapping[str, Sequence[str]], but: str = "") -> list[ColumnElement[bool]]:
    return [FACETS[facet].in_(values) for facet, values in chosen.items() if facet != but]


def _counted(session: Session, facet: str, matching: Sequence[ColumnElement[bool]]) -> dict[str, int]:
    column, rows = FACETS[facet], func.count()
    query = select(column, rows).where(*matching).group_by(column).order_by(rows.desc()).limit(VALUES_MAX)
    return {value: number for value, number in session.execute(query)}  # noqa: C416  # dict() would not know its types


def shown(record: AuditRecord) -> dict[str, Any]:
    """A record as data."""
    names = [column.name for column in AuditRecord.__table__.columns]
    return {**{name: getattr(record, name) for name in names}, "details": json.loads(record.details)}


def _bounded(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Details as they are, or, where they are too long, their beginning and their hash."""
    text = canonical(details)
    if len(text.encode()) <= DETAILS_BYTES_MAX:
        return details
    return {"beginning": text[: DETAILS_BYTES_MAX // 8], "sha256": hashlib.sha256(text.encode()).hexdigest()}
