"""``koban bench ledger``: the ledger worker beside its peers, two accounts updated a payment.

In parts, each of which can be measured alone: ``peers`` (one race), ``hot`` (one merchant has half of the payments),
``scale`` (what a payment costs at up to ten million accounts) and ``restore`` (a million accounts).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from statistics import median

import msgspec

from ops.bench import machine
from ops.bench.accounts import answer_of_payments, answer_of_records, opening_balances
from ops.bench.broker import LANES, Broker, create, preload, read_all, recreate
from ops.bench.contest import Contender, Field, race_rows
from ops.bench.payments import PAYERS, Payment, Skew, payments
from ops.bench.report import Report, Restore, Row, options_of, ratio
from streams.ledger.lane import BALANCES, DEAD_LETTERS, JOURNAL, LEGS, TOPICS, VALID, WAITING
from streams.transport import group_of

EVENTS, EVENTS_QUICK = 1_000_000, 400_000
RUNS, RUNS_QUICK = 5, 2
OPENING_MINOR = 1_000_000_000
"""Every payer begins with so much: nobody is overdrawn, which would make every entry a breach."""
WRITTEN = (JOURNAL, BALANCES, LEGS, WAITING, DEAD_LETTERS)
READ = tuple(topic for topic in TOPICS if topic not in (VALID, LEGS))
GROUP = group_of("ledger")
UPDATES = 2
"""Accounts that a payment changes: the payer's and the merchant's."""
ACCOUNTS, ACCOUNTS_QUICK = (10_000, 1_000_000, 10_000_000), (10_000, 1_000_000)
RUN_S_MAX = 900.0
"""With ten million accounts the worker first reads as many records."""
RATE_MIN, HOT_SHARE_MIN, RESTORE_S_MAX, RESTORE_ACCOUNTS = 60_000, 0.8, 20.0, 1_000_000
RESTORE_EVENTS = 50_000
"""Payments behind a restore that are posted too: enough to prove that it was right."""
TIMES = {"stock Faust": 15.0, "quixstreams": 2.0, "Flink SQL": 1.0}
TARGETS = {
    "peers": f"at least {RATE_MIN:,} payments/s on one core, and per CPU-second "
    + ", ".join(f"{times:.0f} × {name}" for name, times in TIMES.items()),
    "hot": f"{HOT_SHARE_MIN:.0%} of the rate with a hot merchant",
    "scale": "every answer right",
    "restore": f"{RESTORE_ACCOUNTS:,} accounts restored in {RESTORE_S_MAX:.0f} s",
}
UNIFORM, HOT = "uniform", "one merchant has half"

OURS = Contender(
    name="ledger worker",
    module="ledger_worker",
    guarantee="exactly once",
    writes=True,
    answers=False,
    ours=True,
    note="journal, balances, legs to the merchants' lanes and offsets in transactions; answer read from `balances`",
)
FLINK_NOTE = (
    "SQL alone: a keyed sum, upserted to Kafka in transactions, nothing else kept or checked; one virtual machine, "
    "parallelism 1, mini-batches, two-phase aggregation, objects reused, state on the heap, "
    "a checkpoint each second; twice the payments, so that its compiler settles; https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/dev/table/tuning/"
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
    Contender(
        name="Flink SQL",
        module="ledger_flink_sql",
        guarantee="exactly once",
        note=FLINK_NOTE,
        speed=2.0,
    ),
]


class Measured(msgspec.Struct, frozen=True):
    """What a part found, and whether its target was reached."""

    rows: list[Row]
    ok: bool
    ratios: dict[str, float] = {}
    restores: list[Restore] = []


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how long a part is measured."""

    bootstrap: str
    cores: set[int]
    events: int
    quick: bool

    @property
    def runs(self) -> int:
        return RUNS_QUICK if self.quick else RUNS


