"""How fast a wallet may pay. Ordinary users never look like fraud rule T01; planted fraud is what breaks this pace.

T01 fires at six payments at four merchants within 60 s, or at 100,000 yen within ten minutes, both ends included and
counted in whole milliseconds: up to one more in microseconds. Here no wallet makes more than five payments in that
time, and its yen run through a leaky bucket that can't pass 99,000 in ten minutes. So the bursts of the ground truth
are all there are, by construction.
"""

from __future__ import annotations

PAYMENTS_MAX = 5
WINDOW_US = 60_000_000
_WINDOW_US_MAX = WINDOW_US + 1_000
"""What two payments may be apart and yet be in one window."""
BUCKET_MINOR = 70_000
_DRAIN_MINOR = 29_000
_US_PER_MINOR = 600_000_000 // _DRAIN_MINOR + 1
_BUCKET_US = BUCKET_MINOR * _US_PER_MINOR
_COMFORT_PERCENT = 60
"""Wallets are not equally busy: with more than this share of the pace in use, some are at its end all the time."""
_LONG_AGO_US = -(10**18)


def tps_max(wallets: int) -> float:
    """The most events a second for which so many wallets are enough; beyond it, payments give way to log-ins."""
    return wallets * PAYMENTS_MAX * 1_000_000 / WINDOW_US * _COMFORT_PERCENT / 100


class Pace:
    """Each wallet's last five payments, and when its bucket will have run dry."""

    def __init__(self, wallets: int) -> None:
        self._recent = [_LONG_AGO_US] * (PAYMENTS_MAX * wallets)
        self._oldest = [0] * wallets
        self._dry_at_us = [_LONG_AGO_US] * wallets

    def add_wallet(self) -> None:
        """Room for one wallet more."""
        self._recent += [_LONG_AGO_US] * PAYMENTS_MAX
        self._oldest.append(0)
        self._dry_at_us.append(_LONG_AGO_US)

    def take(self, wallet: int, at_us: int, amount: int) -> bool:
        """Notes a payment if it keeps the pace; False, and nothing noted, if it does not."""
        oldest = self._oldest[wallet]
        place = PAYMENTS_MAX * wallet + oldest
        if at_us - self._recent[place] <= _WINDOW_US_MAX:
            return False
        dry_at = self._dry_at_us[wallet]
        dry_at = (dry_at if dry_at > at_us else at_us) + amount * _US_PER_MINOR
        if dry_at - at_us > _BUCKET_US:
            return False
        self._dry_at_us[wallet] = dry_at
        self._recent[place] = at_us
        self._oldest[wallet] = oldest + 1 if oldest < PAYMENTS_MAX - 1 else 0
        return True

    def room(self, wallet: int, at_us: int) -> int:
        """How many yen the bucket would take now."""
        return min(BUCKET_MINOR, (at_us + _BUCKET_US - self._dry_at_us[wallet]) // _US_PER_MINOR)

    def is_idle(self, wallet: int, at_us: int) -> bool:
        """No payment in the last 60 s, and none reserved."""
        at = PAYMENTS_MAX * wallet
        return at_us - max(self._recent[at : at + PAYMENTS_MAX]) > _WINDOW_US_MAX

    def reserve(self, wallet: int, until_us: int, at_us: int, amount: int) -> None:
        """Keeps the wallet from any other payment until 60 s after ``until_us``; ``amount`` will be paid by then."""
        at = PAYMENTS_MAX * wallet
        self._recent[at : at + PAYMENTS_MAX] = [until_us] * PAYMENTS_MAX
        # Counted as if all of it were paid at the end: the latest it can be, so the bucket stays on the safe side.
        self._dry_at_us[wallet] = max(self._dry_at_us[wallet], until_us, at_us) + amount * _US_PER_MINOR
