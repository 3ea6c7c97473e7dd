"""What the gate or the ledger would make of a dead letter, as it is or mended: a dry run by their own rules."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from koban.gate.inspection import inspect
from koban.gate.verdict import Limits, Rejected
from koban.settings import Settings
from schemas.errors import ReasonCode
from streams.dead_letters.letters import Letter, Place

RAW_TOPIC = "payments"
LEDGER_TOPIC = "ledger-replays"
"""Where an event goes that the ledger alone refused: all other stages have taken it in already."""


class Fate(StrEnum):
    """What a replay would come to."""

    VALID = "valid"
    """The gate would let it through; sent a second time, it would drop it as a duplicate."""
    REJECTED = "rejected"
    """The gate would reject it again."""
    KNOWN = "known"
    """Its event id was used before, so it would be a duplicate or a conflict: it needs another id."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as it would be sent again, and what would come of it."""

    place: Place
    fate: Fate
    detail: str
    event_id: str | None = None
    owner: str | None = None
    value: bytes | None = None
    topic: str = RAW_TOPIC
    """Where it would be sent."""
    mended: bool = False
    """Whether ``value`` is not what the letter holds."""


def judge(letter: Letter, value: bytes | None, now_ms: int, settings: Settings) -> Replay:
    """What the gate would make of ``value``, sent at ``now_ms`` (UTC) in the place of the letter's own."""
    limits = Limits(
        event_bytes_max=settings.event_bytes_max,
        event_depth_max=settings.event_depth_max,
        clock_ahead_s_max=settings.clock_ahead_s_max,
    )
    verdict = inspect(value, now_ms, limits)
    if isinstance(verdict, Rejected):
        return Replay(place=letter.place, fate=Fate.REJECTED, detail=f"{verdict.code}: {verdict.reason}")
    event_id = verdict.event.event_id
    if _refused_by_the_ledger(letter) and value == letter.value:
        return Replay(
            place=letter.place,
            fate=Fate.VALID,
            detail=f"{type(verdict.event).__name__} of {verdict.owner}, to be judged again by the ledger",
            event_id=event_id,
            owner=verdict.owner,
            value=value,
            topic=LEDGER_TOPIC,
        )
    known = letter.about is not None and (letter.about.stage != "gate" or letter.about.reason_code == "conflict")
    if known and event_id == _event_id(letter.value):
        detail = f"event id {event_id} was used before: give it another with --set event_id=…"
        return Replay(place=letter.place, fate=Fate.KNOWN, detail=detail, event_id=event_id)
    return Replay(
        place=letter.place,
        fate=Fate.VALID,
        detail=f"{type(verdict.event).__name__} of {verdict.owner}",
        event_id=event_id,
        owner=verdict.owner,
        value=value,
        mended=value != letter.value,
    )


def _refused_by_the_ledger(letter: Letter) -> bool:
    """Whether the gate let the event through and the ledger's rules refused it; decisions of cashback don't count."""
    about = letter.about
    if about is None or about.stage != "ledger" or about.reason_code is not ReasonCode.REFUSED:
        return False
    return about.origin_topic in ("payments-valid", LEDGER_TOPIC)


def with_fields(value: bytes | None, fields: Sequence[tuple[str, Any]]) -> bytes:
    """The JSON value with fields set by dotted path (``body.tenders.0.amount_minor``); None takes a field out.

    Raises ValueError when the value is no JSON object, or a path leads nowhere.
    """
    try:
        document = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the dead letter is no JSON ({error}): mend it in a file and give it with --edit") from error
    for path, to in fields:
        _set(document, path, to)
    return msgspec.json.encode(document)


def _set(document: Any, path: str, to: Any) -> None:
    *steps, last = path.split(".")
    holder = document
    for step in steps:
        holder = _item(holder, step, path)
    if isinstance(holder, dict):
        if to is None:
            holder.pop(last, None)
        else:
            holder[last] = to
    elif isinstance(holder, list) and last.isdecimal() and int(last) < len(holder):
        holder[int(last)] = to
    else:
        raise ValueError(f"{path} leads nowhere in the dead letter")


def _item(holder: Any, step: str, path: str) -> Any:
    if isinstance(holder, dict) and step in holder:
        return holder[step]
    if isinstance(holder, list) and step.isdecimal() and int(step) < len(holder):
        return holder[int(step)]
    raise ValueError(f"{path} leads nowhere in the dead letter: it has no {step}")


def _event_id(value: bytes | None) -> str | None:
    try:
        document = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document.get("event_id") if isinstance(document, dict) else None
