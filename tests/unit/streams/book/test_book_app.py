"""What the stage makes of records: when an entry was posted, each account's last balance, refusals as they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import pytest

from koban.records import Balance
from schemas.errors import Transient
from sinks.contract import WRITTEN, Outcome, Result
from streams.book.app import BALANCES, DEAD_LETTERS, JOURNAL, newest, posted, settle
from streams.transport import Batch


class Arrived(NamedTuple):
    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = 1_700_000_000_000
    key: bytes | None = None


def balance(account: str, version: int) -> bytes:
    return msgspec.json.encode(
        Balance(
            account=account, owner="w", posted_minor=version, available_minor=version, version=version,
            as_of_us=1_700_000_000_000_000, event_id="e", entry_id="e",
        )
    )  # fmt: skip


def test_an_entry_is_recorded_when_the_ledger_says_so() -> None:
    assert posted(Arrived(5, b"{}", [("koban_at_us", b"17")])).recorded_at_us == 17
    assert posted(Arrived(5, b"{}", [("koban_at_us", b"soon")])).recorded_at_us == 1_700_000_000_000_000
    assert posted(Arrived(5, None)).value == b"", "a tombstone is no entry, and refused"


def test_of_each_account_the_last_balance_of_a_batch_is_written() -> None:
    values = [balance("U.a.money", 1), balance("U.b.money", 4), balance("U.a.money", 2)]
    items, records = newest([Arrived(at, value) for at, value in enumerate(values)])
    assert [(item.index, item.key, item.version) for item in items] == [
        (BALANCES, "U.a.money", 2),
        (BALANCES, "U.b.money", 4),
    ]
    assert [record.offset for record in records] == [2, 1]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[1]", b"\xff"])
def test_what_is_no_balance_is_passed_on_to_be_refused(value: bytes | None) -> None:
    items, records = newest([Arrived(3, value)])
    assert [record.offset for record in records] == [3]
    assert items[0].body is not None
    assert not items[0].body.startswith(b"{")


def test_what_was_refused_is_dead_lettered_as_it_came() -> None:
    records = [Arrived(7, b"good"), Arrived(8, b"bad")]
    batch = Batch(JOURNAL, 2, records, 9)
    counts: Counter[str] = Counter()
    settle(
        batch, records, [WRITTEN, Result(Outcome.REFUSED, "no journal entry")], lambda what, n: counts.update({what: n})
    )
    (letter,) = batch.outputs
    headers = dict(letter.headers)
    assert (letter.topic, letter.value) == (DEAD_LETTERS, b"bad")
    assert (headers["koban_origin_topic"], headers["koban_origin_offset"]) == (b"journal", b"8")
    assert b"no journal entry" in headers["koban_reason"]
    assert counts == {"written": 1, "stale": 0, "refused": 1}


def test_a_store_that_does_not_answer_holds_the_batch() -> None:
    """Nothing is dead-lettered meanwhile: the whole batch comes again."""
    records = [Arrived(7, b"one"), Arrived(8, b"two")]
    batch = Batch(JOURNAL, 2, records, 9)
    with pytest.raises(Transient, match="gone away"):
        settle(
            batch, records, [Result(Outcome.REFUSED, "bad"), Result(Outcome.RETRY, "gone away")], lambda what, n: None
        )
    assert batch.outputs == []
