"""What the books must come to, and whether they do: simple code of its own, which shares nothing with the ledger.

It sees the events as they were sent, and afterwards every committed record in the order of the log, as any reader
would. Debits are positive. Accounts of the house are added up over the lanes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

WALLET_CAP_MINOR = 1_000_000
IN_FLIGHT = "L.in_flight"
GIVES_BACK = {
    "PaymentCaptured", "PaymentVoided", "AuthorizationExpired", "PaymentCanceled", "TransferAccepted",
    "TransferDeclined", "TransferExpired", "WithdrawalFailed",
}  # fmt: skip
"""What these bring to a wallet above its cap waits; what a top-up brings does not."""

Event = dict[str, Any]
Lines = list[tuple[str, int]]


class BrokenBooks(AssertionError):  # noqa: N818  # a finding, not an error
    """An invariant does not hold; says which, and where."""


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise BrokenBooks(what)


class Expected:
    """The books that events should come to, added up as they are sent: account → Σ debits, and → number of lines."""

    def __init__(self) -> None:
        self.debits: defaultdict[str, int] = defaultdict(int)
        self.lines: defaultdict[str, int] = defaultdict(int)
        self.entries: dict[str, dict[str, int]] = {}
        """Entry id → account → debit, of events that move money."""

    def add(self, event: Event) -> None:
        event_id, kind = event["event_id"], event["event_type"]
        lines = [line for line in POSTINGS[kind](event["body"], self._owned) if line[1]]
        if kind == "RefundRequested":
            # The merchant's side follows when there is money for it, or when the refund is through all the same.
            self.entries[event_id] = {}
            self._post(f"{event_id}:reserved", lines)
        elif lines and kind in GIVES_BACK:
            for at, line in enumerate(lines):
                self._post(event_id, [line], more=at > 0)
                self._move_on(event_id, *line)
        elif lines:
            self._post(event_id, lines)

    def _post(self, entry_id: str, lines: Lines, *, more: bool = False) -> None:
        entry = defaultdict(int, self.entries[entry_id] if more else {})
        for account, debit in lines:
            self.debits[account] += debit
            self.lines[account] += 1
            entry[account] += debit
        self.entries[entry_id] = dict(entry)

    def _move_on(self, event_id: str, account: str, debit: int) -> None:
        """What came back to a wallet above its cap waits in `over_limit`."""
        wallet, _, money = account.rpartition(".")
        over = min(self._owned(account) - WALLET_CAP_MINOR, -debit)
        if account[0] == "U" and money in ("money", "money_lite") and over > 0:
            self._post(f"{event_id}:over_limit:{money}", _from_to(account, f"{wallet}.over_limit", over))

    def _owned(self, account: str) -> int:
        """What is on an account on its own side."""
        return own_side(account, self.debits[account])


def own_side(account: str, debit_minor: int) -> int:
    """Σ debits as a balance: what an asset or a claim holds is a debit, everything else a credit."""
    return debit_minor if account[0] in "AX" or account.endswith(".clawback_due") else -debit_minor


class Auditor:
    """Checks committed records as they come: `entries`, `balances` and `legs` take them in the order of their log."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.seen: set[str] = set()
        self.balances: dict[str, tuple[int, int]] = {}
        """Account, with its lane for the house's → (posted on its own side, version)."""
        self.touched = 0
        self._lane_minor: defaultdict[int, int] = defaultdict(int)
        """Lane → Σ of its accounts as debits."""
        self._outside_minor = 0
        """Σ of all accounts but those of legs in flight."""
        self.flying_minor = 0
        """Σ of the legs that were sent and not taken."""

    def entry(self, entry: dict[str, Any]) -> None:
        """Each entry once, as the posting rule says, in balance."""
        entry_id = entry["entry_id"]
        demand(entry_id not in self.seen, f"entry {entry_id} is there twice")
        self.seen.add(entry_id)
        found: defaultdict[str, int] = defaultdict(int)
        for line in entry["lines"]:
            found[line["account"].partition("@")[0]] += line["debit_minor"]
        demand(sum(found.values()) == 0, f"entry {entry_id} does not sum to zero")
        wanted = self.expected.entries.get(entry_id)
        demand(dict(found) == wanted, f"{entry['event_type']} {entry_id}: posted {dict(found)}, expected {wanted}")

    def balance(self, balance: dict[str, Any], lane: int) -> None:
        """Versions go up, held and available are what they should be."""
        account, posted, version = balance["account"], balance["posted_minor"], balance["version"]
        old_posted, old_version = self.balances.get(account, (0, 0))
        demand(version > old_version, f"{account} goes from version {old_version} to {version}")
        held = balance["held_minor"]
        demand(balance["available_minor"] == posted - held, f"{account}: available is not posted less held")
        is_held = _is_held(account)
        demand(held == (max(posted, 0) if is_held else 0), f"{account}: {held} held of {posted}")
        self.balances[account] = posted, version
        change = own_side(account.partition("@")[0], posted - old_posted)
        self._lane_minor[lane] += change
        if not account.startswith(IN_FLIGHT):
            self._outside_minor += change

    def after_transaction(self) -> None:
        """Σ = 0: in each lane with its legs in flight, and over all lanes with the legs on their way."""
        for lane, total in self._lane_minor.items():
            demand(total == 0, f"the accounts of lane {lane} are out of balance by {total}")
        total = self._outside_minor + self.flying_minor
        demand(total == 0, f"all accounts and the legs on their way are out of balance by {total}")

    def at_rest(self) -> None:
        """Nothing lost, nothing twice, no version skipped, nothing in flight."""
        missing = self.expected.entries.keys() - self.seen
        demand(not missing, f"{len(missing)} entries are missing, among them {min(missing, default='')}")
        demand(self.flying_minor == 0, f"{self.flying_minor} yen are still on their way")
        debits: defaultdict[str, int] = defaultdict(int)
        versions: defaultdict[str, int] = defaultdict(int)
        for name, (posted, version) in self.balances.items():
            account = name.partition("@")[0]
            debits[account] += own_side(account, posted)
            versions[account] += version
        demand(debits.pop(IN_FLIGHT, 0) == 0, "legs in flight do not come to zero")
        versions.pop(IN_FLIGHT, None)
        _same("yen", self.expected.debits, debits)
        _same("changes", self.expected.lines, versions)
        demand(sum(debits.values()) == 0, "the trial balance is not zero")


