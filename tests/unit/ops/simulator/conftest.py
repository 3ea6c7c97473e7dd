"""One simulated stretch of traffic, read back by plain code that shares nothing with the simulator."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ops.simulator import Message, Tally, World
from ops.simulator.truth import Summary, lines

START_US = 1_748_833_200_000_000
"""2025-06-02 12:00 in Japan, a Monday."""


@dataclass
class Run:
    """Records as sent, the truth about them, and the valid events in the order of their first arrival."""

    messages: list[Message]
    truth: list[dict[str, Any]]
    summary: Summary
    balances: dict[str, int]
    events: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0
    undecodable: int = 0


def run_world(seed: int = 5, users: int = 4_000, merchants: int = 200, tps: float = 200, **given: Any) -> Run:
    """Runs a world and reads its records back: plain JSON, first id wins."""
    stream = {"seconds": 200, **given.pop("stream", {})}
    world = World(seed, users, merchants, START_US, **given)
    messages = [*world.opening(), *world.stream(tps, **stream)]
    tally = Tally()
    tally.add(messages)
    run = Run(messages, [json.loads(line) for line in lines(messages)], tally.summary(), world.balances())
    dead = {line["event_id"] for line in run.truth if line.get("disturbance") == "malformed" and "event_id" in line}
    seen: dict[str, bytes] = {}
    for message in messages:
        try:
            event = json.loads(message.value)
        except ValueError:
            run.undecodable += 1
            continue
        event_id = event["event_id"]
        if event_id in dead:
            run.undecodable += 1
        elif event_id not in seen:
            seen[event_id] = message.value
            run.events.append(event)
        elif seen[event_id] == message.value:
            run.duplicates += 1
        else:
            run.conflicts += 1
    return run


@pytest.fixture(scope="session")
def run() -> Run:
    return run_world(late_bp=100, malformed_bp=60, duplicates_bp=100, fraud_bp=40)


class Ledger:
    """The postings of what the simulator sends, as a plain sum per account; notes what goes below zero."""

    def __init__(self) -> None:
        self.balance: dict[str, int] = defaultdict(int)
        self.overdrawn: list[tuple[str, str]] = []
        self.paid: dict[str, int] = {}
        self.refunded: dict[str, int] = defaultdict(int)
        self.refunds: dict[str, int] = defaultdict(int)
        self.faults: list[str] = []

    def move(self, event: dict[str, Any], account: str, amount: int) -> None:
        self.balance[account] += amount
        if self.balance[account] < 0:
            self.overdrawn.append((account, event["event_id"]))

    def post(self, event: dict[str, Any]) -> None:
        """Posts one event."""
        getattr(self, f"_{event['event_type']}", lambda *_: None)(event, event["body"])

    def _tenders(self, event: dict[str, Any], body: dict[str, Any], sign: int, least: int = 0) -> None:
        """Moves all tenders but the first ``least`` yen of them, in spend order."""
        for tender in body["tenders"]:
            kept = min(least, tender["amount_minor"])
            least -= kept
            moved = sign * (tender["amount_minor"] - kept)
            if tender["kind"] not in ("card", "paylater"):
                lot = f".{tender['lot']}" if "lot" in tender else ""
                self.move(event, f"U.{body['wallet_id']}.{tender['kind']}{lot}", moved)

    def _merchant(self, event: dict[str, Any], amount: int) -> None:
        self.move(event, f"M.{event['body']['merchant_id']}.payable", amount)

    def _TopUpCompleted(self, event, body):
        kind = "money" if body["source"] == "bank" and body.get("verified") else "money_lite"
        self.move(event, f"U.{body['wallet_id']}.{kind}", body["amount_minor"])

    def _TopUpReversed(self, event, body):
        self.move(event, f"U.{body['wallet_id']}.money", -body["amount_minor"])

    def _PaymentCompleted(self, event, body):
        self._tenders(event, body, -1)
        self._merchant(event, body["amount_minor"])
        self.paid[event["aggregate_id"]] = body["amount_minor"]

    def _PaymentAuthorized(self, event, body):
        self._tenders(event, body, -1)
        self.move(event, f"held {event['aggregate_id']}", body["amount_minor"])

    def _end_hold(self, event, body):
        self.move(event, f"held {event['aggregate_id']}", -body["authorized_minor"])
        captured = body.get("captured_minor", 0)
        self._tenders(event, body, 1, captured)
        self._merchant(event, captured)
        self.paid[event["aggregate_id"]] = captured

    _PaymentCaptured = _PaymentVoided = _AuthorizationExpired = _end_hold

    def _PaymentCanceled(self, event, body):
        self._merchant(event, -body["amount_minor"])
        self._tenders(event, body, 1)
        self._refund(event, body)

    def _RefundRequested(self, event, body):
        self._merchant(event, -body["amount_minor"])

    def _RefundCompleted(self, event, body):
        if body.get("refunded_before_minor", 0) != self.refunded[event["aggregate_id"]]:
            self.faults.append(f"{event['event_id']}: refunded before is wrong")
        self._tenders(event, body, 1)
        self._refund(event, body)

    def _refund(self, event, body):
        payment = event["aggregate_id"]
        self.refunds[payment] += 1
        self.refunded[payment] += body["amount_minor"]
        if self.refunded[payment] > self.paid[payment] or self.refunds[payment] > 50:
            self.faults.append(f"{payment}: refunded more, or more often, than it may be")

    def _TransferSent(self, event, body):
        self.move(event, f"U.{body['wallet_id']}.{body['kind']}", -body["amount_minor"])

    def _TransferAccepted(self, event, body):
        self.move(event, f"U.{body['receiver_wallet_id']}.{body['kind']}", body["amount_minor"])

    def _TransferDeclined(self, event, body):
        self.move(event, f"U.{body['wallet_id']}.{body['kind']}", body["amount_minor"])

    _TransferExpired = _TransferDeclined

    def _WithdrawalRequested(self, event, body):
        self.move(event, f"U.{body['wallet_id']}.money", -body["amount_minor"] - body.get("fee_minor", 0))

    def _WithdrawalFailed(self, event, body):
        self.move(event, f"U.{body['wallet_id']}.money", body["amount_minor"] + body.get("fee_minor", 0))

    def _SettlementClosed(self, event, body):
        self._merchant(event, -body["gross_minor"])

    _EarlyPayoutRequested = _SettlementClosed

    def _PayoutFailed(self, event, body):
        self._merchant(event, body["amount_minor"])

    def _AdjustmentPosted(self, event, body):
        for line in body["lines"]:
            if line["account"].startswith("U."):
                self.move(event, line["account"], -line["debit_minor"])

    _FraudCompensated = _AdjustmentPosted

    def _PointsExpired(self, event, body):
        self.move(event, f"U.{body['wallet_id']}.points_ltd.{body['lot']}", -body["amount_minor"])


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Runs a world of one's own."""
    return run_world


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()
