"""``koban simulate``: realistic wallet traffic into a file or a topic, with its ground truth."""

from __future__ import annotations

import gc
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from rich.console import Console
from rich.table import Table

from koban.business_time import JST, US_PER_S
from ops.simulator import Spike, Summary, World
from ops.simulator.files import finish, write
from ops.simulator.pace import tps_max
from ops.simulator.topic import TPS_DEFAULT, TRUTH_TOPIC, Progress, SendError, run_to_topic
from ops.simulator.truth import Sent

START_DEFAULT = "2025-06-02T12:00:00+09:00"
"""A Monday noon: files of one seed are the same whenever they are made."""
SECONDS_DEFAULT = 60.0
_DAY_S = 86_400


class Options(msgspec.Struct, kw_only=True):
    """What the command was asked for."""

    out: str | None
    topic: str | None
    truth: str | None
    users: int
    merchants: int
    tps: float
    days: float | None
    events: int | None
    seconds: float | None
    seed: int
    start: str | None
    duplicates: float
    late: float
    malformed: float
    fraud: float
    huge: int
    real_time: bool
    spike: str | None
    balances: bool
    as_json: bool


@click.command()
@click.option("--out", metavar="FILE", help="JSON lines, a record a line; - is stdout.")
@click.option("--topic", metavar="NAME", help="A topic of the running platform, usually payments.")
@click.option(
    "--truth", metavar="FILE", help=f"Ground truth as JSON lines. To a topic, default is topic {TRUTH_TOPIC}."
)
@click.option("--users", type=click.IntRange(2), default=10_000, show_default=True)
@click.option("--merchants", type=click.IntRange(1), default=500, show_default=True)
@click.option(
    "--tps", type=click.FloatRange(0), default=300.0, show_default=True, help="Events a second; 0: no pauses."
)
@click.option(
    "--days", type=click.FloatRange(0, min_open=True), help="How long; the rate follows day, week and payday."
)
@click.option(
    "--events", type=click.IntRange(1), help="How many ordinary events; planted and disturbed ones come on top."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help=f"How long, at a steady rate (default {SECONDS_DEFAULT:.0f}).",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed and options give the same bytes.")
@click.option(
    "--start",
    metavar="ISO",
    help=f"When the traffic starts. Default: {START_DEFAULT} in a file; so that it ends now in a topic.",
)
@click.option(
    "--duplicates", type=click.FloatRange(0, 5_000), default=50.0, show_default=True, help="Basis points sent twice."
)
@click.option(
    "--late", type=click.FloatRange(0, 2_000), default=50.0, show_default=True, help="Basis points sent late."
)
@click.option(
    "--malformed",
    type=click.FloatRange(0, 2_000),
    default=10.0,
    show_default=True,
    help="Basis points of malformed records.",
)
@click.option(
    "--fraud", type=click.FloatRange(0, 1_000), default=20.0, show_default=True, help="Basis points of planted fraud."
)
@click.option("--huge", type=click.IntRange(0, 100), default=0, help="This many malformed records of 10 MB.")
@click.option("--real-time", is_flag=True, help="To a topic: send each record at its time, from now on.")
@click.option("--spike", metavar="FACTOR@SECOND", help="Half a minute of FACTOR times the rate.")
@click.option("--balances", is_flag=True, help="Put the true ledger's final balances into the summary.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object on stdout.")
def simulate(**given: object) -> None:
    """Write realistic wallet traffic, deterministic by seed, with ground truth about fraud and disturbances.

    A file holds one record a line, in the order of sending; a topic's records are keyed by their owner. Records without
    a line in the truth are plain: valid, ordinary, on time.
    """
    options = msgspec.convert(given, Options)
    _check(options)
    _warn(options)
    stop = threading.Event()
    with _stopped_by_signals(stop):
        begun = time.monotonic()
        try:
            world = _world(options)
            summary = _to_topic(options, world, stop) if options.topic else _to_file(options, world, stop)
        except (SendError, OSError) as error:
            raise click.ClickException(str(error)) from error
    _report(options, summary, time.monotonic() - begun)


def _check(options: Options) -> None:
    if (options.out is None) == (options.topic is None):
        raise click.UsageError("say where to: --out FILE or --topic NAME")
    if options.out == "-" and options.as_json:
        raise click.UsageError("--json prints on stdout, and so does --out -; write to a file")
    if options.out is not None and options.real_time:
        raise click.UsageError("--real-time is for a topic; a file has no pauses")
    if options.real_time and options.tps == 0:
        raise click.UsageError("--real-time needs a rate: --tps above 0")
    if options.days is not None and options.seconds is not None:
        raise click.UsageError("--days or --seconds, not both")
    if options.real_time and options.start is not None:
        raise click.UsageError("--real-time starts now; leave --start out")


def _world(options: Options) -> World:
    start_us = _start_us(options)
    world = World(
        options.seed,
        options.users,
        options.merchants,
        start_us,
        duplicates_bp=options.duplicates,
        late_bp=options.late,
        malformed_bp=options.malformed,
        fraud_bp=options.fraud,
        huge=options.huge,
    )
    gc.freeze()  # the world stays to the end: the collector need not look at it again and again
    return world


def _warn(options: Options) -> None:
    spike = _spike(options)
    tps = (options.tps or TPS_DEFAULT) * max(1.0, spike.factor if spike else 1.0)
    if tps > tps_max(options.users):
        wanted = math.ceil(tps / tps_max(1))
        click.echo(
            f"{options.users:,} users are few for {tps:,.0f} events a second: nobody pays more than five times"
            f" a minute, so some payments give way to log-ins. --users {wanted:,} would do.",
            err=True,
        )


def _start_us(options: Options) -> int:
    """The start as asked for. To a topic without one, such that the traffic ends about now: a stage in front of the
    books refuses what comes from the future, and a topic may drop what is too old."""
    if options.start is not None:
        return _microseconds(options.start)
    if options.topic is None:
        return _microseconds(START_DEFAULT)
    now_us = time.time_ns() // 1000
    if options.real_time:
        return now_us
    tps = options.tps or TPS_DEFAULT
    seconds = min(_seconds(options) or float("inf"), options.events / tps if options.events else float("inf"))
    return now_us - int(seconds * US_PER_S)


def _microseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no ISO date and time", param_hint="--start") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=JST)
    return round(moment.timestamp()) * US_PER_S


def _spike(options: Options) -> Spike | None:
    if options.spike is None:
        return None
    factor, _, second = options.spike.partition("@")
    try:
        return Spike(float(factor), float(second))
    except ValueError as error:
        raise click.BadParameter("expected FACTOR@SECOND, like 10@30", param_hint="--spike") from error


def _seconds(options: Options) -> float | None:
    if options.days is not None:
        return options.days * _DAY_S
    if options.seconds is None and options.events is None:
        return SECONDS_DEFAULT
    return options.seconds


def _to_file(options: Options, world: World, stop: threading.Event) -> Summary:
    assert options.out is not None
    with ExitStack() as files:
        out = _opened(files, options.out)
        truth = None if options.truth is None else _opened(files, options.truth)

        def blocks() -> Iterator[Sequence[Sent]]:
            yield world.opening()
            yield from world.blocks(
                options.tps or TPS_DEFAULT,
                seconds=_seconds(options),
                events=options.events,
                rhythmic=options.days is not None,
                spike=_spike(options),
            )

        summary = write(out, truth, blocks(), stop, _progress(options))
        if options.balances:
            summary.balances = world.balances()
        if truth is not None:
            finish(truth, summary)
    return summary


def _opened(files: ExitStack, name: str) -> BinaryIO:
    if name == "-":
        return sys.stdout.buffer
    return files.enter_context(Path(name).open("wb", buffering=1 << 20))


def _to_topic(options: Options, world: World, stop: threading.Event) -> Summary:
    from ops.platform import settings  # a file needs no platform, so no import of one

    assert options.topic is not None
    say = _progress(options)

    def on_progress(progress: Progress) -> None:
        if say is not None:
            say(progress.sent)

    with ExitStack() as files:
        summary = run_to_topic(
            settings(),
            world,
            options.tps,
            _seconds(options),
            stop,
            on_progress,
            events=options.events,
            rhythmic=options.days is not None,
            spike=_spike(options),
            topic=options.topic,
            truth_file=None if options.truth is None else _opened(files, options.truth),
            paced=options.real_time,
        )
    if options.balances:
        summary.balances = world.balances()
    return summary


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the traffic, not the program: what was sent is still summed up."""

    def on_signal(_: int, __: object) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress(options: Options) -> Callable[[int], None] | None:
    """Says on stderr how far the traffic is, when somebody watches."""
    if options.as_json or not sys.stderr.isatty():
        return None

    def say(records: int) -> None:
        click.echo(f"\r{records:,} records", nl=False, err=True)

    return say


def _report(options: Options, summary: Summary, took_s: float) -> None:
    if options.as_json:
        document = {**msgspec.to_builtins(summary), "took_s": round(took_s, 3), "seed": options.seed}
        click.echo(msgspec.json.encode(document).decode())
        return
    console = Console(stderr=options.out == "-")
    table = Table(title=f"Simulated into {options.out or options.topic}, seed {options.seed}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "records": summary.produced,
        "valid events": summary.valid,
        "duplicates": summary.duplicates,
        "dead letters to come": sum(summary.dead_letters.values()),
        "of these conflicts": summary.conflicts,
        "late, or behind a late one": summary.late + summary.behind_late,
        "bursts of fraud": summary.bursts,
        "lookalikes": summary.lookalikes,
        "payments": summary.events.get("PaymentCompleted", 0),
        "yen in payments": summary.amount_minor.get("PaymentCompleted", 0),
        "bytes": summary.bytes,
        "records a second": round(summary.produced / took_s) if took_s else 0,
    }
    for name, value in rows.items():
        table.add_row(name, f"{value:,}")
    if summary.lag_ms_max is not None:
        table.add_row("late by at most", f"{summary.lag_ms_max:,.1f} ms")
    console.print(table)
