"""The schemas as they were published: what producers and consumers outside this checkout may rely on.

One folder a value, one file a version: ``schemas/published/event/v1.json``. A published file never changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from schemas.compatibility import Verdict, compare
from schemas.json_schemas import DEAD_LETTER, Schema, encode
from schemas.topics import Topic

FOLDER = Path(__file__).parent / "published"
_FILE = re.compile(r"^v([1-9]\d*)\.json\Z")


class NotPublishableError(ValueError):
    """A schema can't be published as it is; the message says why and what to do."""


def versions(value: str, folder: Path = FOLDER) -> list[int]:
    """The published versions of a value, in order; empty when there is none."""
    names = (_FILE.match(path.name) for path in (folder / value).glob("v*.json"))
    return sorted(int(match[1]) for match in names if match)


def latest(value: str, folder: Path = FOLDER) -> Schema | None:
    """The last published schema of a value, None when there is none."""
    published = versions(value, folder)
    if not published:
        return None
    schema: Schema = msgspec.json.decode((folder / value / f"v{published[-1]}.json").read_bytes())
    return schema


def declared_version(value: str, topics: Mapping[str, Topic]) -> int:
    """The version that the topics declare for a value. Raises NotPublishableError when they disagree."""
    declared = {topic.name: topic.version for topic in topics.values() if topic.value == value}
    if value == DEAD_LETTER:
        named = {topic.dead_letter_topic for topic in topics.values()}
        declared = {topic.name: topic.version for topic in topics.values() if topic.name in named}
    if len(set(declared.values())) > 1:
        said = ", ".join(f"{name} says {version}" for name, version in declared.items())
        raise NotPublishableError(f"{value}: its topics disagree about its version: {said}")
    return max(declared.values(), default=1)


def publish(
    schemas: Mapping[str, Schema], topics: Mapping[str, Topic], *, replace: bool = False, folder: Path = FOLDER
) -> list[str]:
    """Records each changed schema as the next version and gives back the files written, like `event/v2.json`.

    With `replace` the last version is written over instead, whatever changed: right only while nobody outside reads it.
    Nothing is written when any schema is not publishable. Raises NotPublishableError.
    """
    wanted = {value: _next_version(value, schema, topics, replace, folder) for value, schema in schemas.items()}
    written = []
    for value, version in wanted.items():
        if version is None:
            continue
        path = folder / value / f"v{version}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(schemas[value]))
        written.append(f"{value}/{path.name}")
    return written


def _next_version(value: str, schema: Schema, topics: Mapping[str, Topic], replace: bool, folder: Path) -> int | None:
    """The version to write, None when there is nothing new to publish."""
    old = latest(value, folder)
    if old is None:
        return 1
    present = versions(value, folder)[-1]
    if replace:
        return None if old == schema else present
    differences = compare(value, old, schema, topics)
    breaks = [str(difference) for difference in differences if difference.verdict is Verdict.BREAKS]
    if breaks:
        raise NotPublishableError("\n".join(["this would break consumers:", *breaks]))
    if not differences:
        return None
    if declared_version(value, topics) != present + 1:
        carriers = ", ".join(f"{topic.name}.yaml" for topic in topics.values() if topic.value == value)
        raise NotPublishableError(f"{value} changed: add `{present + 1}: what changed` to versions in {carriers}")
    return present + 1


def from_folder(folder: Path) -> dict[str, Schema]:
    """Schemas by value name from a folder of `<value>.json` files."""
    return {path.stem: _decoded(path) for path in sorted(folder.glob("*.json"))}


def _decoded(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error}") from error
