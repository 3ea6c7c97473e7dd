"""What owners do with their wallets besides paying: fill them, empty them, send money, log in, change devices."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial

from koban.business_time import US_PER_S
from koban.events import Adjustment, Kind, Line, PointsExpiry, TopUp, TopUpEnded, TopUpSource, Transfer, Withdrawal
from ops.simulator import wire
from ops.simulator.books import RIPE_US, WALLET_CAP_MINOR, Lot
from ops.simulator.catalogue import ACQUIRERS, BANKS, CARRIERS
from ops.simulator.scene import STAFF, Scene

_TOP_UPS = (3_000, 5_000, 5_000, 10_000, 10_000, 20_000, 30_000, 50_000)
_TRANSFERS = (500, 800, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000)
_GRANTS = (100, 200, 300, 500, 1_000)
_WITHDRAW_FEE_MINOR = 100
_TRIES = 5
_BALANCE_MAX = WALLET_CAP_MINOR * 8 // 10
"""Nobody tops up above it: room for refunds and transfers on their way."""


class Wallets:
    """Acts of wallet owners. An act returns False when nobody could do it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def log_in(self, at_us: int) -> bool:
        """Somebody logs in; one in thirty fails."""
        scene = self._scene
        wallet = scene.anyone(at_us)
        population = scene.population
        wallet_id, device = population.wallets[wallet], population.devices[wallet]
        ok = scene.dice(30) > 0
        seq = scene.next_wallet_seq(wallet)
        value = wire.logged_in(scene.event_id, at_us, seq, wallet_id, device, self._ip(wallet), ok)
        scene.post.send(at_us, wallet_id, value, "LoggedIn", 0, scene.mark)
        return True

    def _ip(self, wallet: int) -> str:
        """An address of the blocks that are set aside for documentation."""
        block = ("192.0.2", "198.51.100", "203.0.113")[wallet % 3]
        return f"{block}.{wallet // 3 % 254 + 1}"

    def top_up(self, at_us: int, wallet: int, at_least: int) -> bool:
        """A top-up by at least an amount; False when the wallet is full or its owner pays by card only."""
        scene = self._scene
        if scene.population.card_only[wallet]:
            return False
        first = bisect_left(_TOP_UPS, at_least)
        enough = len(_TOP_UPS) - first
        amount = _TOP_UPS[first + scene.dice(enough)] if enough else -(-at_least // 10_000) * 10_000
        return self._complete_top_up(wallet, amount, *self._source(wallet), at_us)

    def _source(self, wallet: int) -> tuple[TopUpSource, str]:
        """Where a top-up comes from: the source and its institute."""
        dice = self._scene.dice(100)
        if self._scene.population.verified[wallet] and dice < 85:
            return "bank", BANKS[wallet % len(BANKS)]
        if dice % 3 == 0:
            return "carrier", CARRIERS[wallet % len(CARRIERS)]
        return ("paylater" if dice % 7 == 0 else "card"), ACQUIRERS[wallet % len(ACQUIRERS)]

    def _complete_top_up(self, wallet: int, amount: int, source: str, funding: str, at_us: int) -> bool:
        scene = self._scene
        books, wallet_id = scene.books, scene.population.wallets[wallet]
        kind = Kind.MONEY if source == "bank" else Kind.MONEY_LITE
        if books.spendable(wallet) + amount > _BALANCE_MAX or not books.has_room(wallet, kind, amount):
            return False
        books.credit(wallet, kind, amount)
        if source == "bank":
            books.bank_clearing[funding] = books.bank_clearing.get(funding, 0) + amount
        seq = scene.next_wallet_seq(wallet)
        value = wire.top_up_completed(scene.event_id, at_us, seq, wallet_id, amount, source, source == "bank", funding)
        scene.post.send(at_us, wallet_id, value, "TopUpCompleted", amount, scene.mark)
        return True

    def request_top_up(self, at_us: int) -> bool:
        """A top-up that is asked for first; one in twelve fails."""
        scene = self._scene
        wallet = scene.anyone(at_us)
        if scene.population.card_only[wallet]:
            return False
        amount = scene.random.choice(_TOP_UPS)
        source, funding = self._source(wallet)
        wallet_id = scene.population.wallets[wallet]
        wait_us = scene.random.randrange(1, 15) * US_PER_S
        if scene.random.randrange(12) == 0:
            failed = TopUpEnded(wallet_id=wallet_id, amount_minor=amount, source=source, funding_id=funding)
            reason = scene.random.choice(("insufficient funds", "bank maintenance", "limit reached"))
            scene.agenda.plan(
                at_us + wait_us, lambda at: scene.wallet_event("TopUpFailed", at, wallet, failed, amount, reason=reason)
            )
        else:
            scene.agenda.plan(at_us + wait_us, partial(self._complete_top_up, wallet, amount, source, funding))
        body = TopUp(
            wallet_id=wallet_id,
            amount_minor=amount,
            source=source,
            verified=source == "bank",
            funding_id=funding,
        )
        return scene.wallet_event("TopUpRequested", at_us, wallet, body, amount)

    def reverse_top_up(self, at_us: int) -> bool:
        """A bank takes a top-up back from a wallet that still has the money."""
        scene = self._scene
        for _ in range(_TRIES):
            wallet = scene.anyone(at_us)
            amount, bank = scene.random.choice(_TOP_UPS), BANKS[wallet % len(BANKS)]
            clearing = scene.books.bank_clearing.get(bank, 0)
            if clearing >= amount and scene.books.debit(wallet, Kind.MONEY, amount):
                scene.books.bank_clearing[bank] = clearing - amount
                body = TopUpEnded(
                    wallet_id=scene.population.wallets[wallet], amount_minor=amount, source="bank", funding_id=bank
                )
                return scene.wallet_event("TopUpReversed", at_us, wallet, body, amount, reason="returned by the bank")
        return False

    def send_transfer(self, at_us: int) -> bool:
        """Somebody sends money; the receiver takes it, refuses it, or lets it expire."""
        scene = self._scene
        books, random = scene.books, scene.random
        for _ in range(_TRIES):
            sender, receiver = scene.anyone(at_us), scene.anyone(at_us)
            amount = _TRANSFERS[scene.dice(len(_TRANSFERS))]
            kind = Kind.MONEY if books.money[sender] >= books.money_lite[sender] else Kind.MONEY_LITE
            if sender == receiver or not books.debit(sender, kind, amount):
                continue
            body = self._transfer(sender, receiver, kind, amount)
            wait_us = random.randrange(3, 90) * US_PER_S
            scene.agenda.plan(
                at_us + wait_us, partial(self._end_transfer, sender, receiver, body, random.randrange(100))
            )
            return scene.wallet_event("TransferSent", at_us, sender, body, amount)
        return False

    def _transfer(self, sender: int, receiver: int, kind: Kind, amount: int) -> Transfer:
        population = self._scene.population
        return Transfer(
            wallet_id=population.wallets[sender],
            transfer_id=self._scene.new_id("tr"),
            receiver_wallet_id=population.wallets[receiver],
            amount_minor=amount,
            kind="money" if kind == Kind.MONEY else "money_lite",
            device_id=population.devices[sender],
        )

    def _end_transfer(self, sender: int, receiver: int, body: Transfer, dice: int, at_us: int) -> bool:
        scene = self._scene
        books, amount = scene.books, body.amount_minor
        if dice < 84 and books.has_room(receiver, body.kind, amount + WALLET_CAP_MINOR // 20):
            books.promise(receiver, body.kind, amount)
            scene.agenda.plan(at_us + RIPE_US, partial(self._receive, receiver, body.kind, amount))
            return scene.wallet_event("TransferAccepted", at_us, sender, body, amount)
        books.credit(sender, body.kind, amount)
        name = "TransferExpired" if dice >= 92 else "TransferDeclined"
        return scene.wallet_event(name, at_us, sender, body, amount)

    def _receive(self, wallet: int, kind: str, amount: int, at_us: int) -> bool:
        self._scene.books.promise(wallet, kind, -amount)
        self._scene.books.credit(wallet, kind, amount)
        return False

    def withdraw(self, at_us: int) -> bool:
        """Somebody has money sent to the bank; one in fifteen comes back."""
        scene = self._scene
        random = scene.random
        for _ in range(_TRIES):
            wallet = scene.anyone(at_us)
            amount = random.randrange(1, 11) * 1_000
            fee = _WITHDRAW_FEE_MINOR if random.randrange(10) < 6 else 0
            if not scene.books.debit(wallet, Kind.MONEY, amount + fee):
                continue
            body = Withdrawal(
                wallet_id=scene.population.wallets[wallet],
                withdrawal_id=scene.new_id("wd"),
                amount_minor=amount,
                fee_minor=fee,
            )
            wait_us = random.randrange(5, 120) * US_PER_S
            scene.agenda.plan(at_us + wait_us, partial(self._end_withdrawal, wallet, body, random.randrange(15) > 0))
            return scene.wallet_event("WithdrawalRequested", at_us, wallet, body, amount)
        return False

    def _end_withdrawal(self, wallet: int, body: Withdrawal, paid: bool, at_us: int) -> bool:
        scene = self._scene
        if paid:
            return scene.wallet_event("WithdrawalPaid", at_us, wallet, body, body.amount_minor)
        scene.books.credit(wallet, Kind.MONEY, body.amount_minor + body.fee_minor)
        return scene.wallet_event(
            "WithdrawalFailed", at_us, wallet, body, body.amount_minor, reason="account details do not match"
        )

    def add_card(self, at_us: int) -> bool:
        """Somebody adds a card, of which only a fingerprint travels; one in seven fails."""
        scene = self._scene
        wallet = scene.anyone(at_us)
        ok = scene.random.randrange(7) > 0
        return scene.account_event("CardAdded", at_us, wallet, card_hash=scene.new_id("ch"), ok=ok)

    def bind_device(self, at_us: int) -> bool:
        """Somebody has a new phone."""
        scene = self._scene
        wallet = scene.anyone(at_us)
        scene.population.devices[wallet] = scene.population.new_device()
        return scene.account_event("DeviceBound", at_us, wallet, ip=self._ip(wallet))

    def reset_password(self, at_us: int) -> bool:
        """Somebody forgot a password."""
        scene = self._scene
        return scene.account_event("PasswordReset", at_us, scene.anyone(at_us))

    def sign_up(self, at_us: int) -> bool:
        """A new wallet: opened, bound to a device, filled."""
        scene = self._scene
        referrer = scene.anyone(at_us) if scene.random.randrange(4) == 0 else None
        wallet = scene.add_wallet()
        step_us = scene.random.randrange(2, 20) * US_PER_S
        scene.agenda.plan(
            at_us + step_us, lambda at: scene.account_event("DeviceBound", at, wallet, ip=self._ip(wallet))
        )
        scene.agenda.plan(at_us + 2 * step_us, lambda at: self.top_up(at, wallet, 1_000))
        referral = None if referrer is None else scene.population.wallets[referrer]
        return scene.account_event("SignedUp", at_us, wallet, referral_of=referral)

    def grant_lot(self, at_us: int) -> bool:
        """Two persons grant a wallet points, limited points or a voucher, outside of any campaign."""
        scene = self._scene
        wallet = scene.anyone(at_us)
        self.grant(at_us, wallet, scene.random.choice((Kind.POINTS, Kind.POINTS_LTD, Kind.VOUCHER)))
        return True

    def grant(self, at_us: int, wallet: int, kind: Kind) -> None:
        """Grants a small amount of a kind of points or voucher."""
        scene = self._scene
        amount = scene.random.choice(_GRANTS)
        wallet_id = scene.population.wallets[wallet]
        account = f"U.{wallet_id}.{kind}"
        if kind == Kind.POINTS:
            scene.books.credit(wallet, kind, amount)
        else:
            lot = scene.new_id("lot" if kind == Kind.POINTS_LTD else "vc")
            account += f".{lot}"
            scene.books.lots.setdefault(wallet, []).append(Lot(lot, str(kind), amount))
        self._adjust("AdjustmentPosted", at_us, wallet, "X.promo.goodwill", account, amount, "goodwill")

    def compensate(self, wallet: int, amount: int, at_us: int) -> bool:
        """A victim of fraud gets the money back."""
        scene = self._scene
        kind = Kind.MONEY if scene.population.verified[wallet] else Kind.MONEY_LITE
        if not scene.books.has_room(wallet, kind, amount):
            return False
        scene.books.credit(wallet, kind, amount)
        account = f"U.{scene.population.wallets[wallet]}.{kind}"
        return self._adjust("FraudCompensated", at_us, wallet, "X.fraud", account, amount, "payments by a stranger")

    def _adjust(self, name: str, at_us: int, wallet: int, debit: str, credit: str, amount: int, reason: str) -> bool:
        scene = self._scene
        body = Adjustment(
            owner_id=scene.population.wallets[wallet],
            lines=(Line(account=debit, debit_minor=amount), Line(account=credit, debit_minor=-amount)),
            approvals=tuple(sorted(scene.random.sample(STAFF, 2))),
        )
        return scene.wallet_event(name, at_us, wallet, body, amount, reason=reason)

    def expire_lot(self, at_us: int) -> bool:
        """A lot of limited points runs out."""
        scene = self._scene
        lots = scene.books.lots
        owners = [wallet for wallet, held in lots.items() if any(lot.kind == Kind.POINTS_LTD for lot in held)]
        if not owners:
            return False
        wallet = scene.random.choice(owners)
        lot = next(lot for lot in lots[wallet] if lot.kind == Kind.POINTS_LTD)
        lots[wallet].remove(lot)
        if not lots[wallet]:
            del lots[wallet]
        body = PointsExpiry(wallet_id=scene.population.wallets[wallet], lot=lot.name, amount_minor=lot.amount_minor)
        return scene.wallet_event("PointsExpired", at_us, wallet, body, lot.amount_minor)
