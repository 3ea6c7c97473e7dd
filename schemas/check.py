"""The check of the contracts: well-formed, up to date, shown by examples, compatible with what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from koban.events import EVENT_TYPES
from schemas import asyncapi, contracts_page, json_schemas, published
from schemas import topics as topic_files
from schemas.compatibility import Difference, Verdict, compare, compare_topics
from schemas.examples import problems as example_problems
from schemas.json_schemas import Schema
from schemas.topics import Topic

ROOT = Path(__file__).parent.parent


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found. Problems fail it; notes are for the person who releases."""

    name: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """Contracts to compare with: schemas by value name, and topics when they are at hand."""

    title: str
    schemas: dict[str, Schema]
    topics: dict[str, Topic] = {}


def check(against: Before | None = None) -> list[Result]:
    """All checks in order; later ones are left out when the files they need can't be read."""
    try:
        topics = topic_files.load()
    except ValueError as error:
        return [Result(name="topics", problems=(str(error),))]
    results = [Result(name="topics", notes=(f"{len(topics)} topics",)), _events(topics)]
    try:
        schemas = json_schemas.json_schemas()
    except json_schemas.GlossaryError as error:
        return [*results, Result(name="glossary", problems=(str(error),))]
    results += [
        Result(name="glossary"),
        Result(name="generated files", problems=tuple(_drift(topics, schemas))),
        Result(name="examples", problems=tuple(example_problems(topics, schemas))),
        _versions(topics, schemas),
        _compatible(topics, schemas, against),
    ]
    return results


def generated(topics: Mapping[str, Topic], schemas: Mapping[str, Schema]) -> dict[Path, bytes]:
    """Every generated file and what it must hold."""
    files = {json_schemas.FOLDER / f"{name}.json": json_schemas.encode(schema) for name, schema in schemas.items()}
    files[asyncapi.FILE] = asyncapi.encode(topics)
    files[contracts_page.FILE] = contracts_page.page(topics)
    return files


def generate() -> list[str]:
    """Writes every generated file that is not as it must be, takes away those of no value; gives back their names."""
    topics, schemas = topic_files.load(), json_schemas.json_schemas()
    changed = []
    for path, content in generated(topics, schemas).items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed.append(_shown(path))
    for path in _left_over(schemas):
        path.unlink()
        changed.append(_shown(path))
    return changed


def _events(topics: Mapping[str, Topic]) -> Result:
    unknown = [
        f"{topic.name}.yaml: {name} is no event type"
        for topic in topics.values()
        for name in topic.event_types
        if name not in EVENT_TYPES
    ]
    return Result(name="event types", problems=tuple(unknown), notes=(f"{len(EVENT_TYPES)} event types",))


def _drift(topics: Mapping[str, Topic], schemas: Mapping[str, Schema]) -> list[str]:
    stale = [
        _shown(path)
        for path, content in generated(topics, schemas).items()
        if not path.exists() or path.read_bytes() != content
    ]
    stale += map(_shown, _left_over(schemas))
    return [f"{name} is out of date: run `koban contracts generate`" for name in stale]


def _left_over(schemas: Mapping[str, Schema]) -> list[Path]:
    return [path for path in sorted(json_schemas.FOLDER.glob("*.json")) if path.stem not in schemas]


def _versions(topics: Mapping[str, Topic], schemas: Mapping[str, Schema]) -> Result:
    """Every declared version is published, and every published one is declared."""
    problems = []
    for value in schemas:
        try:
            declared = published.declared_version(value, topics)
        except published.NotPublishableError as error:
            problems.append(str(error))
            continue
        there = published.versions(value)
        if there != list(range(1, declared + 1)):
            found = ", ".join(f"v{version}" for version in there) or "none"
            wanted = f"{value}: version {declared} is declared, published is {found}"
            problems.append(f"{wanted}; run `koban contracts publish`")
    return Result(name="versions", problems=tuple(problems))


def _compatible(topics: Mapping[str, Topic], schemas: Mapping[str, Schema], against: Before | None) -> Result:
    if against is None:
        last = ((name, published.latest(name)) for name in schemas)
        against = Before(title="the last published versions", schemas={name: old for name, old in last if old})
    differences = compare_topics(against.topics, topics) if against.topics else []
    for name, old in against.schemas.items():
        if name in schemas:
            differences += compare(name, old, schemas[name], topics)
        else:
            differences.append(Difference(verdict=Verdict.BREAKS, value=name, path="", what="removed"))
    return Result(
        name=f"compatible with {against.title}",
        problems=_told(differences, lambda verdict: verdict is Verdict.BREAKS),
        notes=_told(differences, lambda verdict: verdict is not Verdict.BREAKS),
    )


def _told(differences: list[Difference], wanted: Callable[[Verdict], bool]) -> tuple[str, ...]:
    return tuple(f"{each.verdict}: {each}" for each in differences if wanted(each.verdict))


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
