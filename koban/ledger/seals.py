"""Sealed windows: what a lane wrote in a span of time, fixed by two Merkle roots and chained to the span before.

A lane's journal and balances are read in the order of their partitions. Each record is a leaf; the leaves of a window
make a tree as in RFC 6962 (leaves and inner nodes are hashed apart, so that neither passes for the other), and a seal
holds the two roots, where the window's records lie, the totals so far, and the hash of the seal before it.

A record belongs to the window in which it was written, by the time in its header; one that comes late, after its
window was sealed, belongs to the next. A window ends when a later record is seen, or when time has passed it and all
there is has been read. A seal says nothing of when it was made; so whoever reads the same log makes the same seals.
Windows without records have no seal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec

from koban.events import Line
from koban.ledger.accounts import IN_FLIGHT
from koban.records import FamilyTotal, OpenRange, OpenSide, Seal, SealedRange, SealState

NAME_BYTES, DIGEST_BYTES = 16, 32
LEAF_BYTES = NAME_BYTES + DIGEST_BYTES
"""A leaf before it is hashed: a digest of the record's key, so that a compacted topic shows whose record is gone,
and one of its value."""
EMPTY_ROOT = sha256(b"").digest()
FIRST = "0" * (2 * DIGEST_BYTES)
"""What the first seal of a lane has for the hash of the one before."""
JOURNAL, BALANCES = SIDES = ("journal", "balances")
EARLIEST_US, LATEST_US = 1_262_304_000_000_000, 4_070_908_800_000_000
"""2010 and 2099: a time outside is no time, and its record counts as written right after the one before."""
_LEAF, _NODE, _SEAL = b"\x00", b"\x01", b"\x02"
_NO_NAME, _NO_DIGEST = bytes(NAME_BYTES), bytes(DIGEST_BYTES)
_IN_FLIGHT = f"{IN_FLIGHT}@".encode()


class _Posted(msgspec.Struct, frozen=True, gc=False):
    lines: tuple[Line, ...]


class _Balance(msgspec.Struct, frozen=True, gc=False):
    posted_minor: int


_read_entry = msgspec.json.Decoder(_Posted).decode
_read_balance = msgspec.json.Decoder(_Balance).decode


# --- trees


def leaf_of(key: bytes | None, value: bytes | None) -> bytes:
    """A record's leaf, in ``LEAF_BYTES``: the same wherever and whenever the record lies."""
    name = _NO_NAME if key is None else sha256(key).digest()[:NAME_BYTES]
    return name + (_NO_DIGEST if value is None else sha256(value).digest())


