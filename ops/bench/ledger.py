"""``koban bench ledger``: the ledger worker beside stock Faust and quixstreams, two accounts updated a payment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec

from ops.bench import machine
from ops.bench.accounts import answer_of_payments, answer_of_records
from ops.bench.broker import LANES, Broker, create, preload, read_all, recreate
from ops.bench.contest import Contender, Field, race
from ops.bench.payments import FIRST_AT_US, PAYERS, Payment, Skew, payments, wallet_name
from ops.bench.report import Report, Restore, Row, ratio
from schemas.partitioning import lane_of
from streams.transport import group_of

EVENTS, EVENTS_QUICK = 1_000_000, 400_000
RUNS, RUNS_QUICK = 5, 2
OPENING_MINOR = 1_000_000_000
"""Every payer begins with so much: nobody is overdrawn, which would make every entry a breach."""
VALID = "payments-valid"
WRITTEN = ("journal", "balances", "ledger-legs", "payments-dlq")
READ = ("cashback",)
GROUP = group_of("ledger")
UPDATES = 2
"""Accounts that a payment changes: the payer's and the merchant's."""
ACCOUNTS, ACCOUNTS_QUICK = (10_000, 1_000_000, 10_000_000), (10_000, 1_000_000)
RATE_MIN, HOT_SHARE_MIN, RESTORE_S_MAX, RESTORE_ACCOUNTS = 60_000, 0.8, 20.0, 1_000_000
TIMES = {"stock Faust": 15.0, "quixstreams": 2.0}
TARGET = (
    f"at least {RATE_MIN:,} payments/s on one core, {TIMES['stock Faust']:.0f} × stock Faust and "
    f"{TIMES['quixstreams']:.0f} × quixstreams per CPU-second, {HOT_SHARE_MIN:.0%} of the rate with a hot merchant, "
    f"{RESTORE_ACCOUNTS:,} accounts restored in {RESTORE_S_MAX:.0f} s"
)

OURS = Contender(
    name="ledger worker",
    module="ledger_worker",
    guarantee="exactly once",
    writes=True,
    answers=False,
    ours=True,
    note="journal, balances, legs to the merchants' lanes and offsets in transactions; answer read from `balances`",
)
PEERS = [
    Contender(
        name="stock Faust",
        module="ledger_stock_faust",
        note="a table with its changelog, updated in the payer's partition (no repartition); "
        "https://faust-streaming.github.io/faust/userguide/tables.html",
        speed=0.1,
    ),
    Contender(
        name="quixstreams",
        module="ledger_quix",
        note="`group_by` account, state in RocksDB with its changelog; "
        "https://quix.io/docs/quix-streams/processing.html, defaults",
        speed=0.25,
    ),
    Contender(
        name="quixstreams, exactly once",
        module="ledger_quix",
        arguments=("--exactly-once",),
        guarantee="exactly once",
        note="the same with `processing_guarantee`",
        speed=0.25,
    ),
]


def run(*, quick: bool, events: int | None = None) -> Report:
    """Races on a private broker. Raises ContenderFailedError, or PlatformError when the broker does not come up."""
    count = events or (EVENTS_QUICK if quick else EVENTS)
    runs = RUNS_QUICK if quick else RUNS
    peers = [peer for peer in PEERS if peer.module != "ledger_quix" or find_spec("quixstreams")]
    restores: list[Restore] = []
    with Broker() as kafka:
        broker_cores, cores = machine.cores("one core")
        kafka.confine(broker_cores)
        rows = _race(kafka.bootstrap, "uniform", [OURS, *peers], count, runs, cores)
        rows += _race(kafka.bootstrap, "hot", [OURS], count, runs, cores)
        for accounts in ACCOUNTS_QUICK if quick else ACCOUNTS:
            rows += _race(kafka.bootstrap, "uniform", [OURS], count, 1, cores, accounts)
            restores.append(Restore(contender=OURS.name, accounts=accounts, seconds=rows[-1].runs[0].restored_s))
    return _report(rows, restores, quick=quick, events=events)


def _race(
    bootstrap: str,
    skew: Skew,
    contenders: list[Contender],
    count: int,
    runs: int,
    cores: set[int],
    payers: int | None = None,
) -> list[Row]:
    sizes = {contender.name: max(1000, int(count * contender.speed)) for contender in contenders}
    field = _prepare(bootstrap, skew, sizes, payers or PAYERS)
    results = race(contenders, field, sizes, runs, cores)
    named = {"uniform": "uniform", "hot": "one merchant has half"}[skew]
    return [
        Row.of(
            results[contender.name],
            contender=contender.name,
            layout="one core",
            input=named if payers is None else f"{payers:,} payers",
            guarantee=contender.guarantee,
            note=contender.note,
        )
        for contender in contenders
    ]


def _prepare(bootstrap: str, skew: Skew, sizes: dict[str, int], payers: int) -> Field:
    """The input of each size with its answer. The ledger's own input has the name that it reads."""

    def inputs(size: int) -> Iterator[Payment]:
        return payments(size, skew, LANES, payers=payers)

    def fresh_target() -> str:
        """Empty topics, and every payer's opening balance where the ledger takes its state from."""
        recreate(bootstrap, GROUP, *WRITTEN, *READ)
        asyncio.run(preload(bootstrap, "balances", opening(payers)))
        return "balances"

    def check_target(target: str, size: int) -> bool:
        found = answer_of_records(asyncio.run(read_all(bootstrap, target)), OPENING_MINOR)
        return found == topics[size][1] and len(asyncio.run(read_all(bootstrap, "journal"))) == size

    topics: dict[int, tuple[str, str]] = {}
    for size in sorted(set(sizes.values())):
        topic = VALID if size == sizes[OURS.name] else f"bench-ledger-{size}"
        if topic == VALID:
            recreate(bootstrap, GROUP, VALID)
        else:
            create(bootstrap, topic)
        asyncio.run(preload(bootstrap, topic, inputs(size)))
        topics[size] = (topic, answer_of_payments(payment.value for payment in inputs(size)))
    return Field(bootstrap=bootstrap, topics=topics, fresh_target=fresh_target, check_target=check_target)


