"""A payment's life: authorised or paid, captured, given up, cancelled, refunded in parts; and what each step may do.

A payment is known by the accounts that paid it, with what is left of each, and by its refunds. That takes about 60
bytes in the store, so ten million payments fit on a laptop.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from koban.business_time import US_PER_DAY
from koban.ledger.accounts import base_of
from koban.ledger.facts import Fact, StoredEntry
from koban.ledger.lives import Store, head_of
from koban.ledger.postings import payable, tender_account
from koban.ledger.refusals import (
    REFUND_PARTS_MAX,
    Refusal,
    RefusalCode,
    cancellable_before_us,
    refundable_until_us,
)
from koban.records import Posting

LOT = "/lot/"
"""In front of an account of limited money that has expired."""


class State(IntEnum):
    """Where a payment stands. One that was refunded in full is still PAID, with nothing left of it."""

    AUTHORIZED = 0
    PAID = 1
    VOIDED = 2
    EXPIRED = 3
    CANCELED = 4


class Share(msgspec.Struct, array_like=True, gc=False):
    """What one tender paid, and what of it no refund has asked for yet."""

    account: str
    paid_minor: int
    left_minor: int


class Refund(msgspec.Struct, array_like=True, gc=False):
    """A refund by its id; `parts` are (number of the share, amount) while it is open, and none once it is completed."""

    refund_id: str
    parts: list[tuple[int, int]]


class Payment(msgspec.Struct, array_like=True, gc=False):
    """A payment. `at_us` is when the money was held, then when it was paid; `merchant` is the account that got it.

    The first two fields are a life's `Head`.
    """

    state: State
    at_us: int
    merchant: str
    shares: list[Share]
    refunds: list[Refund] = []

    @property
    def began_at_us(self) -> int | None:
        """When a payment began of which nothing is open any more, neither its hold nor a refund; None of another."""
        if self.state is State.AUTHORIZED or (self.refunds and any(refund.parts for refund in self.refunds)):
            return None
        return self.at_us

    @property
    def left_minor(self) -> int:
        """What can still be refunded."""
        return sum(share.left_minor for share in self.shares)

    def left_of(self, account: str) -> int | None:
        """What is left of a tender; None when it did not pay."""
        lefts = [share.left_minor for share in self.shares if share.account == account]
        return sum(lefts) if lefts else None

    def refund(self, refund_id: str) -> Refund | None:
        """The refund with this id."""
        return next((refund for refund in self.refunds if refund.refund_id == refund_id), None)

    def asked_of(self, refund: Refund) -> dict[str, int]:
        """Account → what an open refund gives back to it."""
        found: dict[str, int] = {}
        for number, amount_minor in refund.parts:
            account = self.shares[number].account
            found[account] = found.get(account, 0) + amount_minor
        return found

    def take(self, account: str, amount_minor: int) -> list[tuple[int, int]]:
        """Takes an amount off a tender's rest, the share that was spent last first: (number of the share, amount)."""
        taken: list[tuple[int, int]] = []
        for number in range(len(self.shares) - 1, -1, -1):
            share = self.shares[number]
            if share.account == account and (part := min(share.left_minor, amount_minor)):
                share.left_minor -= part
                amount_minor -= part
                taken.append((number, part))
        return taken


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Payment).decode
_PAID = int(State.PAID)


def payment_began_at_us(life: bytes) -> int | None:
    """When a payment began that is over; None while its hold or a refund is open."""
    return _decode(life).began_at_us


def paid(at_us: int, merchant: str, shares: Sequence[tuple[str, int, int]]) -> bytes:
    """The life of a payment that was just made: a `Share`'s fields by tender.

    Plain tuples: the same bytes as of the Structs, in half the time, and this is most of what the ledger does.
    """
    return _encode((_PAID, at_us, merchant, shares))


# --- judging


