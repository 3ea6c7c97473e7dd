"""What lies before the traffic: everybody's opening balance and a few sales, within the last full hour before it.

So the hour is complete when the traffic starts, nobody pays out of nowhere, and merchants can refund from the start.
"""

from __future__ import annotations

from koban.business_time import US_PER_S
from koban.events import Kind
from ops.simulator.rhythm import HOUR_US
from ops.simulator.scene import Scene
from ops.simulator.wallets import Wallets

_MINUTE_US = 60 * US_PER_S
_TOP_UPS_US = (0, 30 * _MINUTE_US)
_GRANTS_US = (31 * _MINUTE_US, 34 * _MINUTE_US)
_SALES_US = (36 * _MINUTE_US, 59 * _MINUTE_US)
_TOP_UP_MINOR_MIN = 4_000
_GRANT_EVERY = 12
_SALES_PER_MERCHANT = 5


class Opening:
    """Makes the events of the hour before the traffic, in order of time."""

    def __init__(self, scene: Scene, wallets: Wallets) -> None:
        self._scene = scene
        self._wallets = wallets

    def run(self, start_us: int) -> None:
        """Sends the events; ``start_us`` is when the traffic starts."""
        hour_us = start_us - start_us % HOUR_US - HOUR_US
        self._top_up_all(hour_us)
        self._grant_some(hour_us)
        self._sell_a_little(hour_us)
        self._scene.books.ripen_all()

    def _top_up_all(self, hour_us: int) -> None:
        """Everybody but those who pay by card only."""
        scene, wallets = self._scene, range(len(self._scene.population.wallets))
        for at_us, wallet in zip(_spread(hour_us, _TOP_UPS_US, len(wallets)), wallets, strict=True):
            scene.begin(at_us)
            self._wallets.top_up(at_us, wallet, _TOP_UP_MINOR_MIN)

    def _grant_some(self, hour_us: int) -> None:
        """One wallet in twelve, at least three, gets points or a voucher."""
        scene = self._scene
        count = max(3, len(scene.population.wallets) // _GRANT_EVERY)
        kinds = (Kind.POINTS, Kind.POINTS_LTD, Kind.VOUCHER)
        for index, at_us in enumerate(_spread(hour_us, _GRANTS_US, count)):
            scene.begin(at_us)
            self._wallets.grant(at_us, scene.anyone(at_us), kinds[index % len(kinds)])

    def _sell_a_little(self, hour_us: int) -> None:
        """Popular merchants sell more, as always; whoever can't pay just leaves."""
        scene = self._scene
        population = scene.population
        users = len(population.wallets)
        count = min(max(len(population.merchants) * _SALES_PER_MERCHANT, users // 2), 2 * users)
        for at_us in _spread(hour_us, _SALES_US, count):
            wallet = scene.anyone(at_us)
            till, amount = scene.open_till(at_us, wallet)
            scene.begin(at_us)
            if not scene.pace.take(wallet, at_us, amount):
                continue
            tenders = scene.books.spend(wallet, amount)
            if tenders:
                scene.send_payment(at_us, wallet, till, amount, tenders)


def _spread(hour_us: int, between_us: tuple[int, int], count: int) -> list[int]:
    """``count`` different moments of an hour, evenly between two of its points."""
    begin, end = between_us
    return [hour_us + begin + (end - begin) * index // max(1, count) for index in range(count)]
