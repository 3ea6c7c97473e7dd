"""Cashback: what payments earn, what the pot pays, what refunds take back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koban.campaigns.cashback import CashbackDesk, Pot, Story
from koban.events import EVENT_TYPES, Cancel, Event, HoldEnded, Payment, Refund, Tender
from koban.records import Campaign
from schemas import codec

START, END = 1_760_000_000_000_000, 1_760_000_600_000_000
KINDS = ("points", "money_lite", "money", "card")


def campaign(**changes: Any) -> Campaign:
    fields = {
        "campaign_id": "c-1",
        "version": 1,
        "name": "test",
        "starts_at_us": START,
        "ends_at_us": END,
        "rate_bp": 2_000,
        "cap_per_payment_minor": 500,
        "budget_minor": 10_000,
    }
    return Campaign(**{**fields, **changes})


def tenders(*parts: tuple[str, int]) -> tuple[Tender, ...]:
    return tuple(Tender(kind=kind, amount_minor=amount) for kind, amount in parts)  # type: ignore[arg-type]  # literals


def event(name: str, payment: str, number: int, body: Any, at: int = START) -> Event:
    return EVENT_TYPES[name](
        event_id=f"{payment}-{number}",
        occurred_at_us=at,
        aggregate="payment",
        aggregate_id=payment,
        aggregate_seq=number,
        correlation_id=payment,
        body=body,
    )


def paid(payment: str, *parts: tuple[str, int], at: int = START, merchant: str = "m-1") -> Event:
    body = Payment(
        wallet_id="u-1",
        merchant_id=merchant,
        store_id="s-1",
        amount_minor=sum(amount for _, amount in parts),
        tenders=tenders(*parts),
    )
    return event("PaymentCompleted", payment, 1, body, at)


def captured(payment: str, captured_minor: int, *parts: tuple[str, int]) -> Event:
    body = HoldEnded(
        wallet_id="u-1",
        merchant_id="m-1",
        store_id="s-1",
        authorized_minor=sum(amount for _, amount in parts),
        captured_minor=captured_minor,
        tenders=tenders(*parts),
    )
    return event("PaymentCaptured", payment, 2, body)


def refunded(payment: str, number: int, *parts: tuple[str, int]) -> Event:
    amount = sum(amount for _, amount in parts)
    body = Refund(
        wallet_id="u-1", refund_id=f"r-{number}", merchant_id="m-1", amount_minor=amount, tenders=tenders(*parts)
    )
    return event("RefundCompleted", payment, number, body, END + 1)


def canceled(payment: str, *parts: tuple[str, int]) -> Event:
    body = Cancel(wallet_id="u-1", merchant_id="m-1", amount_minor=sum(a for _, a in parts), tenders=tenders(*parts))
    return event("PaymentCanceled", payment, 9, body)


class Run:
    """A desk whose pots and stories go through bytes after each event, as they do in a job's state."""

    def __init__(self, *campaigns: Campaign) -> None:
        self.pots: dict[str, bytes] = {}
        self.stories: dict[str, bytes] = {}
        self.out: list[Event] = []
        self.define(*campaigns)

    def desk(self) -> CashbackDesk:
        return CashbackDesk(msgspec.msgpack.decode(pot, type=Pot) for pot in self.pots.values())

    def keep(self, desk: CashbackDesk) -> None:
        self.pots |= {pot.campaign.campaign_id: msgspec.msgpack.encode(pot) for pot in desk.snapshot()}

    def define(self, *campaigns: Campaign) -> None:
        desk = self.desk()
        for one in campaigns:
            desk.on_definition(one)
        self.keep(desk)

    def see(self, *events: Event) -> list[tuple[str, int]]:
        """Decisions of these events as (G for granted or C for clawed back, yen)."""
        start = len(self.out)
        for one in events:
            desk, payment = self.desk(), one.aggregate_id
            kept = self.stories.get(payment)
            story, out = desk.on_event(one, msgspec.msgpack.decode(kept, type=Story) if kept else None)
            if story is not None:
                self.stories[payment] = msgspec.msgpack.encode(story)
            self.keep(desk)
            self.out += [codec.decode(codec.encode(decision)) for decision in out]
        return [(type(one).__name__.removeprefix("Cashback")[0], one.body.amount_minor) for one in self.out[start:]]


