"""What the ledger page shows: the trial balance by family, each lane, and the latest seals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from dashboards.sources.workers import Stage
from koban.records import Seal

FAMILIES = ("U", "M", "C", "A", "L", "R", "X")
IN_FLIGHT = "in_flight"
SEALS_SHOWN = 16

Verdict = Literal["balanced", "out", "unknown", "nothing"]
"""`unknown`: the ledger does not say; `nothing`: it was never heard of."""


class FamilyRow(msgspec.Struct, frozen=True):
    """One family of accounts over all lanes: what the journal debited and credited, and what its accounts hold."""

    family: str
    debit_minor: int | None
    credit_minor: int | None
    balance_minor: int | None
    """Debits positive."""


class LaneRow(msgspec.Struct, frozen=True):
    """One lane: its accounts and its legs in flight, which sum to zero, and how far it is sealed."""

    lane: int
    families: dict[str, int]
    """Family → sum of its accounts, debits positive."""
    in_flight_minor: int | None
    total_minor: int | None
    seal_number: int | None
    sealed_to: float | None
    """Seconds since the epoch."""


class Books(msgspec.Struct, frozen=True):
    """The whole page. ``total_minor`` must be 0: all accounts and the legs in flight, debits positive."""

    verdict: Verdict
    total_minor: int | None
    in_flight_minor: int | None
    unbalanced_entries: int | None
    families: list[FamilyRow]
    lanes: list[LaneRow]
    seals: list[Seal]

    @property
    def sealed_to(self) -> float | None:
        """Up to where every lane that was ever sealed is: the oldest end, in seconds since the epoch."""
        return min((row.sealed_to for row in self.lanes if row.sealed_to), default=None)


def books(stages: Mapping[str, Stage], seals: Iterable[bytes | None]) -> Books:
    """The books as the workers tell them, with the newest seals of the topic."""
    ledger, sealer = stages.get("ledger"), stages.get("seals")
    told = ledger.figures if ledger is not None else {}
    read = sealer.figures if sealer is not None else {}
    lanes = _lanes(told, read)
    imbalances = told.get("koban_ledger_imbalance_minor", {})
    is_told = ledger is not None and ledger.up and bool(imbalances)
    total = sum(row.total_minor or 0 for row in lanes) if is_told else None
    wrong = any(imbalances.values()) or any(row.total_minor for row in lanes) or any(_unbalanced(read))
    unbalanced = _unbalanced(read)
    return Books(
        verdict="nothing" if ledger is None else "unknown" if not is_told else "out" if wrong else "balanced",
        total_minor=total,
        in_flight_minor=sum(row.in_flight_minor or 0 for row in lanes) if is_told else None,
        unbalanced_entries=sum(unbalanced) if unbalanced else None,
        families=_families(told, read),
        lanes=lanes,
        seals=_seals(seals),
    )


def document(page: Books) -> dict[str, Any]:
    """The page as other programs read it."""
    plain: dict[str, Any] = msgspec.to_builtins(page)
    return plain | {"sealed_to": page.sealed_to}


Figures = Mapping[str, Mapping[tuple[str, ...], int]]


def _unbalanced(read: Figures) -> list[int]:
    return list(read.get("koban_journal_unbalanced_entries", {}).values())


def _families(told: Figures, read: Figures) -> list[FamilyRow]:
    posted, journal = told.get("koban_ledger_balance_minor", {}), read.get("koban_journal_total_minor", {})

    def total(figures: Mapping[tuple[str, ...], int], *labels: str) -> int | None:
        found = [value for key, value in figures.items() if key[1:] == labels]
        return sum(found) if found else 0 if figures else None

    return [FamilyRow(f, total(journal, f, "debit"), total(journal, f, "credit"), total(posted, f)) for f in FAMILIES]


def _lanes(told: Figures, read: Figures) -> list[LaneRow]:
    posted = told.get("koban_ledger_balance_minor", {})
    numbers, ends = read.get("koban_seal_number", {}), read.get("koban_seal_to_seconds", {})
    known = {key[0] for figures in (told.get("koban_ledger_imbalance_minor", {}), posted, numbers) for key in figures}
    rows = []
    for lane in sorted(known, key=int):
        balances = {family: value for (of, family), value in posted.items() if of == lane}
        rows.append(
            LaneRow(
                lane=int(lane),
                families={family: value for family, value in balances.items() if family != IN_FLIGHT},
                in_flight_minor=balances.get(IN_FLIGHT, 0) if posted else None,
                total_minor=sum(balances.values()) if posted else None,
                seal_number=numbers.get((lane,)) or None,
                sealed_to=float(ends[lane,]) if ends.get((lane,)) else None,
            )
        )
    return rows


def _seals(values: Iterable[bytes | None]) -> list[Seal]:
    """The newest, by the end of their windows; what can't be read is left out."""
    found: dict[tuple[int, int], Seal] = {}
    for value in values:
        try:
            seal = _seal.decode(value or b"")
        except msgspec.DecodeError:
            continue
        found[seal.lane, seal.number] = seal
    return sorted(found.values(), key=lambda seal: (-seal.to_us, seal.lane))[:SEALS_SHOWN]


_seal = msgspec.json.Decoder(Seal)