class Tree:
    """A Merkle tree that grows at its end and keeps a hash a level: `peaks`, its perfect parts, the largest first."""

    __slots__ = ("count", "peaks")

    def __init__(self, count: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.count = count
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Adds a leaf behind the others."""
        node, below, peaks = sha256(_LEAF + leaf).digest(), self.count, self.peaks
        while below & 1:
            node = sha256(_NODE + peaks.pop() + node).digest()
            below >>= 1
        peaks.append(node)
        self.count += 1

    def root(self) -> bytes:
        """The hash of all leaves and of their order."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = sha256(_NODE + peak + root).digest()
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root of a whole tree."""
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def prove(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes that lead from a leaf to the root, the lowest first. Raises IndexError when there is no such leaf."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"there is no leaf {index} among {len(leaves)}")
    if len(leaves) == 1:
        return ()
    middle = _split(len(leaves))
    if index < middle:
        return (*prove(leaves[:middle], index), root_of(leaves[middle:]))
    return (*prove(leaves[middle:], index - middle), root_of(leaves[:middle]))


def verify_proof(leaf: bytes, index: int, count: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a leaf is the one at ``index`` of the ``count`` leaves below ``root``."""
    if not 0 <= index < count:
        return False
    path = []
    while count > 1:
        middle = _split(count)
        path.append(index >= middle)
        index, count = (index - middle, count - middle) if index >= middle else (index, middle)
    if len(path) != len(proof):
        return False
    node = sha256(_LEAF + leaf).digest()
    for other, is_right in zip(proof, reversed(path), strict=True):
        node = sha256(_NODE + other + node if is_right else _NODE + node + other).digest()
    return node == root


def _split(count: int) -> int:
    """The largest power of two below ``count``: how many leaves the left side of a tree has."""
    return 1 << (count - 1).bit_length() - 1


# --- seals


def seal_hash(seal: Seal) -> str:
    """The hash that a seal carries and the next one refers to: over every field but itself, in 64 hex digits."""
    fields: list[object] = [seal.lane, seal.number, seal.from_us, seal.to_us]
    for side in (seal.journal, seal.balances):
        fields += [side.first_offset, side.next_offset, side.count, side.root]
    for family, total in sorted(seal.totals.items()):
        fields += [family, total.debit_minor, total.credit_minor]
    fields += [seal.in_flight_minor, seal.previous]
    return sha256(_SEAL + "|".join(map(str, fields)).encode()).hexdigest()


class _Open:
    """One side's records of a window that is not sealed yet."""

    __slots__ = ("end_us", "first_offset", "in_flight_minor", "next_offset", "start_us", "totals", "tree")

    def __init__(self, start_us: int, end_us: int, first_offset: int, tree: Tree) -> None:
        self.start_us = start_us
        self.end_us = end_us
        self.first_offset = self.next_offset = first_offset
        self.tree = tree
        self.totals: dict[str, list[int]] = {}
        """Family → Σ debits and Σ credits of the window's entries."""
        self.in_flight_minor: int | None = None
        """The lane's legs in flight after the window's last record that says so."""

    def sealed(self) -> SealedRange:
        return SealedRange(
            first_offset=self.first_offset,
            next_offset=self.next_offset,
            count=self.tree.count,
            root=self.tree.root().hex(),
        )

    def snapshot(self) -> OpenRange:
        return OpenRange(
            start_us=self.start_us,
            end_us=self.end_us,
            first_offset=self.first_offset,
            next_offset=self.next_offset,
            count=self.tree.count,
            peaks=tuple(self.tree.peaks),
            totals=_frozen(self.totals),
            in_flight_minor=self.in_flight_minor,
        )

    @classmethod
    def restored(cls, stored: OpenRange) -> _Open:
        made = cls(stored.start_us, stored.end_us, stored.first_offset, Tree(stored.count, stored.peaks))
        made.next_offset = stored.next_offset
        made.totals = {family: [t.debit_minor, t.credit_minor] for family, t in stored.totals.items()}
        made.in_flight_minor = stored.in_flight_minor
        return made


class _Side:
    """The journal or the balances of the lane, as far as they are read and not sealed."""

    __slots__ = ("closed_to_us", "next_offset", "open")

    def __init__(self) -> None:
        self.next_offset = 0
        self.open: list[_Open] = []
        self.closed_to_us = EARLIEST_US
        """No record goes to a window that ends by then."""


class LaneSealer:
    """The seals of one lane. Feed it each record once, in order, and the time; take what is sealed.

    ``window_us`` is how long a window is, ``grace_us`` how long after its end a record of it may still appear; both in
    microseconds.
    """

    def __init__(self, lane: int, window_us: int, grace_us: int) -> None:
        self.lane = lane
        self.unbalanced = 0
        """Entries seen since the start whose lines don't sum to zero, can't be read or name no account."""
        self._window_us = window_us
        self._grace_us = grace_us
        self._sides = {side: _Side() for side in SIDES}
        self._totals: dict[str, list[int]] = {}
        self._in_flight_minor = 0
        self.number = 0
        """Of the last seal."""
        self._to_us = 0
        self._hash = FIRST

    def on_record(self, side: str, offset: int, at_us: int, key: bytes | None, value: bytes | None) -> bytes | None:
        """Takes in the next record of a side, written at ``at_us``; gives its leaf. None if it was taken in before."""
        state = self._sides[side]
        if offset < state.next_offset:
            return None
        part = self._part(state, at_us)
        leaf = leaf_of(key, value)
        part.tree.append(leaf)
        state.next_offset = part.next_offset = offset + 1
        if side == JOURNAL:
            self._add_up(part, value)
        elif key is not None and key.startswith(_IN_FLIGHT):
            with suppress(msgspec.DecodeError):
                part.in_flight_minor = _read_balance(value or b"").posted_minor
        return leaf

    def on_timer(self, at_us: int, read: Collection[str]) -> None:
        """At ``at_us`` all that was committed on the ``read`` sides had been taken in."""
        closed_to_us = at_us - self._grace_us
        closed_to_us -= closed_to_us % self._window_us
        for side in read:
            self._sides[side].closed_to_us = max(self._sides[side].closed_to_us, closed_to_us)

    def take_seals(self) -> list[Seal]:
        """Seals of the windows that ended on both sides, oldest first, each once."""
        seals = []
        while (end_us := self._next_end_us()) is not None:
            seals.append(self._seal(end_us))
        return seals

    @property
    def sealed_to_us(self) -> int:
        """Everything written before is sealed, whether there was anything or not; 0 while nothing is known."""
        ends = [side.open[0].start_us if side.open else side.closed_to_us for side in self._sides.values()]
        return max(self._to_us, min(ends) if min(ends) > EARLIEST_US else 0)

    def totals(self) -> dict[str, FamilyTotal]:
        """Family → Σ debits and Σ credits of all entries read, sealed or not."""
        totals = {family: list(total) for family, total in self._totals.items()}
        for part in self._sides[JOURNAL].open:
            _add(totals, part.totals)
        return _frozen(totals)

    # --- over restarts

    def snapshot(self) -> SealState:
        """All that is needed to go on from here."""
        journal, balances = (
            OpenSide(next_offset=side.next_offset, parts=tuple(part.snapshot() for part in side.open))
            for side in self._sides.values()
        )
        return SealState(
            number=self.number,
            to_us=self._to_us,
            hash=self._hash,
            totals=_frozen(self._totals),
            in_flight_minor=self._in_flight_minor,
            journal=journal,
            balances=balances,
        )

    def restore(self, stored: SealState) -> None:
        """Goes on from a snapshot."""
        self.number, self._to_us, self._hash = stored.number, stored.to_us, stored.hash
        self._totals = {family: [t.debit_minor, t.credit_minor] for family, t in stored.totals.items()}
        self._in_flight_minor = stored.in_flight_minor
        for side, open_side in ((JOURNAL, stored.journal), (BALANCES, stored.balances)):
            state = self._sides[side]
            state.next_offset = open_side.next_offset
            state.open = [_Open.restored(part) for part in open_side.parts]
            state.closed_to_us = max([stored.to_us, *(part.start_us for part in state.open)])

    # --- steps

    def _part(self, state: _Side, at_us: int) -> _Open:
        """The window that a record of this time goes to: its own, or a later one when that is closed."""
        at_us = max(at_us, state.closed_to_us) if at_us < LATEST_US else state.closed_to_us
        if state.open and at_us < state.open[-1].end_us:
            return state.open[-1]
        start_us = at_us - at_us % self._window_us
        end_us = start_us + self._window_us
        part = _Open(max(start_us, state.closed_to_us), end_us, state.next_offset, Tree())
        state.closed_to_us = part.start_us
        state.open.append(part)
        return part

    def _add_up(self, part: _Open, value: bytes | None) -> None:
        try:
            lines = _read_entry(value or b"").lines
        except msgspec.DecodeError:
            self.unbalanced += 1
            return
        totals, sum_minor = part.totals, 0
        for line in lines:
            family, debit_minor = line.account[0], line.debit_minor
            sum_minor += debit_minor
            total = totals.get(family)
            if total is None:
                if not "A" <= family <= "Z":
                    self.unbalanced += 1
                    continue
                total = totals[family] = [0, 0]
            if debit_minor > 0:
                total[0] += debit_minor
            else:
                total[1] -= debit_minor
        self.unbalanced += sum_minor != 0

    def _next_end_us(self) -> int | None:
        """The end of the oldest open window, if both sides are past it."""
        ends = [side.open[0].end_us for side in self._sides.values() if side.open]
        if not ends or any(side.closed_to_us < min(ends) for side in self._sides.values()):
            return None
        return min(ends)

    def _seal(self, end_us: int) -> Seal:
        parts = {name: self._taken(side, end_us) for name, side in self._sides.items()}
        _add(self._totals, parts[JOURNAL].totals)
        in_flight_minor = parts[BALANCES].in_flight_minor
        if in_flight_minor is not None:
            self._in_flight_minor = in_flight_minor
        self.number += 1
        self._to_us = end_us
        seal = Seal(
            lane=self.lane,
            number=self.number,
            from_us=min(part.start_us for part in parts.values()),
            to_us=end_us,
            journal=parts[JOURNAL].sealed(),
            balances=parts[BALANCES].sealed(),
            totals=_frozen(self._totals),
            in_flight_minor=self._in_flight_minor,
            previous=self._hash,
            hash=FIRST,
        )
        self._hash = seal_hash(seal)
        return msgspec.structs.replace(seal, hash=self._hash)

    def _taken(self, side: _Side, end_us: int) -> _Open:
        """A side's records of the window that ends so; an empty range where it has none."""
        if side.open and side.open[0].end_us == end_us:
            return side.open.pop(0)
        offset = side.open[0].first_offset if side.open else side.next_offset
        return _Open(end_us, end_us, offset, Tree())


def _add(totals: dict[str, list[int]], more: dict[str, list[int]]) -> None:
    for family, (debit_minor, credit_minor) in more.items():
        total = totals.setdefault(family, [0, 0])
        total[0] += debit_minor
        total[1] += credit_minor


def _frozen(totals: dict[str, list[int]]) -> dict[str, FamilyTotal]:
    return {
        family: FamilyTotal(debit_minor=debit_minor, credit_minor=credit_minor)
        for family, (debit_minor, credit_minor) in sorted(totals.items())
    }