def _is_held(account: str) -> bool:
    parts = account.split(".")
    kind = parts[2] if len(parts) > 2 else ""
    return kind in ("held", "grant_pending") or (account[0] == "M" and kind in ("refund_reserved", "payout_transit"))


def _same(what: str, expected: dict[str, int], found: dict[str, int]) -> None:
    for account in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(account, 0), found.get(account, 0)
        demand(wanted == there, f"{account}: {there} {what} instead of {wanted}")


# --- the auditor's own posting rules: body, what is on an account → (account, debit)

Owned = Callable[[str], int]
Rule = Callable[[Event, Owned], Iterable[tuple[str, int]]]


def _from_to(debit: str, credit: str, amount: int) -> Lines:
    return [(debit, amount), (credit, -amount)]


def _undone(lines: Iterable[tuple[str, int]]) -> Lines:
    return [(account, -debit) for account, debit in lines]


def _purse(b: Event, tender: Event) -> str:
    """The account that a tender is paid from."""
    kind, lot = tender["kind"], tender.get("lot", "unnamed")
    if kind == "card":
        return f"A.card_recv.{lot}"
    if kind == "paylater":
        return "A.paylater_recv"
    return f"U.{b['wallet_id']}.{kind}" + (f".{lot}" if kind in ("voucher", "points_ltd") else "")


def _held(b: Event, tender: Event) -> str:
    lot = f".{tender['lot']}" if tender["kind"] in ("voucher", "points_ltd") else ""
    return f"U.{b['wallet_id']}.held.{tender['kind']}{lot}"


def _lender(b: Event) -> str:
    """Who owes a top-up's money."""
    source = b["source"]
    if source == "paylater":
        return "A.paylater_recv"
    return f"A.{'bank_clearing' if source == 'bank' else 'card_recv'}.{b['funding_id']}"


def _topped_up(b: Event, _: Owned) -> Lines:
    kind = "money" if b.get("verified") and b["source"] == "bank" else "money_lite"
    return _from_to(_lender(b), f"U.{b['wallet_id']}.{kind}", b["amount_minor"])


def _took(b: Event, owned: Owned, kind: str) -> Lines:
    """What the wallet has of it, and a claim for the rest."""
    wallet, amount = b["wallet_id"], b["amount_minor"]
    there = max(0, min(amount, owned(f"U.{wallet}.{kind}")))
    return [(f"U.{wallet}.{kind}", there), (f"U.{wallet}.clawback_due", amount - there)]


def _paid(b: Event, _: Owned) -> Lines:
    tenders = [(_purse(b, tender), tender["amount_minor"]) for tender in b["tenders"]]
    return [*tenders, (f"M.{b['merchant_id']}.payable", -b["amount_minor"])]


def _authorized(b: Event, _: Owned) -> Lines:
    return [line for t in b["tenders"] for line in _from_to(_purse(b, t), _held(b, t), t["amount_minor"])]


def _captured(b: Event, _: Owned) -> Lines:
    lines, left = [], b["captured_minor"]
    for tender in b["tenders"]:
        amount = tender["amount_minor"]
        taken = min(amount, left)
        left -= taken
        lines += [(_held(b, tender), amount), (_purse(b, tender), taken - amount)]
    return [*lines, (f"M.{b['merchant_id']}.payable", -b["captured_minor"])]


