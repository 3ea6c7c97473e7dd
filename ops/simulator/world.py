"""The simulated world: made from a seed, opened once, then run as a stream of records in the order of sending.

>>> world = World(seed=1, users=100, merchants=10, start_us=1_780_282_800_000_000)
>>> opening = world.opening()
>>> first = next(world.stream(tps=5, seconds=10))
>>> opening[0].event_type, first.at_us >= world.start_us
('TopUpCompleted', True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import numpy as np

from koban.business_time import US_PER_S
from ops.simulator import wire
from ops.simulator.bursts import Bursts
from ops.simulator.draws import Act, Block, Draws, Mark
from ops.simulator.identifiers import EVENT_ID_CHARACTERS, SLOT_NUMBERS
from ops.simulator.malformed import Malformer
from ops.simulator.opening import Opening
from ops.simulator.payments import Payments
from ops.simulator.population import Population
from ops.simulator.post import Post
from ops.simulator.rhythm import Clock, Slots, Spike
from ops.simulator.scene import Scene
from ops.simulator.settlements import Settlements
from ops.simulator.truth import PLAIN, Message, Sent
from ops.simulator.wallets import Wallets

BLOCK_EVENTS = 8_192
_PER_MILLION_PER_BP = 100
_CONFLICTS_PER_DUPLICATE = 20
_BP = 10_000


class World:
    """Users, merchants and their money. Rates of disturbances are in basis points of the events.

    ``duplicates_bp`` brings a twentieth as many conflicts (the same id with another body) along; ``fraud_bp`` is the
    share of events that are planted fraud, and at least three lookalikes come with each burst, as a rule.
    """

    def __init__(
        self,
        seed: int,
        users: int,
        merchants: int,
        start_us: int,
        *,
        duplicates_bp: float = 50,
        late_bp: float = 50,
        malformed_bp: float = 10,
        fraud_bp: float = 20,
        huge: int = 0,
    ) -> None:
        self.start_us = start_us
        self.population = Population(seed, users, merchants)
        per_million = {
            Mark.DUPLICATE: int(duplicates_bp * _PER_MILLION_PER_BP),
            Mark.CONFLICT: int(duplicates_bp * _PER_MILLION_PER_BP / _CONFLICTS_PER_DUPLICATE),
            Mark.LATE: int(late_bp * _PER_MILLION_PER_BP),
            Mark.MALFORMED: int(malformed_bp * _PER_MILLION_PER_BP),
        }
        dice, clock = (np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2))
        self._clock_random = clock
        draws = Draws(self.population, per_million, dice)
        self._post = Post(Random(f"post {seed}"), Malformer(self.population, Random(f"malformed {seed}")))
        self._scene = scene = Scene(seed, self.population, draws, self._post)
        self._wallets = Wallets(scene)
        self._payments = Payments(scene, self._wallets)
        self._settlements = Settlements(scene)
        self._bursts = Bursts(scene, self._wallets, fraud_bp / _BP, seed)
        self._acts = self._table_of_acts()
        self._huge = huge
        self._is_open = False

    def _table_of_acts(self) -> list[Callable[[int], bool]]:
        wallets, settlements = self._wallets, self._settlements
        table: dict[Act, Callable[[int], bool]] = {
            Act.PAY: _nothing,
            Act.PAY_AND_REFUND: _nothing,
            Act.PAY_AND_CANCEL: _nothing,
            Act.AUTHORIZE: self._payments.authorize,
            Act.TRANSFER: wallets.send_transfer,
            Act.LOG_IN: wallets.log_in,
            Act.TOP_UP: wallets.request_top_up,
            Act.WITHDRAW: wallets.withdraw,
            Act.REVERSE_TOP_UP: wallets.reverse_top_up,
            Act.ADD_CARD: wallets.add_card,
            Act.BIND_DEVICE: wallets.bind_device,
            Act.RESET_PASSWORD: wallets.reset_password,
            Act.SIGN_UP: wallets.sign_up,
            Act.SETTLE: settlements.settle,
            Act.PAY_OUT_EARLY: settlements.pay_out_early,
            Act.CLEAR_BANK: settlements.clear_bank,
            Act.GRANT_LOT: wallets.grant_lot,
            Act.EXPIRE_LOT: wallets.expire_lot,
        }
        return [table[act] for act in Act]

    def opening(self) -> list[Message]:
        """Opening balances, and some sales so that merchants can refund: all in the last full hour before the start."""
        assert not self._is_open, "a world opens once"
        self._is_open = True
        Opening(self._scene, self._wallets).run(self.start_us)
        return [Message._make(sent) for sent in self._taken()]

    def stream(
        self,
        tps: float,
        *,
        start_us: int | None = None,
        seconds: float | None = None,
        events: int | None = None,
        rhythmic: bool = False,
        spike: Spike | None = None,
    ) -> Iterator[Message]:
        """The traffic after the opening, as `blocks` makes it, record by record."""
        for block in self.blocks(
            tps, start_us=start_us, seconds=seconds, events=events, rhythmic=rhythmic, spike=spike
        ):
            yield from map(Message._make, block)

    def blocks(
        self,
        tps: float,
        *,
        start_us: int | None = None,
        seconds: float | None = None,
        events: int | None = None,
        rhythmic: bool = False,
        spike: Spike | None = None,
    ) -> Iterator[list[Sent]]:
        """The traffic in lists of records, by time of sending.

        ``tps`` ordinary events a second, for so many ``seconds`` or ``events``, whichever ends first, else without end.
        Planted patterns, duplicates, conflicts and malformed records come on top. ``start_us`` replaces the world's own
        start; ``rhythmic`` lets the rate follow the day and the week.
        """
        assert self._is_open, "call opening() first: it gives everybody their money"
        start_us = self.start_us if start_us is None else start_us
        if seconds is None and events is not None and not rhythmic and spike is None:
            seconds = events / tps
        end_us = None if seconds is None else start_us + int(seconds * US_PER_S)
        clock = Clock(start_us, end_us, tps, self._clock_random, rhythmic=rhythmic, spike=spike)
        self._post.end_us = end_us
        for slots in _first(clock.slots(BLOCK_EVENTS), events):
            self._plan(slots, end_us)
            self._run(slots, self._scene.draws.block(slots))
            yield self._taken()
        self._close(end_us)
        yield self._taken()

    def balances(self) -> dict[str, int]:
        """The true ledger's accounts that are not zero: account → yen. What the platform itself grants is not in it."""
        books, population = self._scene.books, self.population
        found: dict[str, int] = {}
        for kind, amounts in (("money", books.money), ("money_lite", books.money_lite), ("points", books.points)):
            for index, amount in enumerate(amounts):
                found[f"U.{population.wallets[index]}.{kind}"] = amount + books.incoming.get((index, kind), 0)
        for index, lots in books.lots.items():
            for lot in lots:
                account = f"U.{population.wallets[index]}.{lot.kind}.{lot.name}"
                found[account] = found.get(account, 0) + lot.amount_minor
        for (index, kind), amount in books.held.items():
            found[f"U.{population.wallets[index]}.held.{kind}"] = amount
        for index, merchant in enumerate(population.merchants):
            found[f"M.{merchant.id}.payable"] = books.payable(index)
        return {account: amount for account, amount in found.items() if amount}

    def _plan(self, slots: Slots, end_us: int | None) -> None:
        first, last = int(slots.times_us[0]), int(slots.times_us[-1])
        self._bursts.plant(first, last + 1, len(slots.times_us), end_us)
        for _ in range(self._huge):
            self._post.huge(first)
        self._huge = 0

    def _run(self, slots: Slots, block: Block) -> None:
        """Makes an event for each moment: what is due first, else what was drawn.

        The plain payment is written out here, and everything that the loop needs is a local name: this runs for every
        event, and the rest of the simulator for one in four.
        """
        scene, post, payments = self._scene, self._post, self._payments
        books, population = scene.books, scene.population
        agenda, exact, queue, out, blocked = scene.agenda.heap, scene.exact.heap, post.queue, post.out, post.blocked
        take, spend, earn = scene.pace.take, books.spend, books.earn
        wallets, devices, tills = population.wallets, population.devices, population.tills
        payment_completed, acts = wire.payment_completed, self._acts
        last_payment = int(Act.PAY_AND_CANCEL)
        ids, place, number = block.event_ids, 0, slots.first
        for at_us, user, till, amount, act, mark in zip(
            slots.times_us.tolist(), block.users, block.tills, block.amounts, block.acts, block.marks, strict=True
        ):
            if (exact and exact[0][0] <= at_us) or (queue and queue[0][0] <= at_us):
                self._catch_up(at_us)
            event_id = ids[place : place + EVENT_ID_CHARACTERS]
            place += EVENT_ID_CHARACTERS
            number += 1
            if act > last_payment or (agenda and agenda[0][0] <= at_us):
                scene.event_id, scene.mark = event_id, mark
                if self._follow_up(at_us) or acts[act](at_us):
                    continue
            in_pace = take(user, at_us, amount)
            tenders = spend(user, amount) if in_pace else ""
            if not tenders:
                scene.event_id, scene.mark = event_id, mark
                payments.pay_otherwise(at_us, user, till, amount, in_pace)
                continue
            wallet, place_to_pay = wallets[user], tills[till]
            payment = at_us * 1000 + number % SLOT_NUMBERS
            earn(place_to_pay.merchant, amount)
            value = payment_completed(event_id, at_us, payment, wallet, devices[user], amount, tenders, place_to_pay)
            if mark or wallet in blocked:
                post.send(at_us, wallet, value, "PaymentCompleted", amount, mark)
            else:
                out.append((at_us, wallet, value, PLAIN, "PaymentCompleted", amount))
            if not act:
                continue
            if act == Act.PAY_AND_REFUND:
                payments.will_refund(at_us, payment, user, till, tenders)
            else:
                payments.will_cancel(at_us, payment, user, till, tenders)

    def _follow_up(self, at_us: int) -> bool:
        """Does what is due until an event came of it; False when nothing did."""
        agenda = self._scene.agenda
        while agenda.heap and agenda.heap[0][0] <= at_us:
            _, deed = agenda.pop()
            if deed(at_us):
                return True
        return False

    def _catch_up(self, until_us: int) -> None:
        """Delivers what was held back and does what has its exact time, in the order of time."""
        exact = self._scene.exact
        while exact.heap and exact.heap[0][0] <= until_us:
            due_us, deed = exact.pop()
            self._post.deliver(due_us)
            deed(due_us)
        self._post.deliver(until_us)

    def _close(self, end_us: int | None) -> None:
        if end_us is not None:
            self._catch_up(end_us)
        self._post.deliver(None)

    def _taken(self) -> list[Sent]:
        """What is ready to be sent. The post goes on with the same list, which the loop knows by name."""
        out = self._post.out
        taken = out[:]
        out.clear()
        return taken


def _nothing(_: int) -> bool:
    return False


def _first(blocks: Iterator[Slots], events: int | None) -> Iterator[Slots]:
    """The blocks' first ``events`` moments."""
    left = events
    for slots in blocks:
        if left is None:
            yield slots
            continue
        if left > 0:
            kept = slots._replace(times_us=slots.times_us[:left])
            left -= len(kept.times_us)
            yield kept
        if left <= 0:
            return