def run(*, quick: bool, events: int | None = None, part: str | None = None) -> Report:
    """Races on a private broker. Raises ContenderFailedError, or PlatformError when the broker does not come up."""
    names = [part] if part else list(PARTS)
    with Broker() as kafka:
        broker_cores, cores = machine.cores("one core")
        kafka.confine(broker_cores)
        count = events or (EVENTS_QUICK if quick else EVENTS)
        course = Course(bootstrap=kafka.bootstrap, cores=cores, events=count, quick=quick)
        found = [PARTS[name](course) for name in names]
    rows = [row for one in found for row in one.rows]
    absent = {peer.name for peer in PEERS} - {row.contender for row in rows} if "peers" in names else set()
    return Report.of_now(
        f"ledger-{part}" if part else "ledger",
        ("faust-streaming", "aiokafka", "quixstreams", "apache-flink", "msgspec"),
        options_of(quick=quick, events=events, part=part),
        rows=rows,
        ratios={name: value for one in found for name, value in one.ratios.items()},
        target="; ".join(TARGETS[name] for name in names),
        ok=all(one.ok for one in found) and all(row.correct for row in rows),
        restores=[restore for one in found for restore in one.restores],
        absent=dict.fromkeys(sorted(absent), "not installed: `uv sync --group bench`"),
    )


def _peers(course: Course) -> Measured:
    """All contenders on one input."""
    peers = [peer for peer in PEERS if peer.module != "ledger_quix" or find_spec("quixstreams")]
    rows = _race(course, "uniform", [OURS, *peers])
    ours, *others = rows
    ratios = {row.contender: ratio(ours, row) for row in others}
    ahead = all(ratios[name] >= times for name, times in TIMES.items() if name in ratios)
    return Measured(rows, ours.rate_per_s >= RATE_MIN and ahead, ratios=ratios)


def _hot(course: Course) -> Measured:
    """One merchant that has half of the payments, beside all alike."""
    rows = _race(course, "uniform", [OURS]) + _race(course, "hot", [OURS])
    even, hot = rows
    return Measured(rows, hot.rate_per_s >= HOT_SHARE_MIN * even.rate_per_s)


def _scale(course: Course) -> Measured:
    """What a payment costs when the worker keeps ever more accounts; once each."""
    rows, restores = [], []
    ours = msgspec.structs.replace(OURS, run_s_max=RUN_S_MAX)
    for accounts in ACCOUNTS_QUICK if course.quick else ACCOUNTS:
        rows += _race(course, "uniform", [ours], payers=accounts, runs=1)
        restores.append(_restore_of(rows[-1], accounts))
    return Measured(rows, True, restores=restores)


def _restore(course: Course) -> Measured:
    """From the worker's start until it has read a million accounts from its own topic, with nothing on its disk."""
    fewer = msgspec.structs.replace(course, events=min(course.events, RESTORE_EVENTS))
    rows = _race(fewer, "uniform", [OURS], payers=RESTORE_ACCOUNTS)
    restored = _restore_of(rows[0], RESTORE_ACCOUNTS)
    return Measured(rows, restored.seconds <= RESTORE_S_MAX, restores=[restored])


def _restore_of(row: Row, accounts: int) -> Restore:
    seconds = median(run.restored_s for run in row.runs)
    return Restore(contender=row.contender, accounts=accounts, seconds=seconds)


PARTS: dict[str, Callable[[Course], Measured]] = {"peers": _peers, "hot": _hot, "scale": _scale, "restore": _restore}


def _race(
    course: Course, skew: Skew, contenders: Sequence[Contender], payers: int | None = None, runs: int | None = None
) -> list[Row]:
    sizes = {contender.name: max(1000, int(course.events * contender.speed)) for contender in contenders}
    field = _prepare(course.bootstrap, skew, sizes, payers or PAYERS)
    named = f"{payers:,} payers" if payers else HOT if skew == "hot" else UNIFORM
    return race_rows(list(contenders), field, sizes, runs or course.runs, course.cores, layout="one core", input=named)


def _prepare(bootstrap: str, skew: Skew, sizes: dict[str, int], payers: int) -> Field:
    """The input of each size with its answer. The ledger's own input has the name that it reads."""

    def inputs(size: int) -> Iterator[Payment]:
        return payments(size, skew, LANES, payers=payers)

    def fresh_target() -> str:
        """Empty topics, and every payer's opening balance where the ledger takes its state from."""
        recreate(bootstrap, GROUP, *WRITTEN, *READ)
        asyncio.run(preload(bootstrap, BALANCES, opening_balances(payers, LANES, OPENING_MINOR)))
        return BALANCES

    def check_target(target: str, size: int) -> bool:
        found = answer_of_records(asyncio.run(read_all(bootstrap, target)), OPENING_MINOR)
        return found == topics[size][1] and len(asyncio.run(read_all(bootstrap, JOURNAL))) == size

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
