"""The AsyncAPI 3 document: topics as channels, who sends and who receives as operations, schemas by reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from koban.events import EVENT_TYPES
from schemas.json_schemas import DEAD_LETTER, EVENT
from schemas.topics import COMPONENTS, Topic

FILE = Path(__file__).parent / "asyncapi.yaml"
_CLOUDEVENTS = {
    "ce_specversion": "The version of CloudEvents: 1.0.",
    "ce_id": "The record's id.",
    "ce_type": "What it is: `koban.` and the event's or record's type.",
    "ce_source": "The stage that made the record, like `/koban/gate`.",
    "ce_correlationid": "The payment that the record belongs to, if any.",
    "ce_causationid": "The event that caused it, if any.",
    "content-type": "application/json",
    "koban_at_us": "When the stage made the record, in UTC microseconds.",
}
_OWN_HEADERS = {
    "koban_body_hash": "32 hex digits, equal exactly when two events say the same.",
    "koban_origin_topic": "The topic where the record arrived.",
    "koban_origin_partition": "The partition where it arrived.",
    "koban_origin_offset": "The offset where it arrived.",
}
_NOTE = "# Made by `koban contracts generate` from the Structs and schemas/topics; do not edit.\n"


class _WithoutAliases(yaml.CSafeDumper):
    """Writes a part that occurs twice in full both times, as readers of the document expect."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def document(topics: Mapping[str, Topic]) -> dict[str, Any]:
    """The document as plain data, ready for YAML."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Koban",
            "version": "1.0.0",
            "description": "The topics of the wallet's data platform: what travels on them, who writes and who reads.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:9092",
                "protocol": "kafka",
                "description": "The platform of `koban up`; its real port is in `koban status`.",
            }
        },
        "channels": {name: _channel(topic) for name, topic in topics.items()},
        "operations": _operations(topics),
        "components": {"messages": _messages(topics), "schemas": _header_schemas(topics)},
    }


def encode(topics: Mapping[str, Topic]) -> bytes:
    """The document as it lies in its file."""
    text = yaml.dump(
        document(topics),
        Dumper=_WithoutAliases,
        sort_keys=False,
        allow_unicode=True,
        width=120,
        default_flow_style=False,
    )
    return (_NOTE + str(text)).encode()


def _channel(topic: Topic) -> dict[str, Any]:
    config: dict[str, Any] = {
        "cleanup.policy": topic.cleanup.split(","),
        "retention.ms": topic.retention_ms,
        "max.message.bytes": topic.bytes_max,
    }
    if "delete.retention.ms" in topic.config:
        config["delete.retention.ms"] = int(topic.config["delete.retention.ms"])
    binding: dict[str, Any] = {"topic": topic.name, "topicConfiguration": config, "bindingVersion": "0.5.0"}
    if topic.partitions != "lanes":
        binding = {"topic": topic.name, "partitions": topic.partitions, **binding}
    return {
        "address": topic.name,
        "summary": topic.meaning,
        "description": f"Key: {topic.key} Kept: {topic.retention}. v{topic.version}: {topic.versions[topic.version]}",
        "messages": {name: _ref(f"components/messages/{topic.name}.{name}") for name in message_names(topic)},
        "bindings": {"kafka": binding},
    }


def message_names(topic: Topic) -> list[str]:
    """What travels on a topic: its event types, or the one kind of record."""
    if topic.value == EVENT:
        return list(topic.event_types or EVENT_TYPES)
    return [topic.value]


def _operations(topics: Mapping[str, Topic]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for component, place in COMPONENTS.items():
        for name, topic in topics.items():
            for action, verb, named in (("send", "writes", topic.producers), ("receive", "reads", topic.consumers)):
                if component in named:
                    operations[f"{component}.{action}.{name}"] = {
                        "action": action,
                        "channel": _ref(f"channels/{name}"),
                        "summary": f"{component} ({place}) {verb} {name}.",
                    }
    return operations


def _messages(topics: Mapping[str, Topic]) -> dict[str, Any]:
    return {f"{topic.name}.{name}": _message(topic, name) for topic in topics.values() for name in message_names(topic)}


def _message(topic: Topic, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {"name": name}
    if topic.value == EVENT:
        message["summary"] = EVENT_TYPES[name].__doc__
    message["contentType"] = "application/octet-stream" if topic.value == "bytes" else "application/json"
    message["headers"] = _ref(f"components/schemas/{_headers_name(topic)}")
    message["payload"] = _payload(topic, name)
    message["bindings"] = {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}}
    return message


def _payload(topic: Topic, name: str) -> dict[str, Any]:
    if topic.value == "bytes":
        return {"description": "The original bytes, which may be anything."}
    if topic.value == "json":
        return {"type": "object"}
    file = f"./json/{topic.value}.json"
    return {"$ref": f"{file}#/$defs/{name}" if topic.value == EVENT else file}


def _headers_name(topic: Topic) -> str:
    return f"{topic.name}.headers" if topic.headers else "headers"


def _header_schemas(topics: Mapping[str, Topic]) -> dict[str, Any]:
    schemas = {"headers": _header_schema(_CLOUDEVENTS)}
    for topic in topics.values():
        if topic.headers:
            schemas[_headers_name(topic)] = _topic_headers(topic)
    return schemas


def _topic_headers(topic: Topic) -> dict[str, Any]:
    if "koban_reason_code" in topic.headers:
        return {
            "description": f"The dead-letter headers, as ./json/{DEAD_LETTER}.json behind `koban_`.",
            "type": "object",
        }
    return _header_schema({**_CLOUDEVENTS, **{name: _OWN_HEADERS[name] for name in topic.headers}})


def _header_schema(texts: Mapping[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    return {"type": "object", "properties": properties}


def _ref(path: str) -> dict[str, str]:
    return {"$ref": f"#/{path}"}