_BALANCE = (
    b'{"account":"%b","owner":"%b","posted_minor":%d,"held_minor":0,"available_minor":%d,"pending_in_minor":0,'
    b'"version":1,"as_of_us":%d,"event_id":"opening","entry_id":"opening"}'
)


def opening(payers: int) -> Iterator[Payment]:
    """What the ledger would have written for the payers' first top-ups; each lane's accounts sum to zero."""
    total = [0] * LANES
    for number in range(payers):
        owner = wallet_name(number)
        lane = lane_of(owner, LANES)
        total[lane] += OPENING_MINOR
        yield _balance(lane, f"U.{owner}.money", owner, OPENING_MINOR)
    for lane, amount in enumerate(total):
        yield _balance(lane, f"A.bank@{lane}", "A.bank", amount)


def _balance(lane: int, account: str, owner: str, posted_minor: int) -> Payment:
    key = account.encode()
    return Payment(lane, key, _BALANCE % (key, owner.encode(), posted_minor, posted_minor, FIRST_AT_US))


def _report(rows: list[Row], restores: list[Restore], *, quick: bool, events: int | None) -> Report:
    raced = {row.contender: row for row in reversed(rows) if row.input == "uniform"}
    ours = raced[OURS.name]
    hot = next(row for row in rows if row.input == "one merchant has half")
    ratios = {name: ratio(ours, row) for name, row in sorted(raced.items()) if name != OURS.name}
    restore_s = next(one.seconds for one in restores if one.accounts == RESTORE_ACCOUNTS)
    ok = (
        ours.rate_per_s >= RATE_MIN
        and all(ratios[name] >= times for name, times in TIMES.items() if name in ratios)
        and hot.rate_per_s >= HOT_SHARE_MIN * ours.rate_per_s
        and restore_s <= RESTORE_S_MAX
        and all(row.correct for row in rows)
    )
    return Report(
        stage="ledger",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command="koban bench ledger" + (" --quick" if quick else "") + (f" --events {events}" if events else ""),
        machine=machine.describe(),
        versions=machine.versions("faust-streaming", "aiokafka", "quixstreams", "msgspec"),
        rows=rows,
        ratios=ratios,
        target=TARGET,
        ok=ok,
        restores=restores,
        absent={p.name: "not installed: `uv sync --group bench`" for p in PEERS if p.name not in raced},
    )
