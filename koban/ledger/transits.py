"""Money that has left a wallet and not arrived: a transfer nobody has taken yet, a withdrawal the bank has not paid."""

from __future__ import annotations

import msgspec

from koban.ledger.accounts import RIGHTS, Right
from koban.ledger.facts import Body, Fact, StoredEntry
from koban.ledger.lives import Store
from koban.ledger.postings import money
from koban.ledger.refusals import Refusal, RefusalCode
from koban.records import Posting

TRANSFER, WITHDRAWAL = "/transfer/", "/withdrawal/"


class Transit(msgspec.Struct, array_like=True, gc=False):
    """What left which account when, with its fee, for whom (an account, or nobody); `ended` when it is there, or back.

    The first two fields are a life's `Head`.
    """

    ended: int
    at_us: int
    account: str
    amount_minor: int
    fee_minor: int = 0
    receiver: str = ""

    @property
    def began_at_us(self) -> int | None:
        """When it left, once it is not under way any more."""
        return self.at_us if self.ended else None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Transit).decode


def transit_began_at_us(life: bytes) -> int | None:
    """When a transfer or a withdrawal began that has ended; None of one under way."""
    return _decode(life).began_at_us


def transfer_accounts(body: Body) -> tuple[str, str]:
    """The accounts that a transfer goes from and to."""
    return money(body.wallet_id, body.kind), money(body.receiver_wallet_id, body.kind)


# --- judging


def judge_transfer(fact: Fact, store: Store) -> Refusal | None:
    """TransferSent: money that may be sent, under an id of its own."""
    body = fact.body
    if Right.SEND not in RIGHTS.get(body.kind, ()):
        return Refusal(RefusalCode.NO_RIGHT, f"{body.kind or 'nothing'} can't be sent to others")
    if _exists(fact, store, f"{TRANSFER}{body.wallet_id}/{body.transfer_id}"):
        return Refusal(RefusalCode.TRANSFER_EXISTS, f"transfer {body.transfer_id} was sent before")
    return None


def judge_transfer_end(fact: Fact, store: Store) -> Refusal | None:
    """TransferAccepted, TransferDeclined, TransferExpired: a transfer that was sent ends once, as a whole."""
    body = fact.body
    key = f"{TRANSFER}{body.wallet_id}/{body.transfer_id}"
    transit = _transit(store, key)
    source, receiver = transfer_accounts(body)
    if transit is None and not store.has_forgotten(key):
        return Refusal(RefusalCode.UNKNOWN_TRANSFER, f"no transfer {body.transfer_id} of {body.wallet_id}")
    if transit is None or transit.ended:
        return Refusal(RefusalCode.TRANSFER_ENDED, f"transfer {body.transfer_id} has ended before")
    if (transit.account, transit.receiver, transit.amount_minor) != (source, receiver, body.amount_minor):
        return Refusal(RefusalCode.TRANSFER_DIFFERS, f"{transit.amount_minor} from {transit.account} were sent")
    return None


def judge_withdrawal(fact: Fact, store: Store) -> Refusal | None:
    """WithdrawalRequested: money that may be withdrawn, under an id of its own."""
    body = fact.body
    if body.kind and Right.WITHDRAW not in RIGHTS.get(body.kind, ()):
        return Refusal(RefusalCode.NO_RIGHT, f"{body.kind} can't be withdrawn")
    if _exists(fact, store, f"{WITHDRAWAL}{body.wallet_id}/{body.withdrawal_id}"):
        return Refusal(RefusalCode.WITHDRAWAL_EXISTS, f"withdrawal {body.withdrawal_id} was asked for before")
    return None


def judge_withdrawal_end(fact: Fact, store: Store) -> Refusal | None:
    """WithdrawalPaid, WithdrawalFailed: a withdrawal that was asked for ends once, as a whole."""
    body = fact.body
    key = f"{WITHDRAWAL}{body.wallet_id}/{body.withdrawal_id}"
    transit = _transit(store, key)
    if transit is None and not store.has_forgotten(key):
        return Refusal(RefusalCode.UNKNOWN_WITHDRAWAL, f"no withdrawal {body.withdrawal_id} of {body.wallet_id}")
    if transit is None or transit.ended:
        return Refusal(RefusalCode.WITHDRAWAL_ENDED, f"withdrawal {body.withdrawal_id} has ended before")
    source = money(body.wallet_id, "money")
    if (transit.account, transit.amount_minor, transit.fee_minor) != (source, body.amount_minor, body.fee_minor):
        return Refusal(
            RefusalCode.WITHDRAWAL_DIFFERS,
            f"{transit.amount_minor} and a fee of {transit.fee_minor} from {transit.account} were asked for",
        )
    return None


def _exists(fact: Fact, store: Store, key: str) -> bool:
    """Whether there is, or was, such a transit. One that counts as forgotten is in the way of its own events alone,
    which are as late; a new one may have its id."""
    transit = _transit(store, key)
    if fact.occurred_at_us + store.keep_us > store.clock_us:
        return transit is not None and not store.is_over(transit.began_at_us)
    return transit is not None or store.has_forgotten(key)


def _transit(store: Store, key: str) -> Transit | None:
    found = store.get(key)
    return None if found is None else _decode(found)


# --- applying


def apply_transfer(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """Money is on its way to another wallet."""
    source = entry.lines[0]
    _put(
        store,
        f"{TRANSFER}{owner}/{entry.reference_id}",
        Transit(0, entry.occurred_at_us, source.account, source.debit_minor, 0, entry.counterparty or ""),
    )


def apply_transfer_end(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """It arrived, or came back."""
    _end(store, f"{TRANSFER}{owner}/{entry.reference_id}")


def apply_withdrawal(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """Money is on its way to the owner's bank; what the first line has above the second is the fee."""
    source, transit = entry.lines[0], entry.lines[1]
    amount_minor = -transit.debit_minor
    _put(
        store,
        f"{WITHDRAWAL}{owner}/{entry.reference_id}",
        Transit(0, entry.occurred_at_us, source.account, amount_minor, source.debit_minor - amount_minor),
    )


def apply_withdrawal_end(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """It was paid, or came back."""
    _end(store, f"{WITHDRAWAL}{owner}/{entry.reference_id}")


def _put(store: Store, key: str, transit: Transit) -> None:
    store.put(key, _encode(transit))


def _end(store: Store, key: str) -> None:
    transit = _transit(store, key)
    if transit is None:  # the entry is applied again, and the transit was forgotten since
        assert store.has_forgotten(key), f"{key} ends, but the books don't know it"
        return
    transit.ended = 1
    _put(store, key, transit)