@pytest.mark.parametrize(
    ("changes", "payment", "expected"),
    [
        ({}, paid("p", ("money", 1_000)), [("G", 200)]),
        ({}, paid("p", ("money", 1_004)), [("G", 200)]),  # rounded down
        ({}, paid("p", ("money", 4)), []),  # less than a yen
        ({}, paid("p", ("money", 2_500)), [("G", 500)]),
        ({}, paid("p", ("money", 2_505)), [("G", 500)]),  # capped
        ({}, paid("p", ("money", 1_000), at=START - 1), []),
        ({}, paid("p", ("money", 1_000), at=END - 1), [("G", 200)]),
        ({}, paid("p", ("money", 1_000), at=END), []),  # the end is outside
        ({"amount_min_minor": 200}, paid("p", ("money", 199)), []),
        ({"amount_min_minor": 200}, paid("p", ("money", 200)), [("G", 40)]),
        ({"merchants": ("m-2",)}, paid("p", ("money", 1_000)), []),
        ({"merchants": ("m-2",)}, paid("p", ("money", 1_000), merchant="m-2"), [("G", 200)]),
        ({"tenders": ("money",)}, paid("p", ("points", 400), ("money", 600)), [("G", 120)]),
        ({"budget_minor": 150}, paid("p", ("money", 1_000)), [("G", 150)]),  # the remainder
        ({}, captured("p", 1_000, ("money", 3_000)), [("G", 200)]),
        ({}, captured("p", 0, ("money", 3_000)), []),
        ({"tenders": ("points",)}, captured("p", 300, ("points", 400), ("money", 600)), [("G", 60)]),
        ({"tenders": ("money",)}, captured("p", 300, ("points", 400), ("money", 600)), []),
    ],
)
def test_one_payment_earns(changes: dict[str, Any], payment: Event, expected: list[tuple[str, int]]) -> None:
    assert Run(campaign(**changes)).see(payment) == expected


@pytest.mark.parametrize(
    ("changes", "events", "expected"),
    [
        # A part refund leaves the reward of the rest.
        ({}, [refunded("p", 2, ("money", 400))], [("C", 80)]),
        ({}, [refunded("p", 2, ("money", 400)), refunded("p", 3, ("money", 600))], [("C", 80), ("C", 120)]),
        ({}, [refunded("p", 2, ("money", 1)), refunded("p", 3, ("money", 1))], [("C", 1)]),
        ({}, [canceled("p", ("money", 1_000))], [("C", 200)]),
        # What is left is under the campaign's minimum, so nothing is left.
        ({"amount_min_minor": 700}, [refunded("p", 2, ("money", 400))], [("C", 200)]),
        # The cap still covers what is left, so nothing is taken.
        ({"cap_per_payment_minor": 100}, [refunded("p", 2, ("money", 500))], []),
        ({"cap_per_payment_minor": 100}, [refunded("p", 2, ("money", 501))], [("C", 1)]),
        # A payment that got a part keeps what the rest would have earned, up to that part.
        ({"budget_minor": 150}, [refunded("p", 2, ("money", 200))], []),
        ({"budget_minor": 150}, [refunded("p", 2, ("money", 300))], [("C", 10)]),
    ],
)
def test_a_refund_leaves_what_the_rest_earns(
    changes: dict[str, Any], events: list[Event], expected: list[tuple[str, int]]
) -> None:
    run = Run(campaign(**changes))
    run.see(paid("p", ("money", 1_000)))
    assert run.see(*events) == expected


def test_a_refund_that_arrives_before_its_payment_is_not_forgotten() -> None:
    run = Run(campaign())
    assert run.see(refunded("p", 2, ("money", 400))) == []
    assert run.see(paid("p", ("money", 1_000))) == [("G", 200), ("C", 80)]


def test_a_second_completion_of_a_payment_earns_nothing() -> None:
    run = Run(campaign())
    assert run.see(paid("p", ("money", 1_000)), paid("p", ("money", 1_000))) == [("G", 200)]


def test_what_refunds_bring_back_is_not_granted_again() -> None:
    run = Run(campaign(budget_minor=200))
    run.see(paid("p", ("money", 1_000)), canceled("p", ("money", 1_000)))
    assert run.see(paid("q", ("money", 1_000))) == []


