"""Which events the ledger must have refused, and what refunds must have come to: told again by plain dictionaries.

Shares nothing with the ledger but the names of the rules and the lanes. Events are judged in the order in which the
ledger read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from schemas.partitioning import lane_of

Event = dict[str, Any]
Tenders = list[tuple[tuple[str, str], int]]
"""((kind, lot), yen) in spend order."""

_REFUND_DAYS, _REFUND_PARTS = 365, 50
_FORGOTTEN = {
    "PaymentCaptured": "hold_ended", "PaymentVoided": "hold_ended", "AuthorizationExpired": "hold_ended",
    "PaymentCanceled": "cancel_too_late", "RefundRequested": "refund_too_late", "RefundCompleted": "refund_ended",
}  # fmt: skip
"""What an event is told when all is over with its payment for longer than anything may be late."""
_DAY_US = 86_400_000_000
_JST = timezone(timedelta(hours=9))
_WITH_LOT = ("voucher", "points_ltd", "card")
_STEPS = ("Payment", "Refund", "Transfer", "Withdrawal", "AuthorizationExpired", "PointsExpired")
"""What the types of events that a lane's clock goes by begin with."""
_HOLD_ENDS = ("PaymentCaptured", "PaymentVoided", "AuthorizationExpired")
_TRANSIT_ENDS = {
    "TransferAccepted": "transfer", "TransferDeclined": "transfer", "TransferExpired": "transfer",
    "WithdrawalPaid": "withdrawal", "WithdrawalFailed": "withdrawal",
}  # fmt: skip


@dataclass
class _Payment:
    state: str
    at_us: int
    merchant: str
    shares: Tenders
    left: dict[tuple[str, str], int] = field(default_factory=dict)
    refunds: dict[str, dict[tuple[str, str], int]] = field(default_factory=dict)
    """What each refund asked for."""
    completed: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self.state == "held" or self.completed != self.refunds.keys()


@dataclass
class Lives:
    """What became of the events: `refused` is event id → rule, `asked_minor` completed refund → what it asked for.

    A wallet's lane goes by the latest time of what it took in, and forgets by it: `late_days` beyond a refund's time.
    """

    lanes: int
    late_days: int = 35
    refused: dict[str, str] = field(default_factory=dict)
    asked_minor: dict[str, int] = field(default_factory=dict)
    _payments: dict[tuple[str, str], _Payment] = field(default_factory=dict)
    _transits: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict)
    _expired: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _clocks: dict[int, int] = field(default_factory=dict)

    def judge(self, event: Event) -> str | None:
        """The rule that the event breaks; None, and the event takes effect, when it breaks none."""
        rule = self._judge(event)
        if rule is None and event["event_type"].startswith(_STEPS):
            lane = lane_of(event["body"]["wallet_id"], self.lanes)
            self._clocks[lane] = max(self._clocks.get(lane, 0), event["occurred_at_us"])
        return rule

    def _is_past(self, event: Event, at_us: int) -> bool:
        """Whether what was at an instant is forgotten in the event's lane, if nothing of it is open."""
        clock_us = self._clocks.get(lane_of(event["body"]["wallet_id"], self.lanes), 0)
        return at_us + (_REFUND_DAYS + self.late_days) * _DAY_US <= clock_us

    def _is_known(self, event: Event, began_at_us: int, *, is_open: bool) -> bool:
        """Whether what began earlier is in the way of an event that begins it."""
        return is_open or not self._is_past(event, began_at_us) or self._is_past(event, event["occurred_at_us"])

    def _judge(self, event: Event) -> str | None:
        kind = event["event_type"]
        if kind == "PointsExpired":
            body = event["body"]
            lot = (body["wallet_id"], body.get("lot_kind", "points_ltd"), body["lot"])
            self._expired[lot] = event["occurred_at_us"]
        elif kind.startswith(("Transfer", "Withdrawal")):
            return self._judge_transit(event)
        elif kind.startswith(("Payment", "Refund")) or kind == "AuthorizationExpired":
            return self._judge_payment(event)
        return None

    def _judge_transit(self, event: Event) -> str | None:
        kind, body = event["event_type"], event["body"]
        word = _TRANSIT_ENDS.get(kind) or ("transfer" if kind == "TransferSent" else "withdrawal")
        key = (word, body["wallet_id"], body[f"{word}_id"])
        what = [body.get(name) for name in ("receiver_wallet_id", "kind", "amount_minor")] + [body.get("fee_minor", 0)]
        if kind not in _TRANSIT_ENDS:
            if key in self._transits:
                _, ended, at_us = self._transits[key]
                if self._is_known(event, at_us, is_open=not ended):
                    return f"{word}_exists"
            self._transits[key] = [what, False, event["occurred_at_us"]]
            return None
        found = self._transits.get(key)
        if found is None:
            return f"unknown_{word}"
        if found[1]:
            return f"{word}_ended"
        if found[0] != what:
            return f"{word}_differs"
        found[1] = True
        return None

    def _judge_payment(self, event: Event) -> str | None:
        kind, body = event["event_type"], event["body"]
        payment_id = event.get("correlation_id") or (event["aggregate_id"] if event["aggregate"] == "payment" else None)
        key = (str(body["wallet_id"]), str(payment_id))
        payment = self._payments.get(key)
        if kind in ("PaymentCompleted", "PaymentAuthorized"):
            if payment is not None and self._is_known(event, payment.at_us, is_open=payment.is_open):
                return "payment_exists"
            if payment_id is not None:
                state = "paid" if kind == "PaymentCompleted" else "held"
                self._payments[key] = _paid(state, event, _tenders(body))
            return None
        if payment is None:
            return "unknown_payment"
        if not payment.is_open and self._is_past(event, payment.at_us):
            return _FORGOTTEN[kind]
        if kind in _HOLD_ENDS:
            return _end_hold(payment, event)
        if kind == "RefundCompleted":
            return self._complete(payment, event)
        if payment.state != "paid":
            return "payment_canceled" if payment.state == "canceled" else "not_paid"
        if payment.merchant != body["merchant_id"]:
            return "other_merchant"
        return _cancel(payment, event) if kind == "PaymentCanceled" else self._ask(payment, event)

    def _ask(self, payment: _Payment, event: Event) -> str | None:
        body, split = event["body"], _summed(_tenders(event["body"]))
        if body["refund_id"] in payment.refunds:
            return "refund_exists"
        if event["occurred_at_us"] - payment.at_us > _REFUND_DAYS * _DAY_US:
            return "refund_too_late"
        if len(payment.refunds) == _REFUND_PARTS:
            return "refund_parts"
        if not all(tender in payment.left for tender in split):
            return "tender_did_not_pay"
        if self._has_expired(event, split):
            return "tender_expired"
        if sum(split.values()) > sum(payment.left.values()):
            return "refund_above_rest"
        if any(amount > payment.left[tender] for tender, amount in split.items()):
            return "refund_above_tender"
        payment.refunds[body["refund_id"]] = split
        for tender, amount in split.items():
            payment.left[tender] -= amount
        return None

    def _complete(self, payment: _Payment, event: Event) -> str | None:
        body, split = event["body"], _summed(_tenders(event["body"]))
        asked = payment.refunds.get(body["refund_id"])
        if payment.merchant != body["merchant_id"]:
            return "other_merchant"
        if asked is None:
            return "unknown_refund"
        if body["refund_id"] in payment.completed:
            return "refund_ended"
        if any(amount > asked.get(tender, 0) for tender, amount in split.items()):
            return "refund_differs"
        if self._has_expired(event, split):
            return "tender_expired"
        payment.completed.add(body["refund_id"])
        self.asked_minor[event["event_id"]] = sum(asked.values())
        for tender, amount in asked.items():
            payment.left[tender] += amount - split.get(tender, 0)
        return None

    def _has_expired(self, event: Event, split: dict[tuple[str, str], int]) -> bool:
        wallet, at_us = event["body"]["wallet_id"], event["occurred_at_us"]
        expired = [self._expired[lot] for tender in split if (lot := (wallet, *tender)) in self._expired]
        return any(since_us <= at_us or self._is_past(event, since_us) for since_us in expired)