def _refunded(b: Event, owned: Owned) -> Lines:
    lines, over = [(f"M.{b['merchant_id']}.refund_reserved", b["amount_minor"])], 0
    for tender in b["tenders"]:
        purse, amount = _purse(b, tender), tender["amount_minor"]
        if tender["kind"] in ("money", "money_lite"):
            fits = max(0, min(amount, WALLET_CAP_MINOR - owned(purse)))
            over += amount - fits
            amount = fits
        lines.append((purse, -amount))
    return [*lines, (f"U.{b['wallet_id']}.over_limit", -over)]


def _withdrawn(b: Event, _: Owned) -> Lines:
    amount, fee = b["amount_minor"], b["fee_minor"]
    return [(f"U.{b['wallet_id']}.money", amount + fee), ("L.withdraw_transit", -amount), ("R.withdraw_fee", -fee)]


def _settled(b: Event, _: Owned) -> Lines:
    merchant, gross = b["merchant_id"], b["gross_minor"]
    fee, tax, early = b["fee_minor"], b["tax_minor"], b["early_fee_minor"]
    net = ("M." + merchant + ".payout_transit", fee + tax + early - gross)
    fees = [("R.fee", -fee), ("L.tax", -tax), ("R.early_payout_fee", -early)]
    return [(f"M.{merchant}.payable", gross), net, *fees]


def _granted(b: Event, owned: Owned) -> Lines:
    wallet, campaign, amount = b["wallet_id"], b["campaign_id"], b["amount_minor"]
    pending = max(0, min(amount, owned(f"U.{wallet}.grant_pending.{campaign}")))
    due = max(0, min(amount, owned(f"U.{wallet}.clawback_due")))
    return [
        (f"U.{wallet}.grant_pending.{campaign}", pending), (f"C.{campaign}.available", amount - pending),
        (f"U.{wallet}.clawback_due", -due), (f"U.{wallet}.points", due - amount),
    ]  # fmt: skip


def _clawed_back(b: Event, owned: Owned) -> Lines:
    return [*_took(b, owned, "points"), (f"C.{b['campaign_id']}.closed", -b["amount_minor"])]


def _move(debit: str, credit: str) -> Rule:
    """A rule that moves the amount between two accounts whose names hold fields of the body."""
    return lambda b, _: _from_to(debit.format(**b), credit.format(**b), b["amount_minor"])


def _nothing(b: Event, _: Owned) -> Lines:
    return []


POSTINGS: dict[str, Rule] = {
    "TopUpRequested": _nothing,
    "TopUpFailed": _nothing,
    "LoggedIn": _nothing,
    "TopUpCompleted": _topped_up,
    "BankClearingSettled": _move("A.bank", "A.bank_clearing.{bank_id}"),
    "TopUpReversed": lambda b, owned: [*_took(b, owned, "money"), (_lender(b), -b["amount_minor"])],
    "PaymentAuthorized": _authorized,
    "PaymentCaptured": _captured,
    "PaymentVoided": lambda b, owned: _undone(_authorized(b, owned)),
    "AuthorizationExpired": lambda b, owned: _undone(_authorized(b, owned)),
    "PaymentCompleted": _paid,
    "PaymentCanceled": lambda b, owned: _undone(_paid(b, owned)),
    "RefundRequested": _move("M.{merchant_id}.payable", "M.{merchant_id}.refund_reserved"),
    "RefundCompleted": _refunded,
    "TransferSent": _move("U.{wallet_id}.{kind}", "L.p2p_transit"),
    "TransferAccepted": _move("L.p2p_transit", "U.{receiver_wallet_id}.{kind}"),
    "TransferDeclined": _move("L.p2p_transit", "U.{wallet_id}.{kind}"),
    "TransferExpired": _move("L.p2p_transit", "U.{wallet_id}.{kind}"),
    "WithdrawalRequested": _withdrawn,
    "WithdrawalPaid": _move("L.withdraw_transit", "A.bank"),
    "WithdrawalFailed": lambda b, owned: _undone(_withdrawn(b, owned)),
    "SettlementClosed": _settled,
    "EarlyPayoutRequested": _settled,
    "PayoutPaid": _move("M.{merchant_id}.payout_transit", "A.bank"),
    "PayoutFailed": _move("M.{merchant_id}.payout_transit", "M.{merchant_id}.payable"),
    "CampaignFunded": _move("X.promo.{campaign_id}", "C.{campaign_id}.available"),
    "BudgetLeased": _move("C.{campaign_id}.available", "C.{campaign_id}.lease.{shard}"),
    "CashbackAccrued": _move("C.{campaign_id}.lease.{shard}", "U.{wallet_id}.grant_pending.{campaign_id}"),
    "CashbackGranted": _granted,
    "CashbackCanceled": _move("U.{wallet_id}.grant_pending.{campaign_id}", "C.{campaign_id}.available"),
    "CashbackClawedBack": _clawed_back,
    "PointsExpired": _move("U.{wallet_id}.points_ltd.{lot}", "R.breakage"),
    "AdjustmentPosted": lambda b, _: [(line["account"], line["debit_minor"]) for line in b["lines"]],
}  # fmt: skip
"""Event type → its lines, for the types that the workload sends."""
