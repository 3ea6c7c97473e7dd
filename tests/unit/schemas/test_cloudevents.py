"""CloudEvents attributes travel as headers and come back."""

import msgspec

from koban.events import EVENT_TYPES
from schemas.cloudevents import Attributes, HeaderMaker, read
from schemas.codec import decode
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidEvent, ReasonCode
from tests.unit.schemas.test_codec import raw


def test_an_event_s_headers_are_cloudevents_in_binary_mode() -> None:
    """All required attributes are there, and the content type has no prefix."""
    headers = dict(HeaderMaker("gate").event(decode(raw()), at_us=1_760_000_000_000_000))
    assert headers == {
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
        "ce_id": b"e-1",
        "ce_type": b"koban.PaymentCompleted",
        "ce_source": b"/koban/gate",
        "ce_correlationid": b"p-1",
        "koban_at_us": b"1760000000000000",
    }


def test_every_event_type_has_its_header() -> None:
    """None of them needs to be computed per record."""
    make = HeaderMaker("gate")
    event = decode(raw(lambda payment: payment.update(causation_id="e-0")))
    for name, struct in EVENT_TYPES.items():
        values = {field: getattr(event, field) for field in event.__struct_fields__}
        attributes = read(make.event(struct(**values), 5))
        assert (attributes.type, attributes.causation_id) == (f"koban.{name}", "e-0")


def test_a_derived_record_says_what_caused_it() -> None:
    """Attributes read back are those that were written."""
    make = HeaderMaker("ledger")
    for _ in range(2):
        headers = make.derived("journal-entry", "j-1", 7, correlation_id="p-1", causation_id="e-1")
        assert read(headers) == Attributes(
            id="j-1",
            type="koban.journal-entry",
            source="/koban/ledger",
            correlation_id="p-1",
            causation_id="e-1",
            at_us=7,
        )


def test_headers_of_one_record_are_not_those_of_the_next() -> None:
    """A stage may add its own to the list it gets."""
    make = HeaderMaker("gate")
    make.event(decode(raw()), 1).append(("mine", b""))
    assert "mine" not in dict(make.event(decode(raw()), 1))


def test_foreign_and_broken_headers_are_passed_over() -> None:
    """A record of any client can be read."""
    foreign = [("ce_id", b"\xff"), ("ce_type", None), ("x", b"y"), ("koban_at_us", "٣".encode()), ("ce_source", b"a")]
    assert read(foreign) == Attributes(source="a")
    assert read([("koban_at_us", b"9" * 5000)]).at_us is None


def test_a_dead_letter_comes_back_as_it_was() -> None:
    """And texts of any length stay within a header's measure."""
    error = InvalidEvent(ReasonCode.NOT_JSON, "理由" * 1000)
    letter = DeadLetter.of(error, stage="gate", topic="payments", partition=2, offset=17, at_us=5, producer="pos\ud800")
    again = DeadLetter.read(letter.headers())
    assert again == msgspec.structs.replace(letter, reason=letter.reason[:500], producer="pos?")
