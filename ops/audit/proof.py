"""Proves that an entry is under a seal, with no more than the entry, some hashes and the seal."""

from __future__ import annotations

import msgspec

from koban.ledger.seals import LEAF_BYTES, leaf_of, prove, verify_proof
from koban.records import Seal, SealLeaves
from koban.settings import Settings
from ops.audit.evidence import JOURNAL, LEAVES, SEALS
from ops.audit.findings import NothingSealedError
from ops.kafka_log import LogRecord, read_topics


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """All that somebody else needs. ``path`` are the hashes from the entry's leaf up to the journal's root, in hex."""

    entry_id: str
    partition: int
    offset: int
    key: str
    value: str
    index: int
    """The entry's place among those of its window."""
    path: tuple[str, ...]
    seal: Seal

    @property
    def ok(self) -> bool:
        """Whether the path leads from the entry to the root that the seal has."""
        journal = self.seal.journal
        leaf, path = leaf_of(self.key.encode(), self.value.encode()), [bytes.fromhex(part) for part in self.path]
        return verify_proof(leaf, self.index, journal.count, path, bytes.fromhex(journal.root))


def proof_of(settings: Settings, entry_id: str) -> Proof:
    """Looks an entry up and proves it. Raises NothingSealedError saying what is missing, LogUnavailableError."""
    record = _find(settings, entry_id)
    seal = _seal_over(settings, record)
    leaves, index = _leaves(settings, record, seal)
    return Proof(
        entry_id=entry_id,
        partition=record.partition,
        offset=record.offset,
        key=(record.key or b"").decode(),
        value=(record.value or b"").decode(),
        index=index,
        path=tuple(part.hex() for part in prove(leaves, index)),
        seal=seal,
    )


def _find(settings: Settings, entry_id: str) -> LogRecord:
    wanted = entry_id.encode()
    for record in read_topics(settings.kafka_bootstrap, [JOURNAL]):
        if record.value and wanted in record.value and msgspec.json.decode(record.value)["entry_id"] == entry_id:
            return record
    raise NothingSealedError(f"there is no entry {entry_id} in the journal")


def _seal_over(settings: Settings, record: LogRecord) -> Seal:
    for each in read_topics(settings.kafka_bootstrap, [SEALS]):
        if each.partition == record.partition:
            seal = msgspec.json.decode(each.value or b"", type=Seal)
            if seal.journal.first_offset <= record.offset < seal.journal.next_offset:
                return seal
    raise NothingSealedError(f"journal/{record.partition}@{record.offset} is under no seal yet: its window is not over")


def _leaves(settings: Settings, record: LogRecord, seal: Seal) -> tuple[list[bytes], int]:
    """The window's leaves, and which of them is the record's."""
    found: dict[int, bytes] = {}
    for each in read_topics(settings.kafka_bootstrap, [LEAVES]):
        if each.partition != record.partition:
            continue
        kept = msgspec.json.decode(each.value or b"", type=SealLeaves)
        if kept.side == JOURNAL:
            offsets = (run.first_offset + at for run in kept.runs for at in range(run.count))
            for at, offset in enumerate(offsets):
                found[offset] = kept.leaves[at * LEAF_BYTES : (at + 1) * LEAF_BYTES]
    window = [offset for offset in sorted(found) if seal.journal.first_offset <= offset < seal.journal.next_offset]
    if record.offset not in window:
        raise NothingSealedError(f"no leaf is kept of journal/{record.partition}@{record.offset}: `koban ledger audit`")
    return [found[offset] for offset in window], window.index(record.offset)
