"""The book in memory: the plain reference that the one in MySQL is compared with. It adds up every line each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from koban.ledger.history import Axis
from koban.records import Balance, Entry
from sinks.book import (
    ACCOUNTS_OF_OWNER_MAX,
    Amounts,
    Mark,
    Place,
    PostedEntry,
    StatementLine,
    StoredEntry,
    TooManyAccountsError,
)
from sinks.contract import WRITTEN, Outcome, Result


class MemoryBook:
    """``Book`` and ``BookQueries`` over a list."""

    def __init__(self) -> None:
        self.entries: dict[str, StoredEntry] = {}
        self.complete_to_us: dict[int, int] = {}
        self.latest: dict[str, Balance] = {}
        self._clock_us: dict[int, int] = {}

    async def append(self, lane: int, entries: Sequence[PostedEntry]) -> list[Result]:
        """See ``Book.append``."""
        return [self._append(lane, posted) for posted in entries]

    async def mark(self, lane: int, complete_to_us: int) -> None:
        """See ``Book.mark``."""
        self.complete_to_us[lane] = max(self.complete_to_us.get(lane, 0), complete_to_us)

    async def close(self) -> None:
        """Nothing to give back."""

    def _append(self, lane: int, posted: PostedEntry) -> Result:
        try:
            entry = msgspec.json.decode(posted.value, type=Entry)
        except msgspec.DecodeError as error:
            return Result(Outcome.REFUSED, f"no journal entry: {error}")
        known = self.entries.get(entry.entry_id)
        if known is not None:
            same = (known.lane, known.position) == (lane, posted.position)
            return Result(Outcome.STALE if same else Outcome.REFUSED, f"entry {entry.entry_id} is in the book already")
        at_us = self._clock_us[lane] = max(self._clock_us.get(lane, 0), posted.recorded_at_us)
        self.entries[entry.entry_id] = StoredEntry(
            lane=lane, position=posted.position, recorded_at_us=at_us, entry=entry
        )
        return WRITTEN

    def balance_at(self, accounts: Sequence[str], at_us: int, axis: Axis) -> Amounts:
        """See ``BookQueries.balance_at``."""
        debits = [
            line.debit_minor
            for stored in self.entries.values()
            for line in stored.entry.lines
            if line.account in accounts
            and (stored.recorded_at_us if axis is Axis.RECORDED else stored.entry.occurred_at_us) <= at_us
        ]
        return Amounts(sum(debits), len(debits))

    def statement(self, accounts: Sequence[str], limit: int, before: Place | None = None) -> list[StatementLine]:
        """See ``BookQueries.statement``."""
        lines = list(self._statement(accounts))
        lines.reverse()
        return [line for line in lines if before is None or _place(line) < before][:limit]

    def entry(self, entry_id: str) -> StoredEntry | None:
        """See ``BookQueries.entry``."""
        return self.entries.get(entry_id)

    def accounts(self, prefix: str) -> list[str]:
        """See ``BookQueries.accounts``."""
        lines = (line for stored in self.entries.values() for line in stored.entry.lines)
        return _few(sorted({line.account for line in lines if line.account.startswith(prefix)}))

    def known(self, account: str) -> bool:
        """See ``BookQueries.known``."""
        return account in self.accounts(account)

    def live(self, prefix: str) -> list[Balance]:
        """See ``BookQueries.live``."""
        return self.live_of(_few([account for account in self.latest if account.startswith(prefix)]))

    def live_of(self, accounts: Sequence[str]) -> list[Balance]:
        """See ``BookQueries.live_of``."""
        return [self.latest[account] for account in sorted(accounts) if account in self.latest]

    def marks(self) -> list[Mark]:
        """See ``BookQueries.marks``."""
        marks = []
        for lane in sorted(self._clock_us.keys() | self.complete_to_us.keys()):
            to = max((one.position + 1 for one in self.entries.values() if one.lane == lane), default=0)
            marks.append(Mark(lane, max(self.complete_to_us.get(lane, 0), self._clock_us.get(lane, 0)), to))
        return marks

    def trial_balance(self) -> dict[str, tuple[int, int, int]]:
        """See ``BookQueries.trial_balance``."""
        kinds: dict[str, list[tuple[str, int]]] = {}
        for line in (line for stored in self.entries.values() for line in stored.entry.lines):
            parts = line.account.partition("@")[0].split(".")
            kind = f"{parts[0]}.{parts[2 if parts[0] in 'UMC' else 1]}"
            kinds.setdefault(kind, []).append((line.account, line.debit_minor))
        return {
            kind: (len({account for account, _ in lines}), len(lines), sum(debit for _, debit in lines))
            for kind, lines in kinds.items()
        }

    def _statement(self, accounts: Sequence[str]) -> Iterator[StatementLine]:
        total = 0
        for stored in sorted(self.entries.values(), key=lambda one: (one.recorded_at_us, one.lane, one.position)):
            entry = stored.entry
            for number, line in enumerate(entry.lines):
                if line.account not in accounts:
                    continue
                total += line.debit_minor
                yield StatementLine(
                    account=line.account,
                    lane=stored.lane,
                    position=stored.position,
                    line=number,
                    entry_id=entry.entry_id,
                    event_type=entry.event_type,
                    payment_id=entry.payment_id,
                    occurred_at_us=entry.occurred_at_us,
                    recorded_at_us=stored.recorded_at_us,
                    debit_minor=line.debit_minor,
                    sum_minor=total,
                )


def _place(line: StatementLine) -> Place:
    return line.recorded_at_us, line.lane, line.position, line.line


def _few(accounts: list[str]) -> list[str]:
    if len(accounts) > ACCOUNTS_OF_OWNER_MAX:
        raise TooManyAccountsError(f"more than {ACCOUNTS_OF_OWNER_MAX} accounts")
    return accounts