def test_a_refund_follows_the_definition_of_the_grant() -> None:
    run = Run(campaign())
    run.see(paid("p", ("money", 1_000)))
    run.define(campaign(version=2, rate_bp=5_000))
    assert run.see(refunded("p", 2, ("money", 500))) == [("C", 100)]
    assert run.see(paid("q", ("money", 1_000))) == [("G", 500)]


def test_an_older_version_changes_nothing_and_a_raised_budget_counts_what_was_granted() -> None:
    run = Run(campaign(version=2, budget_minor=100))
    run.define(campaign(version=1, budget_minor=10_000))
    assert run.see(paid("p", ("money", 1_000))) == [("G", 100)]
    run.define(campaign(version=3, budget_minor=150))
    assert run.see(paid("q", ("money", 1_000))) == [("G", 50)]


def test_campaigns_are_independent() -> None:
    run = Run(campaign(), campaign(campaign_id="c-2", rate_bp=1_000))
    assert run.see(paid("p", ("money", 1_000))) == [("G", 200), ("G", 100)]
    assert run.see(canceled("p", ("money", 1_000))) == [("C", 200), ("C", 100)]


def test_decisions_are_numbered_and_name_their_cause() -> None:
    run = Run(campaign())
    run.see(paid("p", ("money", 1_000)), refunded("p", 2, ("money", 1_000)))
    assert [(one.aggregate_id, one.aggregate_seq, one.causation_id) for one in run.out] == [
        ("c-1", 1, "p-1"),
        ("c-1", 2, "p-2"),
    ]
    assert len({one.event_id for one in run.out}) == 2


# Any interleaving of payments and refunds, refunds never above what is left of each tender.
amounts = st.integers(1, 3_000)
payments = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(KINDS), amounts, min_size=1), st.lists(st.floats(0, 1), max_size=3)),
    min_size=1,
    max_size=25,
)


@given(
    payments,
    st.integers(1, 4_000),
    st.integers(0, 10_000),
    st.integers(1, 600),
    st.sets(st.sampled_from(KINDS)),
    st.integers(0, 1_000),
    st.randoms(use_true_random=False),
)
def test_any_course_of_payments_and_refunds_keeps_the_pot_exact(
    wanted: Any, budget: int, rate: int, cap: int, kinds: set[str], least: int, chance: Any
) -> None:
    """Never over budget; the whole pot or all that was wanted; a refund leaves min(granted, reward of the rest)."""
    terms = campaign(
        budget_minor=budget,
        rate_bp=rate,
        cap_per_payment_minor=cap,
        tenders=tuple(sorted(kinds)),
        amount_min_minor=least,
    )
    run = Run(terms)
    queues: list[list[Event]] = []
    rest: dict[str, dict[str, int]] = {}
    due: dict[str, int] = {}

    def reward(parts: dict[str, int]) -> int:
        basis = sum(a for kind, a in parts.items() if not kinds or kind in kinds)
        return min(basis * rate // 10_000, cap) if sum(parts.values()) >= least else 0

    for number, (parts, shares) in enumerate(wanted):
        name = f"p{number}"
        left, queue = dict(parts), [paid(name, *parts.items())]
        due[name] = reward(parts)
        for k, share in enumerate(shares, 2):
            back = {kind: int(a * share) for kind, a in left.items() if int(a * share)}
            if back:
                left = {kind: a - back.get(kind, 0) for kind, a in left.items()}
                queue.append(refunded(name, k, *back.items()))
        rest[name] = left
        queues.append(queue)
    granted: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    while queues:
        queue = chance.choice(queues)
        run.see(queue.pop(0))
        queues = [one for one in queues if one]
        assert msgspec.msgpack.decode(run.pots["c-1"], type=Pot).granted_minor <= budget
    for one in run.out:
        side = granted if type(one).__name__ == "CashbackGranted" else taken
        side[one.body.payment_id] += one.body.amount_minor
    assert granted.total() == min(budget, sum(due.values()))
    assert sum(0 < granted[name] < due[name] for name in due) <= 1
    for name in due:
        assert granted[name] - taken[name] == min(granted[name], reward(rest[name]))
    pot = msgspec.msgpack.decode(run.pots["c-1"], type=Pot)
    assert (pot.granted_minor, pot.clawed_back_minor) == (granted.total(), taken.total())
    assert [one.aggregate_seq for one in run.out] == list(range(1, len(run.out) + 1))
