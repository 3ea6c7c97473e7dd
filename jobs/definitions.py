"""The campaign definitions on their topic, read up to its end, and from there on again."""

from __future__ import annotations

import time

import msgspec
from kafka import KafkaConsumer, TopicPartition

from koban.records import Campaign

TOPIC = "campaigns"
READ_S_MAX = 30.0
_POLL_MS = 500


class DefinitionsUnreadError(Exception):
    """The topic could not be read to its end; whoever must know all campaigns can't go on."""


class DefinitionLog:
    """The topic as a list that grows. One reader, one thread."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed", group_id=None
        )
        self._decoder = msgspec.json.Decoder(Campaign)
        self._partitions = [
            TopicPartition(TOPIC, number) for number in self._consumer.partitions_for_topic(TOPIC) or ()
        ]
        if not self._partitions:
            self.close()
            raise DefinitionsUnreadError(f"no topic {TOPIC}; `koban topics apply` creates it")
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_beginning()

    def read_new(self) -> list[Campaign]:
        """Every definition since the last call up to the topic's end at this moment, in the order of publication.

        What is no definition is passed over. Raises DefinitionsUnreadError when the end is not reached in time.
        """
        ends = self._consumer.end_offsets(self._partitions)
        deadline = time.monotonic() + READ_S_MAX
        found: list[Campaign] = []
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise DefinitionsUnreadError(f"{TOPIC} was not read to its end within {READ_S_MAX:.0f} s")
            for records in self._consumer.poll(timeout_ms=_POLL_MS).values():
                for record in records:
                    try:
                        found.append(self._decoder.decode(record.value or b""))
                    except msgspec.DecodeError:  # a tombstone, or a foreign record: it must not stop the others
                        continue
        return found

    def close(self) -> None:
        self._consumer.close()
