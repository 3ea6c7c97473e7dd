"""What a batch of the ledger writes, by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec
import numpy

from koban.ledger.moves import PAYMENT_COMPLETED, Columns, Moves
from koban.ledger.slots import Touched
from koban.records import Leg
from schemas.cloudevents import HeaderMaker
from streams.transport.columns import Column, Header, Ints, Rows, Text, chained, digits, in_json, ints, merged, texts

_encode = msgspec.json.Encoder().encode
_headers = HeaderMaker("ledger")
_EVENT_TYPE = PAYMENT_COMPLETED.encode()


class MoveRows:
    """The records of a batch's moves, made at `at_us`.

    What plain payments leave behind is put together by the column, once each; all else is encoded one by one.
    """

    def __init__(self, moves: Moves, at_us: int) -> None:
        self._moves = moves
        self._at_us = at_us

    # --- columns, a value a row of the moves

    @cached_property
    def _columns(self) -> Columns:
        return self._moves.columns()

    @cached_property
    def _event_ids(self) -> Column:
        return texts(self._columns.event_ids)

    @cached_property
    def _entry_ids(self) -> Column:
        ids = list(self._columns.event_ids)
        changed = False
        for row, entry in self._moves.entries.items():
            changed |= entry.entry_id != ids[row]
            ids[row] = entry.entry_id
        return texts(ids) if changed else self._event_ids

    @cached_property
    def _payment_ids(self) -> Column:
        return texts([it or "" for it in self._columns.payment_ids])

    @cached_property
    def _occurred(self) -> Ints:
        return ints(self._columns.occurred_at_us)

    @cached_property
    def _times_ms(self) -> Ints:
        return ints(self._columns.times_ms)

    @cached_property
    def _payees(self) -> Column:
        return texts(["" if it is None else it.account for it in self._columns.payees])

    @cached_property
    def _amounts(self) -> Ints:
        return ints(self._columns.amounts_minor)

    # --- records

    def journal(self) -> Rows:
        """All entries, in their order."""
        others = dict(sorted(self._moves.entries.items()))
        present = None
        if None in self._columns.payment_ids:
            present = numpy.array([it is not None for it in self._columns.payment_ids])
        headers = [
            *_shared("journal-entry", self._at_us),
            Header("ce_id", Text(self._entry_ids)),
            Header("ce_causationid", Text(self._event_ids)),
            Header("ce_correlationid", Text(self._payment_ids), present),
        ]
        plain = None if not others else numpy.flatnonzero(self._amounts)
        if plain is not None and not len(plain):
            value = Text(texts([_encode(entry) for entry in others.values()]))
        else:
            value = self._payments(plain)
            if others:
                value = Text(merged(value, [_encode(entry) for entry in others.values()], list(others)))
        return Rows(self._times_ms, Text(texts(self._columns.keys)), value, headers)

    def _payments(self, plain: Ints | None) -> Text:
        """What encoding the entries of plain payments would give; None for rows that are all of them."""
        occurred, amounts, payers = self._occurred, self._amounts, texts(self._columns.payers)
        event_ids, payment_ids, payees = self._event_ids, self._payment_ids, self._payees
        if plain is not None:
            event_ids, payment_ids, payers, payees = (
                column.take(plain) for column in (event_ids, payment_ids, payers, payees)
            )
            occurred, amounts = occurred[plain], amounts[plain]
        ids = in_json(event_ids)
        return Text(
            b'{"entry_id":"', ids, b'","event_id":"', ids, b'","event_type":"' + _EVENT_TYPE + b'","payment_id":"',
            in_json(payment_ids), b'","occurred_at_us":', digits(occurred),
            b',"lines":[{"account":"', payers, b'","debit_minor":', digits(amounts),
            b'},{"account":"', payees, b'","debit_minor":', digits(-amounts), b"}]}",
        )  # fmt: skip

    def legs(self, from_lane: int, to_lane: int, legs: Sequence[int | Leg]) -> bytes:
        """The value of a `Legs` record."""
        others_at = [at for at, leg in enumerate(legs) if type(leg) is not int]
        rows = ints([leg for leg in legs if type(leg) is int])
        others = [_encode(legs[at]) + b"," for at in others_at]
        if not len(rows):
            found = b"".join(others)
        else:
            value = self._departing(rows)
            found = (Text(merged(value, others, others_at)) if others else value).in_one_piece(len(legs))
        return b'{"from_lane":%d,"to_lane":%d,"legs":[%b]}' % (from_lane, to_lane, found[:-1])

    def _departing(self, rows: Ints) -> Text:
        """What plain payments send to the lanes of their merchants, each with a comma behind it."""
        payees, ids = self._columns.payees, in_json(self._event_ids.take(rows))
        owners = texts([payee.owner for row in rows.tolist() if (payee := payees[row]) is not None])
        return Text(
            b'{"entry_id":"', ids, b'","event_id":"', ids, b'","event_type":"' + _EVENT_TYPE + b'","owner":"', owners,
            b'","account":"', self._payees.take(rows), b'","debit_minor":', digits(-self._amounts[rows]),
            b',"occurred_at_us":', digits(self._occurred[rows]),
            b',"payment_id":"', in_json(self._payment_ids.take(rows)), b'"},',
        )  # fmt: skip

    def balances(self, touched: Iterable[Touched]) -> Rows | None:
        """Balances, each under its account's name; None when nothing was touched."""
        # A portion becomes columns before the next one is read: accounts lie all over the memory.
        portions = [(texts(it.accounts), texts(it.owners), *map(ints, it[2:])) for it in touched]
        if not portions:
            return None
        names, owners, *numbers = zip(*portions, strict=True)
        accounts = chained(names)
        posted_minor, held_minor, pending_in_minor, version, causes = map(numpy.concatenate, numbers)
        event_ids, entry_ids, as_of_us, times_ms = self._causes(causes)
        posted, versions = digits(posted_minor), digits(version)
        available = digits(posted_minor - held_minor) if held_minor.any() else posted
        value = Text(
            b'{"account":"', accounts, b'","owner":"', chained(owners), b'","posted_minor":', posted,
            b',"held_minor":', digits(held_minor), b',"available_minor":', available,
            b',"pending_in_minor":', digits(pending_in_minor), b',"version":', versions,
            b',"as_of_us":', digits(as_of_us), b',"event_id":"', in_json(event_ids),
            b'","entry_id":"', in_json(entry_ids), b'"}',
        )  # fmt: skip
        headers = [
            *_shared("balance", self._at_us),
            Header("ce_id", Text(accounts, b":", versions)),
            Header("ce_causationid", Text(event_ids)),
        ]
        return Rows(times_ms, Text(accounts), value, headers)

    def _causes(self, causes: Ints) -> tuple[Column, Column, Ints, Ints]:
        """What `Moves.causes` says, by column."""
        moves = self._moves
        if not moves.legs:
            ids, same = self._event_ids.take(causes), self._entry_ids is self._event_ids
            entry_ids = ids if same else self._entry_ids.take(causes)
            return ids, entry_ids, self._occurred[causes], self._times_ms[causes]
        of_events, of_entries, as_of_us, times_ms = zip(*moves.causes(causes.tolist()), strict=True)
        ids = texts(of_events)
        return ids, ids if of_events == of_entries else texts(of_entries), ints(as_of_us), ints(times_ms)


def _shared(record_type: str, at_us: int) -> list[Header]:
    """What the headers of a batch's records have in common."""
    headers = _headers.derived(record_type, "", at_us)
    return [Header(name, Text(value)) for name, value in headers if name != "ce_id"]
