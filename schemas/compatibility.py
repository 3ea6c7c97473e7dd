"""Whether a changed schema still fits what others wrote and read before, field by field, and who is hit if not.

Two directions matter. What was written under the old schema must stay readable under the new one (records lie in topics
for weeks), so a schema may not get narrower: that *breaks*. What is written under the new one may be more than old
consumers take (a new enum value, a larger bound); that is no break, but *consumers first* must be upgraded. Anything
else, an optional field above all, is *fine* in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from schemas.json_schemas import DEAD_LETTER, EVENT, Schema
from schemas.topics import Topic


class Verdict(StrEnum):
    """What a difference means for a release, the worst first."""

    BREAKS = "breaks"
    CONSUMERS_FIRST = "consumers-first"
    FINE = "fine"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two versions of a value's schema."""

    verdict: Verdict
    value: str
    """The value's name, like `event` or `balance`."""
    path: str
    """The field, like `body.tenders[].kind`; empty for the value as a whole."""
    what: str
    events: tuple[str, ...] = ()
    """The event types that have it, when the value is an event."""
    consumers: tuple[str, ...] = ()
    """Who reads it, by the topics' contracts."""

    def __str__(self) -> str:
        where = f"{self.value} {self.path}".rstrip()
        events = f" of {_few(self.events)}" if self.events else ""
        hit = f"; read by {', '.join(self.consumers)}" if self.consumers else "; read by nobody"
        return f"{where}{events}: {self.what}{hit}"


class _Found(NamedTuple):
    verdict: Verdict
    path: str
    what: str


_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "contentEncoding")
_ABSENT = object()
_EVENTS_SHOWN_MAX = 3


def compare(value: str, old: Schema, new: Schema, topics: Mapping[str, Topic]) -> list[Difference]:
    """All differences between two complete schemas of one value, the worst first."""
    grouped: dict[_Found, list[str]] = {}
    for event, found in _compare_events(old, new) if value == EVENT else _compare_value(old, new):
        grouped.setdefault(found, []).append(event)
    differences = [
        _judged(value, found, [name for name in events if name], topics) for found, events in grouped.items()
    ]
    return sorted(differences, key=lambda difference: list(Verdict).index(difference.verdict))


def compare_topics(old: Mapping[str, Topic], new: Mapping[str, Topic]) -> list[Difference]:
    """What changed about the topics themselves: those gone, another value, partitions under keys, new event types."""
    found: list[Difference] = []
    for name, before in old.items():
        for verdict, what in _topic_changes(before, new.get(name)):
            consumers = tuple(sorted(before.consumers))
            found.append(Difference(verdict=verdict, value=f"topic {name}", path="", what=what, consumers=consumers))
    return sorted(found, key=lambda difference: list(Verdict).index(difference.verdict))


def _topic_changes(before: Topic, after: Topic | None) -> Iterator[tuple[Verdict, str]]:
    if after is None:
        yield Verdict.BREAKS, "removed"
        return
    if before.value != after.value:
        yield Verdict.BREAKS, f"value {before.value} → {after.value}"
    if before.keyed and before.partitions != after.partitions:
        yield Verdict.BREAKS, f"partitions {before.partitions} → {after.partitions} move the keys"
    if set(after.event_types) != set(before.event_types):
        listed = set(after.event_types) - set(before.event_types) or {"any event"}
        if before.event_types:
            yield Verdict.CONSUMERS_FIRST, f"now also carries {_few(sorted(listed))}"


def _judged(value: str, found: _Found, events: list[str], topics: Mapping[str, Topic]) -> Difference:
    consumers = readers(value, found.path, events, topics)
    verdict = found.verdict
    if verdict is Verdict.BREAKS and found.what.startswith("removed") and not consumers:
        verdict = Verdict.FINE  # a field that nobody reads may go
    return Difference(
        verdict=verdict, value=value, path=found.path, what=found.what, events=tuple(events), consumers=consumers
    )


def readers(value: str, path: str, events: Iterable[str], topics: Mapping[str, Topic]) -> tuple[str, ...]:
    """The consumers that read a field of a value on any topic that carries it, in alphabetical order."""
    wanted = set(events)
    field = path.replace("[]", "").replace(".*", "")
    dead_letter_topics = {topic.dead_letter_topic for topic in topics.values()}
    found: set[str] = set()
    for topic in topics.values():
        if value == DEAD_LETTER and topic.name in dead_letter_topics:
            found.update(topic.consumers)
        carries = not topic.event_types or not wanted or wanted & set(topic.event_types)
        if topic.value == value and carries:
            found.update(topic.readers_of(field) if field else topic.consumers)
    return tuple(sorted(found))


