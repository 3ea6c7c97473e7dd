"""The campaign definitions on their topic, read up to its end."""

from __future__ import annotations

import msgspec
from kafka import KafkaConsumer, TopicPartition

from koban.records import Campaign

TOPIC = "campaigns"


def read_definitions(bootstrap: str) -> list[Campaign]:
    """Every definition on the topic, oldest first, superseded versions and all that are no definition left out."""
    decoder = msgspec.json.Decoder(Campaign)
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed", group_id=None
    )
    try:
        partitions = [TopicPartition(TOPIC, number) for number in consumer.partitions_for_topic(TOPIC) or ()]
        ends = consumer.end_offsets(partitions) if partitions else {}
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        latest: dict[str, Campaign] = {}
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    try:
                        campaign = decoder.decode(record.value or b"")
                    except msgspec.DecodeError:
                        continue
                    latest[campaign.campaign_id] = campaign
        return list(latest.values())
    finally:
        consumer.close()
