"""The ledger benchmark's accounts: payer and merchant of each payment, as every contender must leave them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ops.bench.meter import Body, Meter
from ops.bench.payments import FIRST_AT_US, Payment, digest, wallet_name
from schemas.partitioning import lane_of


class AccountMeter(Meter):
    """Meters a contender that keeps balances by itself; what it says they are is remembered for the answer."""

    def __init__(self, events: int) -> None:
        super().__init__(events)
        self.balances: defaultdict[str, int] = defaultdict(int)
        self._halves = 0

    def post(self, body: Body) -> bool:
        """A payment whose two accounts were updated. True when it was the last."""
        self.balances[f"U.{body.wallet_id}.money"] -= body.amount_minor
        self.balances[f"M.{body.merchant_id}.payable"] += body.amount_minor
        return self.tick(1)

    def set(self, account: str, balance: int) -> bool:
        """One of the two updates of a payment, with the balance that came out. True when it was the last."""
        self.balances[account] = balance
        self._halves += 1
        return self.tick(1) if self._halves % 2 == 0 else False

    def answer(self) -> str:
        return digest_of_balances(self.balances)


def answer_of_payments(values: Iterable[bytes]) -> str:
    """The oracle: what every account gained or lost, with the standard library's JSON and nothing clever."""
    changes: defaultdict[str, int] = defaultdict(int)
    for value in values:
        body = json.loads(value)["body"]
        changes[f"U.{body['wallet_id']}.money"] -= body["amount_minor"]
        changes[f"M.{body['merchant_id']}.payable"] += body["amount_minor"]
    return digest_of_balances(changes)


def digest_of_balances(balances: Mapping[str, int]) -> str:
    """Account → what it gained, as sixteen hex digits that do not depend on any order. Unmoved accounts don't count."""
    return digest({account: (balance,) for account, balance in balances.items() if balance})


class _Stored(msgspec.Struct, gc=False):
    account: str
    posted_minor: int


def answer_of_records(values: Iterable[bytes], opening_minor: int) -> str:
    """The same of balance records in their order; every payer began with ``opening_minor``."""
    decode = msgspec.json.Decoder(_Stored).decode
    latest = {stored.account: stored.posted_minor for stored in map(decode, values)}
    changes = {
        account: posted - (opening_minor if account.startswith("U.") else 0)
        for account, posted in latest.items()
        if account[0] in "UM"
    }
    return digest_of_balances(changes)


_BALANCE = (
    b'{"account":"%b","owner":"%b","posted_minor":%d,"held_minor":0,"available_minor":%d,"pending_in_minor":0,'
    b'"version":1,"as_of_us":%d,"event_id":"opening","entry_id":"opening"}'
)


def opening_balances(payers: int, lanes: int, opening_minor: int) -> Iterator[Payment]:
    """What the ledger would have written for the payers' first top-ups; each lane's accounts sum to zero."""
    total = [0] * lanes
    for number in range(payers):
        owner = wallet_name(number)
        lane = lane_of(owner, lanes)
        total[lane] += opening_minor
        yield _balance(lane, f"U.{owner}.money", owner, opening_minor)
    for lane, amount in enumerate(total):
        yield _balance(lane, f"A.bank@{lane}", "A.bank", amount)


def _balance(lane: int, account: str, owner: str, posted_minor: int) -> Payment:
    key = account.encode()
    return Payment(lane, key, _BALANCE % (key, owner.encode(), posted_minor, posted_minor, FIRST_AT_US))