def _compare_value(old: Schema, new: Schema) -> Iterator[tuple[str, _Found]]:
    for found in _Comparison(old, new).compare(old, new, ""):
        yield "", found


def _compare_events(old: Schema, new: Schema) -> Iterator[tuple[str, _Found]]:
    """Compares event type with event type, as the tag pairs them up."""
    before, after = (_event_types(schema) for schema in (old, new))
    comparison = _Comparison(old, new)
    for name, schema in before.items():
        if name not in after:
            yield name, _Found(Verdict.BREAKS, "", "removed event type")
            continue
        for found in comparison.compare(schema, after[name], ""):
            yield name, found
    for name in after:
        if name not in before:
            yield name, _Found(Verdict.CONSUMERS_FIRST, "", "new event type")


def _event_types(schema: Schema) -> dict[str, Schema]:
    names = [option["$ref"].rsplit("/", 1)[-1] for option in schema["anyOf"]]
    return {name: schema["$defs"][name] for name in names}


class _Comparison:
    """Compares two schemas part by part; each knows its own definitions."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old.get("$defs", {})
        self._new = new.get("$defs", {})

    def compare(self, old: Schema, new: Schema, path: str) -> Iterator[_Found]:
        before, after = _options(old, self._old), _options(new, self._new)
        for kind in before.keys() - after.keys():
            if not (kind == "integer" and "number" in after):
                yield _Found(Verdict.BREAKS, path, f"no longer takes {_article(kind)}")
        for kind in after.keys() - before.keys():
            yield _Found(Verdict.CONSUMERS_FIRST, path, f"now also takes {_article(kind)}")
        for kind in sorted(before.keys() & after.keys()):
            yield from _bounds(before[kind], after[kind], path)
            yield from _enumerations(before[kind], after[kind], path)
            if kind == "object":
                yield from self._objects(before[kind], after[kind], path)
            elif kind == "array":
                yield from self.compare(before[kind].get("items", {}), after[kind].get("items", {}), f"{path}[]")

    def _objects(self, old: Schema, new: Schema, path: str) -> Iterator[_Found]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            at = f"{path}.{name}".lstrip(".")
            if name not in after:
                yield _Found(Verdict.BREAKS, at, _removed(before[name], before, after))
                continue
            yield from self.compare(before[name], after[name], at)
            yield from _presence(name in needed_before, name in needed_after, at)
            yield from _defaults(before[name], after[name], at)
        for name in after:
            if name not in before:
                at = f"{path}.{name}".lstrip(".")
                yield _added(name in needed_after, _is_closed(old), at)
        yield from self._openness(old, new, path)

    def _openness(self, old: Schema, new: Schema, path: str) -> Iterator[_Found]:
        if _is_closed(new) and not _is_closed(old):
            yield _Found(Verdict.BREAKS, path, "no longer takes unknown fields")
        elif _is_closed(old) and not _is_closed(new):
            yield _Found(Verdict.CONSUMERS_FIRST, path, "now takes unknown fields")
        rest_before, rest_after = old.get("additionalProperties"), new.get("additionalProperties")
        if isinstance(rest_before, dict) and isinstance(rest_after, dict):
            yield from self.compare(rest_before, rest_after, f"{path}.*")
        elif isinstance(rest_after, dict) and rest_before is not False:
            yield _Found(Verdict.BREAKS, f"{path}.*", "values of unknown fields are now limited")
        names_before, names_after = old.get("propertyNames", {}), new.get("propertyNames", {})
        yield from _bounds(names_before, names_after, f"{path}.*")


def _options(schema: Schema, definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """A schema as JSON type → what is said about values of that type; a schema that says nothing takes `any`."""
    schema = _resolved(schema, definitions)
    if "anyOf" in schema:
        options: dict[str, Schema] = {}
        for option in schema["anyOf"]:
            options.update(_options(option, definitions))
        return options
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None and "type" not in schema:
        kinds = sorted({_kind(value) for value in values})
        return {kind: schema | {"enum": [value for value in values if _kind(value) == kind]} for kind in kinds}
    kind = schema.get("type", "any")
    return dict.fromkeys(kind if isinstance(kind, list) else [kind], _whole(schema))


def _whole(schema: Schema) -> Schema:
    """The schema with the open bounds of whole numbers written as closed ones, so that > 0 and >= 1 are the same."""
    if schema.get("type") != "integer":
        return schema
    closed = {key: part for key, part in schema.items() if not key.startswith("exclusive")}
    if "exclusiveMinimum" in schema:
        closed["minimum"] = max(schema["exclusiveMinimum"] + 1, schema.get("minimum", schema["exclusiveMinimum"] + 1))
    if "exclusiveMaximum" in schema:
        closed["maximum"] = min(schema["exclusiveMaximum"] - 1, schema.get("maximum", schema["exclusiveMaximum"] - 1))
    return closed


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The schema with its reference followed and its `allOf` parts laid over each other."""
    if "$ref" in schema:
        beside = {key: part for key, part in schema.items() if key not in ("$ref", "$defs")}
        schema = _resolved(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions) | beside
    if "allOf" not in schema:
        return schema
    own = {key: part for key, part in schema.items() if key != "allOf"}
    merged: Schema = {}
    for part in (*(_resolved(part, definitions) for part in schema["allOf"]), own):
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged = {**merged, **part, "properties": properties, "required": required}
    return merged