def judge_payment(fact: Fact, store: Store) -> Refusal | None:
    """PaymentCompleted, PaymentAuthorized: a payment begins once. One without an id can have no later events."""
    # `fact.payment_id` without its call: every payment comes here.
    payment_id = fact.correlation_id or (fact.aggregate_id if fact.aggregate == "payment" else None)
    if payment_id is None:
        return None
    key = f"{fact.body.wallet_id}/{payment_id}"
    found = store.get(key)
    if found is None:
        if not store.has_tombstones or fact.occurred_at_us + store.keep_us > store.clock_us:
            return None
        if not store.has_forgotten(key):
            return None
    elif fact.occurred_at_us + store.keep_us > store.clock_us and store.is_over(_decode(found).began_at_us):
        return None  # that one is over, and here is another
    return Refusal(RefusalCode.PAYMENT_EXISTS, f"payment {payment_id} was made or authorised before")


def judge_hold_end(fact: Fact, store: Store) -> Refusal | None:
    """PaymentCaptured, PaymentVoided, AuthorizationExpired: a hold ends once, for its merchant, up to its amount."""
    payment = _remembered(fact, store, RefusalCode.HOLD_ENDED)
    if isinstance(payment, Refusal):
        return payment
    if payment.state is not State.AUTHORIZED:
        return Refusal(RefusalCode.HOLD_ENDED, f"payment {fact.payment_id} is {payment.state.name.lower()}")
    if payment.merchant != payable(fact.body):
        return _other_merchant(fact)
    held_minor = sum(share.paid_minor for share in payment.shares)
    if fact.event_type == "PaymentCaptured" and fact.body.captured_minor > held_minor:
        return Refusal(RefusalCode.ABOVE_HOLD, f"{fact.body.captured_minor} captured of {held_minor} held")
    return _differing_tenders(fact, payment)


def judge_cancel(fact: Fact, store: Store) -> Refusal | None:
    """PaymentCanceled: as a whole, on the payment's own day and the 15 minutes behind it."""
    payment = _standing(fact, store, RefusalCode.CANCEL_TOO_LATE)
    if isinstance(payment, Refusal):
        return payment
    if fact.occurred_at_us >= cancellable_before_us(payment.at_us):
        return Refusal(RefusalCode.CANCEL_TOO_LATE, f"payment {fact.payment_id} can only be refunded now")
    if payment.refunds:
        return Refusal(RefusalCode.CANCEL_REFUNDED, f"payment {fact.payment_id} has {len(payment.refunds)} refunds")
    return _differing_tenders(fact, payment)


def judge_refund_request(fact: Fact, store: Store) -> Refusal | None:
    """RefundRequested: in time, in at most 50 parts, to the tenders that paid, up to what is left of each."""
    payment = _standing(fact, store, RefusalCode.REFUND_TOO_LATE)
    if isinstance(payment, Refusal):
        return payment
    if payment.refund(fact.body.refund_id) is not None:
        return Refusal(RefusalCode.REFUND_EXISTS, f"refund {fact.body.refund_id} was asked for before")
    if fact.occurred_at_us > refundable_until_us(payment.at_us):
        return Refusal(RefusalCode.REFUND_TOO_LATE, f"payment {fact.payment_id} is more than 365 days old")
    if len(payment.refunds) >= REFUND_PARTS_MAX:
        return Refusal(RefusalCode.REFUND_PARTS, f"payment {fact.payment_id} has {len(payment.refunds)} refunds")
    return _refused_split(fact, payment, store)


def _refused_split(fact: Fact, payment: Payment, store: Store) -> Refusal | None:
    split = split_of(fact)
    lefts = {account: payment.left_of(account) for account in split}
    for account, left in lefts.items():
        if left is None:
            return Refusal(RefusalCode.TENDER_DID_NOT_PAY, f"{account} did not pay {fact.payment_id}")
    for account in split:
        if _expired(account, fact, store):
            return _expired_tender(account)
    amount_minor, left_minor = sum(split.values()), payment.left_minor
    if amount_minor > left_minor:
        return Refusal(RefusalCode.REFUND_ABOVE_REST, f"{amount_minor} refunded, {left_minor} left")
    for account, part_minor in split.items():
        if part_minor > (lefts[account] or 0):
            return Refusal(
                RefusalCode.REFUND_ABOVE_TENDER, f"{part_minor} refunded to {account}, {lefts[account]} left of it"
            )
    return None


