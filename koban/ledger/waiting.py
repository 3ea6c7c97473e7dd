"""Refunds that wait for their merchant's money, in the order in which they were asked for."""

from __future__ import annotations

from collections.abc import Iterator

from koban.records import WaitingRefund


class WaitingRefunds:
    """The queues of one lane's merchants, by the account that is to pay, and what changed in them."""

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, WaitingRefund]] = {}
        """Account → event id → refund, to be read; a dict keeps the order, and finds the one to be taken out."""
        self._changed: dict[str, WaitingRefund | None] = {}

    def __contains__(self, account: str) -> bool:
        return account in self.queues

    def __iter__(self) -> Iterator[WaitingRefund]:
        return (refund for queue in self.queues.values() for refund in queue.values())

    def add(self, refund: WaitingRefund) -> None:
        """Puts a refund at the end of its merchant's queue."""
        self.restore(refund)
        self._changed[refund.event_id] = refund

    def remove(self, refund: WaitingRefund) -> None:
        """Takes a refund out of its queue, wherever it stands. Raises KeyError when it does not wait."""
        self.forget(refund.event_id, refund.account)
        self._changed[refund.event_id] = None

    def first(self, account: str) -> WaitingRefund | None:
        """Whose turn it is."""
        queue = self.queues.get(account)
        return None if queue is None else next(iter(queue.values()))

    def find(self, account: str, payment_id: str | None, refund_id: str) -> WaitingRefund | None:
        """A payment's refund, if it waits."""
        for refund in self.queues.get(account, {}).values():
            if refund.refund_id == refund_id and refund.payment_id == payment_id:
                return refund
        return None

    def take_changed(self) -> dict[str, WaitingRefund | None]:
        """Event id → its refund, or None when it waits no more: what changed since the last call, in its order."""
        changed, self._changed = self._changed, {}
        return changed

    # --- restoring

    def restore(self, refund: WaitingRefund) -> None:
        """Takes over a refund that waited, older ones first."""
        self.queues.setdefault(refund.account, {})[refund.event_id] = refund

    def forget(self, event_id: str, account: str) -> None:
        """Undoes `restore`. Raises KeyError when it does not wait."""
        queue = self.queues[account]
        del queue[event_id]
        if not queue:
            del self.queues[account]
