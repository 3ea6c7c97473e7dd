"""Decoding is the check: what comes in is valid or says why not; what goes out is canonical."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.gate.verdict import RejectCode
from schemas.codec import body_hash, decode, decode_valid, encode
from schemas.errors import InvalidEvent, ReasonCode

CARD = "4111111111111111"
PAYMENT: dict[str, Any] = {
    "event_id": "e-1",
    "event_type": "PaymentCompleted",
    "occurred_at_us": 1_760_000_000_000_000,
    "recorded_at_us": 1_760_000_000_500_000,
    "aggregate": "payment",
    "aggregate_id": "p-1",
    "aggregate_seq": 1,
    "correlation_id": "p-1",
    "producer": "pos",
    "actor": {"kind": "user", "id": "u-1"},
    "body": {
        "wallet_id": "u-1",
        "merchant_id": "m-1",
        "store_id": "s-1",
        "amount_minor": 500,
        "tenders": [{"kind": "points", "amount_minor": 100}, {"kind": "money", "amount_minor": 400}],
        "store_name": "渋谷駅前店",
    },
}
FACT = {"event_type": "TicketIssued", "aggregate": "campaign", "body": {"campaign_id": "c-1", "facts": {"rank": 1}}}


def raw(change: Callable[[dict[str, Any]], object] = lambda event: None, base: dict[str, Any] | None = None) -> bytes:
    """The JSON of a payment (or `base` laid over it) after `change` had its way with it."""
    event = deepcopy(PAYMENT) | deepcopy(base or {})
    change(event)
    return json.dumps(event).encode()


def invalid(value: bytes) -> InvalidEvent | None:
    """The error that decoding ends in, if it does."""
    try:
        decode(value)
    except InvalidEvent as error:
        return error
    return None


def test_a_valid_event_decodes_to_its_type() -> None:
    """The tag picks the Struct, and the body is typed."""
    event = decode(raw())
    assert type(event).__name__ == "PaymentCompleted"
    assert event.body.tenders[1].amount_minor == 400


def test_encoding_is_canonical() -> None:
    """Order of fields, spaces, escapes and spelt-out defaults make no difference."""
    shuffled = json.dumps(dict(reversed(PAYMENT.items())), ensure_ascii=False, indent=2).encode()
    spelt = raw(lambda event: event["body"].update(currency="JPY", code="MPM_STATIC"))
    assert encode(decode(raw())) == encode(decode(shuffled)) == encode(decode(spelt))
    facts = (raw(base=FACT | {"body": {"campaign_id": "c", "facts": dict(pairs)}}) for pairs in PAIRS_BOTH_WAYS)
    assert len({encode(decode(fact)) for fact in facts}) == 1


PAIRS_BOTH_WAYS = ([("a", 1), ("b", "x")], [("b", "x"), ("a", 1)])


def test_encoding_and_decoding_again_changes_nothing() -> None:
    """A canonical event survives any number of stages."""
    once = encode(decode(raw()))
    assert encode(decode(once)) == once


def test_a_repeat_has_the_same_hash_and_a_changed_event_another() -> None:
    """Only the producer's own stamp may differ between two copies of an event."""
    first = body_hash(decode(raw()))
    assert len(first) == 32
    assert first == body_hash(decode(raw(lambda event: event.update(recorded_at_us=1_770_000_000_000_000))))
    assert first == body_hash(decode(raw(lambda event: event.pop("recorded_at_us"))))
    assert first != body_hash(decode(raw(lambda event: event["body"].update(store_id="s-2"))))
    assert first != body_hash(decode(raw(lambda event: event.update(occurred_at_us=1_760_000_000_000_001))))


def test_unknown_fields_of_a_newer_producer_are_passed_over() -> None:
    """A producer may be a version ahead; what this version does not know is not carried on."""
    newer = raw(lambda event: (event.update(trace="x"), event["body"].update(tip_minor=5)))
    assert encode(decode(newer)) == encode(decode(raw()))