def judge_refund_end(fact: Fact, store: Store) -> Refusal | None:
    """RefundCompleted: once, of a refund that was asked for, at most what was asked for of each tender."""
    payment = _remembered(fact, store, RefusalCode.REFUND_ENDED)
    if isinstance(payment, Refusal):
        return payment
    if payment.merchant != payable(fact.body):
        return _other_merchant(fact)
    refund_id = fact.body.refund_id
    refund = payment.refund(refund_id)
    if refund is None:
        return Refusal(RefusalCode.UNKNOWN_REFUND, f"nobody asked for refund {refund_id}")
    if not refund.parts:
        return Refusal(RefusalCode.REFUND_ENDED, f"refund {refund_id} was completed before")
    asked = payment.asked_of(refund)
    for account, amount_minor in split_of(fact).items():
        if amount_minor > asked.get(account, 0):
            return Refusal(
                RefusalCode.REFUND_DIFFERS, f"{amount_minor} given back to {account}, {asked.get(account, 0)} asked for"
            )
        if _expired(account, fact, store):
            return _expired_tender(account)
    return None


def asked_minor(fact: Fact, store: Store) -> int:
    """What a RefundCompleted that was not refused had been asked for in all; it may give back less."""
    payment = _decode(store[f"{fact.body.wallet_id}/{fact.payment_id}"])
    refund = payment.refund(fact.body.refund_id)
    assert refund is not None
    return sum(amount_minor for _, amount_minor in refund.parts)


def split_of(fact: Fact) -> dict[str, int]:
    """Account → what a refund gives back to it."""
    found: dict[str, int] = {}
    for tender in fact.body.tenders:
        account = tender_account(fact.body.wallet_id, tender)
        found[account] = found.get(account, 0) + tender.amount_minor
    return found


def _remembered(fact: Fact, store: Store, forgotten: RefusalCode) -> Payment | Refusal:
    """The payment, or why there is none: never made, or over for so long that it is forgotten."""
    if fact.payment_id is None:
        return _unknown(fact)
    key = f"{fact.body.wallet_id}/{fact.payment_id}"
    found = store.get(key)
    payment = None if found is None else _decode(found)
    if payment is None and not store.has_forgotten(key):
        return _unknown(fact)
    if payment is None or store.is_over(payment.began_at_us):
        days = store.keep_us // US_PER_DAY
        return Refusal(forgotten, f"payment {fact.payment_id} is more than {days} days old, and nothing of it is open")
    return payment


def _standing(fact: Fact, store: Store, forgotten: RefusalCode) -> Payment | Refusal:
    """The payment, or why it has nothing to give back: never made, long over, cancelled, or another merchant's."""
    payment = _remembered(fact, store, forgotten)
    if isinstance(payment, Refusal):
        return payment
    if payment.state is State.CANCELED:
        return Refusal(RefusalCode.PAYMENT_CANCELED, f"payment {fact.payment_id} was cancelled before")
    if payment.state is not State.PAID:
        return Refusal(RefusalCode.NOT_PAID, f"payment {fact.payment_id} is {payment.state.name.lower()}")
    return payment if payment.merchant == payable(fact.body) else _other_merchant(fact)


def _differing_tenders(fact: Fact, payment: Payment) -> Refusal | None:
    tenders: dict[str, int] = {}
    for tender in fact.body.tenders:
        account = tender_account(fact.body.wallet_id, tender)
        tenders[account] = tenders.get(account, 0) + tender.amount_minor
    shares: dict[str, int] = {}
    for share in payment.shares:
        shares[share.account] = shares.get(share.account, 0) + share.paid_minor
    if tenders == {account: amount for account, amount in shares.items() if amount}:
        return None
    return Refusal(RefusalCode.TENDERS_DIFFER, f"the tenders are not those of payment {fact.payment_id}")


def _expired(account: str, fact: Fact, store: Store) -> bool:
    key = LOT + account
    ended = store.get(key)
    if ended is not None:
        at_us = head_of(ended).at_us
        return at_us <= fact.occurred_at_us or store.is_over(at_us)
    return _has_lot(account) and store.has_forgotten(key)


def _has_lot(account: str) -> bool:
    return ".points_ltd." in account or ".voucher." in account


def _expired_tender(account: str) -> Refusal:
    return Refusal(RefusalCode.TENDER_EXPIRED, f"{account} has expired and is not issued again")


def _unknown(fact: Fact) -> Refusal:
    return Refusal(RefusalCode.UNKNOWN_PAYMENT, f"no payment {fact.payment_id} of {fact.body.wallet_id}")


