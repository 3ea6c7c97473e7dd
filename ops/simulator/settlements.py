"""Merchants' money: settled, paid out early or not, and the banks that clear the wallets' top-ups."""

from __future__ import annotations

from functools import partial

from koban.business_time import US_PER_S, business_date
from koban.events import BankClearing, Payout, Settlement
from ops.simulator.scene import Scene

_TRIES = 6
_GROSS_MINOR_MIN = 500
_TAX_PERCENT = 10
_EARLY_RATE_BP = 38
_EARLY_FEES_MINOR = (20, 200)


class Settlements:
    """Acts of merchants and banks. An act returns False when nobody could do it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def settle(self, at_us: int) -> bool:
        """A merchant's sales are settled by the calendar."""
        return self._close("SettlementClosed", at_us, early=False)

    def pay_out_early(self, at_us: int) -> bool:
        """A merchant asks for its money before its time, for a fee."""
        return self._close("EarlyPayoutRequested", at_us, early=True)

    def _close(self, name: str, at_us: int, *, early: bool) -> bool:
        """Settles most of what a merchant has; the rest stays for its refunds."""
        scene = self._scene
        books, random = scene.books, scene.random
        books.ripen(at_us)
        for _ in range(_TRIES):
            merchant = random.randrange(len(books.free))
            gross = books.free[merchant] * random.randrange(50, 90) // 100
            if gross < _GROSS_MINOR_MIN:
                continue
            body, net = self._settlement(merchant, gross, at_us, early)
            if net <= 0:
                continue
            books.free[merchant] -= gross
            wait_us = random.randrange(10, 150) * US_PER_S
            scene.agenda.plan(at_us + wait_us, partial(self._pay_out, merchant, net, random.randrange(20) > 0))
            return scene.merchant_event(name, at_us, body.merchant_id, body, gross)
        return False

    def _settlement(self, merchant: int, gross: int, at_us: int, early: bool) -> tuple[Settlement, int]:
        """The settlement and what is paid out. Fees are rounded once, half up."""
        scene = self._scene
        owner = scene.population.merchants[merchant]
        fee = _share(gross, owner.fee_rate_bp)
        tax = fee * _TAX_PERCENT // 100
        early_fee = _share(gross, _EARLY_RATE_BP) + scene.random.choice(_EARLY_FEES_MINOR) if early else 0
        body = Settlement(
            merchant_id=owner.id,
            settlement_id=scene.new_id("sl"),
            period=business_date(at_us).isoformat()[:7],
            gross_minor=gross,
            fee_minor=fee,
            tax_minor=tax,
            fee_rate_bp=owner.fee_rate_bp,
            early_fee_minor=early_fee,
        )
        return body, gross - fee - tax - early_fee

    def _pay_out(self, merchant: int, net: int, paid: bool, at_us: int) -> bool:
        scene = self._scene
        owner = scene.population.merchants[merchant].id
        body = Payout(merchant_id=owner, payout_id=scene.new_id("po"), amount_minor=net)
        if not paid:
            scene.books.free[merchant] += net
        return scene.merchant_event("PayoutPaid" if paid else "PayoutFailed", at_us, owner, body, net)

    def clear_bank(self, at_us: int) -> bool:
        """A bank pays what it owes for top-ups, or a part of it."""
        scene = self._scene
        owed = [(bank, amount) for bank, amount in scene.books.bank_clearing.items() if amount]
        if not owed:
            return False
        bank, amount = scene.random.choice(owed)
        paid = max(1, amount * scene.random.randrange(50, 101) // 100)
        scene.books.bank_clearing[bank] = amount - paid
        return scene.bank_event("BankClearingSettled", at_us, bank, BankClearing(bank_id=bank, amount_minor=paid), paid)


def _share(amount: int, basis_points: int) -> int:
    return (amount * basis_points + 5_000) // 10_000
