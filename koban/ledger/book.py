"""One lane's book: the balances of the accounts whose owners belong to the lane, and the posting of facts to them.

A fact is judged and posted where its event lies. Its lines on the lane's own accounts take effect at once; lines on
accounts of other lanes leave as legs and take effect there, exactly once, when they arrive. Until then `L.in_flight`
holds them, so that the accounts of a lane sum to zero after every fact and every leg.

Two things are decided where the other side lives: whether a merchant has the money for a refund, which waits in its
lane until there is enough, and how much a wallet has room for; what is above its cap goes on to `over_limit`. Both
are entries of that lane, under the event's id and a word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec

from koban.events import Line
from koban.ledger.accounts import IN_FLIGHT, SUSPENSE, Use, base_of, parse, part, part_of_lane
from koban.ledger.breaches import BreachCode
from koban.ledger.digest import StateHash
from koban.ledger.facts import ArrivedLeg, Fact, StoredBalance
from koban.ledger.lives import Store
from koban.ledger.payments import asked_minor, paid
from koban.ledger.postings import PLAIN_KINDS, lines_for, payable, reserved
from koban.ledger.refusals import Refusal, RefusalCode
from koban.ledger.reservations import Reservations
from koban.ledger.slots import Slot, State
from koban.ledger.steps import STEPS, Note, began_at_us
from koban.records import Breach, Leg, Posting, WaitingRefund

ROUTES_MAX = 500_000
"""Accounts of other lanes whose lane is remembered; beyond it the memory starts anew."""
IN_FLIGHT_FAMILY = "in_flight"
CURRENCY = "JPY"
"""What the books are kept in."""
OVER_LIMIT = "over_limit"
"""Behind an event's id: the entry by which what a wallet had no room for was put aside."""
PAYMENT_COMPLETED = "PaymentCompleted"
_FREE = Use.FREE
_GIVE_BACK = frozenset(
    (
        "PaymentCaptured", "PaymentVoided", "AuthorizationExpired", "PaymentCanceled", "TransferAccepted",
        "TransferDeclined", "TransferExpired", "WithdrawalFailed",
    )
)  # fmt: skip
"""What they bring to a wallet above its cap waits in `over_limit`; a top-up above it is a breach."""