@pytest.mark.parametrize(
    ("change", "code", "path", "reason"),
    [
        (lambda e: e.update(event_type="Nope"), "unknown_type", "event_type", "got Nope"),
        (lambda e: e.update(event_type=3), "wrong_type", "event_type", "expected str, got int"),
        (lambda e: e.pop("event_type"), "unknown_type", "event_type", "got nothing"),
        (lambda e: e.pop("event_id"), "missing_field", "event_id", "expected a value, got nothing"),
        (lambda e: e["body"].pop("wallet_id"), "missing_field", "body.wallet_id", "expected a value, got nothing"),
        (lambda e: e["body"].update(amount_minor="5"), "wrong_type", "body.amount_minor", "expected int, got str"),
        (lambda e: e["body"].update(amount_minor=5.5), "wrong_type", "body.amount_minor", "expected int, got float"),
        (
            lambda e: e["body"].update(amount_minor=-5),
            "out_of_bounds",
            "body.amount_minor",
            "expected int >= 1, got -5",
        ),
        (lambda e: e["body"].update(amount_minor=0), "out_of_bounds", "body.amount_minor", "got 0"),
        (lambda e: e["body"].update(amount_minor=10**13), "out_of_bounds", "body.amount_minor", "1000000000000"),
        (lambda e: e.update(body=None), "wrong_type", "body", "expected object, got null"),
        (lambda e: e["body"].update(tenders=[]), "out_of_bounds", "body.tenders", "got 0 items"),
        (lambda e: e["body"]["tenders"][0].update(kind="gold"), "out_of_bounds", "body.tenders[0].kind", "got 'gold'"),
        (lambda e: e["body"].update(currency="USD"), "unknown_currency", "body.currency", "got 'USD'"),
        (lambda e: e["body"].update(wallet_id="a\x00b"), "out_of_bounds", "body.wallet_id", r"got 'a\\x00b'"),
        (lambda e: e["body"].update(memo="x" * 300), "out_of_bounds", "body.memo", "302 characters"),
        (lambda e: e["actor"].update(role="x"), "unknown_field", "actor", "got role"),
        (lambda e: e["body"]["tenders"][0].update(amount_minor=99), "inconsistent", "body.tenders", "sum to 499"),
        (lambda e: e.update(occurred_at_us=1_760_000_000), "out_of_bounds", "occurred_at_us", "1262304000000000"),
    ],
)
def test_an_invalid_event_says_field_expected_and_got(
    change: Callable[[dict[str, Any]], object], code: str, path: str, reason: str
) -> None:
    """The reason is one that the producer's developer can act on."""
    with pytest.raises(InvalidEvent, match=reason) as caught:
        decode(raw(change))
    assert (caught.value.code, caught.value.path) == (code, path)
    assert caught.value.reason.startswith(path)


@pytest.mark.parametrize(
    ("facts", "code"), [({"rank": 1.5}, "wrong_type"), ({"r" * 65: 1}, "out_of_bounds")], ids=["value", "key"]
)
def test_a_map_is_checked_by_key_and_value(facts: dict[str, Any], code: str) -> None:
    """The path names the map, since its keys are the producer's own."""
    with pytest.raises(InvalidEvent) as caught:
        decode(raw(base=FACT | {"body": {"campaign_id": "c-1", "facts": facts}}))
    assert caught.value.code == code
    assert str(caught.value.path).startswith("body.facts")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", ReasonCode.EMPTY),
        (b"\xff\xfe{}", ReasonCode.NOT_UTF8),
        (b'{"event_id": "\xff"}', ReasonCode.NOT_UTF8),
        (b"{", ReasonCode.NOT_JSON),
        (b"\x00" * 20, ReasonCode.NOT_JSON),
        (b'{"event_type": "LoggedIn", "event_id": "\x00"}', ReasonCode.NOT_JSON),
        (b'{"event_type": "LoggedIn", "event_id": "\\ud800"}', ReasonCode.NOT_JSON),
        (b"NaN", ReasonCode.NOT_JSON),
        (b"[]", ReasonCode.WRONG_TYPE),
        (b"null", ReasonCode.WRONG_TYPE),
        (b"{}", ReasonCode.UNKNOWN_TYPE),
        (b'{"a":' * 100_000, ReasonCode.TOO_DEEP),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ReasonCode.TOO_DEEP),
    ],
    ids=lambda value: None,
)
def test_bytes_that_are_no_event_say_what_they_are(value: bytes, code: ReasonCode) -> None:
    """Nothing but InvalidEvent ever comes out."""
    with pytest.raises(InvalidEvent) as caught:
        decode(value)
    assert caught.value.code == code


def test_the_gate_and_the_codec_know_the_same_reasons_in_the_same_order() -> None:
    """The codes that dead letters carry begin with the gate's own, in its order of precedence."""
    gate = [code.value for code in RejectCode]
    assert [code.value for code in ReasonCode][: len(gate)] == gate


@pytest.mark.parametrize("place", ["wallet_id", "mcc", "amount_minor", "currency", CARD], ids=lambda place: "place")
def test_a_reason_never_carries_a_card_number(place: str) -> None:
    """Whatever field holds it, and even if it is the field's name."""
    number = int(CARD) if place == "amount_minor" else f" {CARD[:4]} {CARD[4:8]}-{CARD[8:]} "
    for change in (
        lambda event: event["body"].update({place: number}),
        lambda event: event.update(event_type=CARD),
        lambda event: event["actor"].update({CARD: CARD}),
        lambda event: event["body"]["tenders"][0].update({CARD: CARD}),
    ):
        error = invalid(raw(change))
        if error is not None:
            digits = "".join(character for character in error.reason if character.isdigit())
            assert CARD not in digits
            assert CARD not in str(error.path)


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_invalid(value: bytes) -> None:
    """No other exception reaches a stage."""
    with pytest.raises(InvalidEvent):
        decode(value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from([*PAYMENT, *(f"body.{name}" for name in PAYMENT["body"])]), value=JSON_VALUES)
def test_any_value_in_any_field_decodes_or_is_invalid(field: str, value: object) -> None:
    """And what decodes encodes to something that decodes to the same."""
    event = deepcopy(PAYMENT)
    *within, name = field.split(".")
    (event["body"] if within else event)[name] = value
    value = json.dumps(event).encode()
    error = invalid(value)
    if error is None:
        assert decode_valid(encode(decode(value))) == decode(value)
    else:
        assert error.reason
