"""Planted patterns: bursts of payments that fraud rule T01 must find, and lookalikes that it must spare.

A thief pays with the victim's own money, at shops that are open, for amounts as the shops ask them; what gives the
thief away is the pace alone. Each pattern has its wallet to itself from a minute before to a minute after, so that the
truth about it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import accumulate
from random import Random
from typing import NamedTuple

from koban.business_time import US_PER_S
from ops.simulator.pace import BUCKET_MINOR, WINDOW_US
from ops.simulator.post import Label
from ops.simulator.scene import Scene
from ops.simulator.truth import TYPOLOGY, Burst
from ops.simulator.truth import Label as LabelName
from ops.simulator.wallets import Wallets

T01_PAYMENTS = 6
T01_MERCHANTS = 4
LOOKALIKES_PER_BURST = 4
"""One more than the three that ground truth should have, for some find no idle wallet, or no time before the end."""
MEAN_PAYMENTS = 7
"""Payments of a burst on average: turns a share of events into a number of bursts."""
_VICTIMS_TRIED_MAX = 400
_TILLS_TRIED_MAX = 300
_AMOUNT_MINOR_MIN = 100
_BALANCE_MINOR_MIN = 4_000
_HURRY_US = 55 * US_PER_S
_HURRY_US_MIN = 6 * US_PER_S
_COMPENSATED_AFTER_S = (30, 600)
_SPARED_US = 4 * 3600 * US_PER_S


class Visit(NamedTuple):
    """A payment of a pattern: when, at which till, how much."""

    at_us: int
    till: int
    merchant: int
    amount: int


class Shape(NamedTuple):
    """How a pattern runs: how many payments at how many merchants, and the times of them from its start."""

    name: str
    label: LabelName
    payments: tuple[int, int]
    merchants: tuple[int, int]
    offsets: Callable[[Random, int, int], list[int]]
    """(random, payments, the longest it may take in µs) → µs from the start."""
    span_us_min: int


def _hurried(random: Random, payments: int, room_us: int) -> list[int]:
    span = random.randrange(_HURRY_US_MIN, max(_HURRY_US_MIN + 1, min(_HURRY_US, room_us)))
    inner = sorted(random.sample(range(1, span), payments - 2))
    return [0, *inner, span]


def _unhurried(random: Random, payments: int, _: int) -> list[int]:
    """Such gaps that any six payments take more than 60 s."""
    gaps = (random.randrange(12_100_000, 19_000_000) for _ in range(payments - 1))
    return _sums(gaps)


def _over_hours(random: Random, payments: int, _: int) -> list[int]:
    return _sums(random.randrange(900, 1_200) * US_PER_S for _ in range(payments - 1))


def _sums(gaps: Iterable[int]) -> list[int]:
    return list(accumulate(gaps, initial=0))


BURST = Shape("burst", "fraud", (6, 9), (4, 7), _hurried, _HURRY_US_MIN)
LOOKALIKES = (
    Shape("food_court", "lookalike", (6, 9), (2, 3), _hurried, _HURRY_US_MIN),
    Shape("five_stops", "lookalike", (5, 5), (5, 5), _hurried, _HURRY_US_MIN),
    Shape("shopping_street", "lookalike", (6, 7), (4, 6), _unhurried, 120 * US_PER_S),
    Shape("two_hours", "lookalike", (7, 7), (4, 7), _over_hours, 7_200 * US_PER_S),
)


class Bursts:
    """Plants patterns at a rate: their payments are ``share`` of all events."""

    def __init__(self, scene: Scene, wallets: Wallets, share: float, seed: int) -> None:
        self._scene = scene
        self._wallets = wallets
        self._share = share
        self._random = Random(f"bursts {seed}")
        self._owed = 0.5
        """Half a burst ahead, so that a short stream has some."""
        self._planted = 0
        self._spared_until: dict[int, int] = {}
        """A wallet with a pattern gets no second one for hours, so that an alert on it can mean one pattern only."""

    def plant(self, from_us: int, to_us: int, events: int, end_us: int | None) -> None:
        """Plans this stretch's part of the patterns. Those that could not end before ``end_us`` are left out."""
        self._owed += events * self._share / MEAN_PAYMENTS
        for _ in range(int(self._owed)):
            self._owed -= 1
            shapes = [BURST, *(self._lookalike(from_us, end_us) for _ in range(LOOKALIKES_PER_BURST))]
            for shape in shapes:
                at_us = self._start(shape, from_us, to_us, end_us)
                if at_us is not None:
                    self._scene.exact.plan(at_us, partial(self._begin, shape, end_us))

    def _lookalike(self, at_us: int, end_us: int | None) -> Shape:
        fits = [shape for shape in LOOKALIKES if end_us is None or end_us - at_us > shape.span_us_min]
        return self._random.choice(fits or LOOKALIKES[:2])

    def _start(self, shape: Shape, from_us: int, to_us: int, end_us: int | None) -> int | None:
        last = to_us if end_us is None else min(to_us, end_us - shape.span_us_min - US_PER_S)
        return None if last <= from_us else self._random.randrange(from_us, last)

    def _begin(self, shape: Shape, end_us: int | None, at_us: int) -> bool:
        """Picks the wallet and lays the pattern out. Without a wallet that is idle and has the money, nothing."""
        random = self._random
        room_us = _HURRY_US if end_us is None else end_us - at_us - US_PER_S
        if room_us < shape.span_us_min:
            return False
        payments = random.randint(*shape.payments)
        offsets = shape.offsets(random, payments, room_us)
        wallet = self._victim(at_us)
        if wallet is None:
            return False
        visits = self._visits(shape, wallet, [at_us + offset for offset in offsets])
        if not visits:
            return False
        self._reserve(wallet, visits)
        self._planted += 1
        pattern = _Pattern(self, shape, self._scene.population.numbered("b", self._planted), wallet, visits)
        for index, visit in enumerate(visits):
            self._scene.exact.plan(visit.at_us, partial(pattern.pay, index))
        return False

    def _victim(self, at_us: int) -> int | None:
        scene, post = self._scene, self._scene.post
        for _ in range(_VICTIMS_TRIED_MAX):
            wallet = scene.anyone(at_us)
            if at_us < self._spared_until.get(wallet, at_us):
                continue
            free = post.blocked.get(scene.population.wallets[wallet], 0) < at_us
            rich = self._purse(wallet, at_us) >= _BALANCE_MINOR_MIN
            if free and rich and scene.pace.is_idle(wallet, at_us):
                self._spared_until[wallet] = at_us + _SPARED_US
                return wallet
        return None

    def _purse(self, wallet: int, at_us: int) -> int:
        scene = self._scene
        return min(scene.books.spendable(wallet), scene.pace.room(wallet, at_us), BUCKET_MINOR)

    def _visits(self, shape: Shape, wallet: int, times: list[int]) -> list[Visit]:
        """A visit per time: enough merchants, no more money than there is. Empty when too few shops are open."""
        merchants = min(len(times), self._random.randint(*shape.merchants))
        tills = self._tills(wallet, merchants, times[0])
        if len(tills) < merchants:
            return []
        order = tills + [self._random.choice(tills) for _ in range(len(times) - merchants)]
        self._random.shuffle(order)
        left = self._purse(wallet, times[0])
        visits = []
        for index, (at_us, (till, merchant, asked)) in enumerate(zip(times, order, strict=True)):
            keep = _AMOUNT_MINOR_MIN * (len(times) - index - 1)
            amount = max(1, min(asked, (left - keep) // 2 + 1))
            left -= amount
            visits.append(Visit(at_us, till, merchant, amount))
        return visits

    def _tills(self, wallet: int, merchants: int, at_us: int) -> list[tuple[int, int, int]]:
        """Tills of different merchants, with an amount each."""
        scene = self._scene
        found: dict[int, tuple[int, int, int]] = {}
        for tried in range(_TILLS_TRIED_MAX):
            near = wallet if tried < _TILLS_TRIED_MAX // 4 else None
            till, amount = scene.open_till(at_us, near)
            merchant = scene.population.tills[till].merchant
            found.setdefault(merchant, (till, merchant, amount))
            if len(found) == merchants:
                break
        return list(found.values())

    def _reserve(self, wallet: int, visits: list[Visit]) -> None:
        scene = self._scene
        first, last = visits[0].at_us, visits[-1].at_us
        scene.post.reserved[scene.population.wallets[wallet]] = last + WINDOW_US
        scene.pace.reserve(wallet, last, first, sum(visit.amount for visit in visits))

    def wallet_id(self, wallet: int) -> str:
        """The id of a wallet by its index."""
        return self._scene.population.wallets[wallet]

    def compensate(self, wallet: int, amount: int, at_us: int) -> None:
        """Plans that the victim gets the money back."""
        wait_us = self._random.randrange(*_COMPENSATED_AFTER_S) * US_PER_S
        self._scene.agenda.plan(at_us + wait_us, partial(self._wallets.compensate, wallet, amount))

    def pay(self, wallet: int, visit: Visit, label: Callable[[str], Label]) -> None:
        """Makes a payment of a pattern. The wallet has the money: it was reserved."""
        scene = self._scene
        scene.begin(visit.at_us)
        tenders = scene.books.spend(wallet, visit.amount)
        assert tenders, "a reserved wallet had its money spent by something else"
        scene.send_payment(visit.at_us, wallet, visit.till, visit.amount, tenders, label(scene.event_id))


class _Pattern:
    """A pattern on its way: knows which of its payments completes it."""

    def __init__(self, bursts: Bursts, shape: Shape, burst_id: str, wallet: int, visits: list[Visit]) -> None:
        self._bursts = bursts
        self._shape = shape
        self._burst_id = burst_id
        self._wallet = wallet
        self._visits = visits
        self._event_ids: list[str] = []
        self._told_at = len(visits) - 1 if shape.label == "lookalike" else _fires_at(visits)

    def pay(self, index: int, at_us: int) -> bool:
        """Makes the payment with this index."""
        assert at_us == self._visits[index].at_us
        self._bursts.pay(self._wallet, self._visits[index], partial(self._label, index))
        if index == len(self._visits) - 1 and self._shape.label == "fraud":
            self._bursts.compensate(self._wallet, sum(visit.amount for visit in self._visits), at_us)
        return True

    def _label(self, index: int, event_id: str) -> Label:
        self._event_ids.append(event_id)
        burst = self._truth(index) if index == self._told_at else None
        return Label(self._shape.label, self._burst_id, TYPOLOGY, burst)

    def _truth(self, index: int) -> Burst:
        visits = self._visits[: index + 1]
        return Burst(
            burst_id=self._burst_id,
            label=self._shape.label,
            shape=self._shape.name,
            wallet_id=self._bursts.wallet_id(self._wallet),
            first_at_us=visits[0].at_us,
            last_at_us=visits[-1].at_us,
            payments=len(visits),
            merchants=len({visit.merchant for visit in visits}),
            amount_minor=sum(visit.amount for visit in visits),
            event_ids=tuple(self._event_ids),
        )


def _fires_at(visits: list[Visit]) -> int:
    """The index of the payment at which T01 holds: six payments at four merchants, all within 60 s."""
    for index in range(T01_PAYMENTS - 1, len(visits)):
        if len({visit.merchant for visit in visits[: index + 1]}) >= T01_MERCHANTS:
            return index
    raise AssertionError("a burst that is none")
