"""Creates the contracts' topics and mends their settings. What would move keys to other partitions is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, Literal, TypeVar

import msgspec
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from koban.settings import Settings
from schemas.topics import Topic, topics
from streams.brokers import connect

READY_S_MAX = 60.0
"""How long a broker that has just come up may take until it answers and can hold topics."""
LOOK_S_MAX = 5.0
"""How long a mere look waits: whoever plans is a person, and wants to hear that nothing is there."""
_RETRY_PAUSE_S = 0.5
_REQUEST_MS = 15_000
_EFFECT_S_MAX = 20.0
_OWN_CONFIG_SOURCE = "DYNAMIC_TOPIC_CONFIG"
T = TypeVar("T")

Action = Literal["create", "grow", "set", "unset", "note", "refuse"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between a contract and the cluster, and what is done about it.

    `create`, `grow`, `set` and `unset` are carried out; a `note` needs nobody; a `refuse` needs a person.
    """

    action: Action
    topic: str
    what: str = ""
    before: str = ""
    after: str = ""
    why: str = ""

    @property
    def is_carried_out(self) -> bool:
        return self.action in ("create", "grow", "set", "unset")


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the cluster has it; `config` holds what was set on the topic itself, not the broker's defaults."""

    partitions: int
    replicas: int
    config: dict[str, str]


class TopicsRefusedError(Exception):
    """Some differences can't be mended without losing order; the message names each and says what to do."""


class BrokerUnreachableError(Exception):
    """Kafka did not answer, or had no broker that can hold a topic, within the time allowed."""


def plan(settings: Settings) -> list[Change]:
    """What `apply` would do, empty when the cluster is as the contracts say. Raises BrokerUnreachableError."""
    return _with_admin(settings, lambda admin: _compare(admin, settings), LOOK_S_MAX)


def apply(settings: Settings) -> list[Change]:
    """Carries out the plan and gives back what it was; a second call finds nothing to do.

    Raises TopicsRefusedError after everything else is done, and BrokerUnreachableError.
    """
    found = _with_admin(settings, lambda admin: _carry_out(admin, settings), READY_S_MAX)
    refused = [change for change in found if change.action == "refuse"]
    if refused:
        raise TopicsRefusedError("\n".join(f"{change.topic}: {change.why}" for change in refused))
    return found


def changes(
    contracts: Mapping[str, Topic], states: Mapping[str, TopicState], lanes: int, replicas: int
) -> list[Change]:
    """The differences between contracts and a cluster, contract by contract, unknown topics last."""
    found: list[Change] = []
    for name, topic in contracts.items():
        if name in states:
            found += _partition_changes(topic, states[name], lanes)
            found += _config_changes(topic, states[name], replicas)
        else:
            summary = f"{topic.partition_count(lanes)} partitions, {topic.cleanup}, kept {topic.retention}"
            found.append(Change(action="create", topic=name, after=summary))
    for name in sorted(set(states) - set(contracts)):
        found.append(Change(action="note", topic=name, why="no contract names it; it is left alone"))
    return found


def _partition_changes(topic: Topic, state: TopicState, lanes: int) -> Iterable[Change]:
    wanted = topic.partition_count(lanes)
    if wanted == state.partitions:
        return
    action: Action = "grow"
    why = ""
    if wanted < state.partitions:
        action, why = "refuse", f"has {state.partitions} partitions and can't shrink to {wanted}"
    elif topic.keyed:
        action = "refuse"
        why = (
            f"is keyed and has {state.partitions} partitions: with {wanted} its keys would move to other partitions "
            "and lose their order. Replay it into a new platform with that many lanes instead"
        )
    before, after = str(state.partitions), str(wanted)
    yield Change(action=action, topic=topic.name, what="partitions", before=before, after=after, why=why)


def _config_changes(topic: Topic, state: TopicState, replicas: int) -> Iterable[Change]:
    wanted = topic.broker_config(replicas)
    for name, value in wanted.items():
        if state.config.get(name) != value:
            before = state.config.get(name, "the broker's default")
            yield Change(action="set", topic=topic.name, what=name, before=before, after=value)
    for name in sorted(set(state.config) - set(wanted)):
        after = "the broker's default"
        yield Change(action="unset", topic=topic.name, what=name, before=state.config[name], after=after)
    if state.replicas != replicas:
        before, after = str(state.replicas), str(replicas)
        why = "copies are changed by reassigning partitions, which is left to the operator"
        yield Change(action="note", topic=topic.name, what="replicas", before=before, after=after, why=why)


