"""What a batch of the ledger writes, by column."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy

from koban.events import Line
from koban.ledger.book import Paid
from koban.ledger.facts import Fact
from koban.ledger.slots import Touched
from koban.records import Posting
from schemas.cloudevents import HeaderMaker
from streams.transport.batch import Record
from streams.transport.columns import Header, Rows, Text, digits, json_texts, texts

_encode = msgspec.json.Encoder().encode
_headers = HeaderMaker("ledger")


class JournalColumns:
    """Journal entries on their way to their records. Each is encoded at once, while the processor still has it."""

    __slots__ = ("_entry_ids", "_event_ids", "_keys", "_payment_ids", "_times_ms", "_values")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._times_ms: list[int] = []
        self._event_ids: list[str] = []
        self._entry_ids: list[str] = []
        self._payment_ids: list[str | None] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, entry: Posting, key: bytes, at_ms: int) -> None:
        """An entry, under its key, at the time of the record that it comes of."""
        self._values.append(_encode(entry))
        self._keys.append(key)
        self._times_ms.append(at_ms)
        self._event_ids.append(entry.event_id)
        self._entry_ids.append(entry.entry_id)
        self._payment_ids.append(entry.payment_id)

    def add_payment(self, fact: Fact, payment: Paid, record: Record) -> None:
        """The entry of a plain payment, for the record that it comes of.

        Text put together costs half of what an object and its encoding do; a text with escapes goes the usual way.
        """
        payment_id, payer, merchant, amount_minor = payment
        event_id, raw = fact.event_id, record.value
        if raw is None or b"\\" in raw:
            lines = (Line(payer, amount_minor), Line(merchant, -amount_minor))
            value = _encode(
                Posting(
                    entry_id=event_id,
                    event_id=event_id,
                    event_type=fact.event_type,
                    payment_id=payment_id,
                    occurred_at_us=fact.occurred_at_us,
                    lines=lines,
                )
            )
        else:
            value = (
                f'{{"entry_id":"{event_id}","event_id":"{event_id}","event_type":"PaymentCompleted",'
                f'"payment_id":"{payment_id}","occurred_at_us":{fact.occurred_at_us},"lines":['
                f'{{"account":"{payer}","debit_minor":{amount_minor}}},'
                f'{{"account":"{merchant}","debit_minor":{-amount_minor}}}]}}'
            ).encode()
        self._values.append(value)
        self._keys.append(record.key or b"")
        self._times_ms.append(record.timestamp)
        self._event_ids.append(event_id)
        self._entry_ids.append(event_id)
        self._payment_ids.append(payment_id)

    def rows(self, at_us: int) -> Rows:
        """Their records."""
        event_ids, payment_ids = texts(self._event_ids), self._payment_ids
        entry_ids = event_ids if self._entry_ids == self._event_ids else texts(self._entry_ids)
        present = numpy.array([it is not None for it in payment_ids]) if None in payment_ids else None
        return Rows(
            self._times_ms,
            Text(texts(self._keys)),
            Text(texts(self._values)),
            [
                *_shared("journal-entry", at_us),
                Header("ce_id", Text(entry_ids)),
                Header("ce_causationid", Text(event_ids)),
                Header("ce_correlationid", Text(texts([it or "" for it in payment_ids])), present),
            ],
        )


def balance_rows(touched: Touched, times_ms: Sequence[int], at_us: int) -> Rows:
    """Balances, each under its account's name."""
    accounts, posted, versions = texts(touched.accounts), digits(touched.posted_minor), digits(touched.versions)
    event_ids = json_texts(touched.event_ids)
    entry_ids = event_ids if touched.entry_ids == touched.event_ids else json_texts(touched.entry_ids)
    available = posted
    if any(touched.held_minor):
        available = digits(numpy.subtract(touched.posted_minor, touched.held_minor))
    value = Text(
        b'{"account":"', accounts, b'","owner":"', texts(touched.owners), b'","posted_minor":', posted,
        b',"held_minor":', digits(touched.held_minor), b',"available_minor":', available,
        b',"pending_in_minor":', digits(touched.pending_in_minor), b',"version":', versions,
        b',"as_of_us":', digits(touched.as_of_us), b',"event_id":"', event_ids, b'","entry_id":"', entry_ids, b'"}',
    )  # fmt: skip
    headers = [
        *_shared("balance", at_us),
        Header("ce_id", Text(accounts, b":", versions)),
        Header("ce_causationid", Text(texts(touched.event_ids))),
    ]
    return Rows(times_ms, Text(accounts), value, headers)


def _shared(record_type: str, at_us: int) -> list[Header]:
    """What the headers of a batch's records have in common."""
    headers = _headers.derived(record_type, "", at_us)
    return [Header(name, Text(value)) for name, value in headers if name != "ce_id"]
