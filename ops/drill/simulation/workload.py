"""Event streams as a wallet's services would send them: stories of a few events each, interleaved, with amounts that
like to sit on a boundary.

Each story is told in its own order and makes sense by itself: a refund follows its payment, a capture its hold. What a
posting rule reads of a wallet is changed by one topic alone, so that the books don't depend on how topics interleave:
refunds and bank returns go to wallets that receive no transfers, cashback to wallets without bank returns, and
transfers fill no wallet above its cap.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import msgspec

from koban.events import PLATFORM_EVENTS

AT_US = 1_700_000_000_000_000
SPACING_US = 1_000
WALLET_CAP_MINOR = 1_000_000
BOUNDARY_MINOR = (1, 2, WALLET_CAP_MINOR - 1, WALLET_CAP_MINOR, WALLET_CAP_MINOR + 1)
BANK = "bank-1"

Body = dict[str, Any]
Step = tuple[str, Body]
"""Event type and body."""


class Sent(NamedTuple):
    """An event as its producer sends it."""

    topic: str
    owner: str
    """The key: whose lane it belongs to."""
    event: dict[str, Any]
    value: bytes


class Workload:
    """Events of `wallets` wallets and `merchants` merchants, whose ids start with `name`."""

    def __init__(self, random: Random, wallets: int = 6, merchants: int = 3, name: str = "s") -> None:
        self._random = random
        self._name = name
        self._spenders = [f"{name}-w{n}" for n in range(wallets)]
        self._receivers = [f"{name}-r{n}" for n in range(max(1, wallets // 2))]
        self._members = [f"{name}-c{n}" for n in range(max(1, wallets // 2))]
        """Wallets that take part in campaigns."""
        self._merchants = [f"{name}-m{n}" for n in range(merchants)]
        self._room: dict[tuple[str, str], int] = {}
        """Wallet that gets transfers, and kind of money → what it may still get. Above its cap it would depend on how
        lanes interleave how much of a transfer has to wait."""
        self._numbers = 0
        self._sequences: dict[str, int] = {}
        self._stories = (
            (self._top_up, 4), (self._payment, 6), (self._hold, 4), (self._transfer, 4), (self._withdrawal, 2),
            (self._settlement, 1), (self._campaign, 3), (self._points, 2), (self._log_in, 1), (self._returned, 2),
        )  # fmt: skip

    def make(self, count: int) -> list[Sent]:
        """At least `count` events: whole stories, woven into each other."""
        kinds, weights = zip(*self._stories, strict=True)
        stories: list[list[tuple[str, str, list[Step]]]] = []
        left = count
        while left > 0:
            story = list(self._random.choices(kinds, weights)[0]())
            left -= sum(len(steps) for _, _, steps in story)
            stories.append([(aggregate, name, steps) for aggregate, name, steps in story])
        tellers = [_told(story) for story in stories]
        sent: list[Sent] = []
        while tellers:
            # Few at a time, so that a story's events lie near each other, yet not side by side.
            place = self._random.randrange(min(5, len(tellers)))
            told = next(tellers[place], None)
            if told is None:
                del tellers[place]
            else:
                sent.append(self._event(*told))
        return sent

    def _event(self, aggregate: str, aggregate_id: str, event_type: str, body: Body) -> Sent:
        self._numbers += 1
        sequence = self._sequences[aggregate_id] = self._sequences.get(aggregate_id, 0) + 1
        event = {
            "event_type": event_type,
            "event_id": f"{self._name}-e{self._numbers}",
            "occurred_at_us": AT_US + self._numbers * SPACING_US,
            "aggregate": aggregate,
            "aggregate_id": aggregate_id,
            "aggregate_seq": sequence,
            "body": body,
        }
        owner = next(
            body[field] for field in ("wallet_id", "campaign_id", "merchant_id", "owner_id", "bank_id") if field in body
        )
        topic = "cashback" if event_type in PLATFORM_EVENTS else "payments-valid"
        return Sent(topic, owner, event, msgspec.json.encode(event))

    # --- what stories are made of

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{self._name}-{kind}{self._numbers}"

    def _amount(self) -> int:
        random = self._random
        return random.choice(BOUNDARY_MINOR) if random.random() < 0.1 else random.randrange(1, 3_000)

    def _tenders(self) -> list[Body]:
        """One to three kinds of money in the order in which they are spent."""
        kinds = ("voucher", "points_ltd", "money_lite", "money", "card", "paylater")
        chosen = sorted(self._random.sample(kinds, self._random.choice((1, 1, 2, 3))), key=kinds.index)
        return [self._tender(kind) for kind in chosen]

    def _tender(self, kind: str) -> Body:
        tender: Body = {"kind": kind, "amount_minor": self._amount()}
        if kind in ("voucher", "points_ltd", "card"):
            tender["lot"] = {"voucher": "v1", "points_ltd": "l1", "card": "visa"}[kind]
        return tender

    def _paid(self, wallet: str, tenders: list[Body]) -> Body:
        return {
            "wallet_id": wallet, "merchant_id": self._random.choice(self._merchants), "store_id": "store",
            "amount_minor": _total(tenders), "tenders": tenders,
        }  # fmt: skip

    # --- stories: aggregate, its id, and steps in order

    def _top_up(self) -> Iterator[tuple[str, str, list[Step]]]:
        random = self._random
        wallet = random.choice(self._spenders + self._receivers + self._members)
        source = random.choice(("bank", "bank", "card", "paylater"))
        body = {"wallet_id": wallet, "amount_minor": self._amount(), "source": source}
        if source != "paylater":
            body["funding_id"] = BANK if source == "bank" else "visa"
        verified = {"verified": True} if source == "bank" and random.random() < 0.8 else {}
        if wallet not in self._spenders and not self._fits(wallet, "money" if verified else "money_lite", body):
            wallet = body["wallet_id"] = random.choice(self._spenders)
        steps: list[Step] = [("TopUpRequested", {**body, **verified}), ("TopUpCompleted", {**body, **verified})]
        if random.random() < 0.1:
            steps[1] = ("TopUpFailed", body)
        yield "wallet", wallet, steps
        if source == "bank" and random.random() < 0.3:
            settled = {"bank_id": BANK, "amount_minor": body["amount_minor"]}
            yield "ledger", BANK, [("BankClearingSettled", settled)]

    def _returned(self) -> Iterator[tuple[str, str, list[Step]]]:
        """A top-up that the bank takes back, when some of the money may be spent already."""
        wallet = self._random.choice(self._spenders)
        body = {"wallet_id": wallet, "amount_minor": self._amount(), "source": "bank", "funding_id": BANK}
        yield "wallet", wallet, [("TopUpCompleted", {**body, "verified": True}), ("TopUpReversed", body)]

    def _payment(self) -> Iterator[tuple[str, str, list[Step]]]:
        random = self._random
        body = self._paid(random.choice(self._spenders), self._tenders())
        steps: list[Step] = [("PaymentCompleted", body)]
        fate = random.random()
        if fate < 0.15:
            fields = ("wallet_id", "merchant_id", "amount_minor", "tenders")
            steps.append(("PaymentCanceled", {field: body[field] for field in fields}))
        elif fate < 0.6:
            steps += self._refunds(body)
        yield "payment", self._id("p"), steps

    def _refunds(self, paid: Body) -> Iterator[Step]:
        """A few parts, or all of it at once: never more than each tender paid."""
        random = self._random
        left = {tender["kind"]: dict(tender) for tender in paid["tenders"]}
        before = 0
        for _ in range(random.choice((1, 1, 2, 3))):
            tenders = []
            for tender in left.values():
                part = tender["amount_minor"] if random.random() < 0.5 else random.randint(0, tender["amount_minor"])
                tender["amount_minor"] -= part
                if part:
                    tenders.append({**tender, "amount_minor": part})
            if tenders:
                refund = {
                    "refund_id": self._id("f"), "wallet_id": paid["wallet_id"], "merchant_id": paid["merchant_id"],
                    "amount_minor": _total(tenders), "tenders": tenders, "refunded_before_minor": before,
                }  # fmt: skip
                before += _total(tenders)
                yield "RefundRequested", refund
                yield "RefundCompleted", refund

    def _hold(self) -> Iterator[tuple[str, str, list[Step]]]:
        random = self._random
        body = self._paid(random.choice(self._spenders), self._tenders())
        total = body["amount_minor"]
        ended = {
            "wallet_id": body["wallet_id"], "merchant_id": body["merchant_id"], "store_id": "store",
            "authorized_minor": total, "tenders": body["tenders"],
        }  # fmt: skip
        fate = random.choice(("PaymentCaptured", "PaymentCaptured", "PaymentVoided", "AuthorizationExpired"))
        if fate == "PaymentCaptured":
            ended["captured_minor"] = random.choice((total, total, random.randint(1, total)))
        yield "payment", self._id("p"), [("PaymentAuthorized", body), (fate, ended)]

    def _transfer(self) -> Iterator[tuple[str, str, list[Step]]]:
        random = self._random
        sender = random.choice(self._spenders + self._receivers)
        receiver = random.choice([wallet for wallet in self._receivers if wallet != sender] or self._members)
        body: Body = {
            "wallet_id": sender, "receiver_wallet_id": receiver, "transfer_id": self._id("t"),
            "amount_minor": self._amount(), "kind": random.choice(("money", "money_lite")),
        }  # fmt: skip
        fate = random.choice(("TransferAccepted", "TransferAccepted", "TransferDeclined", "TransferExpired"))
        if fate == "TransferAccepted" and not self._fits(receiver, body["kind"], body):
            fate = "TransferDeclined"
        yield "wallet", sender, [("TransferSent", body), (fate, body)]

    def _fits(self, wallet: str, kind: str, body: Body) -> bool:
        """Whether a wallet that gets transfers has room for more; then the room is taken."""
        room: int = self._room.get((wallet, kind), WALLET_CAP_MINOR) - body["amount_minor"]
        if room >= 0:
            self._room[wallet, kind] = room
        return room >= 0

    def _withdrawal(self) -> Iterator[tuple[str, str, list[Step]]]:
        wallet = self._random.choice(self._spenders)
        body = {
            "wallet_id": wallet, "withdrawal_id": self._id("x"), "amount_minor": self._amount(),
            "fee_minor": self._random.choice((0, 100)),
        }  # fmt: skip
        fate = self._random.choice(("WithdrawalPaid", "WithdrawalFailed"))
        yield "wallet", wallet, [("WithdrawalRequested", body), (fate, body)]

    def _settlement(self) -> Iterator[tuple[str, str, list[Step]]]:
        merchant, gross = self._random.choice(self._merchants), self._amount() + 100
        fee = gross * 160 // 10_000
        early = self._random.choice((0, 20))
        settled = {
            "merchant_id": merchant, "settlement_id": self._id("y"), "period": "2023-11", "gross_minor": gross,
            "fee_minor": fee, "tax_minor": fee // 10, "fee_rate_bp": 160, "early_fee_minor": early,
        }  # fmt: skip
        net = gross - fee - fee // 10 - early
        payout = {"merchant_id": merchant, "payout_id": self._id("z"), "amount_minor": net}
        kind = "EarlyPayoutRequested" if early else "SettlementClosed"
        fate = self._random.choice(("PayoutPaid", "PayoutPaid", "PayoutFailed"))
        yield "merchant", merchant, [(kind, settled), (fate, payout)]

    def _campaign(self) -> Iterator[tuple[str, str, list[Step]]]:
        """A pot, a lease, a promise, and what becomes of it."""
        random, amount = self._random, self._amount()
        campaign, wallet, payment = self._id("k"), random.choice(self._members), self._id("p")
        pot = {"campaign_id": campaign, "amount_minor": 2 * amount + 1}
        lease = {"campaign_id": campaign, "shard": "0", "epoch": 1, "seq": 1, "amount_minor": amount}
        grant = {
            "wallet_id": wallet, "campaign_id": campaign, "definition_hash": "h", "payment_id": payment,
            "amount_minor": amount, "shard": "0",
        }  # fmt: skip
        yield (
            "campaign",
            campaign,
            [
                ("CampaignFunded", {**pot, "approvals": ["a-1", "a-2"]}),
                ("BudgetLeased", lease),
            ],
        )
        yield "payment", payment, [("PaymentCompleted", self._paid(wallet, [self._tender("card")]))]
        steps: list[Step] = [("CashbackAccrued", grant)]
        fate = random.random()
        if fate < 0.3:
            steps.append(("CashbackCanceled", grant))
        elif fate < 0.9:
            steps.append(("CashbackGranted", grant))
            if random.random() < 0.4:
                steps.append(("CashbackClawedBack", {**grant, "amount_minor": random.randint(1, amount)}))
        yield "payment", payment, steps

    def _points(self) -> Iterator[tuple[str, str, list[Step]]]:
        """Two persons give limited points; what is not spent runs out."""
        wallet, amount = self._random.choice(self._spenders), self._amount()
        lot = self._id("l")
        lines = [
            {"account": "X.fraud", "debit_minor": amount},
            {"account": f"U.{wallet}.points_ltd.{lot}", "debit_minor": -amount},
        ]
        given = {"owner_id": wallet, "lines": lines, "approvals": ["a-1", "a-2"]}
        expired = {"wallet_id": wallet, "lot": lot, "amount_minor": amount}
        yield "ledger", wallet, [("AdjustmentPosted", given)]
        yield "wallet", wallet, [("PointsExpired", expired)]

    def _log_in(self) -> Iterator[tuple[str, str, list[Step]]]:
        wallet = self._random.choice(self._spenders)
        yield "wallet", wallet, [("LoggedIn", {"wallet_id": wallet})]


def _told(story: list[tuple[str, str, list[Step]]]) -> Iterator[tuple[str, str, str, Body]]:
    for aggregate, name, steps in story:
        for event_type, body in steps:
            yield aggregate, name, event_type, body


def _total(tenders: list[Body]) -> int:
    return sum(int(tender["amount_minor"]) for tender in tenders)
