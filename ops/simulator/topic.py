"""The traffic into Kafka, each record at its intended time, its ground truth into a topic that no stage reads.

Open loop: a slow broker makes records late, it does not make them fewer; how late is reported. The Kafka timestamp is
the intended time, so every latency measured downstream counts such a delay too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, BinaryIO

import msgspec
from kafka import KafkaProducer
from kafka.codec import has_lz4
from kafka.errors import KafkaError

from koban.business_time import US_PER_S
from koban.settings import Settings
from ops.simulator.rhythm import Spike
from ops.simulator.truth import Message, Summary, Tally, lines
from ops.simulator.world import World
from streams.brokers import connect

PAYMENTS_TOPIC = "payments"
TRUTH_TOPIC = "simulator-truth"
TPS_DEFAULT = 300.0
_REQUEST_BYTES_MAX = 12_000_000
_LINGER_MS = 5
_FLUSH_S = 120
_AHEAD_S = 0.001
_PROGRESS_EVERY_S = 0.5


class Progress(msgspec.Struct, frozen=True):
    """How far the sending is."""

    sent: int
    at_us: int
    lag_ms: float


OnProgress = Callable[[Progress], None]


class SendError(Exception):
    """Kafka did not take a record; says which topic and why."""


def run_to_topic(
    settings: Settings,
    world: World,
    tps: float,
    seconds: float | None,
    stop: threading.Event,
    on_progress: OnProgress | None = None,
    *,
    events: int | None = None,
    rhythmic: bool = False,
    spike: Spike | None = None,
    topic: str = PAYMENTS_TOPIC,
    truth_topic: str | None = TRUTH_TOPIC,
    truth_file: BinaryIO | None = None,
    paced: bool = True,
) -> Summary:
    """Sends the world's opening at once and then its traffic, until it ends or ``stop`` is set.

    Paced, the traffic starts now and every record waits for its time; with ``tps`` 0 or unpaced it starts at the
    world's own time and goes as fast as the broker takes it. Truth goes to ``truth_file`` when there is one.
    Raises SendError when the broker refuses or is gone for too long.
    """
    paced = paced and tps > 0
    with closing(_Sender(settings, topic, truth_topic, truth_file)) as sender:
        sender.send_all(world.opening(), stop)
        sender.flush()
        start_us = _now_us() if paced else None
        traffic = world.stream(
            tps or TPS_DEFAULT, start_us=start_us, seconds=seconds, events=events, rhythmic=rhythmic, spike=spike
        )
        begun = time.monotonic()
        if paced:
            _send_paced(sender, traffic, stop, on_progress)
        else:
            sender.send_all(traffic, stop, on_progress)
        sender.flush()
        summary = sender.summary(time.monotonic() - begun, paced=paced)
        sender.tell(summary)
        return summary


def _send_paced(
    sender: _Sender, traffic: Iterable[Message], stop: threading.Event, on_progress: OnProgress | None
) -> None:
    report_at = 0.0
    for message in traffic:
        ahead_s = message.at_us / US_PER_S - time.time()
        if ahead_s > _AHEAD_S and stop.wait(ahead_s):
            return
        if stop.is_set():
            return
        lag_ms = sender.send(message, message.at_us // 1000)
        if on_progress is not None and time.monotonic() >= report_at:
            report_at = time.monotonic() + _PROGRESS_EVERY_S
            on_progress(Progress(sender.sent, message.at_us, lag_ms))


class _Sender:
    """A producer that counts what it sends, and raises what went wrong behind its back."""

    def __init__(self, settings: Settings, topic: str, truth_topic: str | None, truth_file: BinaryIO | None) -> None:
        self._topic = topic
        self._truth_topic = truth_topic
        self._truth_file = truth_file
        self._tally = Tally()
        self._failure: BaseException | None = None
        self._lag_ms_max = 0.0
        self.sent = 0
        servers = settings.kafka_bootstrap
        try:
            self._producer: Any = connect(
                KafkaProducer,
                servers,
                client_id="koban-simulator",
                acks="all",
                enable_idempotence=True,
                linger_ms=_LINGER_MS,
                compression_type="lz4" if has_lz4() else None,
                max_request_size=_REQUEST_BYTES_MAX,
            )
        except KafkaError as error:
            raise SendError(f"{error}; `koban status` shows the platform, `koban up` starts it") from error

    def send(self, message: Message, timestamp_ms: int | None) -> float:
        """Sends a record and its truth; returns by how many ms it was late. No timestamp means now."""
        if self._failure is not None:
            raise SendError(f"{self._topic}: {self._failure!r}") from self._failure
        lag_ms = 0.0
        if timestamp_ms is not None:
            lag_ms = max(0.0, time.time() * 1000 - timestamp_ms)
            self._lag_ms_max = max(self._lag_ms_max, lag_ms)
        key = None if message.key is None else message.key.encode()
        future = self._producer.send(self._topic, value=message.value, key=key, timestamp_ms=timestamp_ms)
        future.add_errback(self._failed)
        self._tally.add((message,))
        self.sent += 1
        for line in lines((message,)) if message.truth else ():
            self._tell(line)
        return lag_ms

    def send_all(
        self, messages: Iterable[Message], stop: threading.Event, on_progress: OnProgress | None = None
    ) -> None:
        """Sends records as fast as the broker takes them."""
        report_at = 0.0
        for message in messages:
            if stop.is_set():
                return
            self.send(message, None)
            if on_progress is not None and time.monotonic() >= report_at:
                report_at = time.monotonic() + _PROGRESS_EVERY_S
                on_progress(Progress(self.sent, message.at_us, 0.0))

    def tell(self, summary: Summary) -> None:
        """Ends the truth with the summary."""
        self._tell(msgspec.json.encode(summary))
        self.flush()

    def _tell(self, line: bytes) -> None:
        if self._truth_file is not None:
            self._truth_file.write(line + b"\n")
        elif self._truth_topic is not None:
            self._producer.send(self._truth_topic, value=line).add_errback(self._failed)

    def flush(self) -> None:
        """Waits until the broker has everything; raises SendError when it refused something."""
        self._producer.flush(timeout=_FLUSH_S)
        if self._failure is not None:
            raise SendError(f"{self._topic}: {self._failure!r}") from self._failure

    def summary(self, sending_s: float, *, paced: bool) -> Summary:
        """What was sent so far."""
        found = self._tally.summary()
        found.sending_s = round(sending_s, 3)
        found.lag_ms_max = round(self._lag_ms_max, 1) if paced else None
        return found

    def close(self) -> None:
        """Sends what is left and lets go of the broker."""
        self._producer.close(timeout=10)

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error


def _now_us() -> int:
    return time.time_ns() // 1000
