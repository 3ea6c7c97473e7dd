"""Dead letters are judged, mended and shown as the gate and a terminal would want it."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from koban.records import ReplayedLetter
from koban.settings import Settings
from ops.cli.dlq import SinceType, dlq, safe
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode
from streams.dead_letters import Fate, Letter, Place, judge, tally, with_fields
from tests.unit.koban.gate.examples import PAYMENT, SENT_MS, raw

SETTINGS = Settings.from_environ({})


def letter(
    value: bytes | None,
    code: ReasonCode = ReasonCode.OUT_OF_BOUNDS,
    stage: str = "gate",
    topic: str = "payments",
) -> Letter:
    about = DeadLetter(
        reason_code=code,
        reason="why",
        stage=stage,
        origin_topic=topic,
        origin_partition=1,
        origin_offset=7,
        at_us=SENT_MS * 1_000,
    )
    return Letter(place=Place(0, 17), timestamp_ms=SENT_MS, key=None, value=value, headers=about.headers(), about=about)


def test_a_place_is_partition_and_offset() -> None:
    """Written 0:17, and nothing else is one."""
    assert Place.parse("0:17") == Place(0, 17)
    assert str(Place(3, 12)) == "3:12"
    for text in ("", "17", "0:", "-1:2", "0:17x", "٠:17", "0:17:1"):
        with pytest.raises(ValueError, match="no place"):
            Place.parse(text)


def test_a_mended_letter_is_valid_and_keyed_by_its_owner() -> None:
    """The gate's own rules say so, before anything is sent."""
    bad = letter(raw(body__amount_minor=-1200))
    assert judge(bad, bad.value, SENT_MS, SETTINGS).fate is Fate.REJECTED
    mended = judge(bad, with_fields(bad.value, [("body.amount_minor", 1200)]), SENT_MS, SETTINGS)
    assert (mended.fate, mended.owner, mended.event_id) == (Fate.VALID, "w-00012345", PAYMENT["event_id"])


@pytest.mark.parametrize(("code", "stage"), [(ReasonCode.CONFLICT, "gate"), (ReasonCode.UNKNOWN_TYPE, "ledger")])
def test_an_id_that_was_used_needs_to_be_changed(code: ReasonCode, stage: str) -> None:
    """A conflict, or what a later stage refused, would come to nothing under its old id."""
    bad = letter(raw(), code, stage)
    assert judge(bad, bad.value, SENT_MS, SETTINGS).fate is Fate.KNOWN
    assert judge(bad, with_fields(bad.value, [("event_id", "new-1")]), SENT_MS, SETTINGS).fate is Fate.VALID


@pytest.mark.parametrize("topic", ["payments-valid", "ledger-replays"])
def test_what_the_ledger_refused_is_judged_again_by_the_ledger_alone(topic: str) -> None:
    """Its id is known to the gate, and all other stages have taken it in: it goes to the ledger's own topic."""
    bad = letter(raw(), ReasonCode.REFUSED, "ledger", topic)
    again = judge(bad, bad.value, SENT_MS, SETTINGS)
    assert (again.fate, again.topic, again.value, again.owner) == (
        Fate.VALID,
        "ledger-replays",
        bad.value,
        "w-00012345",
    )
    assert judge(bad, with_fields(bad.value, [("body.memo", "other")]), SENT_MS, SETTINGS).fate is Fate.KNOWN
    renamed = judge(bad, with_fields(bad.value, [("event_id", "new-1")]), SENT_MS, SETTINGS)
    assert (renamed.fate, renamed.topic) == (Fate.VALID, "payments")


def test_a_refused_decision_of_cashback_is_not_replayed() -> None:
    """It did not come through the gate, and does not belong where it was."""
    assert judge(letter(raw(), ReasonCode.REFUSED, "ledger", "cashback"), raw(), SENT_MS, SETTINGS).fate is Fate.KNOWN


def test_a_tombstone_is_rejected_again() -> None:
    """There is nothing to send."""
    assert judge(letter(None), None, SENT_MS, SETTINGS).fate is Fate.REJECTED


def test_fields_are_set_by_path() -> None:
    """Into objects and lists; null takes a field out; a path to nowhere is an error that names it."""
    value = b'{"body":{"tenders":[{"amount_minor":1}],"memo":"x"}}'
    changed = with_fields(value, [("body.tenders.0.amount_minor", 2), ("body.memo", None), ("new", [1])])
    assert changed == b'{"body":{"tenders":[{"amount_minor":2}]},"new":[1]}'
    for path in ("body.tenders.1.amount_minor", "nothing.here", "body.tenders.x", "body.memo.x"):
        with pytest.raises(ValueError, match="leads nowhere"):
            with_fields(value, [(path, 1)])
    with pytest.raises(ValueError, match="no JSON"):
        with_fields(b"{", [("a", 1)])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("渋谷 <b>[red]", "渋谷 <b>[red]"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb", "a\\r\nb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u009b31m\x00", "\\x9b31m\\x00"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_in_a_letter_steers_the_terminal(text: str, shown: str) -> None:
    """Escape sequences, overwriting, hidden and reversed text are shown as escapes."""
    assert safe(text) == shown


def test_since_is_a_time_in_japan_or_an_age() -> None:
    """Without an offset a time is Japanese; an age counts back from now."""
    since = SinceType()
    assert since.convert("2026-11-23T09:00", None, None) == since.convert("2026-11-23T00:00+00:00", None, None)
    assert since.convert("2h", None, None) < since.convert("1h", None, None)


@pytest.mark.parametrize(
    "arguments", [[], ["0:1", "--reason", "clock"], ["0:1", "0:2", "--edit", "x"], ["zero"], ["--reason", "bad mood"]]
)
def test_an_unclear_replay_is_refused_before_anything_is_asked(arguments: list[str]) -> None:
    """Neither all nor nothing is replayed by mistake."""
    result = CliRunner().invoke(dlq, ["replay", *arguments])
    assert result.exit_code == 2


def test_a_mended_letter_says_so() -> None:
    """What is kept of a replay tells whether other bytes were sent than the letter holds."""
    bad = letter(raw(body__amount_minor=-1200))
    assert judge(bad, with_fields(bad.value, [("body.amount_minor", 1200)]), SENT_MS, SETTINGS).mended
    assert not judge(letter(raw()), raw(), SENT_MS, SETTINGS).mended


def test_letters_are_counted_by_reason_topic_and_stage() -> None:
    """The most frequent first; one with foreign headers counts as foreign, one that was sent again does not wait."""
    foreign = Letter(place=Place(1, 1), timestamp_ms=1, key=None, value=b"", headers=[], about=None)
    again = ReplayedLetter(place="0:17", sent_to="payments", event_id="e-1", mended=True, replayed_at_us=SENT_MS)
    sent = msgspec.structs.replace(letter(raw()), replayed=again)
    counts = tally([letter(raw()), sent, letter(raw(), ReasonCode.REFUSED, "ledger", "payments-valid"), foreign])
    assert list(counts.by_reason.items()) == [("out_of_bounds", 2), ("refused", 1), ("foreign", 1)]
    assert counts.by_topic == {"payments": 2, "payments-valid": 1, "foreign": 1}
    assert counts.by_stage == {"gate": 2, "ledger": 1, "foreign": 1}
    assert counts.waiting == 3
