"""A payment and what may become of it: taken back, refunded in parts, or held first and captured, voided, expired."""

from __future__ import annotations

from functools import partial

from koban.business_time import US_PER_S, business_date
from koban.events import Cancel, HoldEnded, Payment, Refund
from ops.simulator.books import RIPE_US, Part, tenders_json
from ops.simulator.scene import Scene
from ops.simulator.wallets import Wallets
from ops.simulator.wire import parts_of, tenders

_OTHERS_TRIED_MAX = 12
_CAPTURE_AGAIN_US = 61 * US_PER_S
_REFUND_PARTS_MAX = 4
_WAITS_MAX = 3
"""A merchant without funds is asked for a refund so many times more."""


class Sale:
    """A payment that was made, as far as later events need it."""

    __slots__ = ("at_us", "number", "parts", "refunded", "seq", "till", "waits", "wallet")

    def __init__(self, number: int, wallet: int, till: int, parts: list[Part], at_us: int) -> None:
        self.number = number
        self.wallet = wallet
        self.till = till
        self.parts = parts
        self.at_us = at_us
        self.seq = 1
        self.refunded = 0
        self.waits = 0

    @property
    def amount(self) -> int:
        return sum(part[1] for part in self.parts)

    def split(self, amount: int) -> list[Part]:
        """The next ``amount`` yen to refund, over the tenders in reverse of the order in which they were spent."""
        found: list[Part] = []
        skip = self.refunded
        for kind, paid, lot in reversed(self.parts):
            gone = min(skip, paid)
            skip -= gone
            part = min(paid - gone, amount)
            amount -= part
            if part:
                found.append((kind, part, lot))
        assert amount == 0
        return found


