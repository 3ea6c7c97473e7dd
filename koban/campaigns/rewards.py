"""What a payment earns under a campaign, as if the pot had no bottom. Integers all the way: yen and basis points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from koban.events import Event, HoldEnded, Tender, TenderKind
from koban.records import Campaign

BP = 10_000
"""Basis points in a whole."""
_ENCODER = msgspec.json.Encoder(order="deterministic")

TenderSums = Mapping[TenderKind, int]
"""Yen by kind of tender."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a reward is computed from: the part of a definition that a grant keeps, so that refunds follow it."""

    definition_hash: str
    rate_bp: int
    cap_per_payment_minor: int
    amount_min_minor: int = 0
    tenders: tuple[TenderKind, ...] = ()


def terms_of(campaign: Campaign) -> Terms:
    """The terms of a definition, under its hash: 32 hex digits that name exactly this definition."""
    return Terms(
        definition_hash=blake2b(_ENCODER.encode(campaign), digest_size=16).hexdigest(),
        rate_bp=campaign.rate_bp,
        cap_per_payment_minor=campaign.cap_per_payment_minor,
        amount_min_minor=campaign.amount_min_minor,
        tenders=campaign.tenders,
    )


def paid_tenders(event: Event) -> dict[TenderKind, int]:
    """What a PaymentCompleted or a PaymentCaptured brought the merchant, by tender.

    A part capture takes the tenders in the order in which they are spent, which is the order they are listed in.
    """
    body = event.body
    left = body.captured_minor if isinstance(body, HoldEnded) else body.amount_minor
    taken: dict[TenderKind, int] = {}
    for tender in body.tenders:
        part = min(tender.amount_minor, left)
        if part > 0:
            taken[tender.kind] = taken.get(tender.kind, 0) + part
            left -= part
    return taken


def sums(tenders: Sequence[Tender]) -> dict[TenderKind, int]:
    """Tenders added up by kind."""
    found: dict[TenderKind, int] = {}
    for tender in tenders:
        found[tender.kind] = found.get(tender.kind, 0) + tender.amount_minor
    return found


def takes_part(campaign: Campaign, merchant_id: str, occurred_at_us: int) -> bool:
    """Whether a payment of that time at that merchant is in the campaign at all; its end is exclusive."""
    in_time = campaign.starts_at_us <= occurred_at_us < campaign.ends_at_us
    return in_time and (not campaign.merchants or merchant_id in campaign.merchants)


def basis_minor(terms: Terms, paid: TenderSums, refunded: TenderSums) -> int:
    """Yen that count towards the reward: eligible tenders less what was refunded to them, 0 under the minimum.

    A refund that leaves less than the campaign's smallest payment voids the whole reward.
    """
    if sum(paid.values()) - sum(refunded.values()) < terms.amount_min_minor:
        return 0
    kinds = terms.tenders or paid.keys()
    return max(0, sum(paid.get(kind, 0) - refunded.get(kind, 0) for kind in kinds))


def reward_minor(terms: Terms, basis: int) -> int:
    """The rate of the basis, rounded down, up to the cap of one payment; in yen."""
    return min(basis * terms.rate_bp // BP, terms.cap_per_payment_minor)
