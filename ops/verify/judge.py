"""What the gate should have said of each raw event, judged by plain rules over plain JSON.

Deliberately naive: no shared types, no shared parser settings, no state but the events seen. It knows which fields each
event type needs and which of them are money, and nothing else of the contracts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_MONEY_IN_WALLET = ("wallet_id", "amount_minor")
_PAYMENT = ("wallet_id", "merchant_id", "store_id", "amount_minor", "tenders")
_HOLD = ("wallet_id", "merchant_id", "store_id", "authorized_minor", "tenders")
_REFUND = ("wallet_id", "merchant_id", "refund_id", "amount_minor", "tenders")
_TRANSFER = ("wallet_id", "receiver_wallet_id", "transfer_id", "amount_minor", "kind")
_WITHDRAWAL = ("wallet_id", "withdrawal_id", "amount_minor")
_SETTLEMENT = ("merchant_id", "settlement_id", "period", "gross_minor", "fee_minor", "tax_minor", "fee_rate_bp")
_PAYOUT = ("merchant_id", "payout_id", "amount_minor")
_LEASE = ("campaign_id", "shard", "epoch", "seq", "amount_minor")
_FLAG = ("wallet_id", "campaign_id", "payment_id")
_ADJUSTMENT = ("owner_id", "lines", "approvals")

REQUIRED: dict[str, tuple[str, ...]] = {
    "TopUpRequested": (*_MONEY_IN_WALLET, "source"),
    "TopUpFailed": _MONEY_IN_WALLET,
    "TopUpCompleted": (*_MONEY_IN_WALLET, "source"),
    "BankClearingSettled": ("bank_id", "amount_minor"),
    "TopUpReversed": _MONEY_IN_WALLET,
    "PaymentAuthorized": _PAYMENT,
    "PaymentCaptured": _HOLD,
    "PaymentVoided": _HOLD,
    "AuthorizationExpired": _HOLD,
    "PaymentCompleted": _PAYMENT,
    "PaymentCanceled": ("wallet_id", "merchant_id", "amount_minor", "tenders"),
    "RefundRequested": _REFUND,
    "RefundCompleted": _REFUND,
    "TransferSent": _TRANSFER,
    "TransferAccepted": _TRANSFER,
    "TransferDeclined": _TRANSFER,
    "TransferExpired": _TRANSFER,
    "WithdrawalRequested": _WITHDRAWAL,
    "WithdrawalPaid": _WITHDRAWAL,
    "WithdrawalFailed": _WITHDRAWAL,
    "SettlementClosed": _SETTLEMENT,
    "EarlyPayoutRequested": _SETTLEMENT,
    "PayoutPaid": _PAYOUT,
    "PayoutFailed": _PAYOUT,
    "CampaignFunded": ("campaign_id", "amount_minor", "approvals"),
    "BudgetLeased": _LEASE,
    "LeaseReturned": _LEASE,
    "CashbackHeld": _FLAG,
    "CashbackReleased": _FLAG,
    "ClawbackWrittenOff": ("wallet_id", "campaign_id", "amount_minor", "approvals"),
    "CampaignClosed": ("campaign_id",),
    "PointsExpired": ("wallet_id", "lot", "amount_minor"),
    "FraudCompensated": _ADJUSTMENT,
    "AdjustmentPosted": _ADJUSTMENT,
    **dict.fromkeys(
        (
            "TicketIssued",
            "TicketRevealed",
            "TicketExpired",
            "MissionProgressed",
            "StepEvaluated",
            "SeedCommitted",
            "SeedRevealed",
        ),
        ("campaign_id",),
    ),
    **dict.fromkeys(("SignedUp", "LoggedIn", "DeviceBound", "CardAdded", "PasswordReset"), ("wallet_id",)),
}
OWN = {"CashbackAccrued", "CashbackGranted", "CashbackCanceled", "CashbackClawedBack"}
POSITIVE = ("amount_minor", "gross_minor", "authorized_minor")
TENDER_KINDS = {"voucher", "points_ltd", "points", "money_lite", "money", "card", "paylater"}
CLOCK_US = (1_262_304_000_000_000, 4_102_444_800_000_000)
BYTES_MAX = 65_536
DEPTH_MAX = 16
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_FREE_TEXT = ("memo", "store_name", "reason")


def fault(raw: bytes | None) -> str | None:
    """Why a raw value can't be valid, or None. Duplicates are not a fault of the value."""
    if not raw:
        return "empty"
    if len(raw) > BYTES_MAX:
        return "too large"
    if b"\x00" in raw or b"\\u0000" in raw:
        return "NUL"
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(event, dict):
        return "not an object"
    if _depth(event) > DEPTH_MAX:
        return "too deep"
    return _fault_of_event(event)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _fault_of_event(event: dict[str, Any]) -> str | None:
    if event.get("event_type") in OWN:
        return "an event of the platform's own"
    required = REQUIRED.get(event.get("event_type", ""))
    if required is None:
        return "unknown event type"
    body = event.get("body")
    if not isinstance(body, dict):
        return "no body"
    for name in ("event_id", "aggregate", "aggregate_id"):
        if not isinstance(event.get(name), str) or not event[name]:
            return f"{name} missing"
    for name in ("occurred_at_us", "aggregate_seq"):
        if type(event.get(name)) is not int:
            return f"{name} missing"
    if not CLOCK_US[0] <= event["occurred_at_us"] <= CLOCK_US[1]:
        return "clock out of bounds"
    for name in required:
        if body.get(name) in (None, ""):
            return f"body.{name} missing"
        if name.endswith("_id") and not isinstance(body[name], str):
            return f"body.{name} is no text"
    for name in POSITIVE:
        if name in body and (type(body[name]) is not int or body[name] <= 0):
            return f"body.{name} is not above 0"
    return _fault_of_tenders(body) or _fault_of_sums(event["event_type"], body) or _fault_of_text(event, body)


