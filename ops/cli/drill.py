"""``koban drill NAME``."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import click
import msgspec
from rich.console import Console

from ops.cli.screen import screen
from ops.cli.verify import print_checks
from ops.demo.run import Outcome, Plan, run
from ops.drill.kill import COMPONENTS, Fault, kill_each
from ops.drill.ledger_kill import FAULTS, LedgerDrill, on_own_platform
from ops.drill.ledger_kill import Outcome as KillOutcome
from ops.drill.simulation.world import Finding, simulate
from ops.platform import Platform, PlatformError

BROKEN_SHOWN = 5


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
    say = _clock(Console(stderr=True))
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


@drill.command(name="simulate")
@click.option("--seed", default=1, show_default=True, help="The first seed; the same seed is the same run.")
@click.option("--seeds", default=1, show_default=True, help="How many seeds, from the first one on.")
@click.option("--events", default=60, show_default=True, help="Events of each run.")
@click.option("--story", is_flag=True, help="Tell each step on stderr.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def simulate_(seed: int, seeds: int, events: int, story: bool, as_json: bool) -> None:
    """Run the ledger on a simulated broker, clock and network, with faults that a seed decides.

    Needs no engine. A seed that breaks an invariant is named, and breaks it again in the same way.
    """
    began = time.process_time()
    findings: list[Finding] = []
    tell = partial(click.echo, err=True) if story else None
    with click.progressbar(range(seed, seed + seeds), file=sys.stderr, hidden=seeds < 100) as bar:
        findings += (simulate(number, events=events, tell=tell) for number in bar)
    broken = [finding for finding in findings if finding.broken]
    faults: Counter[str] = Counter()
    for finding in findings:
        faults.update(finding.faults)
    if as_json:
        click.echo(json.dumps(_simulated(seed, findings, broken, faults), ensure_ascii=False))
    else:
        for finding in broken:
            click.echo(f"seed {finding.seed}: {finding.broken}")
        spent_s = time.process_time() - began
        transactions = sum(finding.transactions for finding in findings)
        click.echo(f"{seeds} seeds, {faults.total()} faults, {transactions} transactions in {spent_s:.1f} s of CPU: ")
        click.echo(f"{len(broken)} seeds broke an invariant" if broken else "every invariant held")
    sys.exit(1 if broken else 0)


def _simulated(seed: int, findings: list[Finding], broken: list[Finding], faults: Counter[str]) -> dict[str, object]:
    shown = "; ".join(f"seed {finding.seed}: {finding.broken}" for finding in broken[:BROKEN_SHOWN])
    return {
        "ok": not broken,
        "name": "simulate",
        "seed": seed,
        "seeds": len(findings),
        "faults": [{"kind": kind, "times": times} for kind, times in sorted(faults.items())],
        "invariants": [{"name": "the auditor's, at every transaction and at rest", "ok": not broken, "detail": shown}],
        "broken": [finding.seed for finding in broken],
        "recovery_s": None,
    }


@drill.command(name="ledger-kill")
@click.option("--seed", default=1, show_default=True, help="The first seed: traffic, faults and their moments.")
@click.option("--seeds", default=1, show_default=True, help="How many seeds, from the first one on, on one broker.")
@click.option("--faults", default=FAULTS, show_default=True, help="Faults a seed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def ledger_kill(seed: int, seeds: int, faults: int, as_json: bool) -> None:
    """Kill, freeze and stop ledger workers and the broker under load, then check the books to the yen.

    Starts Kafka and two ledger workers on a platform of its own. Ends at the first seed that breaks an invariant.
    """
    say = _clock(Console(stderr=True))
    outcomes: list[KillOutcome] = []
    try:
        with on_own_platform(say) as (platform, settings):
            lab = LedgerDrill(platform, settings, say)
            for number in range(seed, seed + seeds):
                outcomes.append(lab.run(number, faults))
                say(f"seed {number}: {'every invariant held' if outcomes[-1].ok else 'BROKEN'}")
                if not outcomes[-1].ok:
                    break
    except PlatformError as error:
        raise click.ClickException(str(error)) from error
    ok = len(outcomes) == seeds and all(outcome.ok for outcome in outcomes)
    if as_json:
        click.echo(json.dumps(_killed(seed, outcomes, ok=ok), ensure_ascii=False))
    else:
        _print_killed(outcomes)
    sys.exit(0 if ok else 1)


def _clock(err: Console) -> Callable[[str], None]:
    began = time.monotonic()

    def say(line: str) -> None:
        err.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {line}", highlight=False)

    return say


def _recoveries(outcomes: list[KillOutcome]) -> list[float]:
    return sorted(fault.recovery_s for outcome in outcomes for fault in outcome.faults)


def _print_killed(outcomes: list[KillOutcome]) -> None:
    for outcome in outcomes:
        for invariant in outcome.invariants:
            if not invariant.ok:
                click.echo(f"seed {outcome.seed}: {invariant.name}: {invariant.detail}")
    recoveries = _recoveries(outcomes)
    if recoveries:
        middle, worst = recoveries[len(recoveries) // 2], recoveries[-1]
        click.echo(f"{len(recoveries)} faults; recovery {middle} s in the middle, {worst} s at worst")
    events = sum(outcome.events for outcome in outcomes)
    click.echo(f"{len(outcomes)} seeds, {events} events: {'ok' if all(o.ok for o in outcomes) else 'BROKEN'}")


def _killed(seed: int, outcomes: list[KillOutcome], *, ok: bool) -> dict[str, object]:
    recoveries = _recoveries(outcomes)
    return {
        "ok": ok,
        "name": "ledger-kill",
        "seed": seed,
        "seeds": len(outcomes),
        "events": sum(outcome.events for outcome in outcomes),
        "faults": [
            {"seed": outcome.seed, **msgspec.to_builtins(fault)} for outcome in outcomes for fault in outcome.faults
        ],
        "invariants": [
            {**msgspec.to_builtins(invariant), "seed": outcome.seed}
            for outcome in outcomes
            for invariant in outcome.invariants
        ],
        "recovery_s": recoveries[-1] if recoveries else 0.0,
        "recoveries_s": recoveries,
    }
