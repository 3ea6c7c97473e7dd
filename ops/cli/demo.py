"""``koban demo``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from koban.settings import Settings
from ops.cli.screen import screen
from ops.cli.verify import print_checks
from ops.demo.run import Outcome, Plan, run
from ops.engines import roster, site
from ops.engines.fetch import FetchError
from ops.platform import Platform, PlatformError
from ops.simulator.topic import SendError

USERS_PER_TPS = 20
"""A wallet pays a few times a minute at most; with fewer users some of the traffic would have to be log-ins."""


@click.command()
@click.option("--seconds", type=float, help="Stop after this long. [default: until Ctrl-C]")
@click.option("--tps", default=300.0, show_default=True, help="Events a second.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same world.")
@click.option("--users", type=click.IntRange(1), help="[default: 20 for each event a second, so that all can pay]")
@click.option("--merchants", default=300, show_default=True)
@click.option("--check", is_flag=True, help="Verify every store at the end; the exit code says whether all agree.")
@click.option(
    "--with", "extras", multiple=True, type=click.Choice(roster.OPTIONAL), help="Start this optional engine too."
)
@click.option("--keep", is_flag=True, help="Continue on the data of the last demo, and leave the platform running.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="[default: the user's demo folder]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout at the end.")
def demo(
    seconds: float | None,
    tps: float,
    seed: int,
    users: int | None,
    merchants: int,
    check: bool,
    extras: tuple[str, ...],
    keep: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Start everything, send simulated payments with a live campaign and planted fraud, and say what to open.

    A demo starts on empty stores and stops what it started; --keep does neither.
    """
    err = Console(stderr=True)
    began = time.monotonic()

    def say(line: str) -> None:
        err.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {line}", highlight=False, soft_wrap=True)

    folder = (data_dir or Settings.from_environ(os.environ).data_dir.parent / "demo").absolute()
    platform = Platform(folder, say)
    was_running = platform.running
    if not was_running and not keep:
        _empty(platform)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    plan = Plan(
        data_dir=folder,
        seconds=seconds,
        tps=tps,
        seed=seed,
        users=users or max(500, int(USERS_PER_TPS * tps)),
        merchants=merchants,
        check=check,
        extras=extras,
    )
    try:
        outcome = run(plan, platform, stop, say)
    except (PlatformError, FetchError, SendError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        if not was_running and not keep:
            platform.down()
    _report(outcome, as_json)
    sys.exit(0 if outcome.ok else 1)


def _empty(platform: Platform) -> None:
    """Removes an earlier demo's data. Anything else that lies in the folder is left alone, and the demo refuses it."""
    folder = platform.data_dir
    if not folder.exists() or not any(folder.iterdir()):
        return
    if site.load(folder) is None:
        raise click.ClickException(f"{folder} holds something that is no platform; name another --data-dir")
    platform.erase()


def _report(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(outcome.as_dict(), ensure_ascii=False))
        return
    out = screen()
    if outcome.checks:
        print_checks(outcome.checks, out)
    latency = Table(title="From the topic payments to a reader of each stage")
    for column in ("stage", "p50 ms", "p99 ms", "samples"):
        latency.add_column(column, justify="left" if column == "stage" else "right")
    for stage, row in outcome.latency_ms.items():
        latency.add_row(stage, f"{row['p50']:,.0f}", f"{row['p99']:,.0f}", f"{row['samples']:,.0f}")
    out.print(latency)
    for problem in outcome.problems:
        out.print(f"[red]{problem}[/]")
