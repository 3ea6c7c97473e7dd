"""What is asked of the books, answered once for the HTTP API and the command line.

Amounts are on an account's own side: a wallet's money is positive when there is some, and so is a receivable. An
account of the house stands for the sum of its lanes' parts (`A.bank` for `A.bank@0`, `A.bank@1`, …).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from pydantic import BaseModel, Field

from dashboards.sources.standings import LiveStandings, UnansweredError
from koban.business_time import to_datetime
from koban.ledger.accounts import base_of, parse, part
from koban.ledger.history import Axis
from koban.ledger.standing import Standing
from koban.records import Balance as BalanceRecord
from schemas.errors import Transient
from sinks.book import STATEMENT_LINES_MAX, BookQueries, Place, StatementLine

FAMILIES_OF_OWNERS = "UMC"
IN_FLIGHT = "L.in_flight"
_EPOCH = to_datetime(0)
_CURSOR_CHARACTERS_MAX = 600


class NotKnownError(LookupError):
    """There is no such account, owner or entry in the books."""


class BadQuestionError(ValueError):
    """The question makes no sense; the text says why."""


class Teller(StrEnum):
    """Who told a balance."""

    LEDGER = "ledger"
    """The worker that keeps the account."""
    BOOK = "book"
    """The book, which is a moment behind: the worker did not answer."""


class Balance(BaseModel):
    """An account's balance now."""

    account: str
    posted_minor: int
    held_minor: int
    available_minor: int
    pending_in_minor: int
    version: int = Field(
        description="Counts the account's changes without gaps; of a house's account, those of all parts."
    )
    told_by: Teller
    book_version: int = Field(description="The latest version that is in the book; 0 for none yet.")
    as_of: datetime | None = Field(description="Business time of the event that caused the book's version.")
    event_id: str | None = Field(description="The event that caused the book's version.")
    entry_id: str | None


class OwnersBalances(BaseModel):
    """All accounts of an owner."""

    owner: str
    accounts: list[Balance]


class BalanceAt(BaseModel):
    """An account's balance at an instant: the sum of its lines up to and with it."""

    account: str
    at: datetime
    axis: Axis
    posted_minor: int
    lines: int
    complete_to: datetime | None = Field(description="What the ledger recorded up to here is in the book.")
    final: bool = Field(description="On the recorded axis: no entry can change this answer any more.")


class Line(BaseModel):
    """A line of an entry. Debits are positive, credits negative, so that an entry's lines sum to zero."""

    account: str
    debit_minor: int


class Breach(BaseModel):
    """A rule of the books that the event broke, and that was posted all the same."""

    code: str
    account: str | None
    detail: str | None


class JournalEntry(BaseModel):
    """An entry of the journal."""

    entry_id: str
    event_id: str
    event_type: str
    payment_id: str | None
    occurred_at: datetime
    recorded_at: datetime
    lines: list[Line]
    breaches: list[Breach]


class Movement(BaseModel):
    """A line of a statement."""

    entry_id: str
    event_type: str
    payment_id: str | None
    account: str
    occurred_at: datetime
    recorded_at: datetime
    change_minor: int
    balance_minor: int = Field(description="After this line, in the order of recorded time.")


class Statement(BaseModel):
    """An account's lines, the last recorded first."""

    account: str
    lines: list[Movement]
    next: str | None = Field(description="The cursor of the page behind this one; none on the last page.")
    complete_to: datetime | None


class KindOfAccounts(BaseModel):
    """All accounts of one kind, like `U.money` or `A.bank`."""

    kind: str
    accounts: int
    lines: int
    debit_minor: int = Field(description="Debits less credits.")


class TrialBalance(BaseModel):
    """The book by kind of account. Its total is zero, or a line was lost."""

    kinds: list[KindOfAccounts]
    total_minor: int
    in_flight_minor: int = Field(description="Of the live balances: posted in one lane, not yet in the other.")
    complete_to: datetime | None


