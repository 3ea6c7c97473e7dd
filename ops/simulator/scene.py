"""What every act of the traffic works with: the people, the books, the agenda, the post, and the present moment."""

from __future__ import annotations

from random import Random

from koban.events import Account, Actor, Body
from ops.simulator import wire
from ops.simulator.agenda import Agenda
from ops.simulator.books import Books
from ops.simulator.draws import Draws
from ops.simulator.identifiers import SLOT_NUMBERS, event_id
from ops.simulator.pace import Pace
from ops.simulator.population import Population
from ops.simulator.post import Label, Post
from ops.simulator.rhythm import is_weekend, jst_hour

STAFF = ("staff-anzai", "staff-kuroda", "staff-mizuno")
"""Made-up people who approve corrections."""


class Scene:
    """The shared state of the acts. ``event_id`` and ``mark`` belong to the event that is made now."""

    def __init__(self, seed: int, population: Population, draws: Draws, post: Post) -> None:
        self.population = population
        self.draws = draws
        self.post = post
        self.books = Books(len(population.wallets), len(population.merchants))
        self.pace = Pace(len(population.wallets))
        self.agenda = Agenda()
        self.exact = Agenda()
        """Deeds that happen at their very time, between the moments of ordinary traffic."""
        self.random = Random(f"acts {seed}")
        self._random = self.random.random
        self.event_id = ""
        self.mark = 0
        self.wallet_seq = [0] * len(population.wallets)
        self._seq: dict[str, int] = {}
        self._numbers = 0
        self._ids: dict[str, int] = {}

    def begin(self, at_us: int) -> None:
        """Starts an event that lies outside ordinary traffic: nothing befalls it, and its id is its own."""
        self.event_id = event_id(at_us, self.random)
        self.mark = 0

    def number(self, at_us: int) -> int:
        """A payment number of 19 digits, of a kind that ordinary traffic does not use."""
        self._numbers += 1
        return at_us * 1000 + SLOT_NUMBERS + self._numbers % (1000 - SLOT_NUMBERS)

    def new_id(self, prefix: str) -> str:
        """The next id under a prefix."""
        self._ids[prefix] = index = self._ids.get(prefix, 0) + 1
        return self.population.numbered(prefix, index)

    def next_wallet_seq(self, wallet: int) -> int:
        """The next ``aggregate_seq`` of a wallet."""
        self.wallet_seq[wallet] = seq = self.wallet_seq[wallet] + 1
        return seq

    def next_seq(self, owner: str) -> int:
        """The next ``aggregate_seq`` of a merchant or a bank."""
        self._seq[owner] = seq = self._seq.get(owner, 0) + 1
        return seq

    def dice(self, sides: int) -> int:
        """A number from 0 to ``sides`` - 1, drawn faster than `Random.randrange` draws it."""
        return int(self._random() * sides)

    def anyone(self, at_us: int) -> int:
        """Some wallet that is not part of a planted pattern now."""
        wallets, reserved, random = self.population.wallets, self.post.reserved, self._random
        while True:
            index = int(random() * len(wallets))
            if reserved.get(wallets[index], 0) < at_us:
                return index

    def add_wallet(self) -> int:
        """A wallet more, empty so far; returns its index."""
        index = self.population.add_wallet(self.random)
        self.books.open_wallet()
        self.pace.add_wallet()
        self.wallet_seq.append(0)
        return index

    def open_till(self, at_us: int, wallet: int | None = None) -> tuple[int, int]:
        """A till that is open, near the wallet's home if one is given, and an amount to pay there."""
        home = self.draws.streets.home
        area = int(home[wallet]) if wallet is not None and wallet < len(home) else None
        return self.draws.one_till(self.random, jst_hour(at_us), is_weekend(at_us), area)

    def wallet_event(
        self, name: str, at_us: int, wallet: int, body: Body, amount: int = 0, *, reason: str | None = None
    ) -> bool:
        """Sends an event of a wallet."""
        wallet_id = self.population.wallets[wallet]
        seq = self.next_wallet_seq(wallet)
        value = wire.typed(name, self.event_id, at_us, "wallet", wallet_id, seq, body, reason=reason)
        self.post.send(at_us, wallet_id, value, name, amount, self.mark)
        return True

    def account_event(self, name: str, at_us: int, wallet: int, **fields: str | bool | None) -> bool:
        """Sends an event about the wallet's owner, who uses the wallet's device unless ``fields`` say otherwise."""
        given = {"device_id": self.population.devices[wallet], **fields}
        return self.wallet_event(
            name,
            at_us,
            wallet,
            Account(wallet_id=self.population.wallets[wallet], **given),  # type: ignore[arg-type]  # names and types are the callers' literals
        )

    def payment_event(self, name: str, at_us: int, number: int, seq: int, wallet: int, body: Body, amount: int) -> bool:
        """Sends an event of a payment."""
        value = wire.typed(name, self.event_id, at_us, "payment", str(number), seq, body, correlation_id=str(number))
        self.post.send(at_us, self.population.wallets[wallet], value, name, amount, self.mark)
        return True

    def merchant_event(self, name: str, at_us: int, merchant_id: str, body: Body, amount: int) -> bool:
        """Sends an event of a merchant."""
        seq = self.next_seq(merchant_id)
        actor = Actor(kind="system", id="settlement")
        value = wire.typed(name, self.event_id, at_us, "merchant", merchant_id, seq, body, actor=actor)
        self.post.send(at_us, merchant_id, value, name, amount, self.mark)
        return True

    def bank_event(self, name: str, at_us: int, bank_id: str, body: Body, amount: int) -> bool:
        """Sends an event of a bank's account."""
        value = wire.typed(name, self.event_id, at_us, "ledger", bank_id, self.next_seq(bank_id), body)
        self.post.send(at_us, bank_id, value, name, amount, self.mark)
        return True

    def send_payment(
        self, at_us: int, wallet: int, till: int, amount: int, tenders: str, label: Label | None = None
    ) -> int:
        """Sends a PaymentCompleted that lies outside ordinary traffic, books the sale, returns the payment's number."""
        number = self.number(at_us)
        population = self.population
        wallet_id = population.wallets[wallet]
        place = population.tills[till]
        value = wire.payment_completed(
            self.event_id, at_us, number, wallet_id, population.devices[wallet], amount, tenders, place
        )
        self.books.earn(place.merchant, amount)
        self.post.send(at_us, wallet_id, value, "PaymentCompleted", amount, self.mark, label)
        return number
