"""What an audit finds: lanes, and in them what is not as it was sealed."""

from __future__ import annotations

from dataclasses import dataclass, field

DIFFERENCES_MAX = 200
"""Of a lane; more are only counted."""
ZEROS = "0" * 64
"""What the first seal of a lane has for the hash of the one before."""


class NothingSealedError(LookupError):
    """There is no seal to audit; the message says what is missing."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was sealed. ``window`` is the seal's number; None for what is not sealed yet."""

    kind: str
    """`altered`, `missing`, `extra`, `moved`, `seal`, `leaves`, `totals`, `unbalanced`, `fold` or `unreadable`."""
    lane: int
    window: int | None
    topic: str
    offset: int | None = None
    subject: str = ""
    """The entry or the account."""
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.topic}/{self.lane}" + ("" if self.offset is None else f"@{self.offset}")
        window = "no window" if self.topic == "ledger-seals" else "not sealed yet"
        window = window if self.window is None else f"window {self.window}"
        what = " ".join(part for part in (self.subject, self.detail) if part)
        return f"lane {self.lane}, {window}: {self.kind} {place}{': ' if what else ''}{what}"


@dataclass
class LaneAudit:
    """What was compared in a lane, and what differs."""

    lane: int
    seals: int = 0
    sealed_to_us: int = 0
    hash: str = ZEROS
    """Of the last seal: who keeps it can tell a chain that was cut or made anew."""
    journal: int = 0
    balances: int = 0
    compacted: int = 0
    """Balance records that are gone because a newer one of their account is there."""
    unsealed: int = 0
    not_folded: int = 0
    """Balances that could not be compared, since the legs they come of are no longer kept."""
    differences: list[Difference] = field(default_factory=list)
    more: int = 0

    @property
    def ok(self) -> bool:
        """Nothing differs."""
        return not self.differences

    def add(self, difference: Difference) -> None:
        """Notes a difference, up to the limit."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)
        else:
            self.more += 1