def _with_admin(settings: Settings, work: Callable[[KafkaAdminClient], T], wait_s_max: float) -> T:
    """Does idempotent work on the cluster; tries again, from the connection on, until a young broker is ready."""
    deadline = time.monotonic() + wait_s_max
    while True:
        try:
            with closing(_connect(settings.kafka_bootstrap, deadline)) as admin:
                return work(admin)
        except InvalidReplicationFactorError as error:
            last: Exception = error  # no broker has registered yet, or there are fewer than copies wanted
        except KafkaError as error:
            if not getattr(error, "retriable", False):
                raise
            last = error
        if time.monotonic() >= deadline:
            raise BrokerUnreachableError(f"Kafka at {settings.kafka_bootstrap} is not ready: {last}") from last
        time.sleep(_RETRY_PAUSE_S)


def _connect(bootstrap: str, deadline: float) -> KafkaAdminClient:
    left_ms = max(1_000, int((deadline - time.monotonic()) * 1000))
    return connect(
        KafkaAdminClient,
        bootstrap,
        bootstrap_timeout_ms=left_ms,
        request_timeout_ms=_REQUEST_MS,
        client_id="koban",
    )


def _compare(admin: KafkaAdminClient, settings: Settings) -> list[Change]:
    return changes(topics(), _states(admin), settings.payment_partitions, settings.kafka_replication_factor)


def _states(admin: KafkaAdminClient) -> dict[str, TopicState]:
    found = {topic["name"]: topic["partitions"] for topic in admin.describe_topics() if not topic["is_internal"]}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
    configs = admin.describe_configs(resources)["topic"] if resources else {}
    return {
        name: TopicState(
            partitions=len(partitions),
            replicas=min((len(partition["replica_nodes"]) for partition in partitions), default=0),
            config=_own_config(configs.get(name, {})),
        )
        for name, partitions in found.items()
    }


def _own_config(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(row["value"]) for name, row in described.items() if row["config_source"] == _OWN_CONFIG_SOURCE}


def _carry_out(admin: KafkaAdminClient, settings: Settings) -> list[Change]:
    found = _compare(admin, settings)
    _create(admin, settings, [change.topic for change in found if change.action == "create"])
    grown = {change.topic: int(change.after) for change in found if change.action == "grow"}
    if grown:
        admin.create_partitions(grown)
    _configure(admin, [change for change in found if change.action in ("set", "unset")])
    _await_effect(admin, settings, found)
    return found


def _await_effect(admin: KafkaAdminClient, settings: Settings, done: list[Change]) -> None:
    """Waits until brokers show what the controller has accepted, so that whoever looks next sees it."""
    deadline = time.monotonic() + _EFFECT_S_MAX
    left = [change for change in done if change.is_carried_out]
    while left:
        if time.monotonic() >= deadline:
            raise KafkaError(f"after {_EFFECT_S_MAX:.0f} s the brokers still do not show: {left}")
        left = [change for change in _compare(admin, settings) if change in left]
        if left:
            time.sleep(_RETRY_PAUSE_S / 5)


def _create(admin: KafkaAdminClient, settings: Settings, names: list[str]) -> None:
    if not names:
        return
    replicas = settings.kafka_replication_factor
    wanted = {
        name: {
            "num_partitions": topics()[name].partition_count(settings.payment_partitions),
            "replication_factor": replicas,
            "configs": topics()[name].broker_config(replicas),
        }
        for name in names
    }
    answer = admin.create_topics(wanted, raise_errors=False)
    for topic in answer["topics"]:
        error = for_code(topic["error_code"])
        if error not in (NoError, TopicAlreadyExistsError):  # somebody else may have been quicker with the same plan
            raise error(f"{topic['name']}: {topic.get('error_message') or error.__name__}")
    admin.wait_for_topics(names)


def _configure(admin: KafkaAdminClient, wanted: list[Change]) -> None:
    operations: dict[str, dict[str, tuple[AlterConfigOp, str | None]]] = {}
    for change in wanted:
        operation = (AlterConfigOp.SET, change.after) if change.action == "set" else (AlterConfigOp.DELETE, None)
        operations.setdefault(change.topic, {})[change.what] = operation
    if not operations:
        return
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs) for name, configs in operations.items()]
    for name, result in admin.alter_configs(resources)["topic"].items():
        if result != "OK":
            raise KafkaError(f"{name}: {result}")
