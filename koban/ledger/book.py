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
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from koban.events import Line
from koban.ledger.accounts import IN_FLIGHT, SUSPENSE, base_of, owner_of
from koban.ledger.breaches import BreachCode
from koban.ledger.digest import StateHash
from koban.ledger.directory import IN_FLIGHT_FAMILY, Directory
from koban.ledger.facts import ArrivedLeg, Fact, StoredBalance
from koban.ledger.lives import Store
from koban.ledger.moves import PAYMENT_COMPLETED, Moves
from koban.ledger.payments import asked_minor, paid
from koban.ledger.postings import PLAIN_KINDS, lines_for, payable, reserved
from koban.ledger.refusals import Refusal, RefusalCode
from koban.ledger.reservations import Reservations
from koban.ledger.slots import Slot, Touched
from koban.ledger.standing import Standing
from koban.ledger.steps import STEPS, Note, began_at_us
from koban.records import Breach, Leg, Posting, WaitingRefund

PORTION = 500
"""Of the touched accounts, so many are read at a time."""
CURRENCY = "JPY"
"""What the books are kept in."""
OVER_LIMIT = "over_limit"
"""Behind an event's id: the entry by which what a wallet had no room for was put aside."""
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
        self._directory = Directory(lane, lane_of)
        self._slots = self._directory.slots
        self.families: defaultdict[str, int] = defaultdict(int)
        """Family of accounts → the sum of its balances, debits positive: the lane's trial balance. It sums to zero
        after every fact, legs in flight included, or a line was lost."""
        self._moves = Moves()
        self._touched: list[Slot] = []
        self._unstored: list[Slot] = []
        self._outbox: defaultdict[int, list[int | Leg]] = defaultdict(list)
        self._at_ms = 0

    # --- posting

    def post(self, fact: Fact, key: bytes = b"", at_ms: int = 0) -> Posting | Refusal | None:
        """Records a fact: judges it, decides its lines, applies those of this lane, puts the others in the outbox.

        `key` and `at_ms` are its record's. None for an event that moves no money. Raises UnknownEventTypeError, before
        anything is changed.
        """
        if fact.body.currency != CURRENCY:
            return Refusal(RefusalCode.UNKNOWN_CURRENCY, f"{fact.body.currency} is not what the books are kept in")
        step = STEPS.get(fact.event_type)
        if step is None:
            lines = lines_for(fact, self)
            if not lines:
                return None
            row = self._open(fact, key, at_ms)
            entry = self._moves.entries[row] = self._record(fact, lines, row)
            return entry
        judge, change, note = step
        refusal = judge(fact, self.store)
        if refusal is not None:
            return refusal
        lines, noted = lines_for(fact, self), None if note is None else note(fact)
        row = self._open(fact, key, at_ms)
        entry = self._record(fact, lines, row) if noted is None else self._noted(fact, lines, noted, row)
        self._moves.entries[row] = entry
        if change is not None:
            store = self.store
            change(entry, fact.body.wallet_id, store)
            if fact.occurred_at_us > store.clock_us:
                store.clock_us = fact.occurred_at_us
        return entry

    def _open(self, fact: Fact, key: bytes, at_ms: int) -> int:
        """A row for the fact's entry, in front of what follows from it."""
        self._at_ms = at_ms
        return self._moves.open(fact.event_id, fact.payment_id, fact.occurred_at_us, key, at_ms)

    def pay(self, fact: Fact, key: bytes = b"", at_ms: int = 0) -> bool:
        """Posts a plain payment in one piece: most of what the books do is that. False, and nothing done, for others.

        Plain is a PaymentCompleted in time with an id not seen before, paid at once with one kind of the wallet's own
        money in this lane, of which there is enough, while no refund waits. What it does is what `post` does; a
        property holds one against the other.
        """
        body = fact.body
        tenders, payment_id = body.tenders, fact.correlation_id
        if payment_id is None and fact.aggregate == "payment":
            payment_id = fact.aggregate_id
        if len(tenders) != 1 or not payment_id or fact.event_type != PAYMENT_COMPLETED or body.currency != CURRENCY:
            return False
        tender, wallet, amount_minor = tenders[0], body.wallet_id, body.amount_minor
        if tender.kind not in PLAIN_KINDS or tender.amount_minor != amount_minor or amount_minor <= 0 or "." in wallet:
            return False
        store, slots, at_us = self.store, self._slots, fact.occurred_at_us
        if self._queues or (store.has_tombstones and at_us + store.keep_us <= store.clock_us):
            return False
        payer = slots.get(f"U.{wallet}.{tender.kind}")
        if payer is None:
            return False
        posted_minor = payer.posted_minor - amount_minor
        if posted_minor < 0:
            return False
        payee = self._directory.payees.get(body.merchant_id)
        if payee is None:
            payee = self._directory.payee(body)
            if payee is None:
                return False
        payment = f"{wallet}/{payment_id}"
        life = paid(at_us, payee.account, ((payer.account, amount_minor, amount_minor),))
        if store.setdefault(payment, life) is not life:
            return False
        # From here on it is posted. What follows is `Store.put`, and `_apply` twice, without their calls.
        store.changed_keys.append(payment)
        store.changed_lives.append(life)
        if at_us > store.clock_us:
            store.clock_us = at_us
        rows, families = self._moves.rows, self.families
        row = len(rows)
        rows.append((fact.event_id, payment_id, at_us, key, at_ms, payer.account, payee, amount_minor))
        families["U"] += amount_minor
        if payer.cause is None:
            self._touched.append(payer)
        payer.posted_minor = posted_minor
        payer.version += 1
        payer.cause = row
        if payee.lane == self.lane:
            families["M"] -= amount_minor
        else:
            self._outbox[payee.lane].append(row)
            families[IN_FLIGHT_FAMILY] -= amount_minor
            payee = self._directory.in_flight
        if payee.cause is None:
            self._touched.append(payee)
        payee.posted_minor += amount_minor
        payee.version += 1
        payee.cause = row
        return True

    def _noted(self, fact: Fact, lines: tuple[Line, ...], note: Note, row: int) -> Posting:
        if fact.event_type == "RefundRequested":
            entry = self._ask_for_refund(fact, row)
        elif fact.event_type == "RefundCompleted":
            entry = self._record(fact, self._with_refund_ended(fact, lines), row)
        else:
            entry = self._record(fact, lines, row)
        return msgspec.structs.replace(
            entry, reference_id=note.reference_id, counterparty=note.counterparty, split=note.split
        )

    def _record(self, fact: Fact, lines: tuple[Line, ...], row: int) -> Posting:
        slots, route, own_lane, event_id = self._slots, self._directory.route, self.lane, fact.event_id
        breaches: tuple[Breach, ...] = ()
        renamed = False
        for line in lines:
            slot = slots.get(line.account) or route(line.account)
            renamed |= slot.of_house
            if slot.lane != own_lane:
                self._send(fact, slot, line.debit_minor, row)
                continue
            code = self._apply(slot, line.debit_minor, row)
            if code is not None and not self._spilled(code, slot, -line.debit_minor, fact):
                breaches = (*breaches, Breach(code=code, account=slot.account))
        if renamed:
            lines, unknown = self._renamed(lines)
            breaches = unknown + breaches
        if self._queues:
            for line in lines:
                self._reservations.serve(line.account, fact.occurred_at_us)
        return Posting(
            entry_id=event_id,
            event_id=event_id,
            event_type=fact.event_type,
            payment_id=self._moves.rows[row][1],
            occurred_at_us=fact.occurred_at_us,
            lines=lines,
            breaches=breaches,
        )

    def arrive_all(self, legs: Sequence[ArrivedLeg], at_ms: int = 0) -> list[BreachCode]:
        """Applies legs in their order; the limits that they violate are returned. `at_ms` is their record's.

        What a plain payment brings a merchant is credited without `arrive`'s calls, and its way counted together with
        that of the legs beside it.
        """
        slots, touched, queues, families = self._slots, self._touched, self._queues, self.families
        codes, plain, flown_minor = [], 0, 0
        first = len(self._moves.legs)
        self._arrived(legs, at_ms)
        for cause, leg in zip(range(~first, ~first - len(legs), -1), legs, strict=True):
            slot, debit_minor = slots.get(leg.account), leg.debit_minor
            if slot is None or leg.reference_id is not None or queues or debit_minor >= 0 or slot.family != "M":
                self._land(plain, flown_minor, cause + 1)
                plain = flown_minor = 0
                code = self._arrive(leg, cause)
                if code is not None:
                    codes.append(code)
                continue
            plain += 1
            flown_minor -= debit_minor
            families["M"] += debit_minor
            slot.posted_minor -= debit_minor
            slot.version += 1
            if slot.cause is None:
                touched.append(slot)
            slot.cause = cause
        self._land(plain, flown_minor, ~(first + len(legs) - 1))
        return codes

    def _arrived(self, legs: Sequence[ArrivedLeg], at_ms: int) -> None:
        self._at_ms = at_ms
        self._moves.legs.extend(legs)
        self._moves.legs_ms.extend([at_ms] * len(legs))

    def _land(self, legs: int, flown_minor: int, cause: int) -> None:
        """Counts so many plain legs as arrived, `cause` being the last one, as `_count_in_flight` does one by one."""
        if legs:
            self._count_in_flight(flown_minor, cause)
            self._directory.in_flight.version += legs - 1

    def arrive(self, leg: ArrivedLeg, at_ms: int = 0) -> BreachCode | None:
        """Applies a leg from another lane; a limit that it violates is returned."""
        self._arrived((leg,), at_ms)
        return self._arrive(leg, ~(len(self._moves.legs) - 1))

    def _arrive(self, leg: ArrivedLeg, cause: int) -> BreachCode | None:
        slot = self._directory.find(leg.account)
        assert slot.lane == self.lane, f"a leg on {leg.account} came to lane {self.lane}, it belongs to {slot.lane}"
        if leg.reference_id is not None:
            self._reservations.arrive(leg, slot.account)
            if leg.claim_minor:
                return None
        self._count_in_flight(-leg.debit_minor, cause)
        code = self._apply(slot, leg.debit_minor, cause)
        if code is not None and self._spilled(code, slot, -leg.debit_minor, leg):
            code = None
        if self._queues:
            self._reservations.serve(slot.account, leg.occurred_at_us)
        return code

    # --- refunds

    def _ask_for_refund(self, fact: Fact, row: int) -> Posting:
        """Claims the money in the merchant's lane; the entry has no lines."""
        assert fact.payment_id is not None
        account = payable(fact.body)
        slot = self._directory.find(account)
        if slot.lane == self.lane:
            refund = WaitingRefund(
                event_id=fact.event_id,
                payment_id=fact.payment_id,
                refund_id=fact.body.refund_id,
                account=account,
                amount_minor=fact.body.amount_minor,
                asked_at_us=fact.occurred_at_us,
            )
            self._reservations.claim(refund, fact.occurred_at_us)
        else:
            self._send(fact, slot, 0, row, fact.body.amount_minor)
        return self._record(fact, (), row)

    def _with_refund_ended(self, fact: Fact, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        """The whole reservation is used up: what the refund does not give back is the merchant's again."""
        body, asked = fact.body, asked_minor(fact, self.store)
        kept = asked - body.amount_minor
        account = payable(body)
        slot = self._directory.find(account)
        if slot.lane == self.lane:
            self._reservations.end(account, fact.payment_id, body.refund_id, fact.occurred_at_us)
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
        over = min(slot.posted_minor - cap, amount_minor)
        waits = slot.account.rpartition(".")[0] + ".over_limit"
        entry = Posting(
            entry_id=f"{came.event_id}:{OVER_LIMIT}:{slot.account.rpartition('.')[2]}",
            event_id=came.event_id,
            event_type=came.event_type,
            payment_id=came.payment_id,
            occurred_at_us=came.occurred_at_us,
            lines=(Line(slot.account, over), Line(waits, -over)),
        )
        self._follow(entry)
        return True

    def _follow(self, entry: Posting) -> None:
        """Records an entry of this lane's own accounts that follows from what was just posted."""
        breaches, key = entry.breaches, owner_of(entry.lines[0].account).encode()
        row = self._moves.open(entry.event_id, entry.payment_id, entry.occurred_at_us, key, self._at_ms)
        for line in entry.lines:
            slot = self._directory.find(line.account)
            code = self._apply(slot, line.debit_minor, row)
            if code is not None:
                breaches = (*breaches, Breach(code=code, account=slot.account))
        if breaches is not entry.breaches:
            entry = msgspec.structs.replace(entry, breaches=breaches)
        self._moves.entries[row] = entry

    def _apply(self, slot: Slot, debit_minor: int, cause: int) -> BreachCode | None:
        self.families[slot.family] += debit_minor
        nature = slot.nature
        change = debit_minor if nature.sign > 0 else -debit_minor
        posted = slot.posted_minor = slot.posted_minor + change
        slot.version += 1
        if slot.cause is None:
            self._touched.append(slot)
        slot.cause = cause
        if posted < 0:
            return BreachCode.BELOW_ZERO if nature.limited and change < 0 else None
        cap = nature.cap_minor
        return BreachCode.ABOVE_CAP if cap is not None and posted > cap and change > 0 else None

    def _send(self, fact: Fact, slot: Slot, debit_minor: int, row: int, claim_minor: int = 0) -> None:
        reference_id = fact.body.refund_id or None
        self._outbox[slot.lane].append(
            Leg(
                fact.event_id, fact.event_id, fact.event_type, slot.owner, slot.account, debit_minor,
                fact.occurred_at_us, fact.payment_id, reference_id, claim_minor,
            )
        )  # fmt: skip
        if debit_minor:  # a claim moves nothing
            self._count_in_flight(debit_minor, row)

    def _count_in_flight(self, debit_minor: int, cause: int) -> None:
        """One leg, as `_apply` on the account of legs in flight, which has no limit."""
        slot = self._directory.in_flight
        self.families[IN_FLIGHT_FAMILY] += debit_minor
        slot.posted_minor -= debit_minor
        slot.version += 1
        if slot.cause is None:
            self._touched.append(slot)
        slot.cause = cause

    def _renamed(self, lines: tuple[Line, ...]) -> tuple[tuple[Line, ...], tuple[Breach, ...]]:
        """The lines on this lane's parts of the house's accounts, and a breach for each account that there is not."""
        placed, unknown = [], []
        for line in lines:
            name = self._directory.find(line.account).account
            placed.append(Line(name, line.debit_minor))
            if base_of(name) == SUSPENSE and line.account != SUSPENSE:
                unknown.append(Breach(code=BreachCode.UNKNOWN_ACCOUNT, detail=line.account))
        return tuple(placed), tuple(unknown)

    # --- what a batch leaves behind

    def take_moves(self) -> Moves:
        """The entries since the last call, and the legs that arrived."""
        moves, self._moves = self._moves, Moves()
        return moves

    def take_touched(self) -> Iterator[Touched]:
        """The accounts touched since the last call, each once, in their latest state; to be taken to the end.

        They come in portions that stay in the processor's cache: each is to be done with before the next is taken.
        """
        slots, self._touched = self._touched, []
        unstored = self._unstored
        for start in range(0, len(slots), PORTION):
            portion = slots[start : start + PORTION]
            yield Touched.of(portion)
            for slot in portion:
                slot.cause = None
                if slot.stored:
                    slot.stored = False
                    unstored.append(slot)

    def take_unstored(self) -> list[Slot]:
        """The accounts touched between the last call and the last `take_touched`: what a store has to be told."""
        unstored, self._unstored = self._unstored, []
        for slot in unstored:
            slot.stored = True
        return unstored

    def take_outbox(self) -> dict[int, list[int | Leg]]:
        """The legs to other lanes since the last call, by lane, in the order of their entries.

        A row's number stands for the leg of its plain payment: see `Moves.leg`.
        """
        outbox, self._outbox = self._outbox, defaultdict(list)
        return outbox

    # --- reading

    def posted(self, account: str) -> int:
        """An account's balance; 0 when it was never posted to, or belongs to another lane."""
        slot = self._slots.get(account)
        return 0 if slot is None else slot.posted_minor

    def standing(self, account: str) -> Standing | None:
        """How an account stands, or this lane's part of one; None when nothing was ever posted to it here."""
        slot = self._directory.known(account)
        if slot is None or not slot.version:
            return None
        return Standing(self.lane, slot.posted_minor, slot.held_minor, slot.pending_in_minor, slot.version)

    def accounts(self) -> Iterator[Slot]:
        """Every account that was ever posted to. The next fact changes them."""
        return (slot for slot in self._directory if slot.version)

    @property
    def drift_minor(self) -> int:
        """The sum of the trial balance: what was debited and not credited."""
        return sum(self.families.values())

    def imbalance_minor(self) -> int:
        """The sum of all accounts, debits positive, legs in flight included. Not 0 means that a line was lost."""
        return sum(slot.nature.sign * slot.posted_minor for slot in self._directory)

    def state_hash(self) -> str:
        """All of the lane's state in 32 hex digits, whatever the order in which it came about."""
        return state_hash([self])

    # --- restoring

    def restore(self, stored: StoredBalance, *, in_store: bool = True) -> None:
        """Takes over a balance from the changelog, older ones first. A version that goes back is asserted against.

        One that is not in the lane's store yet is among the next `take_unstored`.
        """
        slot = self._directory.restored(stored.account)
        assert stored.version > slot.version, (
            f"{stored.account} goes back from version {slot.version} to {stored.version}"
        )
        self.families[slot.family] += slot.nature.sign * (stored.posted_minor - slot.posted_minor)
        slot.posted_minor = stored.posted_minor
        slot.version = stored.version
        if slot.stored and not in_store:
            slot.stored = False
            self._unstored.append(slot)

    def check(self) -> None:
        """Asserts that the accounts sum to zero: after a restore, that the changelog was whole."""
        imbalance = self.imbalance_minor()
        assert imbalance == 0, f"the accounts of lane {self.lane} are out of balance by {imbalance}"


def state_hash(books: Iterable[Book]) -> str:
    """One hash of all lanes: balances with their versions, lives, waiting refunds; the same on any number of lanes.

    The lanes' parts of an account of the house are added up first, and legs at rest are none of the state.
    """
    found, books = StateHash(), list(books)
    clock_us = max((book.store.clock_us for book in books), default=0)
    for book in books:
        for slot in book.accounts():
            if base_of(slot.account) != IN_FLIGHT:
                found.add_balance(slot.account, slot.posted_minor, slot.version)
        lives, tombstones = book.store.as_of(clock_us, began_at_us)
        for key, life in lives.items():
            found.add_life(key, life)
        for tombstone in tombstones:
            found.add_tombstone(tombstone)
        for refund in book.waiting:
            found.add_waiting(refund)
    return found.hexdigest()
