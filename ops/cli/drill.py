"""``koban drill NAME``."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import click
import msgspec
from rich.console import Console

from ops.cli.screen import screen
from ops.cli.verify import print_checks
from ops.demo.run import Outcome, Plan, run
from ops.drill.kill import COMPONENTS, Fault, kill_each
from ops.platform import Platform, PlatformError


@click.group()
def drill() -> None:
    """Cause a fault on purpose, and prove that nothing was lost."""


@drill.command()
@click.option("--component", "components", multiple=True, type=click.Choice(COMPONENTS), help="[default: all]")
@click.option("--seed", default=1, show_default=True, help="Traffic, order and moments of the kills.")
@click.option("--tps", default=200.0, show_default=True, help="Events a second meanwhile.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def kill(components: tuple[str, ...], seed: int, tps: float, as_json: bool) -> None:
    """Kill each component with SIGKILL while payments flow, then verify every store.

    Runs on a platform of its own in a temporary folder.
    """
    err = Console(stderr=True)
    began = time.monotonic()

    def say(line: str) -> None:
        err.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {line}", highlight=False)

    random = Random(seed)
    chosen = list(components or COMPONENTS)
    random.shuffle(chosen)
    folder = Path(tempfile.mkdtemp(prefix="koban-drill-"))
    platform = Platform(folder, say)
    faults: list[Fault] = []

    def disturb(stop: threading.Event) -> None:
        faults.extend(kill_each(platform, chosen, random, stop, say))

    plan = Plan(data_dir=folder, seconds=None, tps=tps, seed=seed, users=4_000, merchants=200, check=True)
    try:
        outcome = run(plan, platform, threading.Event(), say, disturb)
    except PlatformError as error:
        raise click.ClickException(f"{error}; logs and data are kept in {folder}") from error
    finally:
        platform.down()
    if outcome.ok:
        platform.erase()
    else:
        say(f"logs and data are kept in {folder}")
    _report(outcome, faults, seed, as_json)
    sys.exit(0 if outcome.ok else 1)


def _report(outcome: Outcome, faults: list[Fault], seed: int, as_json: bool) -> None:
    recovery_s = max((fault.recovery_s for fault in faults), default=0.0)
    if not as_json:
        print_checks(outcome.checks, screen())
        click.echo(f"slowest recovery: {recovery_s} s")
        return
    invariants = [
        {"name": c.name, "ok": c.ok, "detail": "; ".join(c.differences) or f"{c.actual} = {c.expected}"}
        for c in outcome.checks
    ]
    document = {
        "ok": outcome.ok,
        "name": "kill",
        "seed": seed,
        "faults": msgspec.to_builtins(faults),
        "invariants": invariants,
        "recovery_s": recovery_s,
    }
    click.echo(json.dumps(document, ensure_ascii=False))
