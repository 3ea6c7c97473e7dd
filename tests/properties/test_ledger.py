"""The ledger's invariants over random events, lanes, schedules and crashes.

The lanes are the real ones; topics, offsets and transactions are a few lines of memory. A round is a transaction: a
lane's batch, all it emitted and its offset hold together or not at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from koban.events import EVENT_TYPES, PLATFORM_EVENTS, Event, partition_key
from koban.ledger.accounts import part
from koban.ledger.book import Book, state_hash
from ops.verify.lives import judge_all
from schemas import codec
from schemas.dead_letters import DeadLetter
from schemas.errors import ReasonCode
from schemas.partitioning import lane_of
from streams.ledger.lane import CASHBACK, LEGS, TOPICS, VALID, LedgerLane
from streams.transport import Batch

# --- topics in memory


class Stored(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Platform:
    """Topics, committed offsets, and the lanes at work. Which lane works next on what, and crashes, the test says."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.topics: dict[tuple[str, int], list[Stored]] = defaultdict(list)
        self.committed: dict[tuple[str, int], int] = defaultdict(int)
        self.at_work: dict[int, LedgerLane] = {}

    def send(self, events: Iterable[Event]) -> None:
        """Puts events where the gate, or the cashback job, would."""
        for event in events:
            topic = CASHBACK if type(event).__name__ in PLATFORM_EVENTS else VALID
            key = partition_key(event)
            self.append(
                topic, lane_of(key, self.lanes), key.encode(), codec.encode(event), event.occurred_at_us // 1000
            )

    def append(
        self,
        topic: str,
        lane: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        log = self.topics[topic, lane]
        log.append(Stored(len(log), timestamp_ms, key, value, headers))

    def waiting(self) -> list[tuple[str, int]]:
        """Topics and lanes with records that no lane has taken yet."""
        places = [(topic, lane) for topic in TOPICS for lane in range(self.lanes)]
        return [place for place in places if self.committed[place] < len(self.topics[place])]

    def round(self, topic: str, lane: int, records_max: int, *, crash: bool = False) -> None:
        """One transaction of a lane. With ``crash`` the worker dies before it commits: nothing of it holds."""
        start = self.committed[topic, lane]
        records = self.topics[topic, lane][start : start + records_max]
        batch = Batch(topic, lane, records, start + len(records))
        at_once(self._work(batch))
        if crash:
            del self.at_work[lane]
            return
        self.committed[topic, lane] = batch.next_offset
        for output in batch.outputs:
            assert output.partition is not None
            assert output.timestamp_ms is not None
            self.append(output.topic, output.partition, output.key, output.value, output.timestamp_ms, output.headers)

    async def _work(self, batch: Batch) -> None:
        lane = self.at_work.get(batch.partition)
        if lane is None:
            lane = self.at_work[batch.partition] = await self.restored(batch.partition)
        await lane.on_batch(batch)

    async def restored(self, partition: int) -> LedgerLane:
        """A worker that takes the lane over: all it knows is what is committed."""
        lane = LedgerLane(partition, self.lanes, clock_us=lambda: 1)
        await lane.restore(Log(self, partition))  # type: ignore[arg-type]  # it reads like a LaneLog
        return lane

    def drain(self) -> None:
        """Works until nothing waits, legs included."""
        while places := self.waiting():
            for place in places:
                self.round(*place, 100)

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [
            msgspec.json.decode(record.value or b"")
            for lane in range(self.lanes)
            for record in self.topics[topic, lane]
        ]

    def balances(self) -> dict[str, dict[str, Any]]:
        """The newest record of each account, as compaction would leave it."""
        return {balance["account"]: balance for balance in self.values("balances")}

    def waiting_minor(self) -> int:
        """Σ debits of the legs that were sent and not applied."""
        total = 0
        for lane in range(self.lanes):
            for record in self.topics[LEGS, lane][self.committed[LEGS, lane] :]:
                total += sum(leg["debit_minor"] for leg in msgspec.json.decode(record.value or b"")["legs"])
        return total

    def refusals(self) -> dict[str, str]:
        """Event id → the rule that it broke, by the dead letters."""
        found = {}
        for lane in range(self.lanes):
            for record in self.topics["payments-dlq", lane]:
                letter = DeadLetter.read(record.headers)
                assert letter.reason_code == ReasonCode.REFUSED
                found[msgspec.json.decode(record.value or b"")["event_id"]] = letter.reason.partition(":")[0]
        return found

    def books(self) -> list[Book]:
        return [at_once(self.restored(lane)).book for lane in range(self.lanes)]


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


class Log:
    """The committed past of one lane, in small lists."""

    def __init__(self, platform: Platform, lane: int) -> None:
        self._platform = platform
        self._lane = lane

    async def read(
        self, topic: str, last: int | None = None, start: int | None = None
    ) -> AsyncIterator[Sequence[Stored]]:
        records = self._platform.topics[topic, self._lane]
        for first in range(start or 0, len(records), 7):
            yield records[first : first + 7]


# --- random events


WALLETS, MERCHANTS, CAMPAIGNS = ("w-1", "w-2", "w-3", "w.held"), ("m-1", "m-2", "m-3"), ("c-1", "c-2")
LIMITED = ("voucher", "points_ltd")
PLAIN = ("points", "money_lite", "money", "card", "paylater")
amounts = st.integers(1, 2_000) | st.sampled_from((1, 999_999, 1_000_000))
tenders = st.lists(
    st.builds(lambda kind, amount: {"kind": kind, "amount_minor": amount}, st.sampled_from(PLAIN), amounts)
    | st.builds(
        lambda kind, amount: {"kind": kind, "amount_minor": amount, "lot": "l-1"}, st.sampled_from(LIMITED), amounts
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def bodies(draw: st.DrawFn, event_type: str) -> dict[str, Any]:
    """A body with every field that some event type asks for; each type takes its own."""
    paid = draw(tenders)
    total = sum(tender["amount_minor"] for tender in paid)
    amount = total if event_type.startswith(("Payment", "Authorization", "Refund")) else draw(amounts)
    wallet, other = draw(st.permutations(WALLETS))[:2]
    gross = draw(amounts) + 10
    line = draw(st.sampled_from(("U.w-1.money", "A.bank", "X.fraud", "U.w-2.gold", "M.m-1.payable", "L.in_flight")))
    return {
        "wallet_id": wallet, "receiver_wallet_id": other, "merchant_id": draw(st.sampled_from(MERCHANTS)),
        "campaign_id": draw(st.sampled_from(CAMPAIGNS)), "owner_id": wallet, "bank_id": "b-1", "store_id": "s-1",
        "amount_minor": amount, "authorized_minor": total, "captured_minor": draw(st.integers(0, total)),
        "tenders": paid, "source": draw(st.sampled_from(("bank", "card", "paylater"))), "verified": draw(st.booleans()),
        "kind": draw(st.sampled_from(("money", "money_lite"))), "fee_minor": draw(st.integers(0, 3)), "tax_minor": 2,
        "early_fee_minor": draw(st.integers(0, 3)), "gross_minor": gross, "fee_rate_bp": 160, "period": "2026-01",
        "approvals": ["a-1", "a-2"], "shard": draw(st.sampled_from(("s-1", "s-2"))), "epoch": 1, "seq": 1,
        "definition_hash": "h", "payment_id": "p-1", "lot": "l-1", "returned_minor": draw(amounts),
        "refund_id": "r-1", "transfer_id": "t-1", "withdrawal_id": "x-1", "settlement_id": "y-1", "payout_id": "z-1",
        "lines": [{"account": line, "debit_minor": amount}, {"account": f"U.{wallet}.points", "debit_minor": -amount}],
    }  # fmt: skip


class Story:
    """What was sent so far, so that later events can be about it: most are, some are about nothing or too late."""

    def __init__(self) -> None:
        self.payments: list[dict[str, Any]] = []
        self.refunds: list[dict[str, Any]] = []
        self.transits: list[dict[str, Any]] = []

    def tell(self, draw: st.DrawFn, event_type: str, number: int, body: dict[str, Any]) -> str:
        """Makes a body be about something that was sent before. Gives back the id of its payment."""
        payment_id = f"p-{number}"
        if event_type in BEGINS:
            body["refund_id"] = f"r-{number}"
            self.payments.append({**body, "payment_id": payment_id})
        elif event_type == "RefundCompleted" and self.refunds and draw(st.integers(0, 9)):
            refund = draw(st.sampled_from(self.refunds))
            body |= {name: refund[name] for name in (*OF_PAYMENT, "amount_minor", "tenders", "refund_id")}
            payment_id = refund["payment_id"]
        elif event_type in FOLLOWS and self.payments and draw(st.integers(0, 9)):
            payment = draw(st.sampled_from(self.payments))
            body |= {name: payment[name] for name in (*OF_PAYMENT, "amount_minor", "authorized_minor", "tenders")}
            body["captured_minor"] = draw(st.integers(0, payment["authorized_minor"]))
            payment_id = payment["payment_id"]
        if event_type == "RefundRequested":
            body["tenders"] = draw(st.lists(st.sampled_from(body["tenders"]), min_size=1, max_size=2))
            body["tenders"] = [{**t, "amount_minor": draw(st.integers(1, t["amount_minor"]))} for t in body["tenders"]]
            body["amount_minor"] = sum(tender["amount_minor"] for tender in body["tenders"])
            body["refund_id"] = f"r-{number}"
            self.refunds.append({**body, "payment_id": payment_id})
        self._tell_transit(draw, event_type, number, body)
        return payment_id

    def _tell_transit(self, draw: st.DrawFn, event_type: str, number: int, body: dict[str, Any]) -> None:
        if event_type in ("TransferSent", "WithdrawalRequested"):
            body |= {"transfer_id": f"t-{number}", "withdrawal_id": f"t-{number}"}
            self.transits.append(body)
        elif event_type.startswith(("Transfer", "Withdrawal")) and self.transits and draw(st.integers(0, 9)):
            body |= draw(st.sampled_from(self.transits))


OF_PAYMENT = ("wallet_id", "merchant_id")
BEGINS = ("PaymentCompleted", "PaymentAuthorized")
FOLLOWS = ("PaymentCaptured", "PaymentVoided", "AuthorizationExpired", "PaymentCanceled", "RefundRequested")
LIVED = (
    *BEGINS, *FOLLOWS, "RefundRequested", "RefundCompleted", "TransferSent", "TransferAccepted", "TransferDeclined",
    "WithdrawalRequested", "WithdrawalPaid", "WithdrawalFailed", "SettlementClosed", "PayoutFailed", "TopUpCompleted",
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn, types: Iterable[str] = tuple(EVENT_TYPES), max_size: int = 25) -> list[Event]:
    """Valid events in an order that nobody planned: overdrafts and all. Half of them are steps of some life."""
    found, story, names = [], Story(), list(types)
    lived = [name for name in LIVED if name in names]
    for number in range(draw(st.integers(0, max_size))):
        event_type = draw(st.sampled_from(lived if draw(st.integers(0, 2)) else names))
        body = draw(bodies(event_type))
        payment_id = story.tell(draw, event_type, number, body)
        fields = {
            "event_type": event_type, "event_id": f"e-{number}", "occurred_at_us": 1_700_000_000_000_000 + number,
            "aggregate": "payment", "aggregate_id": payment_id, "aggregate_seq": 1, "body": body,
        }  # fmt: skip
        found.append(codec.decode(msgspec.json.encode(fields)))
    return found


READS_BALANCES = {
    "TopUpReversed", "RefundCompleted", "CashbackGranted", "CashbackClawedBack", "RefundRequested",
    "PaymentCaptured", "PaymentVoided", "AuthorizationExpired", "PaymentCanceled", "TransferAccepted",
    "TransferDeclined", "TransferExpired", "WithdrawalFailed",
}  # fmt: skip
"""What these post depends on what their wallet has room for, or their merchant has, at that moment."""
ORDERLESS = tuple(name for name in EVENT_TYPES if name not in READS_BALANCES)


# --- the oracle


def debit_normal(account: str) -> bool:
    return account[0] in "AX" or account.endswith(".clawback_due")


def folded(entries: Iterable[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Account → (balance on its own side, number of lines), from the journal alone."""
    result: dict[str, tuple[int, int]] = {}
    for entry in entries:
        assert sum(line["debit_minor"] for line in entry["lines"]) == 0
        for line in entry["lines"]:
            account, debit = line["account"], line["debit_minor"]
            posted, lines = result.get(account, (0, 0))
            result[account] = (posted + (debit if debit_normal(account) else -debit), lines + 1)
    return result


def check_at_any_time(platform: Platform) -> None:
    """Σ accounts + legs in flight = 0, as committed; each lane is balanced by its own account of legs in flight."""
    total = 0
    for account, balance in platform.balances().items():
        debit = balance["posted_minor"] if debit_normal(account) else -balance["posted_minor"]
        assert balance["available_minor"] == balance["posted_minor"] - balance["held_minor"]
        total += 0 if account.startswith("L.in_flight@") else debit
    assert total + platform.waiting_minor() == 0
    for lane in platform.at_work.values():
        lane.book.check()


def waiting(platform: Platform) -> dict[str, dict[str, Any]]:
    """Refunds that still wait, as compaction would leave them, in their order."""
    found: dict[str, dict[str, Any]] = {}
    for lane in range(platform.lanes):
        for record in platform.topics["refunds-waiting", lane]:
            assert record.key is not None
            if record.value is None:
                found.pop(record.key.decode(), None)
            else:
                found[record.key.decode()] = msgspec.json.decode(record.value)
    return found


def check_at_rest(platform: Platform) -> None:
    """Balances are the journal, folded; versions have no gap; nothing is in flight; each event has one effect."""
    check_at_any_time(platform)
    journal = platform.values("journal")
    balances = {a: b for a, b in platform.balances().items() if not a.startswith("L.in_flight@")}
    assert {a: (b["posted_minor"], b["version"]) for a, b in balances.items()} == folded(journal)
    assert sum(b["posted_minor"] for a, b in platform.balances().items() if a.startswith("L.in_flight@")) == 0
    ids = [entry["entry_id"] for entry in journal]
    assert len(ids) == len(set(ids))
    refused = [letter["event_id"] for letter in platform.values("payments-dlq")]
    assert len(refused) == len(set(refused))
    assert not set(refused) & {entry["event_id"] for entry in journal}
    check_waiting(platform, journal, balances)


def check_waiting(platform: Platform, journal: list[dict[str, Any]], balances: dict[str, dict[str, Any]]) -> None:
    """A refund that was asked for has its money reserved or waits, and the first that waits can't be paid."""
    asked = {entry["event_id"] for entry in journal if entry["event_type"] == "RefundRequested"}
    reserved = {entry["event_id"] for entry in journal if entry["entry_id"].endswith(":reserved")}
    still = waiting(platform)
    assert reserved | still.keys() == asked
    assert not reserved & still.keys()
    first: dict[str, int] = {}
    for refund in still.values():
        first.setdefault(refund["account"], refund["amount_minor"])
    for account, amount in first.items():
        assert balances.get(account, {"posted_minor": 0})["posted_minor"] < amount
    for event_id, refund in still.items():
        completed = [
            e for e in journal if e["event_type"] == "RefundCompleted" and e["payment_id"] == refund["payment_id"]
        ]
        assert refund["refund_id"] not in {e["reference_id"] for e in completed}, event_id


def run(found: Iterable[Event], lanes: int) -> Platform:
    """One event after another, each with its legs."""
    platform = Platform(lanes)
    for event in found:
        platform.send([event])
        platform.drain()
    return platform


# --- the properties

patient = settings(deadline=None, max_examples=50)


@patient
@given(events(), st.sampled_from((1, 2, 4)), st.data())
def test_any_schedule_with_any_crashes_keeps_the_books(found, lanes, data):
    """Rounds of any size, in any order, any of them lost in a crash: nothing is lost, doubled or out of balance."""
    platform = Platform(lanes)
    platform.send(found)
    for _ in range(200):
        places = platform.waiting()
        if not places:
            break
        place = data.draw(st.sampled_from(places))
        platform.round(*place, data.draw(st.integers(1, 5)), crash=data.draw(st.integers(0, 4)) == 0)
        check_at_any_time(platform)
    platform.drain()
    check_at_rest(platform)


@patient
@given(events(ORDERLESS), st.data())
def test_facts_alone_come_to_the_same_books_on_any_schedule(found, data):
    """Where no rule reads a balance, lanes, schedule and crashes leave no trace: one state hash."""
    platform = Platform(data.draw(st.sampled_from((2, 4))))
    platform.send(found)
    while places := platform.waiting():
        platform.round(*data.draw(st.sampled_from(places)), data.draw(st.integers(1, 5)))
    assert state_hash(platform.books()) == state_hash(run(found, 1).books())


@patient
@given(events())
def test_the_number_of_lanes_changes_no_balance(found):
    """All events in one order on 1, 2 and 4 lanes: the same balances, the same state hash."""
    platforms = [run(found, lanes) for lanes in (1, 2, 4)]
    for platform in platforms:
        check_at_rest(platform)
    assert len({state_hash(platform.books()) for platform in platforms}) == 1


def stands(book: Book) -> list[tuple[str, int, int]]:
    return sorted((slot.account, slot.posted_minor, slot.version) for slot in book.accounts())


@patient
@given(events())
def test_restored_lanes_are_the_lanes_at_work(found):
    """What a fresh worker restores, lives and waiting refunds included, is what the worker before it knew."""
    platform = run(found, 2)
    for lane, worker in platform.at_work.items():
        restored = platform.books()[lane]
        assert stands(restored) == stands(worker.book)
        assert restored.state_hash() == worker.book.state_hash()
        assert restored.store == worker.book.store
        assert list(restored.waiting) == list(worker.book.waiting)


@patient
@given(events(max_size=40), st.sampled_from((1, 2, 4)))
def test_verify_refuses_what_the_ledger_refuses(found, lanes):
    """Two tellings of the rules that share no code come to the same refusals, by name."""
    platform = run(found, lanes)
    told = judge_all((msgspec.json.decode(codec.encode(event)) for event in found), lanes)
    assert platform.refusals() == told.refused


@patient
@given(events(max_size=40), st.sampled_from((1, 2, 4)), st.lists(st.integers(0, 2_000), min_size=40, max_size=40))
def test_verify_forgets_what_the_ledger_forgets(found, lanes, days):
    """Events of years, in any order of their times: what is too late for its payment is so for both, by its name."""
    spread = [
        msgspec.structs.replace(event, occurred_at_us=AT_US + day * DAY_US)
        for event, day in zip(found, days, strict=False)
    ]
    platform = run(spread, lanes)
    told = judge_all((msgspec.json.decode(codec.encode(event)) for event in spread), lanes)
    assert platform.refusals() == told.refused
    for lane, worker in platform.at_work.items():
        assert platform.books()[lane].state_hash() == worker.book.state_hash()


def owners(event: Event) -> set[str]:
    """Everybody whose accounts an event may touch."""
    body, found = msgspec.to_builtins(event.body), {partition_key(event)}
    found |= {str(body[name]) for name in ("merchant_id", "campaign_id", "receiver_wallet_id") if name in body}
    return found | {account.split(".")[1] for account in (line["account"] for line in body.get("lines", ()))}


@patient
@given(events(max_size=12), st.data())
def test_events_of_different_owners_can_be_swapped(found, data):
    """Two neighbours that share no owner commute: the same state hash either way."""
    places = [i for i in range(len(found) - 1) if not owners(found[i]) & owners(found[i + 1])]
    if not places:
        return
    i = data.draw(st.sampled_from(places))
    swapped = [*found[:i], found[i + 1], found[i], *found[i + 2 :]]
    assert state_hash(run(found, 2).books()) == state_hash(run(swapped, 2).books())


# --- lives, against a model


AT_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000
US_A_STEP = 1_000_000
FUNDS = st.integers(1, 3_000)


class Paid:
    """A payment in the model: what paid it, what of it can be refunded, and what became of it."""

    def __init__(self, payment_id: str, wallet: str, merchant: str, shares: dict[str, int], at_us: int) -> None:
        self.payment_id, self.wallet, self.merchant, self.at_us = payment_id, wallet, merchant, at_us
        self.shares = dict(shares)
        self.left = dict(shares)
        self.state = "paid"
        self.refunds: dict[str, dict[str, int]] = {}
        self.completed: set[str] = set()


class LivesMachine(RuleBasedStateMachine):
    """Payments, refunds, transfers and settlements as somebody might send them, right and wrong, on lanes that work
    when they like and crash. What is refused is what a model of a few lines refuses; the books hold at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.platform = Platform(4)
        self.number = 0
        self.paid: list[Paid] = []
        self.transfers: dict[str, list[Any]] = {}
        self.expected: dict[str, str] = {}
        self.sent: list[str] = []

    def say(self, event_type: str, aggregate_id: str, body: dict[str, Any], refusal: str | None) -> None:
        """Sends an event, and notes what the model says of it."""
        self.number += 1
        fields = {
            "event_type": event_type, "event_id": f"e-{self.number}", "occurred_at_us": self.now_us,
            "aggregate": "payment" if "p-" in aggregate_id else "wallet", "aggregate_id": aggregate_id,
            "aggregate_seq": 1, "body": body,
        }  # fmt: skip
        self.platform.send([codec.decode(msgspec.json.encode(fields))])
        self.sent.append(f"e-{self.number}")
        if refusal is not None:
            self.expected[f"e-{self.number}"] = refusal

    @property
    def now_us(self) -> int:
        return AT_US + (self.number + 1) * US_A_STEP + getattr(self, "later_us", 0)

    def body(self, paid: Paid, shares: dict[str, int], **more: Any) -> dict[str, Any]:
        tenders = [{"kind": kind, "amount_minor": amount} for kind, amount in shares.items() if amount]
        body = {"wallet_id": paid.wallet, "merchant_id": paid.merchant, "store_id": "s-1", "tenders": tenders, **more}
        return {**body, "amount_minor": sum(shares.values()), "authorized_minor": sum(shares.values())}

    @rule(wallet=st.sampled_from(WALLETS), amount=FUNDS | st.just(999_000), verified=st.booleans())
    def top_up(self, wallet: str, amount: int, verified: bool) -> None:
        body = {"wallet_id": wallet, "amount_minor": amount, "source": "bank", "verified": verified}
        self.say("TopUpCompleted", wallet, body, None)

    @rule(
        wallet=st.sampled_from(WALLETS),
        merchant=st.sampled_from(MERCHANTS),
        money=FUNDS,
        other=FUNDS,
        hold=st.booleans(),
    )
    def pay(self, wallet: str, merchant: str, money: int, other: int, hold: bool) -> None:
        paid = Paid(f"p-{self.number}", wallet, merchant, {"money": money, "card": other}, self.now_us)
        paid.state = "held" if hold else "paid"
        self.say(
            "PaymentAuthorized" if hold else "PaymentCompleted", paid.payment_id, self.body(paid, paid.shares), None
        )
        self.paid.append(paid)

    @precondition(lambda self: self.paid)
    @rule(data=st.data())
    def pay_again(self, data: st.DataObject) -> None:
        paid = data.draw(st.sampled_from(self.paid))
        self.say("PaymentCompleted", paid.payment_id, self.body(paid, paid.shares), "payment_exists")

    @precondition(lambda self: self.paid)
    @rule(
        data=st.data(),
        end=st.sampled_from(("PaymentCaptured", "PaymentVoided", "AuthorizationExpired")),
        above=st.booleans(),
    )
    def end_hold(self, data: st.DataObject, end: str, above: bool) -> None:
        paid = data.draw(st.sampled_from(self.paid))
        shares = {**paid.shares, "card": paid.shares["card"] + above}
        captured = data.draw(st.integers(1, sum(shares.values()))) if end == "PaymentCaptured" else 0
        refusal = "hold_ended" if paid.state != "held" else "tenders_differ" if above else None
        if refusal == "tenders_differ" and captured > sum(paid.shares.values()):
            refusal = "above_hold"
        self.say(end, paid.payment_id, self.body(paid, shares, captured_minor=captured), refusal)
        if refusal is None:
            paid.state = "paid" if captured else "ended"
        if refusal is None and captured:
            money = min(captured, paid.shares["money"])
            paid.shares = {"money": money, "card": captured - money}
            paid.left, paid.at_us = dict(paid.shares), self.now_us - US_A_STEP

    @precondition(lambda self: self.paid)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        paid = data.draw(st.sampled_from(self.paid))
        refusal = {"canceled": "payment_canceled", "held": "not_paid", "ended": "not_paid", "paid": None}[paid.state]
        refusal = refusal or ("cancel_refunded" if paid.refunds else None)
        self.say("PaymentCanceled", paid.payment_id, self.body(paid, paid.shares), refusal)
        if refusal is None:
            paid.state = "canceled"

    @precondition(lambda self: self.paid)
    @rule(data=st.data(), late=st.integers(0, 9))
    def ask_for_refund(self, data: st.DataObject, late: int) -> None:
        paid = data.draw(st.sampled_from(self.paid))
        money, card = (
            data.draw(st.integers(0, 1 + paid.left["money"])),
            data.draw(st.integers(0, 1 + paid.left["card"])),
        )
        shares = {kind: amount for kind, amount in (("money", money), ("card", card)) if amount} or {"card": 1}
        refund_id = f"r-{self.number}"
        refusal = {"canceled": "payment_canceled", "held": "not_paid", "ended": "not_paid", "paid": None}[paid.state]
        self.later_us = paid.at_us + 366 * DAY_US - AT_US if late == 0 else 0
        if refusal is None:
            refusal = self.refused_split(paid, shares, too_late=late == 0)
        self.say("RefundRequested", paid.payment_id, self.body(paid, shares, refund_id=refund_id), refusal)
        self.later_us = 0
        if refusal is None:
            paid.refunds[refund_id] = shares
            for kind, amount in shares.items():
                paid.left[kind] -= amount

    def refused_split(self, paid: Paid, shares: dict[str, int], *, too_late: bool) -> str | None:
        if too_late:
            return "refund_too_late"
        if not all(paid.shares[kind] for kind in shares):
            return "tender_did_not_pay"
        if sum(shares.values()) > sum(paid.left.values()):
            return "refund_above_rest"
        return "refund_above_tender" if any(amount > paid.left[kind] for kind, amount in shares.items()) else None

    @precondition(lambda self: any(paid.refunds for paid in self.paid))
    @rule(data=st.data(), unknown=st.integers(0, 9), part=st.booleans())
    def complete_refund(self, data: st.DataObject, unknown: int, part: bool) -> None:
        paid = data.draw(st.sampled_from([paid for paid in self.paid if paid.refunds]))
        refund_id = data.draw(st.sampled_from(sorted(paid.refunds)))
        shares, refusal = dict(paid.refunds[refund_id]), None
        if unknown == 0:
            refund_id, refusal = "r-none", "unknown_refund"
        elif refund_id in paid.completed:
            refusal = "refund_ended"
        elif part:
            shares = {kind: (amount + 1) // 2 for kind, amount in shares.items()}
        self.say("RefundCompleted", paid.payment_id, self.body(paid, shares, refund_id=refund_id), refusal)
        if refusal is None:
            paid.completed.add(refund_id)
            for kind, amount in shares.items():
                paid.left[kind] += paid.refunds[refund_id][kind] - amount
            paid.refunds[refund_id] = shares

    @rule(pair=st.permutations(WALLETS), amount=FUNDS | st.just(999_000))
    def send(self, pair: list[str], amount: int) -> None:
        body = {"wallet_id": pair[0], "receiver_wallet_id": pair[1], "transfer_id": f"t-{self.number}"}
        body |= {"amount_minor": amount, "kind": "money"}
        self.transfers[f"t-{self.number}"] = [body, False]
        self.say("TransferSent", pair[0], body, None)

    @precondition(lambda self: self.transfers)
    @rule(
        data=st.data(),
        end=st.sampled_from(("TransferAccepted", "TransferDeclined", "TransferExpired")),
        more=st.integers(0, 4),
    )
    def end_transfer(self, data: st.DataObject, end: str, more: int) -> None:
        transfer = self.transfers[data.draw(st.sampled_from(sorted(self.transfers)))]
        refusal = "transfer_ended" if transfer[1] else "transfer_differs" if more == 0 else None
        body = {**transfer[0], "amount_minor": transfer[0]["amount_minor"] + (more == 0)}
        self.say(end, body["wallet_id"], body, refusal)
        transfer[1] |= refusal is None

    @rule(merchant=st.sampled_from(MERCHANTS), gross=FUNDS)
    def settle(self, merchant: str, gross: int) -> None:
        body = {"merchant_id": merchant, "settlement_id": "y-1", "period": "2026-01", "gross_minor": gross}
        self.say("SettlementClosed", merchant, {**body, "fee_minor": 0, "tax_minor": 0, "fee_rate_bp": 160}, None)

    @precondition(lambda self: self.platform.waiting())
    @rule(data=st.data(), records=st.integers(1, 5), crash=st.integers(0, 4))
    def work(self, data: st.DataObject, records: int, crash: int) -> None:
        self.platform.round(*data.draw(st.sampled_from(self.platform.waiting())), records, crash=crash == 0)

    @invariant()
    def the_books_hold(self) -> None:
        check_at_any_time(self.platform)

    def teardown(self) -> None:
        self.platform.drain()
        check_at_rest(self.platform)
        assert self.platform.refusals() == self.expected
        check_lives(self.platform, self.paid)


def check_lives(platform: Platform, paid: list[Paid]) -> None:
    """Held = Σ open holds; refunds of a payment are at most what was paid, tender by tender; points and lite stay."""
    balances = {account: balance["posted_minor"] for account, balance in platform.balances().items()}
    for wallet in WALLETS:
        held = sum(one.shares["money"] for one in paid if one.wallet == wallet and one.state == "held")
        assert balances.get(f"U.{part(wallet)}.held.money", 0) == held
        # Money is above its cap by top-ups alone, which are breaches; nothing else brings it there.
    for one in paid:
        given: dict[str, int] = defaultdict(int)
        for entry in platform.values("journal"):
            if entry["event_type"] == "RefundCompleted" and entry["payment_id"] == one.payment_id:
                for line in entry["split"]:
                    given[line["account"]] -= line["debit_minor"]
        for kind, account in (("money", f"U.{part(one.wallet)}.money"), ("card", "A.card_recv.unnamed")):
            assert given[account] <= one.shares[kind]


TestLives = LivesMachine.TestCase
TestLives.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


@patient
@given(
    st.lists(st.tuples(st.sampled_from(("money", "points", "money_lite", "card")), FUNDS), min_size=1, max_size=4),
    st.sampled_from((1, 2, 4)),
    st.integers(1, 5),
)
def test_paying_and_refunding_all_is_as_if_nothing_had_been(shares, lanes, times):
    """Whatever the tenders and the number of parts, wallet, merchant and receivables own what they owned before."""
    tenders = [{"kind": kind, "amount_minor": amount * times} for kind, amount in shares]
    parts = [{"kind": kind, "amount_minor": amount} for kind, amount in shares]
    whole = {"wallet_id": "w-1", "merchant_id": "m-1", "store_id": "s-1", "tenders": tenders}
    told: list[tuple[str, dict[str, Any]]] = [
        ("PaymentCompleted", {**whole, "amount_minor": sum(t["amount_minor"] for t in tenders)})
    ]
    for number in range(times):
        refund = {"refund_id": f"r-{number}", "tenders": parts, "amount_minor": sum(t["amount_minor"] for t in parts)}
        told += [("RefundRequested", {**whole, **refund}), ("RefundCompleted", {**whole, **refund})]
    found = [
        codec.decode(
            msgspec.json.encode(
                {
                    "event_type": name, "event_id": f"e-{number}", "occurred_at_us": AT_US + number,
                    "aggregate": "payment", "aggregate_id": "p-1", "aggregate_seq": 1 + number, "body": body,
                }
            )
        )
        for number, (name, body) in enumerate(told)
    ]  # fmt: skip
    platform = run(found, lanes)
    check_at_rest(platform)
    assert platform.refusals() == {}
    assert {b["posted_minor"] for b in platform.balances().values()} == {0}


@patient
@given(events(), st.sampled_from((1, 4)))
def test_a_balance_is_the_fold_of_the_journal_at_each_of_its_versions(found, lanes):
    """Version n of an account is the sum of the first n lines on it, in the order of its lane's journal."""
    platform = Platform(lanes)
    for event in found:
        platform.send([event])
        platform.drain()
        debits, lines = defaultdict(int), defaultdict(int)
        for entry in platform.values("journal"):
            for line in entry["lines"]:
                debits[line["account"]] += line["debit_minor"]
                lines[line["account"]] += 1
        for account, balance in platform.balances().items():
            if not account.startswith("L.in_flight@"):
                sign = 1 if debit_normal(account) else -1
                assert (balance["posted_minor"], balance["version"]) == (sign * debits[account], lines[account])