def _other_merchant(fact: Fact) -> Refusal:
    return Refusal(RefusalCode.OTHER_MERCHANT, f"payment {fact.payment_id} was not made to {fact.body.merchant_id}")


# --- applying


def apply_payment(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A payment without a hold: debits are its tenders, the credit is its merchant's."""
    if entry.payment_id is None:
        return
    shares, merchant = [], ""
    for line in entry.lines:
        debit, account = line.debit_minor, line.account
        if debit > 0:
            shares.append((base_of(account) if "@" in account else account, debit, debit))
        else:
            merchant = account
    store.put(f"{owner}/{entry.payment_id}", paid(entry.occurred_at_us, merchant, shares))


def apply_authorization(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A hold: debits are its tenders."""
    if entry.payment_id is None:
        return
    shares = [Share(base_of(line.account), line.debit_minor, 0) for line in entry.lines if line.debit_minor > 0]
    store.put(
        f"{owner}/{entry.payment_id}",
        _encode(Payment(State.AUTHORIZED, entry.occurred_at_us, entry.counterparty or "", shares)),
    )


def apply_capture(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """The merchant takes its part of the tenders in spend order. A capture of nothing gives the hold up."""
    payment = _known(entry, owner, store)
    if payment is None or payment.state is not State.AUTHORIZED:
        return
    left = -sum(line.debit_minor for line in entry.lines if line.account == payment.merchant)
    payment.state = State.PAID if left else State.VOIDED
    payment.at_us = entry.occurred_at_us
    for share in payment.shares:
        share.paid_minor = share.left_minor = min(share.paid_minor, left)
        left -= share.paid_minor
    payment.shares = [share for share in payment.shares if share.paid_minor]
    _put(entry, owner, payment, store)


def apply_void(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A hold was given up."""
    _apply_state(entry, owner, store, State.VOIDED)


def apply_expiry(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A hold ran out."""
    _apply_state(entry, owner, store, State.EXPIRED)


def apply_cancel(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A payment was taken back as a whole."""
    _apply_state(entry, owner, store, State.CANCELED)


def apply_refund_request(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """What a refund asks for can't be asked for again."""
    payment, refund_id = _known(entry, owner, store), entry.reference_id
    assert refund_id is not None
    if payment is None or payment.refund(refund_id) is not None:
        return
    parts = [part for line in entry.split for part in payment.take(line.account, -line.debit_minor)]
    payment.refunds.append(Refund(refund_id, parts))
    _put(entry, owner, payment, store)


def apply_refund_end(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A refund is over: what it did not give back can be asked for again."""
    payment = _known(entry, owner, store)
    if payment is None:
        return
    assert entry.reference_id is not None
    refund = payment.refund(entry.reference_id)
    assert refund is not None
    given = {line.account: -line.debit_minor for line in entry.split}
    for number, asked in refund.parts:
        share = payment.shares[number]
        kept = min(asked, given.get(share.account, 0))
        given[share.account] = given.get(share.account, 0) - kept
        share.left_minor += asked - kept
    refund.parts = []
    _put(entry, owner, payment, store)


def apply_lot_expiry(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """A lot of points or a voucher takes no refund any more."""
    for line in entry.lines:
        if line.debit_minor > 0:
            store.put(LOT + line.account, _encode((0, entry.occurred_at_us)))


def _known(entry: Posting | StoredEntry, owner: str, store: Store) -> Payment | None:
    """The payment of an entry; None when the entry is applied again, and its payment was forgotten since."""
    key = f"{owner}/{entry.payment_id}"
    found = store.get(key)
    if found is not None:
        return _decode(found)
    assert store.has_forgotten(key), f"{entry.entry_id} is of payment {entry.payment_id}, which the books don't know"
    return None


def _put(entry: Posting | StoredEntry, owner: str, payment: Payment, store: Store) -> None:
    store.put(f"{owner}/{entry.payment_id}", _encode(payment))


def _apply_state(entry: Posting | StoredEntry, owner: str, store: Store, state: State) -> None:
    payment = _known(entry, owner, store)
    if payment is not None:
        payment.state = state
        _put(entry, owner, payment, store)
