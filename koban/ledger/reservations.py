"""Money that merchants set aside for refunds: at once where it is there, else in the order in which they asked."""

from __future__ import annotations

from collections.abc import Callable

from koban.events import Line
from koban.ledger.breaches import BreachCode
from koban.ledger.facts import ArrivedLeg
from koban.ledger.waiting import WaitingRefunds
from koban.records import Breach, Posting, WaitingRefund

RESERVED = "reserved"
"""Behind the id of the event that asked: the entry by which its money was set aside."""


class Reservations:
    """Those of the merchants of one lane.

    `posted` tells the balance of an account of the lane, and `follow` posts an entry of the lane's own accounts.
    """

    def __init__(self, posted: Callable[[str], int], follow: Callable[[Posting], None]) -> None:
        self.waiting = WaitingRefunds()
        """Refunds that wait for the money of the lane's merchants."""
        self._posted = posted
        self._follow = follow

    def claim(self, refund: WaitingRefund, at_us: int) -> None:
        """Reserves a refund's money, or puts it behind those that wait already."""
        if refund.account in self.waiting or self._posted(refund.account) < refund.amount_minor:
            self.waiting.add(refund)
        else:
            self._reserve(refund, at_us)

    def serve(self, account: str, at_us: int) -> None:
        """Reserves what waits for a merchant's money, in its order, as far as the money goes."""
        while (refund := self.waiting.first(account)) is not None and self._posted(account) >= refund.amount_minor:
            self.waiting.remove(refund)
            self._reserve(refund, at_us)

    def end(self, account: str, payment_id: str | None, refund_id: str, at_us: int) -> None:
        """A refund that reached the wallet waits no more: its merchant pays, funds or not, and the entry says so."""
        refund = self.waiting.find(account, payment_id, refund_id)
        if refund is not None:
            self.waiting.remove(refund)
            self._reserve(refund, at_us, unfunded=True)

    def arrive(self, leg: ArrivedLeg, account: str) -> None:
        """A refund's leg: it claims money of the account, or takes what was reserved."""
        assert leg.reference_id is not None
        if leg.claim_minor:
            refund = WaitingRefund(
                event_id=leg.event_id,
                payment_id=leg.payment_id or "",
                refund_id=leg.reference_id,
                account=account,
                amount_minor=leg.claim_minor,
                asked_at_us=leg.occurred_at_us,
            )
            self.claim(refund, leg.occurred_at_us)
        elif self.waiting.queues:
            payable = account.removesuffix(".refund_reserved") + ".payable"
            self.end(payable, leg.payment_id, leg.reference_id, leg.occurred_at_us)

    def _reserve(self, refund: WaitingRefund, at_us: int, *, unfunded: bool = False) -> None:
        """The merchant's side of a refund that was asked for."""
        kept = refund.account.removesuffix(".payable") + ".refund_reserved"
        entry = Posting(
            entry_id=f"{refund.event_id}:{RESERVED}",
            event_id=refund.event_id,
            event_type="RefundRequested",
            payment_id=refund.payment_id,
            occurred_at_us=max(at_us, refund.asked_at_us),
            lines=(Line(refund.account, refund.amount_minor), Line(kept, -refund.amount_minor)),
            breaches=(Breach(code=BreachCode.REFUND_NOT_FUNDED, account=refund.account),) if unfunded else (),
            reference_id=refund.refund_id,
        )
        self._follow(entry)