class LedgerAnswers:
    """Answers questions from the book in MySQL. Its calls wait for the answer: call them from a thread.

    ``lanes`` is the number of the journal's lanes; ``live`` knows how single accounts stand now. The calls raise
    NotKnownError, BadQuestionError, TooManyAccountsError, and Transient when MySQL does not answer.
    """

    def __init__(self, book: BookQueries, lanes: int, live: LiveStandings | None = None) -> None:
        self._book = book
        self._lanes = lanes
        self._live = live

    def balance(self, account: str) -> Balance:
        """The balance now: from the worker that keeps the account, and only if it does not answer from the book."""
        sign_of(account)
        try:
            standings = self._live.ask(account) if self._live is not None else None
        except UnansweredError:
            standings = None
        try:
            records = self._book.live_of(self._parts(account))
        except Transient:
            if standings is None:
                raise
            records = []
        if not records and not standings:
            raise _never_posted(account)
        return _balance(account, records, standings)

    def balances_of(self, owner: str) -> OwnersBalances:
        """The balances now of all accounts of an owner, named like `U.w-1` or `M.m-1`."""
        family, _, identifier = owner.partition(".")
        if family not in FAMILIES_OF_OWNERS or not identifier:
            raise BadQuestionError(f"{owner!r} is no owner: say U.wallet, M.merchant or C.campaign")
        records = self._book.live(f"{family}.{part(identifier)}.")
        if not records:
            raise NotKnownError(f"nothing was ever posted to an account of {owner}")
        return OwnersBalances(owner=owner, accounts=[_balance(record.account, [record]) for record in records])

    def balance_at(self, account: str, at_us: int, axis: Axis) -> BalanceAt:
        """The balance at an instant of either axis."""
        sign = sign_of(account)
        parts = self._parts(account)
        if not parts or not self._book.known(parts[0]):
            raise _never_posted(account)
        complete_to_us = self.complete_to_us()
        amounts = self._book.balance_at(parts, at_us, axis)
        return BalanceAt(
            account=account,
            at=to_datetime(at_us),
            axis=axis,
            posted_minor=sign * amounts.sum_minor,
            lines=amounts.lines,
            complete_to=_time(complete_to_us),
            final=axis is Axis.RECORDED and complete_to_us is not None and at_us <= complete_to_us,
        )

    def statement(self, account: str, limit: int, cursor: str | None = None) -> Statement:
        """A page of an account's statement."""
        sign = sign_of(account)
        if not 1 <= limit <= STATEMENT_LINES_MAX:
            raise BadQuestionError(f"limit is 1 to {STATEMENT_LINES_MAX}")
        before = None if cursor is None else _opened(cursor, account)
        parts = self._parts(account)
        if not parts or not self._book.known(parts[0]):
            raise _never_posted(account)
        complete_to_us = self.complete_to_us()
        lines = self._book.statement(parts, limit + 1, before)
        return Statement(
            account=account,
            lines=[_movement(line, sign) for line in lines[:limit]],
            next=_sealed(lines[limit - 1], account) if len(lines) > limit else None,
            complete_to=_time(complete_to_us),
        )

    def entry(self, entry_id: str) -> JournalEntry:
        """One entry with its lines."""
        stored = self._book.entry(entry_id)
        if stored is None:
            raise NotKnownError(f"there is no entry {entry_id}")
        entry = stored.entry
        return JournalEntry(
            entry_id=entry.entry_id,
            event_id=entry.event_id,
            event_type=entry.event_type,
            payment_id=entry.payment_id,
            occurred_at=to_datetime(entry.occurred_at_us),
            recorded_at=to_datetime(stored.recorded_at_us),
            lines=[Line(account=line.account, debit_minor=line.debit_minor) for line in entry.lines],
            breaches=[Breach(code=one.code, account=one.account, detail=one.detail) for one in entry.breaches],
        )

    def trial_balance(self) -> TrialBalance:
        """The whole book by kind of account."""
        complete_to_us = self.complete_to_us()
        kinds = [
            KindOfAccounts(kind=kind, accounts=accounts, lines=lines, debit_minor=debit)
            for kind, (accounts, lines, debit) in sorted(self._book.trial_balance().items())
        ]
        flying = self._book.live(f"{IN_FLIGHT}@")
        return TrialBalance(
            kinds=kinds,
            total_minor=sum(one.debit_minor for one in kinds),
            in_flight_minor=sum(one.posted_minor for one in flying),
            complete_to=_time(complete_to_us),
        )

    def _parts(self, account: str) -> list[str]:
        """The names that an account has in the tables."""
        if account[0] in FAMILIES_OF_OWNERS or "@" in account:
            return [account]
        return self._book.accounts(f"{account}@")

    def complete_to_us(self) -> int | None:
        """The instant to which every lane is complete; None while a lane has not told yet."""
        marks = self._book.marks()
        if len(marks) < self._lanes:
            return None
        return min((mark.complete_to_us for mark in marks), default=None)


