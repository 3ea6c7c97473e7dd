"""JSON Schemas (draft 2020-12) of everything on the topics, made from the typed Structs and the glossary.

One file a kind of value, complete in itself; `event` holds all event types, told apart by `event_type`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from koban.events import EVENT_TYPES, AnyEvent
from koban.records import RECORD_TYPES
from schemas.dead_letters import DeadLetter

Schema = dict[str, Any]

FOLDER = Path(__file__).parent / "json"
GLOSSARY = Path(__file__).parent / "glossary.yaml"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENT = "event"
DEAD_LETTER = "dead-letter"
_REF = "#/$defs/{name}"


class GlossaryError(ValueError):
    """A field has no meaning written down, or a meaning belongs to no field."""


def json_schemas() -> dict[str, Schema]:
    """Value name → its schema. Raises GlossaryError naming each field without an entry, and each entry without one."""
    glossary: dict[str, str] = msgspec.yaml.decode(GLOSSARY.read_bytes(), type=dict[str, str])
    unused = set(glossary)
    types = {EVENT: AnyEvent, **RECORD_TYPES, DEAD_LETTER: DeadLetter}
    schemas = {name: _schema(kind, glossary, unused) for name, kind in types.items()}
    if unused:
        raise GlossaryError(f"glossary.yaml: no field is called {', '.join(sorted(unused))}")
    return schemas


def encode(schema: object) -> bytes:
    """A schema as it lies in its file: two spaces, non-ASCII text as it is, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def definition(name: str, schemas: dict[str, Schema]) -> Schema:
    """The schema of one event type (`PaymentCompleted`) or of a whole value (`balance`), complete in itself."""
    if name in schemas:
        return schemas[name]
    return {"$schema": DIALECT, "$ref": _REF.format(name=name), "$defs": schemas[EVENT]["$defs"]}


def _schema(kind: Any, glossary: dict[str, str], unused: set[str]) -> Schema:
    (schema,), definitions = msgspec.json.schema_components([kind], ref_template=_REF)
    for title, part in definitions.items():
        _describe(title, part, glossary, unused)
    if kind is AnyEvent:
        _share_envelope(definitions)
    document = {
        "$schema": DIALECT,
        **schema,
        "$defs": dict(sorted(definitions.items())),
    }
    portable = _portable(document)
    assert isinstance(portable, dict)
    return portable


def _share_envelope(definitions: dict[str, Schema]) -> None:
    """Writes the fifty event types as one envelope and what each adds to it, so that a person can read the file."""
    own = ("event_type", "body")
    for name in EVENT_TYPES:
        event = definitions[name]
        properties, required = event["properties"], event["required"]
        envelope = {
            "title": "Envelope",
            "description": "What all events have in common.",
            "type": "object",
            "properties": {field: part for field, part in properties.items() if field not in own},
            "required": [field for field in required if field not in own],
        }
        assert definitions.setdefault("Envelope", envelope) == envelope
        definitions[name] = {
            "title": event["title"],
            "description": event["description"],
            "allOf": [{"$ref": _REF.format(name="Envelope")}],
            "type": "object",
            "properties": {field: properties[field] for field in own},
            "required": list(own),
        }


def _describe(title: str, part: Schema, glossary: dict[str, str], unused: set[str]) -> None:
    for field, schema in part.get("properties", {}).items():
        entry = f"{title}.{field}" if f"{title}.{field}" in glossary else field
        if entry not in glossary:
            raise GlossaryError(f"glossary.yaml: {title}.{field} has no entry; say there what it means")
        unused.discard(entry)
        schema["description"] = glossary[entry]


def _portable(value: Any) -> Any:
    """The same schema for every language: Python alone knows `\\Z`; elsewhere `$` is the end of the text."""
    if isinstance(value, dict):
        return {
            key: item.replace("\\Z", "$") if key == "pattern" and isinstance(item, str) else _portable(item)
            for key, item in value.items()
        }
    return [_portable(item) for item in value] if isinstance(value, list | tuple) else value