class Book:
    """The book of lane `lane`; `lane_of` tells an owner's lane. Not thread-safe: a lane's records come one by one."""

    def __init__(self, lane: int, lane_of: Callable[[str], int], store: Store | None = None) -> None:
        self.lane = lane
        self.store = Store() if store is None else store
        """What is known of the lane's payments, transfers and withdrawals."""
        self._reservations = Reservations(self.posted, self._follow)
        self.waiting = self._reservations.waiting
        """Refunds that wait for the money of the lane's merchants."""
        self._queues = self.waiting.queues
        self._decided: list[tuple[Posting, str]] = []
        self._lane_of = lane_of
        self._slots: dict[str, Slot] = {}
        """The lane's accounts by the names that events use: an account of the house by its name without the lane."""
        self._routes: dict[str, Slot] = {}
        """Accounts of other lanes."""
        self.drift_minor = 0
        """Σ debits applied since the start, legs in flight included: 0 after every fact, or a line was lost."""
        self.families: defaultdict[str, int] = defaultdict(int)
        """Family of accounts → the sum of its balances, debits positive, as of `take_touched`: the lane's trial
        balance, which sums to zero."""
        self._touched: list[Slot] = []
        self._outbox: defaultdict[int, list[Leg]] = defaultdict(list)
        self._in_flight = self._part(IN_FLIGHT)
        """Kept apart, so that no event can name it."""

    # --- posting

    def post(self, fact: Fact) -> Posting | Refusal | None:
        """Records a fact: judges it, decides its lines, applies those of this lane, puts the others in the outbox.

        None for an event that moves no money. Raises UnknownEventTypeError, before anything is changed.
        """
        if fact.event_type == PAYMENT_COMPLETED and (entry := self._paid(fact)) is not None:
            return entry
        return self._posted(fact)

    def _paid(self, fact: Fact) -> Posting | None:
        """A plain PaymentCompleted in one piece: most of what the books do is that. None, and nothing done, for others.

        Plain is what has an id not seen before, pays with a wallet's own money in this lane, and finds no refund
        waiting. Entry, legs, balances and life are those of `_posted`; a property holds one against the other.
        """
        body, event_id, at_us = fact.body, fact.event_id, fact.occurred_at_us
        payment_id = fact.correlation_id or (fact.aggregate_id if fact.aggregate == "payment" else None)
        store, slots, own_lane = self.store, self._slots, self.lane
        wallet = body.wallet_id
        key = f"{wallet}/{payment_id}"
        if payment_id is None or key in store or store.has_tombstones or self._queues or body.currency != CURRENCY:
            return None
        merchant = f"M.{part(body.merchant_id)}.payable"
        credited = slots.get(merchant) or self._routes.get(merchant) or self._route(merchant)
        if credited.of_house:
            return None
        lines, shares, paying, left = [], [], [], body.amount_minor
        for tender in body.tenders:
            amount_minor = tender.amount_minor
            if tender.kind not in PLAIN_KINDS or amount_minor <= 0:
                return None
            account = f"U.{part(wallet)}.{tender.kind}"
            slot = slots.get(account) or self._route(account)
            if slot.lane != own_lane or slot.of_house:
                return None
            left -= amount_minor
            lines.append(Line(account, amount_minor))
            shares.append((account, amount_minor, amount_minor))
            paying.append(slot)
        if left or not lines:
            return None
        breaches: tuple[Breach, ...] = ()
        for slot, line in zip(paying, lines, strict=True):
            code = self._apply(slot, line.debit_minor, at_us, event_id, event_id)
            if code is not None:
                breaches = (*breaches, Breach(code=code, account=line.account))
        amount_minor = body.amount_minor
        lines.append(Line(merchant, -amount_minor))
        if credited.lane == own_lane:
            self._apply(
                credited, -amount_minor, at_us, event_id, event_id
            )  # what a merchant is owed has no limit above
        else:
            self._outbox[credited.lane].append(
                Leg(
                    entry_id=event_id, event_id=event_id, event_type=PAYMENT_COMPLETED, payment_id=payment_id,
                    owner=credited.state.owner, account=merchant, debit_minor=-amount_minor, occurred_at_us=at_us,
                )
            )  # fmt: skip
            self._count_in_flight(-amount_minor, at_us, event_id)
        store[key] = store.changed[key] = paid(at_us, merchant, shares)
        if at_us > store.clock_us:
            store.clock_us = at_us
        return Posting(
            entry_id=event_id, event_id=event_id, event_type=PAYMENT_COMPLETED, payment_id=payment_id,
            occurred_at_us=at_us, lines=tuple(lines), breaches=breaches,
        )  # fmt: skip

    def _posted(self, fact: Fact) -> Posting | Refusal | None:
        """Any event, step by step."""
        if fact.body.currency != CURRENCY:
            return Refusal(RefusalCode.UNKNOWN_CURRENCY, f"{fact.body.currency} is not what the books are kept in")
        step = STEPS.get(fact.event_type)
        if step is None:
            lines = lines_for(fact, self)
            return self._record(fact, lines) if lines else None
        judge, change, note = step
        refusal = judge(fact, self.store)
        if refusal is not None:
            return refusal
        entry = self._record(fact, lines_for(fact, self)) if note is None else self._noted(fact, note(fact))
        if change is not None:
            store = self.store
            change(entry, fact.body.wallet_id, store)
            if fact.occurred_at_us > store.clock_us:
                store.clock_us = fact.occurred_at_us
        return entry

    def _noted(self, fact: Fact, note: Note) -> Posting:
        if fact.event_type == "RefundRequested":
            entry = self._ask_for_refund(fact)
        else:
            lines = lines_for(fact, self)
            if fact.event_type == "RefundCompleted":
                lines = self._with_refund_ended(fact, lines)
            entry = self._record(fact, lines)
        return msgspec.structs.replace(
            entry, reference_id=note.reference_id, counterparty=note.counterparty, split=note.split
        )

    def _record(self, fact: Fact, lines: tuple[Line, ...]) -> Posting:
        slots, own_lane, event_id = self._slots, self.lane, fact.event_id
        breaches: tuple[Breach, ...] = ()
        renamed = False
        for line in lines:
            slot = slots.get(line.account) or self._route(line.account)
            renamed |= slot.of_house
            if slot.lane != own_lane:
                self._send(fact, slot, line.debit_minor)
                continue
            code = self._apply(slot, line.debit_minor, fact.occurred_at_us, event_id, event_id)
            if code is not None and not self._spilled(code, slot, -line.debit_minor, fact):
                breaches = (*breaches, Breach(code=code, account=slot.state.account))
        if renamed:
            lines, unknown = self._renamed(lines)
            breaches = unknown + breaches
        if self._queues:
            for line in lines:
                self._reservations.serve(line.account, fact.occurred_at_us, event_id)
        return Posting(
            entry_id=event_id,
            event_id=event_id,
            event_type=fact.event_type,
            # `fact.payment_id` without its call: every event comes here.
            payment_id=fact.correlation_id or (fact.aggregate_id if fact.aggregate == "payment" else None),
            occurred_at_us=fact.occurred_at_us,
            lines=lines,
            breaches=breaches,
        )

    def arrive(self, leg: ArrivedLeg) -> BreachCode | None:
        """Applies a leg from another lane; a limit that it violates is returned."""
        slot = self._slots.get(leg.account) or self._route(leg.account)
        assert slot.lane == self.lane, f"a leg on {leg.account} came to lane {self.lane}, it belongs to {slot.lane}"
        if leg.reference_id is not None:
            self._reservations.arrive(leg, slot.state.account)
            if leg.claim_minor:
                return None
        self._count_in_flight(-leg.debit_minor, leg.occurred_at_us, leg.event_id)
        code = self._apply(slot, leg.debit_minor, leg.occurred_at_us, leg.event_id, leg.entry_id)
        if code is not None and self._spilled(code, slot, -leg.debit_minor, leg):
            code = None
        if self._queues:
            self._reservations.serve(slot.state.account, leg.occurred_at_us, leg.event_id)
        return code

    # --- refunds

    def _ask_for_refund(self, fact: Fact) -> Posting:
        """Claims the money in the merchant's lane; the entry has no lines."""
        assert fact.payment_id is not None
        account = payable(fact.body)
        slot = self._slots.get(account) or self._route(account)
        if slot.lane == self.lane:
            refund = WaitingRefund(
                event_id=fact.event_id,
                payment_id=fact.payment_id,
                refund_id=fact.body.refund_id,
                account=account,
                amount_minor=fact.body.amount_minor,
                asked_at_us=fact.occurred_at_us,
            )
            self._reservations.claim(refund, fact.occurred_at_us, fact.event_id)
        else:
            self._send(fact, slot, 0, fact.body.amount_minor)
        return self._record(fact, ())

    def _with_refund_ended(self, fact: Fact, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        """The whole reservation is used up: what the refund does not give back is the merchant's again."""
        body, asked = fact.body, asked_minor(fact, self.store)
        kept = asked - body.amount_minor
        account = payable(body)
        slot = self._slots.get(account) or self._route(account)
        if slot.lane == self.lane:
            self._reservations.end(account, fact.payment_id, body.refund_id, fact.occurred_at_us, fact.event_id)
        if not kept:
            return lines
        given = tuple(line for line in lines if line.account != reserved(body))
        return (Line(reserved(body), asked), *given, Line(account, -kept))

    # --- caps

    def _spilled(self, code: BreachCode, slot: Slot, amount_minor: int, came: Fact | ArrivedLeg) -> bool:
        """Moves on what money that came back, or from somebody else, has no room in its wallet."""
        cap = slot.nature.cap_minor
        if code is not BreachCode.ABOVE_CAP or cap is None or came.event_type not in _GIVE_BACK:
            return False
        over = min(slot.state.posted_minor - cap, amount_minor)
        waits = slot.state.account.rpartition(".")[0] + ".over_limit"
        entry = Posting(
            entry_id=f"{came.event_id}:{OVER_LIMIT}:{slot.state.account.rpartition('.')[2]}",
            event_id=came.event_id,
            event_type=came.event_type,
            payment_id=came.payment_id,
            occurred_at_us=came.occurred_at_us,
            lines=(Line(slot.state.account, over), Line(waits, -over)),
        )
        self._follow(entry, came.event_id)
        return True

    def _follow(self, entry: Posting, cause: str) -> None:
        """Applies an entry of this lane's own accounts that follows from an event, and keeps it for the journal."""
        breaches = entry.breaches
        for line in entry.lines:
            slot = self._slots.get(line.account) or self._route(line.account)
            code = self._apply(slot, line.debit_minor, entry.occurred_at_us, entry.event_id, entry.entry_id)
            if code is not None:
                breaches = (*breaches, Breach(code=code, account=slot.state.account))
        if breaches is not entry.breaches:
            entry = msgspec.structs.replace(entry, breaches=breaches)
        self._decided.append((entry, cause))

    def _apply(self, slot: Slot, debit_minor: int, at_us: int, event_id: str, entry_id: str) -> BreachCode | None:
        self.drift_minor += debit_minor
        nature = slot.nature
        change = debit_minor if nature.sign > 0 else -debit_minor
        state = slot.state
        posted = state.posted_minor = state.posted_minor + change
        state.version += 1
        state.as_of_us = at_us
        state.event_id = event_id
        state.entry_id = entry_id
        if not slot.touched:
            slot.touched = True
            self._touched.append(slot)
        if posted < 0:
            return BreachCode.BELOW_ZERO if nature.limited and change < 0 else None
        cap = nature.cap_minor
        return BreachCode.ABOVE_CAP if cap is not None and posted > cap and change > 0 else None

    def _send(self, fact: Fact, slot: Slot, debit_minor: int, claim_minor: int = 0) -> None:
        leg = Leg(
            entry_id=fact.event_id,
            event_id=fact.event_id,
            event_type=fact.event_type,
            payment_id=fact.payment_id,
            owner=slot.state.owner,
            account=slot.state.account,
            debit_minor=debit_minor,
            occurred_at_us=fact.occurred_at_us,
            reference_id=fact.body.refund_id or None,
            claim_minor=claim_minor,
        )
        self._outbox[slot.lane].append(leg)
        if debit_minor:  # a claim moves nothing
            self._count_in_flight(debit_minor, fact.occurred_at_us, fact.event_id)

    def _count_in_flight(self, debit_minor: int, at_us: int, event_id: str) -> None:
        """One leg, as `_apply` on the account of legs in flight, which has no limit."""
        slot = self._in_flight
        self.drift_minor += debit_minor
        state = slot.state
        state.posted_minor -= debit_minor
        state.version += 1
        state.as_of_us = at_us
        state.event_id = state.entry_id = event_id
        if not slot.touched:
            slot.touched = True
            self._touched.append(slot)

    def _renamed(self, lines: tuple[Line, ...]) -> tuple[tuple[Line, ...], tuple[Breach, ...]]:
        """The lines on this lane's parts of the house's accounts, and a breach for each account that there is not."""
        placed, unknown = [], []
        for line in lines:
            name = (self._slots.get(line.account) or self._route(line.account)).state.account
            placed.append(Line(name, line.debit_minor))
            if base_of(name) == SUSPENSE and line.account != SUSPENSE:
                unknown.append(Breach(code=BreachCode.UNKNOWN_ACCOUNT, detail=line.account))
        return tuple(placed), tuple(unknown)

    # --- what a batch leaves behind

    def take_touched(self) -> list[State]:
        """The accounts touched since the last call, each once, in their latest state. The next fact changes them."""
        touched, self._touched = self._touched, []
        families = self.families
        states = []
        for slot in touched:
            slot.touched = False
            state, nature = slot.state, slot.nature
            posted = state.posted_minor
            if nature.use is _FREE:
                state.available_minor = posted
            else:
                slot.settled()
            families[slot.family] += nature.sign * (posted - slot.told_minor)
            slot.told_minor = posted
            states.append(state)
        return states

    def take_outbox(self) -> dict[int, list[Leg]]:
        """The legs to other lanes since the last call, by lane, in the order of their entries."""
        outbox, self._outbox = self._outbox, defaultdict(list)
        return outbox

    def take_decided(self) -> list[tuple[Posting, str]]:
        """Entries that followed from others since the last call, each with the event that let it come about."""
        decided, self._decided = self._decided, []
        return decided

    # --- reading

    def posted(self, account: str) -> int:
        """An account's balance; 0 when it was never posted to, or belongs to another lane."""
        slot = self._slots.get(account)
        return 0 if slot is None else slot.state.posted_minor

    def balances(self) -> Iterator[State]:
        """Every account that was ever posted to. The next fact changes them."""
        return (slot.settled() for slot in self._all() if slot.state.version)

    def imbalance_minor(self) -> int:
        """The sum of all accounts, debits positive, legs in flight included. Not 0 means that a line was lost."""
        return sum(slot.nature.sign * slot.state.posted_minor for slot in self._all())

    def _all(self) -> Iterator[Slot]:
        yield self._in_flight
        yield from self._slots.values()

    def state_hash(self) -> str:
        """All of the lane's state in 32 hex digits, whatever the order in which it came about."""
        return state_hash([self])

    # --- restoring

    def restore(self, stored: StoredBalance) -> None:
        """Takes over a balance from the changelog, older ones first. A version that goes back is asserted against."""
        slot = self._restored(stored.account)
        state = slot.state
        assert stored.version > state.version, (
            f"{stored.account} goes back from version {state.version} to {stored.version}"
        )
        state.posted_minor = stored.posted_minor
        state.version = stored.version
        state.as_of_us = stored.as_of_us
        state.event_id = stored.event_id
        state.entry_id = stored.entry_id
        self.families[slot.family] += slot.nature.sign * (stored.posted_minor - slot.told_minor)
        slot.told_minor = stored.posted_minor

    def check(self) -> None:
        """Asserts that the accounts sum to zero: after a restore, that the changelog was whole."""
        imbalance = self.imbalance_minor()
        assert imbalance == 0, f"the accounts of lane {self.lane} are out of balance by {imbalance}"

    def _restored(self, name: str) -> Slot:
        slot = self._slots.get(name)
        if slot is not None:
            return slot
        base = base_of(name)
        slot = self._in_flight if base == IN_FLIGHT else self._slots.get(base)
        if slot is None:
            account = parse(base)
            assert account is not None, f"{name} is no account of the chart"
            slot = self._slots[base] = self._part(base) if account.of_house else Slot.of(account, self.lane)
        assert slot.state.account == name, f"{name} is not of lane {self.lane}"
        return slot

    # --- finding accounts

    def _route(self, name: str) -> Slot:
        """The slot behind a name that is no key of `_slots` yet; suspense for a name that is no account."""
        slot = self._routes.get(name)
        if slot is not None:
            return slot
        account = parse(name)
        if account is None or name == IN_FLIGHT:
            return self._slots.get(SUSPENSE) or self._route(SUSPENSE)
        lane = self.lane if account.of_house else self._lane_of(account.owner)
        if lane == self.lane:
            slot = self._slots[name] = self._part(name) if account.of_house else Slot.of(account, self.lane)
            return slot
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        slot = self._routes[name] = Slot.of(account, lane)
        return slot

    def _part(self, base: str) -> Slot:
        """A new slot for this lane's part of an account of the house."""
        account = parse(base)
        assert account is not None
        family = IN_FLIGHT_FAMILY if base == IN_FLIGHT else base[0]
        state = State(part_of_lane(base, self.lane), base)
        return Slot(state, self.lane, account.nature, of_house=True, family=family)


def state_hash(books: Iterable[Book]) -> str:
    """One hash of all lanes: balances with their versions, lives, waiting refunds; the same on any number of lanes.

    The lanes' parts of an account of the house are added up first, and legs at rest are none of the state.
    """
    found, books = StateHash(), list(books)
    clock_us = max((book.store.clock_us for book in books), default=0)
    for book in books:
        for balance in book.balances():
            if base_of(balance.account) != IN_FLIGHT:
                found.add_balance(balance)
        lives, tombstones = book.store.as_of(clock_us, began_at_us)
        for key, life in lives.items():
            found.add_life(key, life)
        for tombstone in tombstones:
            found.add_tombstone(tombstone)
        for refund in book.waiting:
            found.add_waiting(refund)
    return found.hexdigest()
