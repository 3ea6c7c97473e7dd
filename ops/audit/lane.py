"""Compares one lane with its seals: the chain, the records, the sums."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ops.audit.evidence import BALANCES, JOURNAL, LEAVES, SEALS, Evidence
from ops.audit.findings import ZEROS, Difference, LaneAudit
from ops.audit.fold import Fold
from ops.audit.leaves import LEAF, align, digest, merkle_root


def hash_of_seal(seal: dict[str, Any]) -> str:
    """The hash that a seal with these fields must carry."""
    parts = [seal[name] for name in ("lane", "number", "from_us", "to_us")]
    for side in (JOURNAL, BALANCES):
        parts += [seal[side][name] for name in ("first_offset", "next_offset", "count", "root")]
    for family in sorted(seal["totals"]):
        parts += [family, seal["totals"][family]["debit_minor"], seal["totals"][family]["credit_minor"]]
    parts += [seal["in_flight_minor"], seal["previous"]]
    return digest(b"\x02", "|".join(str(part) for part in parts).encode()).hex()


class Audit:
    """Compares one lane's evidence, step by step. ``kept`` is the hash of a seal that somebody wrote down earlier."""

    def __init__(self, evidence: Evidence, kept: str | None = None) -> None:
        self._evidence = evidence
        self._kept = kept
        self._seals = [seal for _, seal in evidence.seals]
        self._ends = {side: self._cumulative(side) for side in (JOURNAL, BALANCES)}
        """Side → behind which record each window ends."""
        last: dict[str, Any] = self._seals[-1] if self._seals else {"to_us": 0, "hash": ZEROS}
        self.result = LaneAudit(
            evidence.lane, seals=len(self._seals), sealed_to_us=int(last["to_us"]), hash=str(last["hash"])
        )
        self.result.journal, self.result.balances = len(evidence.found[JOURNAL]), len(evidence.found[BALANCES])

    def run(self) -> LaneAudit:
        """All comparisons."""
        for topic, offset, why in self._evidence.unreadable:
            self._differs("unreadable", topic, None, offset, why)
        self._chain()
        whole = {side: self._records(side) for side in (JOURNAL, BALANCES)}
        for number, why in self._evidence.unbalanced.items():
            self._differs("unbalanced", JOURNAL, self._window(JOURNAL, number), self._offset(JOURNAL, number), why)
        if whole[JOURNAL] is not None:
            self._totals()
            if (numbers := whole[BALANCES]) is not None:
                self._fold(numbers)
        return self.result

    def _cumulative(self, side: str) -> list[int]:
        ends: list[int] = []
        for seal in self._seals:
            ends.append((ends[-1] if ends else 0) + int(seal[side]["count"]))
        return ends

    def _window(self, side: str, number: int) -> int | None:
        """The seal over a record, by the record's number on its side."""
        at = bisect_right(self._ends[side], number)
        return int(self._seals[at]["number"]) if at < len(self._seals) else None

    def _offset(self, side: str, number: int) -> int:
        return self._evidence.found[side].offsets[number]

    def _differs(
        self, kind: str, topic: str, window: int | None, offset: int | None, detail: str, subject: str = ""
    ) -> None:
        self.result.add(Difference(kind, self._evidence.lane, window, topic, offset, subject, detail))

    # --- the chain

    def _chain(self) -> None:
        """Each seal is what its hash says, has the next number, names the seal before, and begins where that ended."""
        previous: dict[str, Any] = {"number": 0, "hash": ZEROS, "to_us": 0}
        next_offset = {JOURNAL: 0, BALANCES: 0}
        for offset, seal in self._evidence.seals:
            for wrong in self._wrong_with(seal, previous, next_offset):
                self._differs("seal", SEALS, int(seal["number"]), offset, wrong)
            previous = seal
            next_offset = {side: int(seal[side]["next_offset"]) for side in next_offset}

        if self._kept not in (None, ZEROS, *(seal["hash"] for seal in self._seals)):
            self._differs("seal", SEALS, None, None, f"{self._kept} was kept, and is gone: cut off, or made anew")

    def _wrong_with(self, seal: dict[str, Any], previous: dict[str, Any], next_offset: dict[str, int]) -> Iterator[str]:
        if hash_of_seal(seal) != seal["hash"]:
            yield "its hash is not that of its fields"
        if seal["number"] != previous["number"] + 1:
            yield f"it follows seal {previous['number']}: seals between them are gone, or one is there twice"
        elif seal["previous"] != previous["hash"]:
            yield f"it names another seal {previous['number']} than the one that is there"
        if seal["lane"] != self._evidence.lane:
            yield f"it is of lane {seal['lane']}"
        if seal["from_us"] < previous["to_us"] or seal["to_us"] <= seal["from_us"]:
            yield "its window does not lie behind the one before"
        for side, offset in next_offset.items():
            if seal[side]["first_offset"] != offset:
                yield f"its {side} begins at {seal[side]['first_offset']}, the one before ended at {offset}"

    # --- the records

    def _records(self, side: str) -> list[int] | None:
        """Compares a side's records with what was sealed. For each record its number among the sealed ones.

        None when they differ, so that sums over them would say nothing new.
        """
        before = len(self.result.differences)
        trusted = self._trusted(side)
        stored, found = self._evidence.stored[side], self._evidence.found[side]
        aligned = align(stored, found)
        for at in aligned.moved:
            number = aligned.numbers[at]
            self._record("moved", side, number, found.offsets[at], "it lay elsewhere in the order", trusted)
        for at, number in aligned.altered:
            self._record("altered", side, number, found.offsets[at], "its bytes are not those sealed", trusted)
        for number in aligned.missing:
            if side == BALANCES and number in aligned.superseded:
                self.result.compacted += 1
                continue
            where = f"it lay at offset {stored.offsets[number]}"
            self._record("missing", side, number, stored.offsets[number], where, trusted)
        for at in aligned.extra:
            self._record("extra", side, aligned.numbers[at] + 1, found.offsets[at], "it was never sealed", trusted)
        self.result.unsealed += len(found) - bisect_left(aligned.numbers, self._ends[side][-1] if self._seals else 0)
        return aligned.numbers if len(self.result.differences) == before else None

    def _record(self, kind: str, side: str, number: int, offset: int, detail: str, trusted: set[int]) -> None:
        window = self._window(side, number)
        if window is None or window in trusted:
            self._differs(kind, side, window, offset, detail)

    def _trusted(self, side: str) -> set[int]:
        """Windows whose kept leaves are those under the seal, so that they can name a record."""
        stored, found = self._evidence.stored[side], self._evidence.found[side]
        trusted, start = set(), 0
        for seal, end in zip(self._seals, self._ends[side], strict=True):
            window, span = int(seal["number"]), slice(start * LEAF, end * LEAF)
            kept, there = bytes(stored.leaves[span]), bytes(found.leaves[span])
            start = end
            if merkle_root(kept) == seal[side]["root"]:
                trusted.add(window)
            elif kept == there:
                self._differs("seal", SEALS, window, None, f"its {side} root is not that of the records")
            elif merkle_root(there) == seal[side]["root"]:
                self._differs("leaves", LEAVES, window, None, f"leaves of the {side} changed; its records did not")
            else:
                self._differs("leaves", LEAVES, window, None, f"neither leaves nor records of the {side} are sealed")
        return trusted

    # --- sums

    def _totals(self) -> None:
        """Each seal's totals by family are the sums of all entries up to it."""
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        start = 0
        for seal, end in zip(self._seals, self._ends[JOURNAL], strict=True):
            for families in self._evidence.families[start:end]:
                for family, (debits, credits_) in families.items():
                    sums[family][0] += debits
                    sums[family][1] += credits_
            start = end
            told = {f: [total["debit_minor"], total["credit_minor"]] for f, total in seal["totals"].items()}
            if told != sums:
                detail = f"it tells {told}, the entries come to {dict(sums)}"
                self._differs("totals", SEALS, int(seal["number"]), None, detail)

    def _fold(self, numbers: Sequence[int]) -> None:
        """At each window's end, and at the end of all, each account is the fold of its entries and legs."""
        fold = Fold(self._evidence)
        for at, seal in enumerate(self._seals):
            records = bisect_left(numbers, self._ends[BALANCES][at])
            self._forward(fold, int(seal["number"]), self._ends[JOURNAL][at], records)
            # Of a window in the past, compaction may have taken balances away: then the others don't sum to anything.
            if not self.result.compacted:
                self._whole(fold, seal)
        self._forward(fold, None, len(self._evidence.lines), len(numbers))
        if fold.total_minor:
            self._differs("fold", BALANCES, None, None, f"the accounts sum to {fold.total_minor}, not to 0")
        self.result.not_folded = fold.not_folded

    def _forward(self, fold: Fold, window: int | None, entries: int, records: int) -> None:
        for number, account, what in fold.forward(entries, records):
            self._differs("fold", BALANCES, window, self._offset(BALANCES, number), what, account)

    def _whole(self, fold: Fold, seal: dict[str, Any]) -> None:
        if fold.total_minor:
            detail = f"the accounts sum to {fold.total_minor}, not to 0"
            self._differs("fold", BALANCES, int(seal["number"]), None, detail)
        if fold.in_flight_minor != seal["in_flight_minor"]:
            detail = f"it tells {seal['in_flight_minor']} in flight, the balances {fold.in_flight_minor}"
            self._differs("totals", SEALS, int(seal["number"]), None, detail)
