"""The page docs/contracts.md: topics, events, records and reasons in tables, made from the contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from koban.events import EVENT_TYPES, body_type
from koban.records import RECORD_TYPES
from schemas.errors import ReasonCode
from schemas.topics import COMPONENTS, Topic

FILE = Path(__file__).parent.parent / "docs" / "contracts.md"
_HEAD = """\
# Contracts

Made by `koban contracts generate`; do not edit. Topics are declared in `schemas/topics/*.yaml`, events in
`koban/events.py`, the other records in `koban/records.py`, the meaning of fields in `schemas/glossary.yaml`. JSON
Schemas for other languages lie in `schemas/json/`, examples in `schemas/examples/`, and `schemas/asyncapi.yaml`
describes it all as AsyncAPI 3.

`koban contracts check` compares the present contracts with the last published ones (`schemas/published/`). Each
difference is one of three:

- **breaks**: records written before could no longer be read, or a field that somebody reads is gone. The check fails
  and names the consumers. Add a new field or topic beside the old one instead.
- **consumers first**: new records may hold what old consumers refuse (a new event type, a new value, a larger bound).
  Upgrade the consumers named, then the producers. The gate reads before everyone, so it goes first of all: fields that
  it does not know are not carried on.
- **fine**: an optional field was added. Any order.

Core services that write to an outbox table need no other contract: the outbox event router of Debezium puts the plain
event on `payments` when it expands the JSON payload and takes the wallet's column as the key. Its change-event
envelope is not unpacked by the gate.

To publish a change, add a line to `versions` of the topics that carry the value, then run `koban contracts publish`.
"""


def page(topics: Mapping[str, Topic]) -> bytes:
    """The page as it lies in its file."""
    parts = [_HEAD, *_topics(topics), *_components(topics), *_events(), *_records(topics), *_reasons()]
    return "\n".join(parts).encode()


def _topics(topics: Mapping[str, Topic]) -> list[str]:
    rows = [
        (
            f"`{topic.name}`",
            topic.meaning,
            topic.key,
            ", ".join(topic.producers),
            ", ".join(topic.consumers),
            str(topic.partitions),
            f"{topic.retention}, {topic.cleanup}" if topic.cleanup != "delete" else topic.retention,
            f"{topic.value} v{topic.version}",
        )
        for topic in topics.values()
    ]
    head = ("topic", "meaning", "key", "producers", "consumers", "partitions", "kept", "value")
    return ["## Topics\n", *_table(head, rows)]


def _components(topics: Mapping[str, Topic]) -> list[str]:
    rows = []
    for name, place in COMPONENTS.items():
        writes = ", ".join(topic.name for topic in topics.values() if name in topic.producers)
        reads = ", ".join(topic.name for topic in topics.values() if name in topic.consumers)
        rows.append((name, place, writes, reads))
    return ["## Who reads and writes\n", *_table(("component", "where", "writes", "reads"), rows)]


def _events() -> list[str]:
    rows = []
    for name, event in EVENT_TYPES.items():
        rows.append((f"`{name}`", event.__doc__ or "", _fields(body_type(name))))
    return [
        "## Events\n",
        "All events share the envelope: " + _fields(next(iter(EVENT_TYPES.values())), without=("body",)) + ".",
        "Fields in brackets are optional.\n",
        *_table(("event", "meaning", "body"), rows),
    ]


def _records(topics: Mapping[str, Topic]) -> list[str]:
    rows = []
    for name, record in RECORD_TYPES.items():
        on = ", ".join(f"`{topic.name}`" for topic in topics.values() if topic.value == name)
        rows.append((name, on, (record.__doc__ or "").split("\n\n")[0], _fields(record)))
    return ["## Other records\n", *_table(("value", "topics", "meaning", "fields"), rows)]


def _reasons() -> list[str]:
    rows = [(f"`{code}`", code.meaning) for code in ReasonCode]
    lines = "Why a record is dead-lettered, in order of precedence: the first that applies is the one given.\n"
    return ["## Reasons for dead letters\n", lines, *_table(("code", "meaning"), rows)]


def _fields(struct: Any, without: tuple[str, ...] = ()) -> str:
    named = [
        field.encode_name if field.required else f"[{field.encode_name}]"
        for field in msgspec.structs.fields(struct)
        if field.name not in without
    ]
    return ", ".join(named)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return [*lines, ""]


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