def _fault_of_sums(kind: str, body: dict[str, Any]) -> str | None:
    """What several fields must say together, and in which currency."""
    if body.get("currency", "JPY") != "JPY":
        return "another currency"
    if kind in ("AdjustmentPosted", "FraudCompensated") and sum(line["debit_minor"] for line in body["lines"]) != 0:
        return "lines do not sum to 0"
    approvals = body.get("approvals")
    if approvals is not None and len(set(approvals)) < (1 if kind == "ClawbackWrittenOff" else 2):
        return "one person alone"
    if body.get("captured_minor", 0) > body.get("authorized_minor", 10**18):
        return "more captured than authorised"
    return None


def _fault_of_tenders(body: dict[str, Any]) -> str | None:
    tenders = body.get("tenders")
    if tenders is None:
        return None
    if not isinstance(tenders, list) or not all(isinstance(t, dict) and t.get("kind") in TENDER_KINDS for t in tenders):
        return "tenders wrong"
    if any(type(t.get("amount_minor")) is not int or t["amount_minor"] <= 0 for t in tenders):
        return "a tender is not above 0"
    if any(set(t) - {"kind", "amount_minor", "lot"} for t in tenders):
        return "a tender with an unknown field"
    if sum(t["amount_minor"] for t in tenders) != body.get("authorized_minor", body.get("amount_minor")):
        return "tenders do not sum to the amount"
    return None


def _fault_of_text(event: dict[str, Any], body: dict[str, Any]) -> str | None:
    for text in (event.get("reason"), *(body.get(name) for name in _FREE_TEXT)):
        if isinstance(text, str) and any(_luhn(match.group()) for match in _DIGITS.finditer(text)):
            return "card number"
    return None


def _luhn(text: str) -> bool:
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def sameness(event: dict[str, Any]) -> str:
    """Two events with one id and one sameness are the same event."""
    return json.dumps({k: v for k, v in event.items() if k != "recorded_at_us"}, sort_keys=True)


@dataclass
class Judgement:
    """What became of the raw records, counted by plain rules."""

    produced: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    valid: dict[str, dict[str, Any]] = field(default_factory=dict)
    duplicates: int = 0
    conflicts: int = 0

    @property
    def dead_lettered(self) -> int:
        return sum(self.faults.values()) + self.conflicts


def judge(raw_values: Iterable[bytes | None]) -> Judgement:
    """Judges raw values. Of several events with one id the first counts; later ones are duplicates or conflicts."""
    result = Judgement()
    for raw in raw_values:
        result.produced += 1
        why = fault(raw)
        if why is not None or raw is None:
            result.faults[str(why)] = result.faults.get(str(why), 0) + 1
            continue
        event = json.loads(raw)
        first = result.valid.setdefault(event["event_id"], event)
        if first is event:
            continue
        if sameness(first) == sameness(event):
            result.duplicates += 1
        else:
            result.conflicts += 1
    return result
