"""Sends dead letters again, each to its topic, and notes that it was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from kafka import KafkaProducer

from koban.records import ReplayedLetter
from koban.settings import Settings
from schemas.cloudevents import HeaderMaker
from schemas.partitioning import lane_of
from streams.brokers import connect
from streams.dead_letters.letters import REPLAYS_TOPIC
from streams.dead_letters.mending import Replay

REPLAY_OF = "koban_replay_of"
RECORD_BYTES_MAX = 16_777_216
STAGE = "dlq"
ACK_S_MAX = 30


def send(settings: Settings, replays: Sequence[Replay], now_us: int) -> None:
    """Sends valid replays, each to its topic and keyed by owner, and returns when the brokers have all of them.

    Once they have, each letter is marked as sent again. A letter whose mark got lost can be sent once more: the stages
    know its event. Raises KafkaError.
    """
    producer = connect(
        KafkaProducer, settings.kafka_bootstrap, acks="all", max_request_size=RECORD_BYTES_MAX, linger_ms=5
    )
    try:
        sent = []
        for replay in replays:
            assert replay.owner is not None
            sent.append(
                producer.send(
                    replay.topic,
                    value=replay.value,
                    key=replay.owner.encode(),
                    headers=[(REPLAY_OF, str(replay.place).encode())],
                    partition=lane_of(replay.owner, settings.payment_partitions),
                )
            )
        for future in sent:
            future.get(timeout=ACK_S_MAX)
        marks = [_mark(producer, replay, now_us) for replay in replays]
        for future in marks:
            future.get(timeout=ACK_S_MAX)
    finally:
        producer.close()


def _mark(producer: KafkaProducer, replay: Replay, now_us: int) -> Any:
    assert replay.event_id is not None
    place = str(replay.place)
    mark = ReplayedLetter(
        place=place,
        sent_to=replay.topic,
        event_id=replay.event_id,
        mended=replay.mended,
        replayed_at_us=now_us,
    )
    headers = HeaderMaker(STAGE).derived("replayed-letter", f"{place}:{now_us}", now_us)
    return producer.send(REPLAYS_TOPIC, value=msgspec.json.encode(mark), key=place.encode(), headers=headers)
