"""How events travel: most arrive at once, some twice, some late, a few are spoilt. What befell each is written down.

Late means late beside other wallets: whatever else the wallet sends stays behind its late event, so the order of a key
is kept. Wallets of planted fraud are never late, for the truth about them should not hang on a watermark.
"""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import Any

import msgspec

from koban.business_time import US_PER_S
from ops.simulator.draws import Mark
from ops.simulator.malformed import Malformed, Malformer
from ops.simulator.truth import PLAIN, Burst, Disturbance, RecordTruth, Sent
from schemas.errors import ReasonCode

LATE_US_MAX = 120 * US_PER_S
_AT_EVENT_ID = b'"event_id":"'
_CHANGEABLE = ("PaymentCompleted", "TopUpCompleted")


class Label(msgspec.Struct, frozen=True):
    """That an event belongs to a planted burst; ``burst`` is the whole of it, with the event that completes it."""

    label: Any
    burst_id: str
    typology: str | None
    burst: Burst | None = None


class Post:
    """Sends events: into ``out`` at once, or later through a queue ordered by time."""

    def __init__(self, random: Random, malformer: Malformer) -> None:
        self.out: list[Sent] = []
        self.queue: list[tuple[int, int, Sent]] = []
        """Soonest first; public for the loop that peeks at it for every event."""
        self.blocked: dict[str, int] = {}
        """Wallets with a late event on its way, and when it arrives."""
        self.reserved: dict[str, int] = {}
        """Wallets of planted patterns, and until when."""
        self.end_us: int | None = None
        self._random = random
        self._malformer = malformer
        self._queued = 0

    def send(
        self, at_us: int, key: str, value: bytes, event_type: str, amount: int, mark: int, label: Label | None = None
    ) -> None:
        """Sends an event, with what ``mark`` says befalls it."""
        if not mark and label is None and key not in self.blocked:
            self.out.append((at_us, key, value, PLAIN, event_type, amount))
        else:
            self._send_with_care(at_us, key, value, event_type, amount, mark, label)

    def deliver(self, until_us: int | None) -> None:
        """Moves what is due into ``out``; everything when ``until_us`` is None."""
        queue = self.queue
        while queue and (until_us is None or queue[0][0] <= until_us):
            self.out.append(heappop(queue)[2])

    def huge(self, at_us: int) -> None:
        """Sends a record of ten megabytes."""
        self._send_malformed(at_us, self._malformer.huge(at_us))

    def _send_with_care(
        self, at_us: int, key: str, value: bytes, event_type: str, amount: int, mark: int, label: Label | None
    ) -> None:
        disturbance: Disturbance = "none"
        arrives_us = self.blocked.get(key, 0)
        if arrives_us > at_us:
            disturbance = "behind_late"
        else:
            self.blocked.pop(key, None)
            arrives_us = at_us
            if mark == Mark.LATE and self.reserved.get(key, 0) < at_us:
                arrives_us = self._capped(at_us + self._delay_us())
        if disturbance == "none" and arrives_us > at_us:
            disturbance = "late"
            self.blocked[key] = arrives_us
        truth = self._truth(arrives_us, value, disturbance, label)
        sent = (arrives_us, key, value, truth, event_type, amount)
        if disturbance == "none":
            self.out.append(sent)
        else:
            self._enqueue(sent)
        if mark == Mark.DUPLICATE:
            self._send_again(sent)
        elif mark == Mark.CONFLICT and event_type in _CHANGEABLE:
            self._send_changed(sent)
        elif mark == Mark.MALFORMED:
            self._send_malformed(at_us, self._malformer.make(at_us))

    def _truth(
        self, at_us: int, value: bytes, disturbance: Disturbance, label: Label | None
    ) -> tuple[RecordTruth | Burst, ...]:
        if disturbance == "none" and label is None:
            return PLAIN
        line = RecordTruth(
            event_id=event_id_of(value),
            at_us=at_us,
            disturbance=disturbance,
            label=label.label if label else "ordinary",
            typology=label.typology if label else None,
            burst_id=label.burst_id if label else None,
        )
        return (line,) if label is None or label.burst is None else (line, label.burst)

    def _send_again(self, sent: Sent) -> None:
        """The same bytes, once more or, now and then, twice more."""
        for _ in range(2 if self._random.randrange(10) == 0 else 1):
            at_us = self._capped(sent[0] + self._delay_us())
            line = RecordTruth(event_id=event_id_of(sent[2]), at_us=at_us, disturbance="duplicate", verdict="duplicate")
            self._enqueue((at_us, sent[1], sent[2], (line,), sent[4], sent[5]))

    def _send_changed(self, sent: Sent) -> None:
        """The same event id with another amount."""
        at_us = self._capped(sent[0] + self._delay_us())
        event = msgspec.json.decode(sent[2])
        event["body"]["amount_minor"] += 1
        for tender in event["body"].get("tenders", ())[-1:]:
            tender["amount_minor"] += 1
        line = RecordTruth(
            event_id=event["event_id"],
            at_us=at_us,
            disturbance="conflict",
            verdict="dead_letter",
            code=ReasonCode.CONFLICT,
        )
        self._enqueue((at_us, sent[1], msgspec.json.encode(event), (line,), sent[4], sent[5]))

    def _send_malformed(self, at_us: int, malformed: Malformed) -> None:
        line = RecordTruth(
            event_id=malformed.event_id,
            at_us=at_us,
            disturbance="malformed",
            what=malformed.what,
            verdict="dead_letter",
            code=malformed.code,
        )
        self.out.append((at_us, malformed.key, malformed.value, (line,), "", 0))

    def _enqueue(self, sent: Sent) -> None:
        self._queued += 1
        heappush(self.queue, (sent[0], self._queued, sent))

    def _delay_us(self) -> int:
        """Seconds mostly, minutes at times."""
        random = self._random
        if random.randrange(10) < 7:
            return random.randrange(US_PER_S // 2, 10 * US_PER_S)
        return random.randrange(10 * US_PER_S, LATE_US_MAX)

    def _capped(self, at_us: int) -> int:
        return at_us if self.end_us is None else min(at_us, self.end_us)


def event_id_of(value: bytes) -> str:
    """The event id in an event's bytes as the simulator writes them."""
    start = value.index(_AT_EVENT_ID) + len(_AT_EVENT_ID)
    return value[start : value.index(b'"', start)].decode()