def sign_of(account: str) -> int:
    """1 for accounts that debits increase, -1 for the others. Raises BadQuestionError for a name of no account."""
    parsed = parse(base_of(account))
    if parsed is None:
        raise BadQuestionError(f"{account!r} is no account of the chart, which are like U.w-1.money or A.bank")
    return parsed.nature.sign


def instant_us(text: str) -> int:
    """An instant in UTC microseconds from ISO 8601 with an offset. Raises BadQuestionError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadQuestionError(f"{text!r} is no time: say it like 2026-01-31T12:00:00Z") from error
    if at.tzinfo is None:
        raise BadQuestionError(f"{text!r} has no offset: end it with Z or, in an address, with %2B09:00")
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _never_posted(account: str) -> NotKnownError:
    return NotKnownError(f"nothing was ever posted to {account}")


def _balance(account: str, records: Sequence[BalanceRecord], standings: Sequence[Standing] | None = None) -> Balance:
    """One balance of an account's parts; the latest event is the cause."""
    last = max(records, key=lambda record: (record.as_of_us, record.version), default=None)
    parts = standings or records
    posted, held = sum(it.posted_minor for it in parts), sum(it.held_minor for it in parts)
    return Balance(
        account=account,
        posted_minor=posted,
        held_minor=held,
        available_minor=posted - held,
        pending_in_minor=sum(it.pending_in_minor for it in parts),
        version=sum(it.version for it in parts),
        told_by=Teller.LEDGER if standings else Teller.BOOK,
        book_version=sum(record.version for record in records),
        as_of=None if last is None else to_datetime(last.as_of_us),
        event_id=None if last is None else last.event_id,
        entry_id=None if last is None else last.entry_id,
    )


def _movement(line: StatementLine, sign: int) -> Movement:
    return Movement(
        entry_id=line.entry_id,
        event_type=line.event_type,
        payment_id=line.payment_id,
        account=line.account,
        occurred_at=to_datetime(line.occurred_at_us),
        recorded_at=to_datetime(line.recorded_at_us),
        change_minor=sign * line.debit_minor,
        balance_minor=sign * line.sum_minor,
    )


def _sealed(line: StatementLine, account: str) -> str:
    """A cursor behind a line: opaque to those who get it, of this account alone."""
    raw = msgspec.json.encode((account, line.recorded_at_us, line.lane, line.position, line.line))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _opened(cursor: str, account: str) -> Place:
    """The place that a cursor stands for. Raises BadQuestionError when it is none of this account."""
    try:
        if len(cursor) > _CURSOR_CHARACTERS_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, *place = msgspec.json.decode(raw, type=tuple[str, int, int, int, int])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadQuestionError("the cursor is none of ours: take `next` of the page before") from error
    if of != account:
        raise BadQuestionError("the cursor belongs to another account's statement")
    return place[0], place[1], place[2], place[3]


def _time(at_us: int | None) -> datetime | None:
    return None if at_us is None else to_datetime(at_us)
