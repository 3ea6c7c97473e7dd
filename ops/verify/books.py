"""What each store should hold, recomputed from the valid events by the shortest code that says it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

Event = dict[str, Any]
MINUTE_US = 60_000_000
T01_WINDOW_MS = 60_000
T01_PAYMENTS, T01_MERCHANTS = 6, 4
T01_SUM_WINDOW_MS, T01_SUM_MINOR = 600_000, 100_000


def moved_minor(event: Event) -> int | None:
    """How much an event's journal entry debits in total; 0 for an event without an entry.

    None where it depends on the state of the wallet (a claim, a cap): there only the balance of the entry is checked.
    """
    body, kind = event["body"], event["event_type"]
    if kind in _NO_ENTRY:
        return 0
    if kind in ("PaymentCaptured", "PaymentVoided", "AuthorizationExpired"):
        return int(body["authorized_minor"])
    if kind in ("SettlementClosed", "EarlyPayoutRequested"):
        return int(body["gross_minor"])
    if kind in ("WithdrawalRequested", "WithdrawalFailed"):
        return int(body["amount_minor"]) + int(body.get("fee_minor", 0))
    if kind in ("AdjustmentPosted", "FraudCompensated"):
        return sum(int(line["debit_minor"]) for line in body["lines"] if line["debit_minor"] > 0)
    if kind == "CampaignClosed":
        return None
    return int(body["amount_minor"])


_NO_ENTRY = {
    "TopUpRequested", "TopUpFailed", "CashbackHeld", "CashbackReleased", "TicketIssued", "TicketRevealed",
    "TicketExpired", "MissionProgressed", "StepEvaluated", "SeedCommitted", "SeedRevealed", "SignedUp", "LoggedIn",
    "DeviceBound", "CardAdded", "PasswordReset",
}  # fmt: skip


def fold(entries: Iterable[Mapping[str, Any]]) -> tuple[dict[str, int], dict[str, int]]:
    """Journal entries → (account → Σ debits − Σ credits, account → number of lines)."""
    debit: dict[str, int] = defaultdict(int)
    lines: dict[str, int] = defaultdict(int)
    for entry in entries:
        for line in entry["lines"]:
            debit[line["account"]] += line["debit_minor"]
            lines[line["account"]] += 1
    return dict(debit), dict(lines)


def is_payment(event: Event) -> bool:
    """Money reached a merchant."""
    if event["event_type"] == "PaymentCaptured":
        return int(event["body"].get("captured_minor", 0)) > 0
    return bool(event["event_type"] == "PaymentCompleted")


def paid_minor(event: Event) -> int:
    body = event["body"]
    return int(body["captured_minor"] if event["event_type"] == "PaymentCaptured" else body["amount_minor"])


def volumes(events: Iterable[Event]) -> dict[tuple[str, int], tuple[int, int, int, int]]:
    """(merchant, minute start in µs) → payments, their yen, refunds, their yen."""
    cells: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for event in events:
        at = int(event["occurred_at_us"])
        cell = (event["body"].get("merchant_id", ""), at - at % MINUTE_US)
        if is_payment(event):
            cells[cell][0] += 1
            cells[cell][1] += paid_minor(event)
        elif event["event_type"] in ("RefundCompleted", "PaymentCanceled"):
            cells[cell][2] += 1
            cells[cell][3] += int(event["body"]["amount_minor"])
    return {cell: (c[0], c[1], c[2], c[3]) for cell, c in cells.items()}


def documents(events: Iterable[Event]) -> dict[str, tuple[int, int, int]]:
    """Payment id → (number of its last event, amount in minor units, refunded so far)."""
    amount: dict[str, int] = {}
    refunded: dict[str, int] = defaultdict(int)
    last: dict[str, int] = defaultdict(int)
    for event in events:
        if event["aggregate"] != "payment":
            continue
        payment, kind, body = event["aggregate_id"], event["event_type"], event["body"]
        last[payment] = max(last[payment], int(event["aggregate_seq"]))
        if kind in ("PaymentCompleted", "PaymentAuthorized"):
            amount[payment] = int(body["amount_minor"])
        elif kind == "PaymentCaptured":
            amount[payment] = int(body["captured_minor"])  # what was paid, where it was authorised for more
        elif kind == "RefundCompleted":
            refunded[payment] += int(body["amount_minor"])
    return {p: (last[p], amount[p], refunded[p]) for p in amount}


def late(arrivals: Iterable[tuple[int, int, int, str]], delay_us: int) -> set[str]:
    """Ids of what came after event time had passed it.

    ``arrivals`` are partition, event time, record time (both µs) and id in the order of each partition. Event time of
    a partition is that of its newest record, never ahead of the record's own time, less the delay.
    """
    reached: dict[int, int] = defaultdict(int)
    found: set[str] = set()
    for partition, occurred_us, recorded_us, event_id in arrivals:
        if occurred_us <= reached[partition]:
            found.add(event_id)
        reached[partition] = max(reached[partition], min(occurred_us, recorded_us) - delay_us)
    return found


def bursts(events: Iterable[Event]) -> set[str]:
    """Wallets with a payment at which T01 fires: six payments at four merchants in 60 s, or 100,000 yen in 10 min.

    Times are compared in whole milliseconds, which is how finely the patterns' engine tells event time.
    """
    by_wallet: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for event in events:
        if event["event_type"] == "PaymentCompleted":
            body = event["body"]
            by_wallet[body["wallet_id"]].append(
                (event["occurred_at_us"] // 1000, body["merchant_id"], body["amount_minor"])
            )
    return {wallet for wallet, payments in by_wallet.items() if _fires(sorted(payments))}


def _fires(payments: list[tuple[int, str, int]]) -> bool:
    times = [at for at, _, _ in payments]
    for i, (at, _, _) in enumerate(payments):
        # A RANGE window takes in every row of the same instant, those that follow in the list too.
        last = i
        while last + 1 < len(times) and times[last + 1] == at:
            last += 1
        short = payments[bisect_left(times, at - T01_WINDOW_MS) : last + 1]
        if len(short) >= T01_PAYMENTS and len({merchant for _, merchant, _ in short}) >= T01_MERCHANTS:
            return True
        if sum(a for _, _, a in payments[bisect_left(times, at - T01_SUM_WINDOW_MS) : last + 1]) >= T01_SUM_MINOR:
            return True
    return False


def cashback(
    events: Iterable[Event], campaign: Mapping[str, Any], granted: Mapping[str, int], taken_back: Mapping[str, int]
) -> list[str]:
    """What is wrong with a campaign's grants; empty when they are right.

    ``granted`` and ``taken_back`` are yen per payment. Who gets the last yen depends on the order of arrival,
    so this checks what holds in any order: the pot is spent exactly, no payment got more than its due, at most one got
    a part of it, and a refund leaves no more than the rest of the payment earned.
    """
    wanted, left = _rewards(events, campaign)
    budget = int(campaign["budget_minor"])
    faults = [f"{p}: granted {g}, but it earned {wanted.get(p, 0)}" for p, g in granted.items() if g > wanted.get(p, 0)]
    total, due = sum(granted.values()), min(budget, sum(wanted.values()))
    if total != due:
        faults.append(f"granted {total} in all, expected {due} of a budget of {budget}")
    partial = [p for p, want in wanted.items() if 0 < granted.get(p, 0) < want]
    if len(partial) > 1:
        faults.append(f"{len(partial)} payments got a part of their cashback, at most 1 may: {partial[:5]}")
    for payment, amount in granted.items():
        net, may_keep = amount - taken_back.get(payment, 0), min(amount, left.get(payment, 0))
        if net != may_keep:
            faults.append(f"{payment}: keeps {net} after its refunds, expected {may_keep}")
    return faults


def _rewards(events: Iterable[Event], campaign: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Payment → its reward when it was made, and → the reward of what refunds left of it."""
    basis: dict[str, int] = {}
    rest: dict[str, int] = {}
    ordered = sorted(events, key=lambda e: int(e["aggregate_seq"]))
    for event in ordered:
        payment, body = event["aggregate_id"], event["body"]
        if is_payment(event) and _takes_part(event, campaign):
            basis[payment] = rest[payment] = paid_minor(event)
        elif payment in rest and event["event_type"] in ("RefundCompleted", "PaymentCanceled"):
            rest[payment] -= int(body["amount_minor"])

    def reward(amount: int) -> int:
        return min(amount * int(campaign["rate_bp"]) // 10_000, int(campaign["cap_per_payment_minor"]))

    return {p: reward(a) for p, a in basis.items()}, {p: reward(a) for p, a in rest.items()}


def _takes_part(event: Event, campaign: Mapping[str, Any]) -> bool:
    merchants = campaign.get("merchants")
    in_time = campaign["starts_at_us"] <= event["occurred_at_us"] < campaign["ends_at_us"]
    large_enough = paid_minor(event) >= int(campaign.get("amount_min_minor", 0))
    return bool(in_time and large_enough and (not merchants or event["body"]["merchant_id"] in merchants))
