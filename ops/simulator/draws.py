"""The dice: what a block of events is about, drawn for thousands of events at a time."""

from __future__ import annotations

from enum import IntEnum
from random import Random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ops.simulator.catalogue import AREAS
from ops.simulator.identifiers import event_ids
from ops.simulator.population import Population, Streets
from ops.simulator.prices import QUANTILES, price_table
from ops.simulator.rhythm import Slots

MILLION = 1_000_000
_NEAR_HOME_PERCENT = 72


class Act(IntEnum):
    """What a wallet, a merchant or a bank may do next. The first three begin with the same payment."""

    PAY = 0
    PAY_AND_REFUND = 1
    PAY_AND_CANCEL = 2
    AUTHORIZE = 3
    TRANSFER = 4
    LOG_IN = 5
    TOP_UP = 6
    WITHDRAW = 7
    REVERSE_TOP_UP = 8
    ADD_CARD = 9
    BIND_DEVICE = 10
    RESET_PASSWORD = 11
    SIGN_UP = 12
    SETTLE = 13
    PAY_OUT_EARLY = 14
    CLEAR_BANK = 15
    GRANT_LOT = 16
    EXPIRE_LOT = 17


_PER_MILLION = {
    Act.PAY_AND_REFUND: 12_000,
    Act.PAY_AND_CANCEL: 5_000,
    Act.AUTHORIZE: 14_000,
    Act.TRANSFER: 18_000,
    Act.LOG_IN: 40_000,
    Act.TOP_UP: 18_000,
    Act.WITHDRAW: 5_000,
    Act.REVERSE_TOP_UP: 1_000,
    Act.ADD_CARD: 5_000,
    Act.BIND_DEVICE: 4_000,
    Act.RESET_PASSWORD: 1_500,
    Act.SIGN_UP: 4_000,
    Act.SETTLE: 5_000,
    Act.PAY_OUT_EARLY: 1_500,
    Act.CLEAR_BANK: 4_000,
    Act.GRANT_LOT: 1_000,
    Act.EXPIRE_LOT: 1_000,
}
"""Of a million moments without anything pending; the rest are plain payments."""


class Mark(IntEnum):
    """What befalls an event on its way."""

    NONE = 0
    DUPLICATE = 1
    CONFLICT = 2
    LATE = 3
    MALFORMED = 4
    """The event itself is fine; a malformed record follows it."""


class Block(NamedTuple):
    """What was drawn for a block of moments: one entry each, but for ``event_ids``, which has 36 characters each."""

    users: list[int]
    tills: list[int]
    amounts: list[int]
    acts: list[int]
    marks: list[int]
    event_ids: str


class Draws:
    """Draws from one seeded stream of randomness, always in the same order."""

    def __init__(self, population: Population, marks_per_million: dict[Mark, int], random: np.random.Generator) -> None:
        self.streets = Streets(population)
        self._random = random
        self._prices = price_table()
        self._activity = np.cumsum(population.activity)
        self._acts = np.cumsum([MILLION - sum(_PER_MILLION.values()), *(_PER_MILLION[act] for act in list(Act)[1:])])
        marked = [marks_per_million.get(mark, 0) for mark in list(Mark)[1:]]
        if sum(marked) > MILLION:
            raise ValueError(f"disturbances of {marked} per million are more than all events")
        self._marks = np.cumsum([MILLION - sum(marked), *marked])

    def block(self, slots: Slots) -> Block:
        """Everything for the moments of ``slots``."""
        random, n = self._random, len(slots.times_us)
        users = np.searchsorted(self._activity, random.integers(0, self._activity[-1], n), side="right")
        stores = self._stores(users, slots.hour, slots.weekend)
        streets = self.streets
        tills = streets.till_first[stores] + random.integers(0, MILLION, n) % streets.till_count[stores]
        amounts = self._prices[streets.trade_of_store[stores], random.integers(0, QUANTILES, n)]
        acts = np.searchsorted(self._acts, random.integers(0, MILLION, n), side="right")
        marks = np.searchsorted(self._marks, random.integers(0, MILLION, n), side="right")
        ids = event_ids(slots.times_us, random)
        return Block(users.tolist(), tills.tolist(), amounts.tolist(), acts.tolist(), marks.tolist(), ids)

    def _stores(self, users: npt.NDArray[np.int64], hour: int, weekend: bool) -> npt.NDArray[np.int64]:
        """A store that is open for each user: mostly one near home, more often a popular one."""
        random, streets, n = self._random, self.streets, len(users)
        pull = streets.pull(hour, weekend)
        home = streets.home[users]
        low, high = pull[streets.area_first[home]], pull[streets.area_first[home + 1]]
        away = (random.integers(0, 100, n) >= _NEAR_HOME_PERCENT) | (high == low)
        low, high = np.where(away, 0, low), np.where(away, pull[-1], high)
        point = low + (random.random(n) * (high - low)).astype(np.int64)
        found: npt.NDArray[np.int64] = np.searchsorted(pull, point, side="right") - 1
        return found

    def one_till(self, random: Random, hour: int, weekend: bool, area: int | None = None) -> tuple[int, int]:
        """A single till that is open, and an amount to pay there; near a home when ``area`` is given and has any."""
        streets = self.streets
        pull = streets.pull(hour, weekend)
        low, high = 0, int(pull[-1])
        if area is not None and area < len(AREAS):
            near = int(pull[streets.area_first[area]]), int(pull[streets.area_first[area + 1]])
            if near[0] < near[1]:
                low, high = near
        store = int(np.searchsorted(pull, random.randrange(low, high), side="right")) - 1
        till = int(streets.till_first[store]) + random.randrange(int(streets.till_count[store]))
        return till, int(self._prices[streets.trade_of_store[store], random.randrange(QUANTILES)])
