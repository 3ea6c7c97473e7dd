"""What a batch of the ledger writes, by column."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy

from koban.ledger.book import Paid
from koban.ledger.facts import Fact
from koban.ledger.slots import Touched
from koban.records import Posting
from schemas.cloudevents import HeaderMaker
from streams.transport.columns import Column, Header, Rows, Text, digits, in_json, ints, merged, texts

_encode = msgspec.json.Encoder().encode
_headers = HeaderMaker("ledger")


class JournalColumns:
    """Journal entries on their way to their records.

    Of a plain payment's entry only what differs is kept, and all of them are put together by the column. Any other
    entry is encoded at once, while the processor still has it.
    """

    __slots__ = (
        "_amounts", "_entry_ids", "_event_ids", "_keys", "_occurred", "_others", "_others_at", "_payees", "_payers",
        "_payment_ids", "_times_ms",
    )  # fmt: skip

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._times_ms: list[int] = []
        self._event_ids: list[str] = []
        self._payment_ids: list[str | None] = []
        # Of plain payments alone:
        self._occurred: list[int] = []
        self._payers: list[str] = []
        self._payees: list[str] = []
        self._amounts: list[int] = []
        # Of the others, and which rows they are:
        self._others: list[bytes] = []
        self._others_at: list[int] = []
        self._entry_ids: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, entry: Posting, key: bytes, at_ms: int) -> None:
        """An entry, under its key, at the time of the record that it comes of."""
        self._others_at.append(len(self._keys))
        self._others.append(_encode(entry))
        self._entry_ids.append(entry.entry_id)
        self._keys.append(key)
        self._times_ms.append(at_ms)
        self._event_ids.append(entry.event_id)
        self._payment_ids.append(entry.payment_id)

    def add_payment(self, fact: Fact, payment: Paid, key: bytes, at_ms: int) -> None:
        """The entry of a plain payment."""
        payment_id, payer, payee, amount_minor = payment
        self._keys.append(key)
        self._times_ms.append(at_ms)
        self._event_ids.append(fact.event_id)
        self._payment_ids.append(payment_id)
        self._occurred.append(fact.occurred_at_us)
        self._payers.append(payer)
        self._payees.append(payee)
        self._amounts.append(amount_minor)

    def rows(self, at_us: int) -> Rows:
        """Their records."""
        payment_ids, entry_ids = self._payment_ids, self._event_ids.copy()
        for row, entry_id in zip(self._others_at, self._entry_ids, strict=True):
            entry_ids[row] = entry_id
        present = numpy.array([it is not None for it in payment_ids]) if None in payment_ids else None
        event_ids, related = texts(self._event_ids), texts([it or "" for it in payment_ids])
        headers = [
            *_shared("journal-entry", at_us),
            Header("ce_id", Text(event_ids if entry_ids == self._event_ids else texts(entry_ids))),
            Header("ce_causationid", Text(event_ids)),
            Header("ce_correlationid", Text(related), present),
        ]
        return Rows(self._times_ms, Text(texts(self._keys)), self._text(event_ids, related), headers)

    def _text(self, event_ids: Column, payment_ids: Column) -> Text:
        if not self._others:
            return self._payments(event_ids, payment_ids)
        if not self._amounts:
            return Text(texts(self._others))
        others_at = set(self._others_at)
        rows = [row for row in range(len(self)) if row not in others_at]
        payments = self._payments(event_ids.take(rows), payment_ids.take(rows))
        return Text(merged(payments, self._others, self._others_at))

    def _payments(self, event_ids: Column, payment_ids: Column) -> Text:
        """What encoding the entries of plain payments would give."""
        ids, amounts = in_json(event_ids), ints(self._amounts)
        return Text(
            b'{"entry_id":"', ids, b'","event_id":"', ids, b'","event_type":"PaymentCompleted","payment_id":"',
            in_json(payment_ids), b'","occurred_at_us":', digits(self._occurred),
            b',"lines":[{"account":"', texts(self._payers), b'","debit_minor":', digits(amounts),
            b'},{"account":"', texts(self._payees), b'","debit_minor":', digits(-amounts), b"}]}",
        )  # fmt: skip


def balance_rows(touched: Touched, times_ms: Sequence[int], at_us: int) -> Rows:
    """Balances, each under its account's name."""
    accounts, posted, versions = texts(touched.accounts), digits(touched.posted_minor), digits(touched.versions)
    causes = texts(touched.event_ids)
    event_ids = in_json(causes)
    entry_ids = event_ids if touched.entry_ids == touched.event_ids else in_json(texts(touched.entry_ids))
    available = posted
    if any(touched.held_minor):
        available = digits(ints(touched.posted_minor) - ints(touched.held_minor))
    value = Text(
        b'{"account":"', accounts, b'","owner":"', texts(touched.owners), b'","posted_minor":', posted,
        b',"held_minor":', digits(touched.held_minor), b',"available_minor":', available,
        b',"pending_in_minor":', digits(touched.pending_in_minor), b',"version":', versions,
        b',"as_of_us":', digits(touched.as_of_us), b',"event_id":"', event_ids, b'","entry_id":"', entry_ids, b'"}',
    )  # fmt: skip
    headers = [
        *_shared("balance", at_us),
        Header("ce_id", Text(accounts, b":", versions)),
        Header("ce_causationid", Text(causes)),
    ]
    return Rows(times_ms, Text(accounts), value, headers)


def _shared(record_type: str, at_us: int) -> list[Header]:
    """What the headers of a batch's records have in common."""
    headers = _headers.derived(record_type, "", at_us)
    return [Header(name, Text(value)) for name, value in headers if name != "ce_id"]