def _kind(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), "object")


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[_Found]:
    for names, narrower in ((_LOWER, 1), (_UPPER, -1)):
        for name in names:
            before, after = old.get(name), new.get(name)
            if before == after:
                continue
            narrowed = after is not None and (before is None or (after - before) * narrower > 0)
            yield _changed(name, before, after, narrowed, path)
    for name in _EXACT:
        before, after = old.get(name), new.get(name)
        if before != after:
            yield _changed(name, before, after, after is not None, path)


def _changed(name: str, before: object, after: object, narrowed: bool, path: str) -> _Found:
    verdict = Verdict.BREAKS if narrowed else Verdict.CONSUMERS_FIRST
    told = f"{name} {'none' if before is None else before} → {'none' if after is None else after}"
    return _Found(verdict, path, f"{'narrowed' if narrowed else 'widened'}: {told}")


def _enumerations(old: Schema, new: Schema, path: str) -> Iterator[_Found]:
    before, after = old.get("enum"), new.get("enum")
    if before is None and after is None:
        return
    if before is None:
        yield _Found(Verdict.BREAKS, path, f"narrowed: only {_few(map(str, after or ()))} from now on")
    elif after is None:
        yield _Found(Verdict.CONSUMERS_FIRST, path, "widened: no longer a list of values")
    else:
        for value in (value for value in before if value not in after):
            yield _Found(Verdict.BREAKS, path, f"removed value {value!r}")
        for value in (value for value in after if value not in before):
            yield _Found(Verdict.CONSUMERS_FIRST, path, f"new value {value!r}")


def _presence(needed_before: bool, needed_after: bool, path: str) -> Iterator[_Found]:
    if needed_after and not needed_before:
        yield _Found(Verdict.BREAKS, path, "required from now on, which records written before may lack")
    elif needed_before and not needed_after:
        yield _Found(Verdict.CONSUMERS_FIRST, path, "no longer required")


def _defaults(old: Schema, new: Schema, path: str) -> Iterator[_Found]:
    """Defaults are left out when a record is written, so a changed default changes records that are already there."""
    before, after = old.get("default", _ABSENT), new.get("default", _ABSENT)
    if before is not _ABSENT and after is not _ABSENT and before != after:
        yield _Found(Verdict.BREAKS, path, f"default {before!r} → {after!r} changes what records without it mean")


def _added(required: bool, closed: bool, path: str) -> _Found:
    if required:
        return _Found(Verdict.BREAKS, path, "new and required, which records written before lack")
    if closed:
        return _Found(Verdict.CONSUMERS_FIRST, path, "new optional field of a closed object")
    return _Found(Verdict.FINE, path, "new optional field")


def _removed(schema: Schema, before: Schema, after: Schema) -> str:
    alike = [name for name, other in after.items() if name not in before and _bare(other) == _bare(schema)]
    return f"removed (renamed to {alike[0]}?)" if len(alike) == 1 else "removed"


def _bare(schema: Schema) -> Schema:
    return {key: part for key, part in schema.items() if key not in ("title", "description")}


def _is_closed(schema: Schema) -> bool:
    return schema.get("additionalProperties") is False


def _article(kind: str) -> str:
    if kind in ("null", "any"):
        return {"null": "null", "any": "any value"}[kind]
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _EVENTS_SHOWN_MAX
    return ", ".join(listed[:_EVENTS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
