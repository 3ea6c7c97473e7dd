"""What the topics say of one lane, kept small: digests, sums and places, no values."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from koban.records import Seal
from ops.audit.leaves import LEAF, Records, leaf_of
from ops.kafka_log import LogRecord
from schemas.partitioning import lane_of

JOURNAL, BALANCES, LEGS = "journal", "balances", "ledger-legs"
SEALS, LEAVES = "ledger-seals", "ledger-seal-leaves"
TOPICS = (SEALS, LEAVES, BALANCES, JOURNAL, LEGS)
"""In the order in which they are read: what one of them refers to is in a later one, even while the ledger works."""
TRIES_MAX = 10_000


@dataclass
class Account:
    """An account's lines: running sums after each own line and after each leg that arrived, debits positive."""

    own: array[int] = field(default_factory=lambda: array("q", (0,)))
    arrived: array[int] = field(default_factory=lambda: array("q", (0,)))

    def balances_at(self, own_lines: int, version: int, debit_minor: int) -> bool:
        """Whether a balance of this version can be: some first lines of its own, and some first legs."""
        most = min(own_lines, version)
        for own in range(most, max(-1, most - TRIES_MAX), -1):
            legs = version - own
            if legs >= len(self.arrived):
                return False
            if self.own[own] + self.arrived[legs] == debit_minor:
                return True
        return False


class Evidence:
    """All that the topics say of one lane, kept small: digests, sums and places, no values."""

    def __init__(self, lane: int, lanes: int, *, legs_whole: bool = True) -> None:
        self.lane = lane
        self.seals: list[tuple[int, dict[str, Any]]] = []
        self.stored = {JOURNAL: Records(), BALANCES: Records()}
        """What the sealer saw."""
        self.found = {JOURNAL: Records(), BALANCES: Records()}
        """What is there."""
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self.lines: list[list[tuple[str, int]]] = []
        """Of each entry, in the order of the journal; those that touch accounts of this lane."""
        self.families: list[dict[str, tuple[int, int]]] = []
        """Of each entry: family → debits and credits."""
        self.closing: list[tuple[str, int, int]] = []
        """Of each balance record: account, posted, version."""
        self.unbalanced: dict[int, str] = {}
        """Number of the record in the journal → what is wrong with it."""
        self.unreadable: list[tuple[str, int, str]] = []
        """(topic, offset, why) of seals, leaves and legs that are none."""
        self.legs_whole = legs_whole
        """Whether the legs are kept from the first one on."""
        self._lanes = lanes

    def take(self, topic: str, record: LogRecord) -> None:
        """A record of one of the topics."""
        try:
            getattr(self, f"_take_{topic.replace('-', '_')}")(record)
        except (ValueError, KeyError, TypeError) as error:
            self.unreadable.append((topic, record.offset, f"{type(error).__name__}: {error}"))

    def _take_ledger_seals(self, record: LogRecord) -> None:
        seal = json.loads(record.value or b"")
        msgspec.convert(seal, Seal)
        self.seals.append((record.offset, seal))

    def _take_ledger_seal_leaves(self, record: LogRecord) -> None:
        value = msgspec.json.decode(record.value or b"", type=_Leaves)
        offsets = [run.first_offset + at for run in value.runs for at in range(run.count)]
        for at, offset in enumerate(offsets):
            self.stored[value.side].add(offset, value.leaves[at * LEAF : (at + 1) * LEAF])

    def _take_journal(self, record: LogRecord) -> None:
        number = len(self.found[JOURNAL])
        self.found[JOURNAL].add(record.offset, leaf_of(record))
        try:
            entry = json.loads(record.value or b"")
            lines = [(str(line["account"]), int(line["debit_minor"])) for line in entry["lines"]]
        except (ValueError, KeyError, TypeError) as error:
            self.unbalanced[number] = f"can't be read ({type(error).__name__})"
            lines = []
        total = sum(debit for _, debit in lines)
        if total:
            self.unbalanced[number] = f"its lines sum to {total}, not to 0"
        sums: dict[str, tuple[int, int]] = {}
        for account, debit in lines:
            if not "A" <= account[:1] <= "Z":
                self.unbalanced[number] = f"{account} is no account"
                continue
            debits, credits_ = sums.get(account[0], (0, 0))
            sums[account[0]] = (debits + max(debit, 0), credits_ + max(-debit, 0))
        self.families.append(sums)
        here = [(a if self._is_here(a) else f"L.in_flight@{self.lane}", debit) for a, debit in lines]
        for account, debit in here:
            own = self.accounts[account].own
            own.append(own[-1] + debit)
        self.lines.append(here)

    def _take_balances(self, record: LogRecord) -> None:
        self.found[BALANCES].add(record.offset, leaf_of(record))
        try:
            balance = json.loads(record.value or b"")
            self.closing.append((str(balance["account"]), int(balance["posted_minor"]), int(balance["version"])))
        except (ValueError, KeyError, TypeError):
            self.closing.append(("", 0, 0))

    def _take_ledger_legs(self, record: LogRecord) -> None:
        for leg in json.loads(record.value or b"")["legs"]:
            if leg.get("claim_minor"):
                continue  # asks for a refund's money, and moves none
            for account, sign in ((leg["account"], 1), (f"L.in_flight@{self.lane}", -1)):
                arrived = self.accounts[account].arrived
                arrived.append(arrived[-1] + sign * leg["debit_minor"])

    def _is_here(self, account: str) -> bool:
        if "@" in account:
            return True
        owner = account.split(".")[1] if "." in account else account
        return lane_of(owner.replace("%2E", "."), self._lanes) == self.lane


class _Run(msgspec.Struct):
    first_offset: int
    count: int


class _Leaves(msgspec.Struct):
    side: str
    runs: list[_Run]
    leaves: bytes
