"""Cashback, exactly once: definitions and payments in, grants and clawbacks out.

All campaigns of a shard are decided by one keyed operator, so that a pot has a single writer; today there is one shard.
Pots and payments' stories are Flink state, written in step with what is emitted, and the output of a checkpoint is one
Kafka transaction: whatever is killed, a payment is granted once and a pot is never overdrawn.

No payment may overtake the definition that it falls under. A definition is published ``campaign_lead_s`` or more before
its campaign starts, and the operator reads the topic ``campaigns`` to its end, by its own consumer, whenever a payment
is half as much younger than its last reading. A second input could promise no such thing: Flink does not order sources.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from pyflink.common import Row, Types
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig, Time
from pyflink.table import StreamTableEnvironment
from pyflink.table.expressions import col, lit

from jobs.definitions import DefinitionLog
from koban.business_time import US_PER_S
from koban.campaigns.cashback import EVENT_NAMES, CashbackDesk, Pot, Story
from koban.events import Event, payment_id
from koban.settings import Settings
from schemas import codec
from schemas.cloudevents import TYPE_PREFIX
from schemas.errors import InvalidEvent

SHARD = 0
COLUMNS = ("wallet_id", "value", "event_id", "event_type", "payment_id", "causation_id", "made_at_us")
OUTPUT = Types.ROW_NAMED([*COLUMNS, "record_at"], [Types.STRING() for _ in COLUMNS] + [Types.INSTANT()])
"""Text alone: PyFlink hands bytes over one by one, as a tuple of numbers."""


class CashbackOperator(KeyedProcessFunction):
    """Keeps a CashbackDesk's pots and stories in Flink's state. The key is the shard."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._story_days = settings.cashback_story_days
        self._reach_us = settings.campaign_lead_s * US_PER_S // 2

    def open(self, runtime_context: RuntimeContext) -> None:
        stories = MapStateDescriptor("stories", Types.STRING(), Types.STRING())
        stories.enable_time_to_live(StateTtlConfig.new_builder(Time.days(self._story_days)).build())
        self._stories = runtime_context.get_map_state(stories)
        self._pots = runtime_context.get_map_state(MapStateDescriptor("pots", Types.STRING(), Types.STRING()))
        self._decode_story = msgspec.json.Decoder(Story).decode
        self._decode_pot = msgspec.json.Decoder(Pot).decode
        self._encode = msgspec.json.Encoder().encode
        self._definitions = DefinitionLog(self._bootstrap)
        self._known_until_us = 0
        self._desk: CashbackDesk | None = None

    def close(self) -> None:
        self._definitions.close()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """An event: ``(shard, value, record_at)``."""
        try:
            event = codec.decode_valid(value[1].encode())
        except InvalidEvent:
            return  # only the gate writes the topic; what it let through but nobody can read moves no cashback
        payment = payment_id(event)
        if payment is None:
            return
        desk = self._desk_at(event.occurred_at_us)
        kept = self._stories.get(payment)
        before = None if kept is None else self._decode_story(kept)
        story, decisions = desk.on_event(event, before)
        if story is not None:
            self._stories.put(payment, self._encode(story).decode())
        self._keep_pots(desk)
        for decision in decisions:
            yield _row(decision, value[2])

    def _desk_at(self, at_us: int) -> CashbackDesk:
        """The desk, knowing every campaign that can have started by then."""
        if self._desk is None:  # keyed state can be read only while there is a key, so not in open()
            self._desk = CashbackDesk(self._decode_pot(pot) for _, pot in self._pots.items())
        now_us = time.time_ns() // 1000
        if min(at_us, now_us) > self._known_until_us + self._reach_us:
            for campaign in self._definitions.read_new():
                self._desk.on_definition(campaign)
            self._keep_pots(self._desk)
            self._known_until_us = now_us
        return self._desk

    def _keep_pots(self, desk: CashbackDesk) -> None:
        for pot in desk.snapshot():
            self._pots.put(pot.campaign.campaign_id, self._encode(pot).decode())


def _row(decision: Event, record_at: Any) -> Row:
    return Row(
        decision.body.wallet_id,
        codec.encode(decision).decode(),
        decision.event_id,
        type(decision).__name__,
        decision.body.payment_id,
        decision.causation_id,
        str(time.time_ns() // 1000),
        record_at,
    )


def attach(tables: StreamTableEnvironment, settings: Settings) -> None:
    """Makes the view ``decisions`` of the table ``events``."""
    event_type = col("headers").at("ce_type").decode("UTF-8")
    wanted = event_type.in_(*(f"{TYPE_PREFIX}{name}" for name in EVENT_NAMES))
    events = tables.from_path("events").filter(wanted).select(lit(SHARD), col("value"), col("record_at"))
    decided = (
        tables.to_data_stream(events)
        .key_by(lambda row: row[0], Types.INT())
        .process(CashbackOperator(settings), OUTPUT)
        .uid("cashback-desk")
        .name("cashback desk")
    )
    tables.create_temporary_view("decisions", tables.from_data_stream(decided))
