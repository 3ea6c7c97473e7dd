"""What a change of a schema means for those who wrote before and those who read on."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from koban.events import EVENT_TYPES
from schemas.codec import decode
from schemas.compatibility import Verdict, compare, compare_topics
from schemas.errors import InvalidEvent
from schemas.json_schemas import EVENT, Schema, json_schemas
from schemas.published import FOLDER
from schemas.topics import Topic, topics
from tests.unit.schemas.test_codec import PAYMENT, raw

SCHEMAS = json_schemas()
Change = Callable[[dict[str, Any]], object]


def changed_event(change: Change) -> Schema:
    """The event schema after `change` had its way with its definitions."""
    schema = deepcopy(SCHEMAS[EVENT])
    change(schema["$defs"])
    return schema


def body(definitions: dict[str, Any], name: str = "Payment") -> dict[str, Any]:
    properties: dict[str, Any] = definitions[name]["properties"]
    return properties


def renamed(definitions: dict[str, Any]) -> None:
    properties = body(definitions)
    properties["shop_name"] = properties.pop("store_name")


def required(definitions: dict[str, Any], field: str) -> None:
    definitions["Payment"]["required"].append(field)


BREAKING: list[tuple[str, Change, str, str]] = [
    ("a removed field", lambda d: body(d).pop("memo"), "body.memo", "removed"),
    ("a renamed field", renamed, "body.store_name", "removed (renamed to shop_name?)"),
    (
        "another type",
        lambda d: body(d)["amount_minor"].update(type="string"),
        "body.amount_minor",
        "no longer takes an",
    ),
    ("null refused", lambda d: body(d)["memo"].update(anyOf=[{"type": "string"}]), "body.memo", "no longer takes null"),
    ("a lower maximum", lambda d: body(d)["amount_minor"].update(maximum=10), "body.amount_minor", "→ 10"),
    ("a new minimum", lambda d: body(d)["amount_minor"].update(minimum=5), "body.amount_minor", "minimum 1 → 5"),
    ("a shorter text", lambda d: body(d)["wallet_id"].update(maxLength=8), "body.wallet_id", "maxLength 64 → 8"),
    ("a new pattern", lambda d: body(d)["wallet_id"].update(pattern="^u-"), "body.wallet_id", "narrowed: pattern"),
    ("fewer items", lambda d: body(d)["tenders"].update(maxItems=2), "body.tenders", "maxItems 10 → 2"),
    ("a removed value", lambda d: body(d)["code"]["enum"].remove("CPM"), "body.code", "removed value 'CPM'"),
    (
        "a removed value deep inside",
        lambda d: body(d, "Tender")["kind"]["enum"].remove("voucher"),
        "body.tenders[].kind",
        "removed value 'voucher'",
    ),
    (
        "a list of values where any were",
        lambda d: body(d)["store_id"].update(enum=["s-1"]),
        "body.store_id",
        "narrowed: only s-1",
    ),
    ("a field now required", lambda d: required(d, "memo"), "body.memo", "required from now on"),
    (
        "a new required field",
        lambda d: (body(d).update(tip={"type": "integer"}), required(d, "tip")),
        "body.tip",
        "new and required",
    ),
    ("another default", lambda d: body(d)["currency"].update(default="USD"), "body.currency", "default 'JPY' → 'USD'"),
    ("a closed object", lambda d: d["Payment"].update(additionalProperties=False), "body", "no longer takes unknown"),
    (
        "narrower values of a map",
        lambda d: body(d, "CampaignFact")["facts"].update(additionalProperties={"type": "string"}),
        "body.facts.*",
        "no longer takes an integer",
    ),
    ("the envelope too", lambda d: body(d, "Envelope").pop("causation_id"), "causation_id", "removed"),
]


@pytest.mark.parametrize(("change", "path", "what"), [row[1:] for row in BREAKING], ids=[row[0] for row in BREAKING])
def test_a_breaking_change_names_the_field_and_the_consumers(change: Change, path: str, what: str) -> None:
    """Old records could not be read any more, or a field that is read is gone."""
    worst = compare(EVENT, SCHEMAS[EVENT], changed_event(change), topics())[0]
    assert (worst.verdict, worst.path) == (Verdict.BREAKS, path)
    assert what in worst.what
    assert "ledger" in worst.consumers
    assert worst.events
    assert path in str(worst)
    assert "read by" in str(worst)


def new_event(definitions: dict[str, Any]) -> None:
    definitions["PaymentDisputed"] = definitions["PaymentCanceled"]


CONSUMERS_FIRST: list[tuple[str, Change, str, str]] = [
    ("a new value", lambda d: body(d)["code"]["enum"].append("NFC"), "body.code", "new value 'NFC'"),
    ("a larger maximum", lambda d: body(d)["amount_minor"].update(maximum=10**15), "body.amount_minor", "widened"),
    ("a bound given up", lambda d: body(d)["tenders"].pop("maxItems"), "body.tenders", "maxItems 10 → none"),
    ("a pattern given up", lambda d: body(d)["store_id"].pop("pattern"), "body.store_id", "widened: pattern"),
    (
        "no longer required",
        lambda d: d["Payment"]["required"].remove("store_id"),
        "body.store_id",
        "no longer required",
    ),
    (
        "an optional field of a closed object",
        lambda d: body(d, "Tender").update(rank={"type": "integer"}),
        "body.tenders[].rank",
        "closed object",
    ),
    ("an object opened", lambda d: d["Tender"].pop("additionalProperties"), "body.tenders[]", "now takes unknown"),
    (
        "null as well",
        lambda d: body(d).update(store_id={"anyOf": [body(d)["store_id"], {"type": "null"}]}),
        "body.store_id",
        "now also takes null",
    ),
]


@pytest.mark.parametrize(
    ("change", "path", "what"), [row[1:] for row in CONSUMERS_FIRST], ids=[row[0] for row in CONSUMERS_FIRST]
)
def test_a_wider_schema_asks_for_consumers_to_be_upgraded_first(change: Change, path: str, what: str) -> None:
    """It breaks nothing that is there, but old consumers may refuse what is new."""
    differences = compare(EVENT, SCHEMAS[EVENT], changed_event(change), topics())
    assert {difference.verdict for difference in differences} == {Verdict.CONSUMERS_FIRST}
    assert (differences[0].path, what in differences[0].what) == (path, True)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: body(d).update(tip={"type": "integer", "default": 0}),
        lambda d: body(d, "Envelope").update(trace={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
        lambda d: body(d)["memo"].update(description="Something better said."),
        lambda d: d["Payment"].update(description="Something better said."),
        lambda d: (body(d)["amount_minor"].pop("exclusiveMinimum"), body(d)["amount_minor"].update(minimum=1)),
        lambda d: d.update(Unused={"type": "object"}),
    ],
    ids=["optional field", "optional in envelope", "field's text", "type's text", "same bound", "unused definition"],
)
def test_a_compatible_change_passes(change: Change) -> None:
    """An optional field, other words, another way to say the same."""
    differences = compare(EVENT, SCHEMAS[EVENT], changed_event(change), topics())
    assert all(difference.verdict is Verdict.FINE for difference in differences)


@pytest.mark.parametrize("value", SCHEMAS)
def test_an_unchanged_schema_has_no_differences(value: str) -> None:
    """Each value compared with itself."""
    assert compare(value, SCHEMAS[value], deepcopy(SCHEMAS[value]), topics()) == []


def test_event_types_may_come_but_not_go() -> None:
    """A new one asks for consumers first, a removed one breaks them."""
    grown = changed_event(new_event)
    grown["anyOf"].append({"$ref": "#/$defs/PaymentDisputed"})
    [added] = compare(EVENT, SCHEMAS[EVENT], grown, topics())
    assert (added.verdict, added.events) == (Verdict.CONSUMERS_FIRST, ("PaymentDisputed",))
    [removed] = compare(EVENT, grown, SCHEMAS[EVENT], topics())
    assert (removed.verdict, removed.what, removed.events) == (
        Verdict.BREAKS,
        "removed event type",
        ("PaymentDisputed",),
    )


def test_one_change_of_a_shared_type_is_told_once() -> None:
    """With the event types that have it; a change of the envelope is one difference, not fifty."""
    [difference] = compare(EVENT, SCHEMAS[EVENT], changed_event(lambda d: body(d).pop("memo")), topics())
    assert difference.events == ("PaymentAuthorized", "PaymentCompleted")
    [envelope] = compare(EVENT, SCHEMAS[EVENT], changed_event(lambda d: body(d, "Envelope").pop("reason")), topics())
    assert len(envelope.events) == len(EVENT_TYPES)
    assert "and 47 more" in str(envelope)


def test_only_those_who_read_the_field_are_hit() -> None:
    """By the fields that consumers say they read; a field that nobody reads may go."""
    few = {
        "orders": msgspec.convert(
            {
                "name": "orders",
                "meaning": "Orders as they come.",
                "key": "The wallet.",
                "keyed": True,
                "producers": ["gate"],
                "consumers": {"volumes": ["occurred_at_us", "body.amount_minor"], "lake": ["body.memo"]},
                "partitions": 1,
                "retention": "1 days",
                "value": "event",
                "versions": {1: "First."},
            },
            Topic,
        )
    }
    [memo] = compare(EVENT, SCHEMAS[EVENT], changed_event(lambda d: body(d).pop("memo")), few)
    assert (memo.verdict, memo.consumers) == (Verdict.BREAKS, ("lake",))
    [terminal] = compare(EVENT, SCHEMAS[EVENT], changed_event(lambda d: body(d).pop("terminal_id")), few)
    assert (terminal.verdict, terminal.consumers) == (Verdict.FINE, ())
    assert "read by nobody" in str(terminal)


def test_consumers_of_a_topic_with_few_event_types_are_hit_by_those_alone() -> None:
    """The console reads cashback grants through the topic cashback."""
    only_cashback = {"cashback": topics()["cashback"]}
    [memo] = compare(EVENT, SCHEMAS[EVENT], changed_event(lambda d: body(d).pop("memo")), only_cashback)
    assert memo.consumers == ()
    [rate] = compare(EVENT, SCHEMAS[EVENT], changed_event(lambda d: body(d, "Cashback").pop("rate_bp")), only_cashback)
    assert rate.consumers == ("console", "ledger", "trace", "verify")


def test_records_are_compared_like_events() -> None:
    """A balance loses a number, and those who read balances are named."""
    old, new = SCHEMAS["balance"], deepcopy(SCHEMAS["balance"])
    del new["$defs"]["Balance"]["properties"]["held_minor"]
    [difference] = compare("balance", old, new, topics())
    assert (difference.verdict, difference.path, difference.events) == (Verdict.BREAKS, "held_minor", ())
    assert difference.consumers == tuple(sorted(topics()["balances"].consumers))


def test_a_removed_reason_code_hits_those_who_read_dead_letters() -> None:
    """The dead-letter headers are a contract too."""
    new = deepcopy(SCHEMAS["dead-letter"])
    new["$defs"]["ReasonCode"]["enum"].remove("conflict")
    [difference] = compare("dead-letter", SCHEMAS["dead-letter"], new, topics())
    assert difference.verdict is Verdict.BREAKS
    assert "dlq" in difference.consumers


@pytest.mark.parametrize(
    ("change", "verdict", "what"),
    [
        ({"value": "alert"}, Verdict.BREAKS, "value event → alert"),
        ({"partitions": 12}, Verdict.BREAKS, "partitions lanes → 12"),
        ({"event_types": ("LoggedIn", "CashbackGranted", "CashbackClawedBack")}, Verdict.CONSUMERS_FIRST, "LoggedIn"),
        ({"retention": "91 days"}, None, ""),
    ],
)
def test_topics_are_compared_too(change: dict[str, Any], verdict: Verdict | None, what: str) -> None:
    """Another value or moved keys break; more event types ask for consumers first."""
    before = topics()["cashback"]
    values = {field: getattr(before, field) for field in before.__struct_fields__}
    if "value" in change:
        values["event_types"] = ()
    after = Topic(**(values | change))
    found = [each for each in compare_topics({"cashback": before}, {"cashback": after}) if what in each.what]
    assert [each.verdict for each in found] == ([] if verdict is None else [verdict])
    [removed] = compare_topics({"cashback": before}, {})
    assert (removed.verdict, removed.what) == (Verdict.BREAKS, "removed")
    assert removed.consumers == tuple(sorted(before.consumers))


class OldPayment(msgspec.Struct):
    """A consumer that was written before the present contract."""

    wallet_id: str
    amount_minor: int


def test_an_old_consumer_reads_what_a_new_producer_writes() -> None:
    """Fields that it does not know are passed over."""

    class OldEvent(msgspec.Struct, tag_field="event_type", tag="PaymentCompleted"):
        event_id: str
        body: OldPayment

    newer = raw(lambda event: (event.update(trace="t"), event["body"].update(tip_minor=5)))
    assert msgspec.json.decode(newer, type=OldEvent).body == OldPayment("u-1", 500)


def test_the_present_consumer_reads_what_an_old_producer_wrote() -> None:
    """Optional fields that came later take their defaults."""
    old = raw(lambda event: [event.pop(name) for name in ("recorded_at_us", "correlation_id", "producer", "actor")])
    event = decode(old)
    assert (event.producer, event.actor, event.body.currency) == ("unknown", None, "JPY")


def test_an_event_type_of_a_newer_producer_is_a_dead_letter() -> None:
    """It can be replayed once the gate is upgraded; it is never guessed at."""
    with pytest.raises(InvalidEvent) as caught:
        decode(raw(lambda event: event.update(event_type="PaymentDisputed")))
    assert caught.value.code == "unknown_type"
    assert PAYMENT["event_type"] in EVENT_TYPES


def test_published_files_are_complete_in_themselves() -> None:
    """Each names its dialect and holds every definition that it refers to."""
    for path in sorted(FOLDER.glob("*/v*.json")):
        schema = msgspec.json.decode(path.read_bytes())
        assert schema["$schema"].endswith("2020-12/schema"), path
        assert all(part["$ref"].rsplit("/", 1)[-1] in schema["$defs"] for part in schema.get("anyOf", ()))
