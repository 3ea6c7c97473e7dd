"""The people and the shops: wallets with homes and devices, merchants with brands, branches and tills."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from ops.simulator.catalogue import ALWAYS_THERE, AREAS, BRANCHES, NOUNS, PREFIXES, TRADES, Trade
from ops.simulator.identifiers import identifier

ZIPF_EXPONENT = 1.05
_WEIGHT_TOP = 1_000_000_000
_NOWHERE = len(AREAS)
"""The area of merchants without a shop: everybody's, nobody's home."""
_FEE_RATES_BP = (160, 198)
_ACTIVITY_TOP, _ACTIVITY_RANGE = 1_000_000, (200, 2_000)
"""The busiest wallets are ten times as busy as the calmest."""
_VERIFIED_PERCENT, _CARD_ONLY_PERCENT = 68, 6


class Merchant(NamedTuple):
    """A brand. Its index is its rank by popularity."""

    id: str
    name: str
    trade: int
    fee_rate_bp: int


class Store(NamedTuple):
    """A branch; ``merchant`` is the merchant's index."""

    id: str
    merchant: int
    area: int
    name: str


class Till(NamedTuple):
    """A place to pay at. ``shop``, ``counter`` and ``tail`` are what a payment's JSON has of it."""

    store: int
    merchant: int
    terminal_id: str
    code: str
    shop: str
    counter: str
    tail: bytes


