"""Every value gets exactly one verdict: the first reason that applies, in words that help and leak nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koban.events import EVENT_TYPES
from koban.gate.inspection import inspect
from koban.gate.verdict import Accepted, Limits, RejectCode, Rejected
from schemas import codec
from schemas.errors import ReasonCode
from tests.unit.koban.gate.cards_in_disguise import DISGUISES, TEST_CARDS
from tests.unit.koban.gate.examples import FACT, PAYMENT, SENT_MS, changed, raw

LIMITS = Limits()
CARD = "4111111111111111"


def verdict(value: bytes | None, sent_ms: int = SENT_MS) -> Accepted | Rejected:
    return inspect(value, sent_ms, LIMITS)


GRANT: dict[str, Any] = {
    **FACT,
    "event_type": "CashbackGranted",
    "body": {
        **dict.fromkeys(("wallet_id", "campaign_id", "definition_hash", "payment_id"), "id-1"),
        "amount_minor": 500,
    },
}

ROWS: list[tuple[bytes | None, str, str]] = [
    (None, "empty", "no value"),
    (b"", "empty", "no value"),
    (b" " * 70_000, "too_large", "70000 bytes, more than the 65536"),
    (raw(body__memo="x" * 66_000), "too_large", "more than"),
    (b'{"a":"\xff"}', "not_utf8", "not UTF-8 text: invalid start byte at byte 6"),
    (b'{"a":"\xed\xa0\x80"}', "not_utf8", "not UTF-8"),
    (b"\x80\x04\x95", "not_utf8", "not UTF-8"),
    (raw().replace(b"CPM", b"C\0M"), "nul_byte", "NUL"),
    (raw(body__memo="a\0b"), "nul_byte", "NUL"),
    (b"\0" * 100, "nul_byte", "NUL"),
    (b"[" * 60_000, "too_deep", "more than 16 levels"),
    (b'{"a":' * 17 + b"1" + b"}" * 17, "too_deep", "more than 16"),
    (b"not json", "not_json", "not JSON"),
    (b'{"event_type":"PaymentCompleted",', "not_json", "not JSON"),
    (raw() + b"x", "not_json", "not JSON"),
    (raw() + raw(), "not_json", "not JSON"),
    (b"\xef\xbb\xbf" + raw(), "not_json", "byte order mark"),
    (b'{"a":NaN}', "not_json", "not JSON"),
    (b'{"a":Infinity}', "not_json", "not JSON"),
    (b'{"a":"\\ud800"}', "not_json", "not JSON"),
    (b"{'a':1}", "not_json", "not JSON"),
    (b"[]", "wrong_type", "the value: expected object, got array"),
    (b'"PaymentCompleted"', "wrong_type", "expected object, got str"),
    (b"17", "wrong_type", "expected object, got int"),
    (b"null", "wrong_type", "expected object, got null"),
    (b"{}", "unknown_type", "event_type: expected an event of the contracts, got nothing"),
    (raw(event_type="PaymentImagined"), "unknown_type", "got PaymentImagined"),
    (raw(event_type=5), "wrong_type", "event_type: expected str"),
    (raw(body__wallet_id=None), "missing_field", "body.wallet_id: expected a value, got nothing"),
    (raw(event_id=None), "missing_field", "event_id"),
    (raw(body=None), "missing_field", "body"),
    (raw(body__amount_minor="1200"), "wrong_type", "body.amount_minor: expected int, got str"),
    (raw(body__amount_minor=12.5), "wrong_type", "body.amount_minor: expected int, got float"),
    (raw(body__tenders={}), "wrong_type", "body.tenders: expected array, got object"),
    (raw(body__amount_minor=-1200), "out_of_bounds", "body.amount_minor: expected int >= 1, got -1200"),
    (raw(body__amount_minor=0), "out_of_bounds", "got 0"),
    (raw(body__amount_minor=10**13), "out_of_bounds", "body.amount_minor"),
    (raw().replace(b"1200", b"1" * 400), "out_of_bounds", "body.amount_minor"),
    (raw(body__code="MAGIC"), "out_of_bounds", "body.code: expected a value of the contract's list, got 'MAGIC'"),
    (raw(event_id="two words"), "out_of_bounds", "event_id: expected str matching regex"),
    (raw(event_id="x" * 65), "out_of_bounds", "event_id: expected str of length <= 64"),
    (raw(occurred_at_us=1), "out_of_bounds", "occurred_at_us"),
    (raw(body__memo="x" * 201), "out_of_bounds", "body.memo: expected str of length <= 200"),
    (raw(body__tenders=[]), "out_of_bounds", "body.tenders: expected array of length >= 1, got 0 items"),
    (raw(body__tenders=[{"kind": "money", "amount_minor": 1200, "x": 1}]), "unknown_field", "body.tenders[0]"),
    (raw(GRANT), "platform_event", "expected an event from outside of the platform, got CashbackGranted"),
    (raw(GRANT, body__amount_minor=0), "out_of_bounds", "body.amount_minor"),
    (raw(body__amount_minor=1201), "inconsistent", "body.tenders sum to 1200, but the amount is 1201"),
    (raw(occurred_at_us=SENT_MS * 1000 + 60_000_001), "clock", "at most 60 s after the record was sent, got 60 s"),
    (raw(occurred_at_us=4_000_000_000_000_000), "clock", "occurred_at_us"),
    (raw(body__memo=CARD), "card_number", "body.memo: expected no card number, got one"),
    (raw(reason=f"refund to {CARD}"), "card_number", "reason"),
    (raw(body__store_name="４１１１ー１１１１ー１１１１ー１１１１"), "card_number", "body.store_name"),
    (raw(body__unknown={"deep": [CARD]}), "card_number", "body.unknown.deep"),
    (raw(body__unknown=int(CARD)), "card_number", "body.unknown"),
    (raw(**{f"body__{CARD}": 1}), "card_number", "a key of body"),
    (raw(body__wallet_id=CARD), "card_number", "body.wallet_id"),
    (raw(event_id=f"card:{CARD}"), "card_number", "event_id"),
    (raw(FACT, body__facts={"note": CARD}), "card_number", "body.facts.note"),
    (raw(FACT, body__facts={"note": int(CARD)}), "card_number", "body.facts.note"),
    (raw(FACT, body__facts={"x_us": int(CARD)}), "card_number", "body.facts.x_us"),
    (raw(FACT, body__facts={"x_id": "4000000000000000006"}), "card_number", "body.facts.x_id"),
    (raw(FACT, body__facts={CARD: 1}), "card_number", "a key of body.facts"),
    (raw(body__cvv="123"), "card_secret", "cvv"),
    (raw(body__card={"PIN": "1234"}), "card_secret", "PIN"),
    (raw(FACT, body__facts={"track2_data": "x"}), "card_secret", "track2_data"),
]


@pytest.mark.parametrize(("value", "code", "reason"), ROWS, ids=[f"{n}-{row[1]}" for n, row in enumerate(ROWS)])
def test_a_bad_value_is_rejected_with_its_reason(value: bytes | None, code: str, reason: str) -> None:
    """Each kind of bad value, the code it gets, and words of the reason; no reason shows a card number."""
    got = verdict(value)
    assert isinstance(got, Rejected)
    assert got.code == code
    assert reason in got.reason
    assert CARD not in got.reason


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("missing_field", {"body__merchant_id": None}),
    ("inconsistent", {"body__amount_minor": 1300}),
    ("clock", {"occurred_at_us": 4_000_000_000_000_000}),
    ("card_number", {"reason": CARD}),
    ("card_secret", {"body__cvv": "123"}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_faults_the_first_in_order_is_named(first: int) -> None:
    """A value with a fault and all the later ones is rejected for the earliest in the order of the codes."""
    fields = {name: value for _, fault in FAULTS[first:] for name, value in fault.items()}
    got = verdict(raw(**fields))
    assert isinstance(got, Rejected)
    assert got.code == FAULTS[first][0]


def test_faults_of_the_bytes_go_before_faults_of_the_text() -> None:
    """Size, then encoding, then NUL, then depth, then JSON."""
    deep = b"[" * 20
    values = [deep + b"\0\xff" + b" " * 65_536, deep + b"\0\xff", deep + b"\0", deep, b"{"]
    codes = [v.code for v in map(verdict, values) if isinstance(v, Rejected)]
    assert codes == ["too_large", "not_utf8", "nul_byte", "too_deep", "not_json"]


def test_every_reason_is_one_of_the_dead_letter_headers() -> None:
    """A code of the gate that the dead-letter contract does not know could not be written."""
    assert {code.value for code in RejectCode} <= {code.value for code in ReasonCode}


ACCEPTED: list[bytes] = [
    raw(),
    raw(FACT),
    raw(recorded_at_us=None),
    json.dumps(PAYMENT).encode(),
    json.dumps(PAYMENT, indent=2, ensure_ascii=False).encode(),
    raw(body__added_later={"a": [1, 2, {"b": None}]}),
    raw(body__memo='say "hi" \\ / \n 改行'),
    raw(body__memo="１号店 😀 ①番"),
    raw(occurred_at_us=SENT_MS * 1000 + 60_000_000),
    raw(aggregate_id="1041234567890123", correlation_id="1041234567890123"),
    raw(aggregate_id="4000000000000000006"),
    raw(body__memo="\\\\u0000 is not a NUL"),
    raw().replace(b'"event_type"', b'"event_id":"first-of-two","event_type"'),
]


@pytest.mark.parametrize("value", ACCEPTED)
def test_a_good_event_is_accepted_in_canonical_form(value: bytes) -> None:
    """However it is written, it comes out as the contract writes it, keyed by its owner, and stays the same then."""
    got = verdict(value)
    assert isinstance(got, Accepted), got
    assert got.owner in ("w-00012345", "c-1")
    assert got.canonical == codec.encode(codec.decode(value))
    assert got.body_hash.hex() == codec.body_hash(codec.decode(value))
    again = verdict(got.canonical)
    assert isinstance(again, Accepted)
    assert (again.canonical, again.body_hash) == (got.canonical, got.body_hash)


def test_the_body_hash_says_whether_two_events_say_the_same() -> None:
    """Another way to write it, or another time of recording, is the same event; another yen is not."""
    first, written, again, other = (
        verdict(value)
        for value in (
            raw(),
            json.dumps(PAYMENT, indent=1).encode(),
            raw(recorded_at_us=SENT_MS * 1000),
            raw(body__memo="紅茶"),
        )
    )
    assert all(isinstance(v, Accepted) for v in (first, written, again, other))
    assert first.body_hash == written.body_hash == again.body_hash  # type: ignore[union-attr]  # asserted above
    assert first.body_hash != other.body_hash  # type: ignore[union-attr]  # asserted above


@pytest.mark.parametrize("field", ["body__memo", "body__store_name", "reason", "body__extra"])
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("escaped", [False, True], ids=["unescaped", "escaped"])
def test_no_card_number_passes_in_text(field: str, disguise: str, escaped: bool) -> None:
    """Every test card in every disguise in every text field, written plainly or with JSON escapes, is rejected."""
    for card in TEST_CARDS:
        event = changed(**{field: DISGUISES[disguise](card)})
        value = json.dumps(event, ensure_ascii=escaped).encode()
        got = verdict(value)
        assert isinstance(got, Rejected), value
        assert got.code == RejectCode.CARD_NUMBER


def test_escaped_digits_are_digits() -> None:
    """A card number written with JSON escapes is found."""
    escaped = "".join(f"\\u{ord(digit):04x}" for digit in CARD)
    got = verdict(raw(body__memo="MEMO").replace(b"MEMO", escaped.encode()))
    assert isinstance(got, Rejected)
    assert got.code == RejectCode.CARD_NUMBER


WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**12, 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from([CARD, "\0", "4" * 30, "x" * 300, -1, 0, 2**63, 2**64, 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
PATHS = [*PAYMENT, *(f"body__{name}" for name in PAYMENT["body"]), "body__new", "new", "body__lines", "body__facts"]


def one_verdict(value: bytes | None) -> None:
    got = verdict(value)
    assert isinstance(got, Accepted | Rejected)
    if isinstance(got, Rejected):
        assert got.reason
        assert len(got.reason) < 400
        got.reason.encode()


@settings(max_examples=400)
@given(st.binary(max_size=300))
def test_any_bytes_get_one_verdict(value: bytes) -> None:
    """Random bytes never raise."""
    one_verdict(value)


@settings(max_examples=600)
@given(st.lists(st.tuples(st.sampled_from(PATHS), WILD), max_size=3), st.sampled_from(list(EVENT_TYPES)), st.booleans())
def test_any_json_gets_one_verdict(changes: list[tuple[str, Any]], event_type: str, escaped: bool) -> None:
    """Events with anything in any field never raise."""
    event = changed(event_type=event_type)
    for path, value in changes:
        event = changed(event, **{path: value}) if "body" in event and isinstance(event["body"], dict) else event
    one_verdict(json.dumps(event, ensure_ascii=escaped).encode("utf-8", "surrogatepass"))


@settings(max_examples=600)
@given(st.data())
def test_damaged_events_get_one_verdict(data: st.DataObject) -> None:
    """A valid event with pieces cut out, doubled or overwritten never raises."""
    value = bytearray(raw())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(at, min(len(value), at + 40)))
        value[at:end] = data.draw(
            st.sampled_from(
                [
                    b"",
                    b"\xff",
                    b"\0",
                    b"{",
                    b"]",
                    b'"',
                    b"\\",
                    b"\\u0000",
                    b"\\ud800",
                    b"1e999",
                    b"NaN",
                    b"\xef\xbb\xbf",
                    bytes(value[at:end]) * 2,
                ]
            )
        )
    one_verdict(bytes(value))


@pytest.mark.parametrize("value", [b"x" * 10_000_000, b"[" * 10_000_000, b"\0" * 10_000_000, raw() * 20_000])
def test_ten_megabytes_are_just_too_large(value: bytes) -> None:
    """Size is judged first, whatever the value holds."""
    got = verdict(value)
    assert isinstance(got, Rejected)
    assert got.code == RejectCode.TOO_LARGE


def test_accepting_leaves_nothing_of_unknown_fields() -> None:
    """What the contract does not know goes no further than the gate."""
    got = verdict(raw(body__added_later="secret-ish", also_new=1))
    assert isinstance(got, Accepted)
    assert b"added_later" not in got.canonical
    assert msgspec.json.decode(got.canonical) == PAYMENT
