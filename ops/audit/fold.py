"""Balances beside the fold of the journal, window by window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ops.audit.evidence import Evidence


@dataclass
class Fold:
    """One lane's accounts as its entries, legs and balances come in. Each account that is wrong is told once."""

    evidence: Evidence
    total_minor: int = 0
    """Of the latest balances, debits positive: 0 whenever a transaction is whole."""
    not_folded: int = 0
    _state: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Account → posted, version."""
    _own_lines: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _entries: int = 0
    _records: int = 0
    _faulty: set[str] = field(default_factory=set)

    @property
    def in_flight_minor(self) -> int:
        """The lane's account of legs in flight."""
        return self._state.get(f"L.in_flight@{self.evidence.lane}", (0, 0))[0]

    def forward(self, entries: int, records: int) -> Iterator[tuple[int, str, str]]:
        """Takes in so many entries and balance records in all.

        Gives (number of the record, account, what is wrong) for each account whose balance at this point can't be.
        """
        for lines in self.evidence.lines[self._entries : entries]:
            for account, _ in lines:
                self._own_lines[account] += 1
        touched = {}
        for number in range(self._records, records):
            account, posted, version = self.evidence.closing[number]
            before = self._state.get(account, (0, 0))
            self._state[account] = posted, version
            self.total_minor += debit(account, posted - before[0])
            touched[account] = number
            if version <= before[1]:
                yield from self._wrong(number, account, f"version {version} after {before[1]}")
        self._entries, self._records = entries, records
        for account, number in touched.items():
            posted, version = self._state[account]
            if not self._is_fold(account, posted, version):
                what = f"{posted} at version {version} is not the fold of its entries and legs"
                yield from self._wrong(number, account, what)

    def _wrong(self, number: int, account: str, what: str) -> Iterator[tuple[int, str, str]]:
        if account not in self._faulty:
            self._faulty.add(account)
            yield number, account, what

    def _is_fold(self, account: str, posted: int, version: int) -> bool:
        own_lines = self._own_lines[account]
        if version > own_lines and not self.evidence.legs_whole:
            self.not_folded += 1
            return True
        return self.evidence.accounts[account].balances_at(own_lines, version, debit(account, posted))


def debit(account: str, posted: int) -> int:
    """A balance with debits positive: assets, expenses and claims on users are on that side already."""
    return posted if account[:1] in "AX" or account.endswith(".clawback_due") else -posted