class Population:
    """Everybody, made from a seed. Lists are indexed by wallet, merchant, store or till number."""

    def __init__(self, seed: int, users: int, merchants: int) -> None:
        if users < 2 or merchants < 1:
            raise ValueError(f"a world needs at least 2 users and 1 merchant, got {users} and {merchants}")
        self._salt = seed * 7_919
        self._devices = 0
        random = Random(f"population {seed}")
        self.wallets: list[str] = []
        self.wallet_index: dict[str, int] = {}
        self.devices: list[str] = []
        self.verified: list[bool] = []
        self.card_only: list[bool] = []
        home_weights = list(accumulate(area.weight for area in AREAS))
        for _ in range(users):
            self.add_wallet(random)
        self.home = np.array(random.choices(range(len(AREAS)), cum_weights=home_weights, k=users), dtype=np.int64)
        self.activity = np.array([_ACTIVITY_TOP // random.randrange(*_ACTIVITY_RANGE) for _ in range(users)])
        self.merchants = _merchants(random, merchants, self._salt)
        self.stores = _stores(random, self.merchants, self._salt)
        self.tills = _tills(random, self.stores, self.merchants, self._salt)

    def add_wallet(self, random: Random) -> int:
        """A new wallet with a new device; returns its index."""
        index = len(self.wallets)
        wallet = identifier("w", index, self._salt)
        self.wallets.append(wallet)
        self.wallet_index[wallet] = index
        self.devices.append(self.new_device())
        dice = random.randrange(100)
        self.card_only.append(dice < _CARD_ONLY_PERCENT)
        self.verified.append(dice >= 100 - _VERIFIED_PERCENT)
        return index

    def mcc(self, merchant: int) -> str:
        """A merchant's category code."""
        return TRADES[self.merchants[merchant].trade].mcc

    def new_device(self) -> str:
        """The id of a device that nobody had so far."""
        self._devices += 1
        return identifier("d", self._devices, self._salt)

    def numbered(self, prefix: str, index: int) -> str:
        """The ``index``-th id under a prefix of this world."""
        return identifier(prefix, index, self._salt)


class Streets:
    """Where the stores lie, and how the pull of each changes with the hour: what the drawing of stores works on."""

    def __init__(self, population: Population) -> None:
        stores = population.stores
        areas = np.array([store.area for store in stores], dtype=np.int64)
        self.area_first = np.searchsorted(areas, np.arange(len(AREAS) + 1))
        self.home = population.home
        self._weights = _store_weights(population)
        self._trades = np.array([population.merchants[store.merchant].trade for store in stores])
        self.trade_of_store = self._trades
        counts = np.bincount([till.store for till in population.tills], minlength=len(stores))
        self.till_count = counts
        self.till_first = np.concatenate(([0], np.cumsum(counts)[:-1]))
        self._pull: dict[tuple[int, bool], npt.NDArray[np.int64]] = {}

    def pull(self, hour: int, weekend: bool) -> npt.NDArray[np.int64]:
        """Cumulative weights of the stores that are open, from 0, one longer than there are stores."""
        found = self._pull.get((hour, weekend))
        if found is None:
            percent = np.array(
                [int(trade.hours[hour]) * (trade.weekend_percent if weekend else 100) for trade in TRADES],
                dtype=np.int64,
            )
            found = np.concatenate(([0], np.cumsum(self._weights * percent[self._trades])))
            self._pull[hour, weekend] = found
        return found


def _store_weights(population: Population) -> npt.NDArray[np.int64]:
    """A merchant's Zipf weight, shared by its stores."""
    stores_of = np.bincount([store.merchant for store in population.stores], minlength=len(population.merchants))
    return np.array(
        [
            max(1, int(_WEIGHT_TOP / (store.merchant + 1) ** ZIPF_EXPONENT) // int(stores_of[store.merchant]))
            for store in population.stores
        ],
        dtype=np.int64,
    )


def _merchants(random: Random, count: int, salt: int) -> list[Merchant]:
    shares = list(accumulate(trade.share for trade in TRADES))
    taken: set[str] = set()
    made = []
    for index in range(count):
        forced = ALWAYS_THERE[index] if index < len(ALWAYS_THERE) else None
        trade = random.choices(range(len(TRADES)), cum_weights=shares)[0] if forced is None else forced
        name = _brand(random, TRADES[trade], taken)
        made.append(Merchant(identifier("m", index, salt), name, trade, random.choice(_FEE_RATES_BP)))
    return made


def _brand(random: Random, trade: Trade, taken: set[str]) -> str:
    for prefixes in (PREFIXES[:1], PREFIXES, PREFIXES):
        name = random.choice(trade.patterns).format(random.choice(prefixes) + random.choice(NOUNS))
        if name not in taken:
            break
    else:
        name = f"{name}{len(taken)}"
    taken.add(name)
    return name


def _stores(random: Random, merchants: list[Merchant], salt: int) -> list[Store]:
    """All stores, sorted by area, so that an area is a stretch of the list."""
    weights = list(accumulate(area.weight for area in AREAS))
    ranks = [0] * len(TRADES)
    made: list[tuple[int, int, str]] = []
    for index, merchant in enumerate(merchants):
        trade = TRADES[merchant.trade]
        if trade.branches_max == 0:
            made.append((_NOWHERE, index, merchant.name))
            continue
        branches = 1 + int(trade.branches_max / (1 + ranks[merchant.trade]) * random.uniform(0.5, 1.0))
        ranks[merchant.trade] += 1
        areas = random.choices(range(len(AREAS)), cum_weights=weights, k=branches)
        made += _branches(merchant.name, index, areas)
    made.sort()
    return [Store(identifier("s", n, salt), merchant, area, name) for n, (area, merchant, name) in enumerate(made)]


def _branches(brand: str, merchant: int, areas: list[int]) -> list[tuple[int, int, str]]:
    seen: dict[int, int] = {}
    made = []
    for area in areas:
        nth = seen.get(area, 0)
        seen[area] = nth + 1
        branch = BRANCHES[nth] if nth < len(BRANCHES) else f"{nth + 1}号店"
        made.append((area, merchant, f"{brand} {AREAS[area].name}{branch}"))
    return made


def _tills(random: Random, stores: list[Store], merchants: list[Merchant], salt: int) -> list[Till]:
    made: list[Till] = []
    for index, store in enumerate(stores):
        merchant = merchants[store.merchant]
        trade = TRADES[merchant.trade]
        for _ in range(random.choice((1, 1, 2, 2, 3, 4)) if trade.branches_max > 3 else 1):
            terminal = identifier("t", len(made), salt)
            code = random.choice(trade.codes)
            made.append(_till(index, store, merchant, terminal, code))
    return made


def _till(index: int, store: Store, merchant: Merchant, terminal: str, code: str) -> Till:
    """A till with its parts of the JSON; the default code is left out there, as the contract's encoder does."""
    code_field = "" if code == "MPM_STATIC" else f'"code":"{code}",'
    fields = {"store_name": store.name, "mcc": TRADES[merchant.trade].mcc}
    return Till(
        store=index,
        merchant=store.merchant,
        terminal_id=terminal,
        code=code,
        shop=f'"merchant_id":"{merchant.id}","store_id":"{store.id}"',
        counter=f'{code_field}"terminal_id":"{terminal}"',
        tail=msgspec.json.encode(fields)[1:] + b"}",
    )
