"""Cashback, exactly once: definitions and payments in, grants and clawbacks out.

All campaigns of a shard are decided by one keyed operator, so that a pot has a single writer; today there is one shard.
Pots and payments' stories are Flink state, written in step with what is emitted, and the output of a checkpoint is one
Kafka transaction: whatever is killed, a payment is granted once and a pot is never overdrawn.

Definitions come in twice. When the operator opens, it reads the topic ``campaigns`` up to its end, so no payment can be
seen before a definition that was published earlier; what is published afterwards arrives as a stream.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from pyflink.common import Configuration, Row, Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.functions import KeyedCoProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig, Time
from pyflink.java_gateway import get_gateway
from pyflink.table import DataTypes, Schema, StreamTableEnvironment
from pyflink.table.expressions import col, lit

from jobs.catalogue import sql_values
from jobs.definitions import read_definitions
from jobs.statements import statements
from koban.campaigns.cashback import EVENT_NAMES, CashbackDesk, Pot, Story
from koban.events import Event, payment_id
from koban.records import Campaign
from koban.settings import Settings
from schemas import codec
from schemas.cloudevents import TYPE_PREFIX, HeaderMaker
from schemas.errors import InvalidEvent

STAGE = "cashback"
SHARD = 0
_HEADERS = Types.MAP(Types.STRING(), Types.PRIMITIVE_ARRAY(Types.BYTE()))
_BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
OUTPUT = Types.ROW_NAMED(["wallet_id", "value", "headers", "record_at"], [_BYTES, _BYTES, _HEADERS, Types.INSTANT()])


class CashbackOperator(KeyedCoProcessFunction):
    """Keeps a CashbackDesk's pots and stories in Flink's state. The key is the shard."""

    def __init__(self, bootstrap: str, story_days: int) -> None:
        self._bootstrap = bootstrap
        self._story_days = story_days

    def open(self, runtime_context: RuntimeContext) -> None:
        ttl = StateTtlConfig.new_builder(Time.days(self._story_days)).build()
        stories = MapStateDescriptor("stories", Types.STRING(), _BYTES)
        stories.enable_time_to_live(ttl)
        self._stories = runtime_context.get_map_state(stories)
        self._pots = runtime_context.get_map_state(MapStateDescriptor("pots", Types.STRING(), _BYTES))
        self._story_decoder = msgspec.msgpack.Decoder(Story)
        self._definition_decoder = msgspec.json.Decoder(Campaign)
        self._encode = msgspec.msgpack.Encoder().encode
        self._headers = HeaderMaker(STAGE)
        self._known = read_definitions(self._bootstrap)
        self._desk: CashbackDesk | None = None

    def process_element1(self, value: Row, ctx: KeyedCoProcessFunction.Context) -> Iterator[Row]:
        """A payment event: ``(shard, value, record_at)``."""
        desk = self._open_desk()
        try:
            event = codec.decode_valid(bytes(value[1]))
        except InvalidEvent:
            return  # only the gate writes the topic; what it let through but nobody can read moves no cashback
        payment = payment_id(event)
        if payment is None:
            return
        kept = self._stories.get(payment)
        before = None if kept is None else self._story_decoder.decode(bytes(kept))
        story, decisions = desk.on_event(event, before)
        if story is not None:
            self._stories.put(payment, self._encode(story))
        self._keep_pots(desk)
        for decision in decisions:
            yield self._row(decision, value[2])

    def process_element2(self, value: Row, ctx: KeyedCoProcessFunction.Context) -> Iterator[Row]:
        """A definition: ``(shard, value)``; the value is empty when a campaign was taken off the topic."""
        if value[1]:
            desk = self._open_desk()
            try:
                desk.on_definition(self._definition_decoder.decode(bytes(value[1])))
            except msgspec.DecodeError:
                return iter(())  # `koban campaigns publish` writes none; a foreign one must not stop the others
            self._keep_pots(desk)
        return iter(())

    def _open_desk(self) -> CashbackDesk:
        """The desk, from state and from what the topic held at the start. Keyed state can only be read with a key."""
        if self._desk is None:
            pots = [msgspec.msgpack.decode(bytes(pot), type=Pot) for _, pot in self._pots.items()]
            self._desk = CashbackDesk(pots)
            for campaign in self._known:
                self._desk.on_definition(campaign)
            self._keep_pots(self._desk)
        return self._desk

    def _keep_pots(self, desk: CashbackDesk) -> None:
        for pot in desk.snapshot():
            self._pots.put(pot.campaign.campaign_id, self._encode(pot))

    def _row(self, decision: Event, record_at: Any) -> Row:
        headers = dict(self._headers.event(decision, time.time_ns() // 1000))
        return Row(decision.body.wallet_id.encode(), codec.encode(decision), headers, record_at)


def submit(settings: Settings, configuration: Configuration) -> str:
    """Submits the job to the cluster and gives back its id."""
    # The plain environment takes its target from the configuration, where PyFlink's own getter insists on a local one.
    java = get_gateway().jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment
    env = StreamExecutionEnvironment(java(configuration._j_configuration))
    tables = StreamTableEnvironment.create(env)
    for statement in statements("cashback", sql_values(settings, "cashback")):
        tables.execute_sql(statement)
    _attach(tables, settings)
    return str(env.execute_async("cashback").get_job_id())


def _attach(tables: StreamTableEnvironment, settings: Settings) -> None:
    event_type = col("headers").at("ce_type").decode("UTF-8")
    wanted = event_type.in_(*(f"{TYPE_PREFIX}{name}" for name in EVENT_NAMES))
    shard = lit(SHARD).alias("shard")
    events = tables.from_path("events").filter(wanted).select(shard, col("value"), col("record_at"))
    definitions = tables.from_path("campaigns").select(shard, col("value"))
    decided = (
        tables.to_data_stream(events)
        .connect(tables.to_data_stream(definitions))
        .key_by(lambda row: row[0], lambda row: row[0], Types.INT())
        .process(CashbackOperator(settings.kafka_bootstrap, settings.cashback_story_days), OUTPUT)
        .uid("cashback-desk")
        .name("cashback desk")
    )
    schema = (
        Schema.new_builder()
        .column("wallet_id", DataTypes.BYTES())
        .column("value", DataTypes.BYTES())
        .column("headers", DataTypes.MAP(DataTypes.STRING().not_null(), DataTypes.BYTES().not_null()))
        .column("record_at", DataTypes.TIMESTAMP_LTZ(3))
        .build()
    )
    output = tables.create_statement_set()
    output.add_insert("cashback", tables.from_data_stream(decided, schema))
    output.attach_as_datastream()
