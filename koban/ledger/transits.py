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
    """What left which account, with its fee, for whom (an account, or nobody), and whether it is still under way."""

    account: str
    amount_minor: int
    fee_minor: int = 0
    receiver: str = ""
    ended: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Transit).decode


def transit_of(store: Store, key: str) -> Transit | None:
    """What a store knows of a transfer or a withdrawal."""
    found = store.get(key)
    return None if found is None else _decode(found)


def transfer_accounts(body: Body) -> tuple[str, str]:
    """The accounts that a transfer goes from and to."""
    return money(body.wallet_id, body.kind), money(body.receiver_wallet_id, body.kind)


# --- judging


def judge_transfer(fact: Fact, store: Store) -> Refusal | None:
    """TransferSent: money that may be sent, under an id of its own."""
    body = fact.body
    if Right.SEND not in RIGHTS.get(body.kind, ()):
        return Refusal(RefusalCode.NO_RIGHT, f"{body.kind or 'nothing'} can't be sent to others")
    if store.get(f"{TRANSFER}{body.wallet_id}/{body.transfer_id}") is not None:
        return Refusal(RefusalCode.TRANSFER_EXISTS, f"transfer {body.transfer_id} was sent before")
    return None


def judge_transfer_end(fact: Fact, store: Store) -> Refusal | None:
    """TransferAccepted, TransferDeclined, TransferExpired: a transfer that was sent ends once, as a whole."""
    body = fact.body
    transit = transit_of(store, f"{TRANSFER}{body.wallet_id}/{body.transfer_id}")
    source, receiver = transfer_accounts(body)
    if transit is None:
        return Refusal(RefusalCode.UNKNOWN_TRANSFER, f"no transfer {body.transfer_id} of {body.wallet_id}")
    if transit.ended:
        return Refusal(RefusalCode.TRANSFER_ENDED, f"transfer {body.transfer_id} has ended before")
    if (transit.account, transit.receiver, transit.amount_minor) != (source, receiver, body.amount_minor):
        return Refusal(RefusalCode.TRANSFER_DIFFERS, f"{transit.amount_minor} from {transit.account} were sent")
    return None


def judge_withdrawal(fact: Fact, store: Store) -> Refusal | None:
    """WithdrawalRequested: money that may be withdrawn, under an id of its own."""
    body = fact.body
    if body.kind and Right.WITHDRAW not in RIGHTS.get(body.kind, ()):
        return Refusal(RefusalCode.NO_RIGHT, f"{body.kind} can't be withdrawn")
    if store.get(f"{WITHDRAWAL}{body.wallet_id}/{body.withdrawal_id}") is not None:
        return Refusal(RefusalCode.WITHDRAWAL_EXISTS, f"withdrawal {body.withdrawal_id} was asked for before")
    return None


def judge_withdrawal_end(fact: Fact, store: Store) -> Refusal | None:
    """WithdrawalPaid, WithdrawalFailed: a withdrawal that was asked for ends once, as a whole."""
    body = fact.body
    transit = transit_of(store, f"{WITHDRAWAL}{body.wallet_id}/{body.withdrawal_id}")
    if transit is None:
        return Refusal(RefusalCode.UNKNOWN_WITHDRAWAL, f"no withdrawal {body.withdrawal_id} of {body.wallet_id}")
    if transit.ended:
        return Refusal(RefusalCode.WITHDRAWAL_ENDED, f"withdrawal {body.withdrawal_id} has ended before")
    source = money(body.wallet_id, "money")
    if (transit.account, transit.amount_minor, transit.fee_minor) != (source, body.amount_minor, body.fee_minor):
        return Refusal(
            RefusalCode.WITHDRAWAL_DIFFERS,
            f"{transit.amount_minor} and a fee of {transit.fee_minor} from {transit.account} were asked for",
        )
    return None


# --- applying


def apply_transfer(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """Money is on its way to another wallet."""
    source = entry.lines[0]
    _put(
        store,
        f"{TRANSFER}{owner}/{entry.reference_id}",
        Transit(source.account, source.debit_minor, 0, entry.counterparty or ""),
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
        Transit(source.account, amount_minor, source.debit_minor - amount_minor),
    )


def apply_withdrawal_end(entry: Posting | StoredEntry, owner: str, store: Store) -> None:
    """It was paid, or came back."""
    _end(store, f"{WITHDRAWAL}{owner}/{entry.reference_id}")


def _put(store: Store, key: str, transit: Transit) -> None:
    store.put(key, _encode(transit))


def _end(store: Store, key: str) -> None:
    transit = transit_of(store, key)
    assert transit is not None, f"{key} ends, but the books don't know it"
    transit.ended = True
    _put(store, key, transit)
