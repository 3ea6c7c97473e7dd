"""Sealed windows over random logs: no change goes unnoticed, proofs hold for what is in, crashes leave no trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from koban.ledger.seals import SIDES, LaneSealer, leaf_of, prove, root_of, seal_hash, verify_proof
from koban.records import Seal, SealLeaves
from streams.seals.lane import LEAVES, SEALS, SealsLane
from streams.transport import Batch

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND
patient = settings(deadline=None, max_examples=100)
leaf_lists = st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=40, unique=True)


def oracle_root(leaves: Sequence[bytes]) -> bytes:
    """The tree's definition, word for word."""
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return sha256(b"\x01" + oracle_root(leaves[:middle]) + oracle_root(leaves[middle:])).digest()


@patient
@given(leaf_lists)
def test_a_growing_tree_has_the_root_of_the_definition(leaves):
    assert root_of(leaves) == oracle_root(leaves)


@patient
@given(leaf_lists, st.data())
def test_a_leaf_that_is_changed_lost_added_or_moved_changes_the_root(leaves, data):
    """Each kind of tampering at each place."""
    at = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.binary(max_size=4).filter(lambda leaf: leaf != leaves[at]))
    changed = [*leaves[:at], other, *leaves[at + 1 :]]
    lost = [*leaves[:at], *leaves[at + 1 :]]
    added = [*leaves[:at], other, *leaves[at:]]
    moved = data.draw(st.permutations(leaves))
    for tampered in (changed, lost, added, moved):
        assert (root_of(tampered) == root_of(leaves)) == (tampered == leaves)


@patient
@given(leaf_lists, st.data())
def test_a_proof_holds_for_its_leaf_at_its_place_and_for_nothing_else(leaves, data):
    """Another leaf, place, count, root or path, a path too long or too short: refused."""
    root, count = root_of(leaves), len(leaves)
    at = data.draw(st.integers(0, count - 1))
    proof = prove(leaves, at)
    assert verify_proof(leaves[at], at, count, proof, root)
    assert not verify_proof(leaves[at] + b"x", at, count, proof, root)
    assert not any(verify_proof(leaves[at], other, count, proof, root) for other in range(count) if other != at)
    assert not verify_proof(leaves[at], at, count, proof, sha256(root).digest())
    assert not verify_proof(leaves[at], at, count, (*proof, root), root)
    assert not verify_proof(leaves[at], -1, count, proof, root)
    if proof:
        wrong = data.draw(st.integers(0, len(proof) - 1))
        broken = [sha256(part).digest() if i == wrong else part for i, part in enumerate(proof)]
        assert not verify_proof(leaves[at], at, count, broken, root)
        assert not verify_proof(leaves[at], at, count, proof[:-1], root)


# --- a lane, its log, and a sealer that dies


