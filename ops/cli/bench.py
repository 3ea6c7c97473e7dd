"""``koban bench``: a stage beside its peers, and the page of all results."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click
import msgspec
from rich.table import Table

from ops.bench import console
from ops.bench.report import PAGE, Report, load, page, save
from ops.cli.screen import screen

PARTS = ("peers", "hot", "scale", "restore")
"""Of the ledger's benchmark, whose whole takes most of an hour."""
STAGES = {"transport": "ops.bench.transport", "ledger": "ops.bench.ledger", "book": "ops.bench.book"}
"""Stage → the module whose ``run(quick, events)`` gives its report."""


@click.command()
@click.argument("stage", type=click.Choice([*STAGES, "console", "report"]))
@click.option("--quick", is_flag=True, help="Two runs of fewer events; not kept.")
@click.option("--events", type=click.IntRange(min=10_000), help="Events of a run; such a run is not kept.")
@click.option(
    "--part", type=click.Choice(list(PARTS)), help="Only this part of `ledger`, kept beside the stage's last full run."
)
@click.option("--url", help="Of `console`: load this console instead of a demo's; KOBAN_TOKEN lets the readers in.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def bench(stage: str, quick: bool, events: int | None, part: str | None, url: str | None, as_json: bool) -> None:
    """Measure STAGE beside its peers, or write docs/benchmarks.md from the last full runs (`report`).

    `console` has no peers: readers ask for its pages at a steady rate while payments flow.

    Exit code 0 only when every contender's answer is right and the stage's target is reached.
    """
    if stage == "report":
        PAGE.write_text(page(load()), "utf-8")
        click.echo(str(PAGE), err=True)
        return
    if stage == "console":
        _console(url, quick, as_json)
    if part and stage != "ledger":
        raise click.UsageError(f"--part is for the stage `ledger`; {stage} is measured as a whole")
    parts = {"part": part} if part else {}
    report: Report = importlib.import_module(STAGES[stage]).run(quick=quick, events=events, **parts)
    if not quick and events is None:
        click.echo(str(save(report)), err=True)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        show(report)
    sys.exit(0 if report.ok else 1)


def _console(url: str | None, quick: bool, as_json: bool) -> NoReturn:
    seconds = console.QUICK_SECONDS if quick else console.SECONDS
    done = console.on(url, seconds) if url else console.on_a_demo(seconds, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(msgspec.json.encode(done))
    else:
        show_console(done)
    sys.exit(0 if done.ok else 1)


def show_console(done: console.ConsoleReport) -> None:
    """Prints what the readers of a console saw."""
    load = done.load
    verdict = "reached" if done.ok else "NOT reached"
    table = Table(
        title=f"console: {done.target}: {verdict}", caption=f"{load.viewers} live pages, {load.changes} changes"
    )
    for heading in ("page", "requests", "errors", "server p95 ms", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="left" if heading == "page" else "right")
    for row in load.rows:
        times = (f"{value:,.1f}" for value in (row.server_p95_ms, row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms))
        table.add_row(row.page, f"{row.requests:,}", _errors(row.errors), *times)
    screen().print(table)


def _errors(by_status: dict[str, int]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in by_status.items()) or "0"


def show(report: Report) -> None:
    """Prints a report as tables."""
    out = screen()
    table = Table(title=f"{report.stage}: {report.target}: {'reached' if report.ok else 'NOT reached'}")
    for heading in ("contender", "guarantee", "input", "layout", "events/s", "CPU-s per M", "RSS MB", "correct"):
        table.add_column(heading, justify="right" if heading[0] in "eCR" else "left")
    for row in report.rows:
        figures = (f"{row.rate_per_s:,.0f}", f"{row.cpu_s_per_million:.2f}", f"{row.rss_mb:.0f}")
        correct = "yes" if row.correct else "NO"
        table.add_row(row.contender, row.guarantee, row.input, row.layout, *figures, correct)
    out.print(table)
    if report.ratios:
        ratios = ", ".join(f"{value:.1f} × {peer}" for peer, value in report.ratios.items())
        out.print(f"events per CPU-second, ours over the peer's: {ratios}", highlight=False)
    if report.latency:
        delays = Table("contender", "events/s", "p50 ms", "p99 ms", "p99.9 ms", title=f"latency, {report.latency_of}")
        for one in report.latency:
            delays.add_row(one.contender, str(one.rate_per_s), str(one.p50_ms), str(one.p99_ms), str(one.p999_ms))
        out.print(delays)
    for restore in report.restores:
        out.print(
            f"{restore.contender}: {restore.accounts:,} accounts restored in {restore.seconds:.1f} s", highlight=False
        )
    for name, why in report.absent.items():
        out.print(f"{name}: {why}")
