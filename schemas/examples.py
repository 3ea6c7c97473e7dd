"""The examples in ``schemas/examples/<topic>/<name>.json``: the first thing a producer's developer copies.

For a topic of events the name is the event type; else it is free, and the file holds one value. An example on a topic
of raw bytes is an object with the record's `key`, `headers` and `value`, all as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import jsonschema
import msgspec

from koban.events import EVENT_TYPES
from koban.records import RECORD_TYPES
from schemas.codec import decode, encode
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent
from schemas.json_schemas import EVENT, Schema, definition
from schemas.topics import Topic

FOLDER = Path(__file__).parent / "examples"
COMPLETE_TOPIC = "payments"
"""The topic whose examples show every event type."""


class RawRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record whose value is bytes, as an example writes it."""

    key: str | None = None
    headers: dict[str, str]
    value: str


def files(topic: Topic, folder: Path = FOLDER) -> list[Path]:
    """The examples of a topic, in alphabetical order."""
    return sorted((folder / topic.name).glob("*.json"))


def problems(topics: Mapping[str, Topic], schemas: Mapping[str, Schema], folder: Path = FOLDER) -> Iterator[str]:
    """What is wrong with the examples: missing ones, ones that don't decode, ones that the JSON Schema refuses."""
    for topic in topics.values():
        found = files(topic, folder)
        names = {path.stem for path in found}
        expected = set(EVENT_TYPES) if topic.name == COMPLETE_TOPIC else set(topic.event_types)
        for missing in sorted(expected - names):
            yield f"examples/{topic.name}: there is none for {missing}"
        if not found:
            yield f"examples/{topic.name}: there is none"
        for path in found:
            problem = _problem(path, topic, schemas)
            if problem is not None:
                yield f"examples/{topic.name}/{path.name}: {problem}"
    for stray in sorted({path.name for path in folder.iterdir()} - set(topics)):
        yield f"examples/{stray}: no topic is called so"


def _problem(path: Path, topic: Topic, schemas: Mapping[str, Schema]) -> str | None:
    raw = path.read_bytes()
    if topic.value == EVENT:
        return _event_problem(raw, path.stem, topic) or _schema_problem(raw, definition(path.stem, dict(schemas)))
    if topic.value == "bytes":
        return _raw_problem(raw, topic)
    if topic.value == "json":
        return None if isinstance(msgspec.json.decode(raw), dict) else "it is no JSON object"
    return _record_problem(raw, topic.value) or _schema_problem(raw, schemas[topic.value])


def _event_problem(raw: bytes, name: str, topic: Topic) -> str | None:
    try:
        event = decode(raw)
    except InvalidEvent as error:
        return error.reason
    if type(event).__name__ != name:
        return f"it holds {type(event).__name__}"
    if topic.event_types and name not in topic.event_types:
        return f"{name} does not travel here"
    return None if decode(encode(event)) == event else "it does not survive being encoded"


def _record_problem(raw: bytes, value: str) -> str | None:
    try:
        record = msgspec.json.decode(raw, type=RECORD_TYPES[value])
    except msgspec.DecodeError as error:
        return str(error)
    same = msgspec.json.decode(msgspec.json.encode(record), type=RECORD_TYPES[value]) == record
    return None if same else "it does not survive being encoded"


def _raw_problem(raw: bytes, topic: Topic) -> str | None:
    try:
        record = msgspec.json.decode(raw, type=RawRecord)
        if "koban_reason_code" in topic.headers:
            DeadLetter.read([(name, text.encode()) for name, text in record.headers.items()])
    except (msgspec.DecodeError, ValueError) as error:
        return str(error)
    missing = [name for name in topic.headers if name not in record.headers]
    return f"the header {missing[0]} is missing" if missing else None


def _schema_problem(raw: bytes, schema: Schema) -> str | None:
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(msgspec.json.decode(raw))
    )
    return None if error is None else f"{error.json_path}: {error.message}"