class Payments:
    """Payments outside the fast path, and the later events of all payments."""

    def __init__(self, scene: Scene, wallets: Wallets) -> None:
        self._scene = scene
        self._wallets = wallets

    def pay_otherwise(self, at_us: int, wallet: int, till: int, amount: int, in_pace: bool) -> bool:
        """When the drawn wallet can't just pay: it pays by card, tops up first, or somebody else is next in the queue.

        ``in_pace`` says that the pace has taken the payment in. Sends an event in any case.
        """
        scene = self._scene
        for _ in range(_OTHERS_TRIED_MAX):
            if in_pace and self._pay_or_top_up(at_us, wallet, till, amount):
                return True
            wallet = scene.anyone(at_us)
            in_pace = scene.pace.take(wallet, at_us, amount)
        return self._wallets.log_in(at_us)

    def _pay_or_top_up(self, at_us: int, wallet: int, till: int, amount: int) -> bool:
        scene = self._scene
        if scene.population.card_only[wallet]:
            scene.send_payment(at_us, wallet, till, amount, tenders_json([("card", amount, None)]))
            return True
        paid_with = scene.books.spend(wallet, amount)
        if paid_with:
            scene.send_payment(at_us, wallet, till, amount, paid_with)
            return True
        if not self._wallets.top_up(at_us, wallet, amount):
            return False
        wait_us = (3 + scene.dice(22)) * US_PER_S
        scene.agenda.plan(at_us + wait_us, partial(self.pay_later, wallet, till, amount))
        return True

    def pay_later(self, wallet: int, till: int, amount: int, at_us: int) -> bool:
        """A payment that was put off; nothing when the wallet is too fast or too poor by now."""
        scene = self._scene
        if not scene.pace.take(wallet, at_us, amount):
            return False
        paid_with = scene.books.spend(wallet, amount)
        if not paid_with:
            return False
        scene.send_payment(at_us, wallet, till, amount, paid_with)
        return True

    def will_refund(self, at_us: int, number: int, wallet: int, till: int, tenders_text: str) -> None:
        """Plans the refund of a payment just made. What was paid with limited money stays paid."""
        sale = Sale(number, wallet, till, parts_of(tenders_text), at_us)
        if any(lot is not None for _, _, lot in sale.parts):
            return
        random = self._scene.random
        times = random.randrange(2, _REFUND_PARTS_MAX + 1) if random.randrange(8) == 0 else 1
        whole = times > 1 or random.randrange(10) < 6
        total = sale.amount if whole else max(1, sale.amount * random.randrange(10, 95) // 100)
        shares = [total // times] * (times - 1)
        shares = [share for share in [*shares, total - sum(shares)] if share]
        self._plan_refund(at_us, sale, shares)

    def _plan_refund(self, at_us: int, sale: Sale, shares: list[int]) -> None:
        random = self._scene.random
        soon = random.randrange(10) < 6
        wait_us = random.randrange(5, 60) * US_PER_S if soon else random.randrange(60, 6 * 3600) * US_PER_S
        self._scene.agenda.plan(at_us + wait_us, partial(self._request_refund, sale, shares))

    def _request_refund(self, sale: Sale, shares: list[int], at_us: int) -> bool:
        scene = self._scene
        books = scene.books
        books.ripen(at_us)
        amount, merchant = shares[0], self._merchant(sale)
        parts = sale.split(amount)
        room = all(books.has_room(sale.wallet, kind, part) for kind, part, _ in parts)
        if books.free[merchant] < amount or not room:
            if sale.waits < _WAITS_MAX:
                sale.waits += 1
                scene.agenda.plan(at_us + RIPE_US, partial(self._request_refund, sale, shares))
            return False
        books.free[merchant] -= amount
        refund_id = scene.new_id("rf")
        wait_us = scene.random.randrange(1, 20) * US_PER_S
        scene.agenda.plan(at_us + wait_us, partial(self._complete_refund, sale, shares, parts, refund_id))
        return self._send_refund("RefundRequested", at_us, sale, parts, refund_id)

    def _complete_refund(self, sale: Sale, shares: list[int], parts: list[Part], refund_id: str, at_us: int) -> bool:
        self._send_refund("RefundCompleted", at_us, sale, parts, refund_id)
        self._scene.books.give(sale.wallet, parts)
        sale.refunded += shares[0]
        if shares[1:]:
            self._plan_refund(at_us, sale, shares[1:])
        return True

    def _send_refund(self, name: str, at_us: int, sale: Sale, parts: list[Part], refund_id: str) -> bool:
        population = self._scene.population
        amount = sum(part[1] for part in parts)
        sale.seq += 1
        body = Refund(
            wallet_id=population.wallets[sale.wallet],
            refund_id=refund_id,
            merchant_id=population.merchants[self._merchant(sale)].id,
            amount_minor=amount,
            tenders=tenders(parts),
            payment_at_us=sale.at_us,
            refunded_before_minor=sale.refunded,
        )
        return self._scene.payment_event(name, at_us, sale.number, sale.seq, sale.wallet, body, amount)

    def will_cancel(self, at_us: int, number: int, wallet: int, till: int, tenders_text: str) -> None:
        """Plans that a payment just made is taken back on its own day."""
        sale = Sale(number, wallet, till, parts_of(tenders_text), at_us)
        wait_us = self._scene.random.randrange(4, 240) * US_PER_S
        self._scene.agenda.plan(at_us + wait_us, partial(self._cancel, sale))

    def _cancel(self, sale: Sale, at_us: int) -> bool:
        scene = self._scene
        books, population = scene.books, scene.population
        merchant = self._merchant(sale)
        books.ripen(at_us)
        room = all(books.has_room(sale.wallet, kind, part) for kind, part, _ in sale.parts)
        if business_date(at_us) != business_date(sale.at_us) or books.free[merchant] < sale.amount or not room:
            return False
        books.free[merchant] -= sale.amount
        books.give(sale.wallet, sale.parts)
        body = Cancel(
            wallet_id=population.wallets[sale.wallet],
            merchant_id=population.merchants[merchant].id,
            amount_minor=sale.amount,
            tenders=tenders(sale.parts),
        )
        return self._scene.payment_event("PaymentCanceled", at_us, sale.number, 2, sale.wallet, body, sale.amount)

    def authorize(self, at_us: int) -> bool:
        """Somebody's money is held for a merchant, and the end of the hold is planned."""
        scene = self._scene
        wallet = scene.anyone(at_us)
        till, amount = scene.open_till(at_us, wallet)
        if not scene.pace.take(wallet, at_us, amount):
            return False
        parts = scene.books.take(wallet, amount)
        if not parts:
            return False
        scene.books.hold(wallet, parts, 1)
        sale = Sale(scene.number(at_us), wallet, till, parts, at_us)
        wait_us = scene.random.randrange(5, 200) * US_PER_S
        scene.agenda.plan(at_us + wait_us, partial(self._end_hold, sale, scene.random.randrange(100)))
        return self._send_authorized(at_us, sale)

    def _send_authorized(self, at_us: int, sale: Sale) -> bool:
        population = self._scene.population
        till = population.tills[sale.till]
        store = population.stores[till.store]
        body = Payment(
            wallet_id=population.wallets[sale.wallet],
            merchant_id=population.merchants[store.merchant].id,
            store_id=store.id,
            amount_minor=sale.amount,
            tenders=tenders(sale.parts),
            code=till.code,  # type: ignore[arg-type]  # the catalogue knows no other codes
            terminal_id=till.terminal_id,
            device_id=population.devices[sale.wallet],
            store_name=store.name,
            mcc=self._mcc(sale),
        )
        return self._scene.payment_event("PaymentAuthorized", at_us, sale.number, 1, sale.wallet, body, sale.amount)

    def _end_hold(self, sale: Sale, dice: int, at_us: int) -> bool:
        """Captured mostly, in full or in part; else voided or expired. Only a hold of one kind is captured in part, so
        that there is one way to split it."""
        scene = self._scene
        captured = 0
        if dice < 80:
            if not scene.pace.take(sale.wallet, at_us, 0):
                scene.agenda.plan(at_us + _CAPTURE_AGAIN_US, partial(self._end_hold, sale, dice))
                return False
            in_part = dice < 20 and len(sale.parts) == 1
            captured = max(1, sale.amount * (60 + dice) // 100) if in_part else sale.amount
        name = "PaymentCaptured" if captured else ("PaymentVoided" if dice < 90 else "AuthorizationExpired")
        self._free_hold(sale, captured)
        sale.seq = 2
        return scene.payment_event(
            name, at_us, sale.number, 2, sale.wallet, self._hold_ended(sale, captured), captured or sale.amount
        )

    def _free_hold(self, sale: Sale, captured: int) -> None:
        books = self._scene.books
        books.hold(sale.wallet, sale.parts, -1)
        if not captured:
            books.give(sale.wallet, sale.parts)
            return
        books.earn(self._merchant(sale), captured)
        if captured < sale.amount:
            kind, amount, lot = sale.parts[0]
            books.give(sale.wallet, [(kind, amount - captured, lot)])

    def _hold_ended(self, sale: Sale, captured: int) -> HoldEnded:
        population = self._scene.population
        store = population.stores[population.tills[sale.till].store]
        return HoldEnded(
            wallet_id=population.wallets[sale.wallet],
            merchant_id=population.merchants[store.merchant].id,
            store_id=store.id,
            authorized_minor=sale.amount,
            captured_minor=captured,
            tenders=tenders(sale.parts),
            store_name=store.name,
            mcc=self._mcc(sale),
            device_id=population.devices[sale.wallet],
        )

    def _merchant(self, sale: Sale) -> int:
        population = self._scene.population
        return population.tills[sale.till].merchant

    def _mcc(self, sale: Sale) -> str:
        return self._scene.population.mcc(self._merchant(sale))
