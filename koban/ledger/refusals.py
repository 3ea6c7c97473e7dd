"""Refusals: what the books do not post, and the rule behind each.

A fact that violates a balance's limit is posted and named as a breach, since the money has moved. What is refused here
contradicts what the books know of the payment, the transfer or the approval itself: posting it would move money that
is not there to be moved. A refused event changes nothing, and may come again once it is true.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from koban.business_time import US_PER_DAY, US_PER_MINUTE, next_day_us

REFUND_PARTS_MAX = 50
"""Partial refunds of one payment; PayPay's rule."""
REFUND_DAYS_MAX = 365
"""Days after the payment in which a refund may be asked for; PayPay's rule."""
CANCEL_MINUTES_AFTER_MIDNIGHT = 15
"""A payment can be cancelled until 00:14:59 of the next Japanese day; PayPay's rule."""
APPROVALS_MIN = 2
"""Different persons behind an adjustment and behind a campaign's money."""


class RefusalCode(StrEnum):
    """The rule that an event broke, in order of precedence: the first that applies is the one given."""

    meaning: str
    """What the code says, for documents and tools."""

    def __new__(cls, code: str, meaning: str = "") -> RefusalCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    UNKNOWN_CURRENCY = "unknown_currency", "The amount is in a currency that the books don't keep."
    UNBALANCED = "unbalanced", "The lines of an adjustment don't sum to zero."
    TWO_PERSONS = "two_persons", "Fewer than two different persons stand behind it."
    NO_RIGHT = "no_right", "This kind of money can't be sent, or can't be withdrawn."

    UNKNOWN_PAYMENT = "unknown_payment", "The books know no such payment of this wallet."
    PAYMENT_EXISTS = "payment_exists", "The payment was made or authorised before."
    HOLD_ENDED = "hold_ended", "There is no open hold: it was captured, given up or has run out."
    NOT_PAID = "not_paid", "Nothing was paid: the payment was only authorised, or its hold came to nothing."
    PAYMENT_CANCELED = "payment_canceled", "The payment was cancelled before."
    OTHER_MERCHANT = "other_merchant", "The payment was made to another merchant."
    ABOVE_HOLD = "above_hold", "More is captured than is held."
    CANCEL_TOO_LATE = "cancel_too_late", "The day of the payment, and the 15 minutes behind it, are over."
    CANCEL_REFUNDED = "cancel_refunded", "A part of the payment was refunded; the rest can only be refunded too."
    TENDERS_DIFFER = "tenders_differ", "The tenders are not those of the payment."

    REFUND_EXISTS = "refund_exists", "The refund was asked for before."
    UNKNOWN_REFUND = "unknown_refund", "Nobody asked for this refund."
    REFUND_ENDED = "refund_ended", "The refund was completed before."
    REFUND_DIFFERS = "refund_differs", "More is given back to a tender than was asked for."
    REFUND_TOO_LATE = "refund_too_late", "The payment is more than 365 days old."
    REFUND_PARTS = "refund_parts", "The payment has been refunded in 50 parts."
    TENDER_DID_NOT_PAY = "tender_did_not_pay", "The payment was not made with this tender."
    TENDER_EXPIRED = "tender_expired", "This voucher or lot of points has expired; it is not issued again."
    REFUND_ABOVE_REST = "refund_above_rest", "More is refunded than is left of the payment."
    REFUND_ABOVE_TENDER = "refund_above_tender", "More is refunded to a tender than is left of it."

    TRANSFER_EXISTS = "transfer_exists", "The transfer was sent before."
    UNKNOWN_TRANSFER = "unknown_transfer", "The books know no such transfer of this wallet."
    TRANSFER_ENDED = "transfer_ended", "The transfer was accepted, declined or has expired before."
    TRANSFER_DIFFERS = "transfer_differs", "The amount, the kind of money or the receiver is not the transfer's."
    WITHDRAWAL_EXISTS = "withdrawal_exists", "The withdrawal was asked for before."
    UNKNOWN_WITHDRAWAL = "unknown_withdrawal", "The books know no such withdrawal of this wallet."
    WITHDRAWAL_ENDED = "withdrawal_ended", "The withdrawal was paid or has failed before."
    WITHDRAWAL_DIFFERS = "withdrawal_differs", "The amount or the fee is not the withdrawal's."


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why an event was not posted; `detail` has the figures and names."""

    code: RefusalCode
    detail: str

    @property
    def reason(self) -> str:
        """The rule and the detail, as the dead letter says it."""
        return f"{self.code}: {self.detail}"


def refundable_until_us(paid_at_us: int) -> int:
    """The last instant at which a refund of a payment may be asked for, in UTC microseconds."""
    return paid_at_us + REFUND_DAYS_MAX * US_PER_DAY


def cancellable_before_us(paid_at_us: int) -> int:
    """The first instant at which a payment can't be cancelled any more, in UTC microseconds."""
    return next_day_us(paid_at_us) + CANCEL_MINUTES_AFTER_MIDNIGHT * US_PER_MINUTE
