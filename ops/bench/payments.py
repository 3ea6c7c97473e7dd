"""The benchmarks' input: payments as JSON, drawn by seed, and the plain answer that every contender must reach."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy
from numpy.typing import NDArray

from schemas.partitioning import lane_of

Skew = Literal["uniform", "zipf", "hot"]
"""How merchants are drawn: all alike, by Zipf, or one of them for half of all payments and the others alike."""

PAYERS = 100_000
MERCHANTS = 5_000
ZIPF_EXPONENT = 1.1
HOT_SHARE = 0.5
FIRST_AT_US = 1_767_225_600_000_000
"""2026-01-01 in UTC."""

_TEMPLATE = (
    b'{"event_type":"PaymentCompleted","event_id":"ev-%012d","occurred_at_us":%d,"aggregate":"payment",'
    b'"aggregate_id":"pay-%012d","aggregate_seq":1,"producer":"core-payments","body":{"wallet_id":"%s",'
    b'"merchant_id":"m-%05d","store_id":"m-%05d-s1","amount_minor":%d,'
    b'"tenders":[{"kind":"money","amount_minor":%d}],"code":"MPM_STATIC"}}'
)


class Payment(NamedTuple):
    lane: int
    key: bytes
    value: bytes


def payments(count: int, skew: Skew, lanes: int, seed: int = 1, payers: int = PAYERS) -> Iterator[Payment]:
    """Payments of about 330 bytes; the same arguments give the same bytes."""
    random = numpy.random.default_rng(seed)
    wallets = _draw(random, payers, count, "uniform")
    merchants = _draw(random, MERCHANTS, count, skew)
    amounts = random.integers(1, 20_000, count)
    columns = zip(wallets.tolist(), merchants.tolist(), amounts.tolist(), strict=True)
    for number, (payer, merchant, amount) in enumerate(columns):
        wallet = wallet_name(payer)
        key = wallet.encode()
        at_us = FIRST_AT_US + 1000 * number
        value = _TEMPLATE % (number, at_us, number, key, merchant, merchant, amount, amount)
        yield Payment(lane_of(wallet, lanes), key, value)


def wallet_name(number: int) -> str:
    return f"w-{number:06d}"


def _draw(random: numpy.random.Generator, among: int, count: int, skew: Skew) -> NDArray[numpy.int64]:
    if skew == "uniform":
        return random.integers(0, among, count)
    if skew == "hot":
        drawn = random.integers(0, among, count)
        drawn[random.random(count) < HOT_SHARE] = 0
        return drawn
    weights = 1 / numpy.arange(1, among + 1) ** ZIPF_EXPONENT
    return random.choice(among, count, p=weights / weights.sum())


def answer(values: Iterable[bytes]) -> str:
    """The oracle: count and sum of every wallet, with the standard library's JSON and nothing clever."""
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for value in values:
        body = json.loads(value)["body"]
        total = totals[body["wallet_id"]]
        total[0] += 1
        total[1] += body["amount_minor"]
    return digest(totals)


def digest(totals: Mapping[str, Iterable[int]]) -> str:
    """Name → figures as sixteen hex digits that do not depend on any order."""
    total = 0
    for name, figures in totals.items():
        text = " ".join((name, *map(str, figures)))
        total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    return f"{total % 2**64:016x}"


def digest_of_values(values: Iterable[bytes]) -> str:
    """Values as sixteen hex digits that do not depend on their order, but on how often each is there."""
    total = sum(int.from_bytes(hashlib.blake2b(value, digest_size=8).digest()) for value in values)
    return f"{total % 2**64:016x}"