class Stored(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Log:
    """What the sealer wrote and committed, read back as its lane would."""

    def __init__(self, records: list[Stored]) -> None:
        self._records = records

    async def read(self, topic: str, last: int | None = None) -> AsyncIterator[Sequence[Stored]]:
        if self._records:
            yield self._records[-(last or len(self._records)) :]


@st.composite
def lanes_logs(draw: st.DrawFn) -> dict[str, list[Stored]]:
    """Journal and balances of a lane as its transactions wrote them: times grow, offsets have gaps for markers."""
    logs: dict[str, list[Stored]] = {side: [] for side in SIDES}
    offsets = dict.fromkeys(SIDES, 0)
    at_us = T0
    for _ in range(draw(st.integers(0, 15))):
        at_us += draw(st.sampled_from((0, SECOND, 7 * SECOND, 45 * SECOND)))
        for side in SIDES:
            for _ in range(draw(st.integers(0, 3))):
                value = b'{"lines":[],"n":%d}' % offsets[side]
                headers = (("ce_id", b"x"), ("koban_at_us", b"%d" % at_us))
                logs[side].append(Stored(offsets[side], 1, b"w-1", value, headers))
                offsets[side] += 1
            offsets[side] += 1
    return logs


class Rig:
    """A sealer's lane with committed offsets, outputs and time; any round may be lost in a crash."""

    def __init__(self, logs: dict[str, list[Stored]]) -> None:
        self.logs = logs
        self.committed = dict.fromkeys(SIDES, 0)
        self.written: dict[str, list[Stored]] = {SEALS: [], LEAVES: []}
        self.lane: SealsLane | None = None

    def round(self, side: str, records_max: int, *, crash: bool = False) -> None:
        records = self.logs[side][self.committed[side] :][:records_max]
        if not records:
            return
        batch = Batch(side, 0, records, records[-1].offset + 1)
        asyncio.run(self._alive().on_batch(batch))  # type: ignore[arg-type]  # a record is a record
        self._end(batch, crash)
        self.committed[side] += 0 if crash else len(records)

    def tick(self, at_us: int, *, crash: bool = False) -> None:
        """Time as it is for a lane that has read this far: a side counts as read only at its end."""
        read = [side for side in SIDES if self.committed[side] == len(self.logs[side])]
        batch = Batch("", 0, [], 0)
        asyncio.run(self._alive().on_timer(batch, at_us, read))
        self._end(batch, crash)

    def finish(self) -> None:
        for side in SIDES:
            self.round(side, 10_000)
        self.tick(T0 + 100_000 * SECOND)

    def seals(self) -> list[Seal]:
        return [msgspec.json.decode(record.value or b"", type=Seal) for record in self.written[SEALS]]

    def leaves(self, side: str) -> list[bytes]:
        found = [msgspec.json.decode(record.value or b"", type=SealLeaves) for record in self.written[LEAVES]]
        joined = b"".join(each.leaves for each in found if each.side == side)
        return [joined[at : at + 48] for at in range(0, len(joined), 48)]

    def _alive(self) -> SealsLane:
        if self.lane is None:
            self.lane = SealsLane(0, LaneSealer(0, 10 * SECOND, 3 * SECOND), clock_us=lambda: T0)
            asyncio.run(self.lane.restore(Log(self.written[LEAVES])))  # type: ignore[arg-type]  # it reads like one
        return self.lane

    def _end(self, batch: Batch, crash: bool) -> None:
        if crash:
            self.lane = None
            return
        for output in batch.outputs:
            log = self.written[output.topic]
            log.append(Stored(len(log), output.timestamp_ms or 0, output.key, output.value, ()))


@patient
@given(lanes_logs(), st.data())
def test_a_sealer_that_dies_anywhere_makes_the_same_seals(logs, data):
    """Rounds of any size in any order, ticks between them, any of them lost: the seals of one undisturbed reading."""
    plain, rig = Rig(logs), Rig(logs)
    plain.finish()
    for _ in range(data.draw(st.integers(0, 25))):
        crash = data.draw(st.booleans())
        if data.draw(st.booleans()):
            rig.round(data.draw(st.sampled_from(SIDES)), data.draw(st.integers(1, 4)), crash=crash)
        else:
            # Time as the log has it: no record is written before a time that was told, less the grace.
            unread = [
                int(dict(log[rig.committed[side]].headers)["koban_at_us"] or 0)
                for side, log in logs.items()
                if rig.committed[side] < len(log)
            ]
            rig.tick(min(unread, default=T0), crash=crash)
    rig.finish()
    assert rig.seals() == plain.seals()
    for side in SIDES:
        expected = [leaf_of(record.key, record.value) for record in logs[side]]
        assert rig.leaves(side) == plain.leaves(side) == expected


@patient
@given(lanes_logs())
def test_seals_cover_every_record_once_and_hang_together(logs):
    """Ranges touch, roots are those of the records between them, and each seal names the one before."""
    rig = Rig(logs)
    rig.finish()
    seals, previous = rig.seals(), "0" * 64
    starts = dict.fromkeys(SIDES, 0)
    for number, seal in enumerate(seals, 1):
        assert (seal.number, seal.previous, seal.hash) == (number, previous, seal_hash(seal))
        assert seal.from_us < seal.to_us
        previous = seal.hash
        for side in SIDES:
            part = getattr(seal, side)
            records = [r for r in logs[side] if part.first_offset <= r.offset < part.next_offset]
            assert part.first_offset == starts[side]
            assert (part.count, part.root) == (
                len(records),
                root_of(leaf_of(r.key, r.value) for r in records).hex(),
            )
            starts[side] = part.next_offset
    assert starts == {side: log[-1].offset + 1 if log else 0 for side, log in logs.items()}
