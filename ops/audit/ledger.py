"""The audit of a whole ledger, or of a copy of it, read from the topics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from koban.settings import Settings
from ops.audit.evidence import BALANCES, JOURNAL, LEGS, TOPICS, Evidence
from ops.audit.findings import LaneAudit, NothingSealedError
from ops.audit.lane import Audit
from ops.kafka_log import LogRecord, read_topics, start_offsets, topic_names


def audit(
    settings: Settings, only: int | None = None, prefix: str = "", kept: Mapping[int, str] | None = None
) -> list[LaneAudit]:
    """Audits all lanes, or one. ``prefix`` stands before the topics' names, as in a mirrored copy.

    ``kept`` is lane → the hash of a seal that was written down elsewhere, and must still be in the chain.
    Raises NothingSealedError, LogUnavailableError.
    """
    bootstrap = settings.kafka_bootstrap
    if missing := sorted({prefix + topic for topic in TOPICS} - topic_names(bootstrap)):
        raise NothingSealedError(f"no topic {', '.join(missing)}: `koban topics apply` creates the topics")
    starts = start_offsets(bootstrap, [prefix + LEGS])
    evidence = {
        lane: Evidence(lane, len(starts), legs_whole=start == 0)
        for (_, lane), start in sorted(starts.items())
        if only in (None, lane)
    }
    for topic in TOPICS:
        for record in read_topics(bootstrap, [prefix + topic]):
            if record.partition in evidence:
                evidence[record.partition].take(topic, record)
    if not any(lane.seals for lane in evidence.values()):
        raise NothingSealedError("nothing is sealed yet: a window is sealed when it is over and its grace has passed")
    results = [Audit(lane, (kept or {}).get(lane.lane)).run() for lane in evidence.values()]
    _name(settings, prefix, results)
    return results


def _name(settings: Settings, prefix: str, results: Iterable[LaneAudit]) -> None:
    """Adds to each differing record the entry or the account that it is of, as far as it is there."""
    wanted = {
        (difference.topic, difference.lane, difference.offset): difference
        for result in results
        for difference in result.differences
        if difference.topic in (JOURNAL, BALANCES) and difference.offset is not None and not difference.subject
    }
    subjects = {}
    for topic in {topic for topic, _, _ in wanted}:
        for record in read_topics(settings.kafka_bootstrap, [prefix + topic]):
            if (topic, record.partition, record.offset) in wanted:
                subjects[topic, record.partition, record.offset] = subject_of(topic, record)
    for result in results:
        result.differences = [
            replace(each, subject=subjects.get((each.topic, each.lane, each.offset or 0), each.subject))
            if each.kind != "missing" and each.offset is not None
            else each
            for each in result.differences
        ]


def subject_of(topic: str, record: LogRecord) -> str:
    """The entry or account of a record; from its headers or key when its value can't be read."""
    try:
        value = json.loads(record.value or b"")
        return f"entry {value['entry_id']}" if topic == JOURNAL else f"account {value['account']}"
    except (ValueError, KeyError, TypeError):
        name = record.header("ce_id") if topic == JOURNAL else (record.key or b"").decode("utf-8", "replace")
        return f"{'entry' if topic == JOURNAL else 'account'} {name}"
