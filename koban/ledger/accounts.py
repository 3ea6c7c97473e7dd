"""The chart of accounts: what accounts there are, on which side they are normal, whose they are, and their limits.

An account's name says it all: `U.{wallet}.money`, `M.{merchant}.payable`, `C.{campaign}.available` belong to an owner
and live in the owner's lane. The accounts of the house (`A.`, `L.`, `R.`, `X.`) are hot, since every top-up or card
payment touches one; so each lane keeps its own part of them, named `A.bank@{lane}`, and the account's balance is the
sum of its parts.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

WALLET_CAP_MINOR = 1_000_000
"""A wallet holds at most this much PayPay Money, and as much Money Lite."""

SUSPENSE = "L.suspense"
"""Where a line goes that names no account of the chart."""
IN_FLIGHT = "L.in_flight"
"""Legs that a lane sent less those it received: with it each lane's accounts sum to zero at every commit."""


class Use(StrEnum):
    """What the owner may do with an account's balance."""

    FREE = "free"
    HELD = "held"
    PENDING_IN = "pending_in"


class Right(StrEnum):
    """What a kind of money may be used for, besides being refunded to."""

    PAY = "pay"
    SEND = "send"
    WITHDRAW = "withdraw"


RIGHTS: dict[str, frozenset[Right]] = {
    "voucher": frozenset((Right.PAY,)),
    "points_ltd": frozenset((Right.PAY,)),
    "points": frozenset((Right.PAY,)),
    "money_lite": frozenset((Right.PAY, Right.SEND)),
    "money": frozenset(Right),
}
"""Kind of money in a wallet → its rights. Money Lite is never withdrawn; points never reach another user or a bank."""


class Nature(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an account of the chart is like. `sign` is 1 where debits increase the balance, -1 where credits do."""

    sign: int = -1
    limited: bool = True
    """It must not fall below zero."""
    cap_minor: int | None = None
    use: Use = Use.FREE
    detail: bool = False
    """The name goes on behind the kind: a lot, a campaign, a bank, an acquirer."""


_ASSET = Nature(sign=1, limited=False)
_ASSET_BY = Nature(sign=1, limited=False, detail=True)
_INCOME = Nature(limited=False)
_LIABILITY = Nature()
_WALLET_MONEY = Nature(cap_minor=WALLET_CAP_MINOR)

CHART: dict[tuple[str, str], Nature] = {
    ("U", "money"): _WALLET_MONEY,
    ("U", "money_lite"): _WALLET_MONEY,
    ("U", "points"): _LIABILITY,
    ("U", "points_ltd"): Nature(detail=True),
    ("U", "voucher"): Nature(detail=True),
    ("U", "held"): Nature(detail=True, use=Use.HELD),
    ("U", "grant_pending"): Nature(detail=True, use=Use.PENDING_IN),
    ("U", "clawback_due"): Nature(sign=1),
    ("U", "over_limit"): _LIABILITY,
    ("M", "payable"): _LIABILITY,
    ("M", "refund_reserved"): Nature(use=Use.HELD),
    ("M", "payout_transit"): Nature(use=Use.HELD),
    ("M", "campaign_wallet"): _LIABILITY,
    ("C", "available"): _LIABILITY,
    ("C", "lease"): Nature(detail=True),
    ("C", "closed"): _LIABILITY,
    ("A", "bank"): _ASSET,
    ("A", "bank_clearing"): _ASSET_BY,
    ("A", "card_recv"): _ASSET_BY,
    ("A", "paylater_recv"): _ASSET,
    ("A", "sponsor_recv"): _ASSET_BY,
    ("L", "p2p_transit"): _LIABILITY,
    ("L", "withdraw_transit"): _LIABILITY,
    ("L", "tax"): _LIABILITY,
    ("L", "suspense"): _INCOME,
    ("L", "in_flight"): _INCOME,
    ("R", "fee"): _INCOME,
    ("R", "early_payout_fee"): _INCOME,
    ("R", "withdraw_fee"): _INCOME,
    ("R", "breakage"): _INCOME,
    ("X", "promo"): _ASSET_BY,
    ("X", "fraud"): _ASSET,
    ("X", "rounding"): _ASSET,
}
"""Family and kind → the account's nature. `L.suspense` may fall below zero: a line lands there from either side."""

_OWNED = "UMC"
_NAME = re.compile(r"[UMCALRX](\.[A-Za-z0-9_:%-][A-Za-z0-9._:%-]*)+")


class Account(msgspec.Struct, frozen=True, gc=False):
    """A name of the chart, taken apart. `owner` is the account's own name for the house's accounts."""

    name: str
    owner: str
    nature: Nature
    of_house: bool


def part(identifier: str) -> str:
    """An id as a part of an account's name: dots are escaped, so that no id can pass for another account."""
    return identifier if "." not in identifier else identifier.replace(".", "%2E")


def base_of(account: str) -> str:
    """The account of the chart behind a lane's part of it: `A.bank@2` → `A.bank`."""
    return account.partition("@")[0]


def part_of_lane(account: str, lane: int) -> str:
    """A lane's part of an account of the house: `A.bank` → `A.bank@2`."""
    return f"{account}@{lane}"


def parse(name: str) -> Account | None:
    """The account that a name stands for, without a lane; None when the chart has no such account."""
    if _NAME.fullmatch(name) is None:
        return None
    family, first, rest = (*name.split(".", 2), "")[:3]
    owned = family in _OWNED
    kind, detail = _split(rest) if owned else (first, rest)
    nature = CHART.get((family, kind))
    if nature is None or nature.detail != bool(detail):
        return None
    return Account(name, first.replace("%2E", ".") if owned else name, nature, not owned)


def owner_of(account: str) -> str:
    """The owner's id, which is the key of its lane; for an account of the house its name. ValueError if unknown."""
    parsed = parse(base_of(account))
    if parsed is None:
        raise ValueError(f"{account} is no account of the chart")
    return parsed.owner


def _split(rest: str) -> tuple[str, str]:
    kind, _, detail = rest.partition(".")
    return kind, detail
