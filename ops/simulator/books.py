"""The simulator's own true ledger: nobody spends what they don't have, no merchant refunds what it did not earn.

It knows only the money that the simulator itself moved. Cashback comes from the platform, so it is not in here: a
wallet may own more on the platform than it does here, never less.

Money that one owner gets from another becomes spendable only after a while (`RIPE_US`): the two are booked in different
lanes, and late events delay one of them. A simulated owner is as patient, so that no order of lanes overdraws anyone.
"""

from __future__ import annotations

from typing import NamedTuple

from koban.events import Kind

RIPE_US = 300_000_000
"""Longer than any event is held back, with a margin for the lanes behind."""
WALLET_CAP_MINOR = 1_000_000
"""The most that a wallet may hold of money or of money-lite."""

Part = tuple[str, int, str | None]
"""A tender: kind, amount, lot."""


class Lot(NamedTuple):
    """Limited money with its name: points with an expiry, or a voucher."""

    name: str
    kind: str
    amount_minor: int


class Books:
    """Balances of all wallets and merchants, in yen. Lists are indexed by wallet or merchant number."""

    def __init__(self, wallets: int, merchants: int) -> None:
        self.money = [0] * wallets
        self.money_lite = [0] * wallets
        self.points = [0] * wallets
        self.lots: dict[int, list[Lot]] = {}
        self.held: dict[tuple[int, str], int] = {}
        self.incoming: dict[tuple[int, str], int] = {}
        """Received from others, but not ripe yet: by wallet and kind."""
        self.free = [0] * merchants
        """What a merchant may refund or have settled."""
        self._earned: dict[int, int] = {}
        self._ripening: dict[int, int] = {}
        self._ripe_at_us = 0
        self.bank_clearing: dict[str, int] = {}

    def open_wallet(self) -> None:
        """Room for one wallet more."""
        for balances in (self.money, self.money_lite, self.points):
            balances.append(0)

    def spendable(self, wallet: int) -> int:
        """What a wallet can pay with, of all kinds."""
        lots = sum(lot.amount_minor for lot in self.lots.get(wallet, ()))
        return self.points[wallet] + self.money_lite[wallet] + self.money[wallet] + lots

    def spend(self, wallet: int, amount: int) -> str:
        """Takes an amount in spend order; returns the tenders as JSON items, empty when the wallet has too little."""
        if wallet not in self.lots and not self.points[wallet]:
            balance = self.money_lite[wallet]
            if balance >= amount:
                self.money_lite[wallet] = balance - amount
                return f'{{"kind":"money_lite","amount_minor":{amount}}}'
            if not balance and self.money[wallet] >= amount:
                self.money[wallet] -= amount
                return f'{{"kind":"money","amount_minor":{amount}}}'
        parts = self.take(wallet, amount)
        return tenders_json(parts) if parts else ""

    def take(self, wallet: int, amount: int) -> list[Part]:
        """Takes an amount in spend order: vouchers, limited points, points, money-lite, money.

        Empty, and nothing taken, when the wallet has too little.
        """
        if self.spendable(wallet) < amount:
            return []
        parts = self._take_lots(wallet, amount) if wallet in self.lots else []
        left = amount - sum(part[1] for part in parts)
        for kind in (Kind.POINTS, Kind.MONEY_LITE, Kind.MONEY):
            balances = self._balances(kind)
            part = min(left, balances[wallet])
            if part:
                balances[wallet] -= part
                left -= part
                parts.append((str(kind), part, None))
        assert left == 0
        return parts

    def _take_lots(self, wallet: int, amount: int) -> list[Part]:
        parts: list[Part] = []
        rest: list[Lot] = []
        for lot in sorted(self.lots.pop(wallet), key=lambda lot: lot.kind == Kind.POINTS_LTD):
            part = min(lot.amount_minor, amount)
            amount -= part
            if part:
                parts.append((lot.kind, part, lot.name))
            if lot.amount_minor > part:
                rest.append(lot._replace(amount_minor=lot.amount_minor - part))
        if rest:
            self.lots[wallet] = rest
        return parts

    def give(self, wallet: int, parts: list[Part]) -> None:
        """Puts tenders back into a wallet. What a card or a later bill paid goes back there, so not into the wallet."""
        for kind, amount, lot in parts:
            if lot is not None:
                self.lots.setdefault(wallet, []).append(Lot(lot, kind, amount))
            elif kind in (Kind.POINTS, Kind.MONEY_LITE, Kind.MONEY):
                self._balances(kind)[wallet] += amount

    def hold(self, wallet: int, parts: list[Part], sign: int) -> None:
        """Counts tenders as held (``sign`` 1) or no longer held (-1)."""
        for kind, amount, _ in parts:
            key = (wallet, kind)
            self.held[key] = self.held.get(key, 0) + sign * amount
            assert self.held[key] >= 0

    def earn(self, merchant: int, amount: int) -> None:
        """A sale: the merchant may refund or settle it when it is ripe."""
        self._earned[merchant] = self._earned.get(merchant, 0) + amount

    def ripen(self, at_us: int) -> None:
        """Frees what merchants earned at least `RIPE_US` ago. Cheap unless that much time has passed since."""
        if at_us < self._ripe_at_us:
            return
        self._ripe_at_us = at_us + RIPE_US
        for merchant, amount in self._ripening.items():
            self.free[merchant] += amount
        self._ripening, self._earned = self._earned, {}

    def ripen_all(self) -> None:
        """Frees everything: what was earned lies long enough back."""
        for earned in (self._earned, self._ripening):
            for merchant, amount in earned.items():
                self.free[merchant] += amount
            earned.clear()

    def payable(self, merchant: int) -> int:
        """All that a merchant is owed, ripe or not."""
        return self.free[merchant] + self._earned.get(merchant, 0) + self._ripening.get(merchant, 0)

    def _balances(self, kind: str) -> list[int]:
        if kind == Kind.POINTS:
            return self.points
        return self.money_lite if kind == Kind.MONEY_LITE else self.money

    def credit(self, wallet: int, kind: str, amount: int) -> None:
        """Puts an amount of points, money-lite or money into a wallet."""
        self._balances(kind)[wallet] += amount

    def debit(self, wallet: int, kind: str, amount: int) -> bool:
        """Takes an amount of one kind; False, and nothing taken, when there is too little of it."""
        balances = self._balances(kind)
        if balances[wallet] < amount:
            return False
        balances[wallet] -= amount
        return True

    def has_room(self, wallet: int, kind: str, amount: int) -> bool:
        """Whether the wallet's cap allows this much more, with what is held and may come back counted in."""
        if kind not in (Kind.MONEY, Kind.MONEY_LITE):
            return True
        on_its_way = self.held.get((wallet, kind), 0) + self.incoming.get((wallet, kind), 0)
        return self._balances(kind)[wallet] + on_its_way + amount <= WALLET_CAP_MINOR

    def promise(self, wallet: int, kind: str, amount: int) -> None:
        """Counts what a wallet received and may spend when it is ripe; a negative amount when that has come."""
        self.incoming[wallet, kind] = self.incoming.get((wallet, kind), 0) + amount


def tenders_json(parts: list[Part]) -> str:
    """Tenders as the items of a JSON array."""
    return ",".join(
        f'{{"kind":"{kind}","amount_minor":{amount}}}'
        if lot is None
        else f'{{"kind":"{kind}","amount_minor":{amount},"lot":"{lot}"}}'
        for kind, amount, lot in parts
    )
