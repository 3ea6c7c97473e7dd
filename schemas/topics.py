"""The topics, as ``schemas/topics/*.yaml`` says: meaning, key, who writes, who reads, how long records are kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

FOLDER = Path(__file__).parent / "topics"
FOREVER_MS = -1
_UNIT_MS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}

COMPONENTS: dict[str, str] = {
    "core-payments": "the core payment services, outside the platform",
    "bank-integration": "the banks' side, outside the platform",
    "simulator": "`koban simulate`",
    "gate": "streams/gate",
    "ledger": "streams/ledger",
    "seals": "streams/seals",
    "alerts": "streams/alerts",
    "book": "streams/book",
    "search-index": "streams/search_index",
    "cashback": "jobs/cashback",
    "fraud-patterns": "jobs/fraud_patterns",
    "lake": "jobs/lake",
    "volumes": "jobs/volumes",
    "console": "dashboards",
    "bench": "`koban bench`",
    "campaigns": "`koban campaigns publish`",
    "dlq": "`koban dlq`",
    "trace": "`koban trace`",
    "verify": "`koban verify`",
    "audit": "`koban ledger audit`",
}
"""Everything that may produce or consume, and where it lives."""

TopicName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,60}\Z")]
Retention = Annotated[str, msgspec.Meta(pattern=r"^(forever|[1-9]\d{0,4} (minutes|hours|days))\Z")]
ValueName = Literal[
    "event",
    "journal-entry",
    "ledger-legs",
    "balance",
    "waiting-refund",
    "volume",
    "fraud-signal",
    "alert",
    "campaign",
    "replayed-letter",
    "seal",
    "seal-leaves",
    "bytes",
    "json",
]


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic's contract. Raises ValueError when its parts contradict each other."""

    name: TopicName
    meaning: Annotated[str, msgspec.Meta(min_length=10)]
    key: Annotated[str, msgspec.Meta(min_length=3)]
    keyed: bool
    """Whether order or state hangs on the key; then the number of partitions can never change."""
    producers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    consumers: dict[str, tuple[str, ...] | Literal["all"]]
    """Consumer → the fields of the value that it reads (`body.merchant_id`), or all."""
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1000)] | Literal["lanes"]
    """A number, or `lanes`: as many as the setting `payment_partitions` says."""
    retention: Retention
    cleanup: Literal["delete", "compact", "compact,delete"] = "delete"
    value: ValueName
    """The schema of the value; `bytes` is anything at all, `json` any JSON object."""
    event_types: tuple[str, ...] = ()
    """Which events travel here; none named means all."""
    headers: tuple[str, ...] = ()
    """Headers beside those of CloudEvents."""
    bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=67_108_864)] = 4_194_304
    """The largest batch of records, as compressed by its producer, that the broker takes; in bytes."""
    config: dict[str, str] = {}
    """Further settings of the topic, by the broker's names."""
    dead_letter_topic: TopicName | None = None
    versions: Annotated[dict[int, str], msgspec.Meta(min_length=1)]
    """Version of the value's schema → what it is or what it changed."""

    def __post_init__(self) -> None:
        for component in (*self.producers, *self.consumers):
            if component not in COMPONENTS:
                raise ValueError(f"{self.name}: unknown component {component!r}; known are {', '.join(COMPONENTS)}")
        if sorted(self.versions) != list(range(1, len(self.versions) + 1)):
            raise ValueError(f"{self.name}: versions must be 1, 2, 3, … without a gap")
        if self.cleanup == "compact" and self.retention != "forever":
            raise ValueError(f"{self.name}: a compacted topic is kept forever; use `compact,delete` to bound it")
        if self.event_types and self.value != "event":
            raise ValueError(f"{self.name}: event_types are named, but the value is {self.value}")

    @property
    def version(self) -> int:
        """The present version of the value's schema."""
        return max(self.versions)

    @property
    def retention_ms(self) -> int:
        """How long records are kept, in milliseconds; -1 means forever."""
        if self.retention == "forever":
            return FOREVER_MS
        number, unit = self.retention.split(" ")
        return int(number) * _UNIT_MS[unit]

    def partition_count(self, lanes: int) -> int:
        """The number of partitions on a platform with so many lanes."""
        return lanes if self.partitions == "lanes" else self.partitions

    def broker_config(self, replication_factor: int) -> dict[str, str]:
        """The topic's settings by the broker's names: all that the contract decides, nothing else."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.bytes_max),
            "message.timestamp.type": "CreateTime",
            "min.insync.replicas": str(max(1, replication_factor - 1)),
            **self.config,
        }

    def readers_of(self, field: str) -> list[str]:
        """The consumers that read a field (`body.amount_minor`) or something within it, in the contract's order."""
        return [name for name, reads in self.consumers.items() if reads == "all" or _overlaps(field, reads)]


def _overlaps(field: str, reads: tuple[str, ...]) -> bool:
    return any(f"{read}.".startswith(f"{field}.") or f"{field}.".startswith(f"{read}.") for read in reads)


def load_file(path: Path) -> Topic:
    """The contract in one file. Raises ValueError naming the file, the field, what was expected and what was there."""
    try:
        topic = msgspec.yaml.decode(path.read_bytes(), type=Topic, strict=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    if path.stem != topic.name:
        raise ValueError(f"{path.name}: the file must be named like its topic, {topic.name}.yaml")
    return topic


def load(folder: Path = FOLDER) -> dict[str, Topic]:
    """All contracts of a folder by topic name, in alphabetical order. Raises ValueError for the first broken one."""
    topics = {topic.name: topic for topic in map(load_file, sorted(folder.glob("*.yaml"), key=lambda path: path.stem))}
    for topic in topics.values():
        if topic.dead_letter_topic is not None and topic.dead_letter_topic not in topics:
            raise ValueError(f"{topic.name}.yaml: its dead-letter topic {topic.dead_letter_topic} has no contract")
    return topics


@cache
def topics() -> dict[str, Topic]:
    """The platform's topics by name, read once."""
    return load()