def judge_all(events: Iterable[Event], lanes: int, late_days: int = 35) -> Lives:
    """Judges events in the order in which the ledger read them, each for the first time."""
    lives = Lives(lanes, late_days)
    for event in events:
        rule = lives.judge(event)
        if rule is not None:
            lives.refused[event["event_id"]] = rule
        else:
            lives.refused.pop(event["event_id"], None)  # a replay that was good at last
    return lives


def _paid(state: str, event: Event, shares: Tenders) -> _Payment:
    return _Payment(state, event["occurred_at_us"], event["body"]["merchant_id"], shares, _summed(shares))


def _end_hold(payment: _Payment, event: Event) -> str | None:
    body = event["body"]
    if payment.state != "held":
        return "hold_ended"
    if payment.merchant != body["merchant_id"]:
        return "other_merchant"
    captured = body.get("captured_minor", 0) if event["event_type"] == "PaymentCaptured" else 0
    if captured > sum(amount for _, amount in payment.shares):
        return "above_hold"
    if _summed(_tenders(body)) != _summed(payment.shares):
        return "tenders_differ"
    payment.state = "paid" if captured else "ended"
    if event["event_type"] == "PaymentCaptured":
        payment.at_us = event["occurred_at_us"]
    taken: Tenders = []
    for tender, amount in payment.shares:
        taken.append((tender, min(amount, captured)))
        captured -= taken[-1][1]
    payment.shares = [(tender, amount) for tender, amount in taken if amount]
    payment.left = _summed(payment.shares)
    return None


def _cancel(payment: _Payment, event: Event) -> str | None:
    midnight = (
        datetime.fromtimestamp(payment.at_us // 1_000_000, UTC).astimezone(_JST).replace(hour=0, minute=0, second=0)
    )
    end = midnight + timedelta(days=1, minutes=15)
    if event["occurred_at_us"] >= int(end.timestamp()) * 1_000_000:
        return "cancel_too_late"
    if payment.refunds:
        return "cancel_refunded"
    if _summed(_tenders(event["body"])) != _summed(payment.shares):
        return "tenders_differ"
    payment.state = "canceled"
    return None


def _tenders(body: Event) -> Tenders:
    found = []
    for tender in body["tenders"]:
        lot = (tender.get("lot") or "unnamed") if tender["kind"] in _WITH_LOT else ""
        found.append(((tender["kind"], lot), int(tender["amount_minor"])))
    return found


def _summed(tenders: Tenders) -> dict[tuple[str, str], int]:
    total: dict[tuple[str, str], int] = {}
    for tender, amount in tenders:
        total[tender] = total.get(tender, 0) + amount
    return total
