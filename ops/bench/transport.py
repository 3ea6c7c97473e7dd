"""``koban bench transport``: the batched transport beside stock Faust, aiokafka bare and quixstreams."""

from __future__ import annotations

import asyncio
import itertools
from importlib.util import find_spec

from ops.bench import latency, machine
from ops.bench.broker import LANES, Broker, create, preload, read_all
from ops.bench.contest import Contender, Field, race_rows
from ops.bench.payments import Skew, answer, digest_of_values, payments
from ops.bench.report import Latency, Report, Row, options_of, ratio

EVENTS = 2_000_000
EVENTS_QUICK = 400_000
RUNS, RUNS_QUICK = 5, 2
TIMES_STOCK_FAUST = 10
TARGET = f"at least {TIMES_STOCK_FAUST} × stock Faust per CPU-second"

FAUST_NOTE = (
    "raw bytes, decoded with msgspec in the agent; buffers and poll size raised as "
    "https://faust-streaming.github.io/faust/userguide/settings.html describes"
)
CONTENDERS = [
    Contender(
        name="aiokafka bare",
        module="aiokafka_bare",
        answers=False,
        guarantee="none",
        note="the roofline: `getmany`, decode, discard",
    ),
    Contender(name="batched transport", module="batched", ours=True),
    Contender(
        name="batched transport, writing",
        module="batched",
        arguments=("--write",),
        writes=True,
        ours=True,
        note="each payment is also written to a second topic",
    ),
    Contender(
        name="batched transport, exactly once",
        module="batched",
        arguments=("--write", "--exactly-once"),
        guarantee="exactly once",
        writes=True,
        ours=True,
        note="the same, in transactions with the offsets",
    ),
    Contender(name="stock Faust", module="stock_faust", note=FAUST_NOTE, speed=0.1),
    Contender(
        name="stock Faust, take(1000)",
        module="stock_faust",
        arguments=("--take",),
        note="https://faust-streaming.github.io/faust/userguide/streams.html, `take`: buffer N values",
        speed=0.25,
    ),
    Contender(
        name="quixstreams",
        module="quix",
        note="bytes decoded with msgspec in `update`, totals in memory; "
        "https://quix.io/docs/quix-streams/configuration.html, defaults",
        speed=0.5,
    ),
]
OURS = "batched transport"


def run(*, quick: bool, events: int | None = None) -> Report:
    """Races on a private broker. Raises ContenderFailedError, or PlatformError when the broker does not come up."""
    count = events or (EVENTS_QUICK if quick else EVENTS)
    contenders = [contender for contender in CONTENDERS if contender.module != "quix" or find_spec("quixstreams")]
    sizes = {contender.name: max(1000, int(count * contender.speed)) for contender in contenders}
    runs = RUNS_QUICK if quick else RUNS
    rows: list[Row] = []
    with Broker() as kafka:
        inputs: tuple[Skew, ...] = ("uniform",) if quick else ("uniform", "zipf")
        for skew in inputs:
            field = prepare(kafka.bootstrap, skew, set(sizes.values()))
            for layout in ("one core",) if quick or skew == "zipf" else machine.LAYOUTS:
                rows += _rows(kafka, contenders, field, sizes, runs, layout, skew)
        delays = latency.measure(kafka.bootstrap, quick=quick)
    return _report(rows, delays, options_of(quick=quick, events=events))


def prepare(bootstrap: str, skew: Skew, sizes: set[int]) -> Field:
    """Fills a topic for each size, and finds the answer of each with the oracle."""
    topics = {}
    for size in sorted(sizes):
        topic = f"bench-{skew}-{size}"
        create(bootstrap, topic)
        asyncio.run(preload(bootstrap, topic, payments(size, skew, LANES)))
        topics[size] = (topic, answer(payment.value for payment in payments(size, skew, LANES)))
    names = (f"bench-{skew}-out-{number}" for number in itertools.count())

    def fresh_target() -> str:
        name = next(names)
        create(bootstrap, name)
        return name

    def check_target(target: str, size: int) -> bool:
        found = asyncio.run(read_all(bootstrap, target))
        inputs = (payment.value for payment in payments(size, skew, LANES))
        return len(found) == size and digest_of_values(found) == digest_of_values(inputs)

    return Field(bootstrap=bootstrap, topics=topics, fresh_target=fresh_target, check_target=check_target)


def _rows(
    kafka: Broker, contenders: list[Contender], field: Field, sizes: dict[str, int], runs: int, layout: str, skew: Skew
) -> list[Row]:
    broker_cores, contender_cores = machine.cores(layout)
    kafka.confine(broker_cores)
    return race_rows(contenders, field, sizes, runs, contender_cores, layout=layout, input=skew)


def _report(rows: list[Row], delays: list[Latency], options: str) -> Report:
    raced = {row.contender: row for row in reversed(rows) if (row.layout, row.input) == ("one core", "uniform")}
    ours = raced[OURS]
    ratios = {name: ratio(ours, row) for name, row in sorted(raced.items()) if not name.startswith(OURS)}
    stock = min(value for name, value in ratios.items() if name.startswith("stock Faust"))
    absent = {c.name: "not installed: `uv run --group bench koban bench transport`" for c in CONTENDERS}
    return Report.of_now(
        "transport",
        ("faust-streaming", "aiokafka", "quixstreams", "msgspec"),
        options,
        rows=rows,
        ratios=ratios,
        target=TARGET,
        ok=stock >= TIMES_STOCK_FAUST and all(row.correct for row in rows),
        latency=delays,
        absent={name: why for name, why in absent.items() if name not in raced},
    )
