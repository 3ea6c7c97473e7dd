"""How an account stands now, as the lanes that keep it tell: what a ledger worker answers to who asks it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

PATH = "/standing"
"""Of the page on a ledger worker's own port; the account is its `account` parameter."""


class Standing(msgspec.Struct, frozen=True):
    """An account in one lane, all of it committed. Amounts are in minor units, on the account's own side."""

    lane: int
    posted_minor: int
    held_minor: int
    pending_in_minor: int
    version: int


class Standings(msgspec.Struct, frozen=True):
    """What one worker knows of an account."""

    lanes: list[int]
    """Of the lanes that may have a part of the account, those that the worker has."""
    found: list[Standing]


decode_standings = msgspec.json.Decoder(Standings).decode


def latest(found: Iterable[Standing]) -> list[Standing]:
    """One a lane. A worker that has lost a lane and does not know it yet is behind the lane's owner: it is left out."""
    newest: dict[int, Standing] = {}
    for standing in found:
        known = newest.get(standing.lane)
        if known is None or known.version < standing.version:
            newest[standing.lane] = standing
    return [newest[lane] for lane in sorted(newest)]
