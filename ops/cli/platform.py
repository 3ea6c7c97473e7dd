"""``koban up``, ``down``, ``status``, ``logs``: the supervised platform of a data directory."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from dashboards.people.service import People
from dashboards.sources import reports
from koban.settings import Settings
from ops.cli.screen import screen
from ops.engines import apps, roster
from ops.engines.doctor import examine
from ops.engines.fetch import FetchError
from ops.platform import UP_S_MAX, Platform, PlatformError, Status
from schemas.errors import Transient

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the platform keeps its data. [default: KOBAN_DATA_DIR, else the user's data folder]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def _platform(data_dir: Path | None) -> Platform:
    return Platform(data_dir or Settings.from_environ(os.environ).data_dir)


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Start only this engine or app; may be repeated.")
@click.option(
    "--with", "extras", multiple=True, type=click.Choice(roster.OPTIONAL), help="Start this optional engine too."
)
@click.option("--no-apps", is_flag=True, help="Engines only: no topics, workers, jobs or console.")
@click.option("--timeout", "timeout_s", default=UP_S_MAX, show_default=True, help="Seconds to become healthy.")
@data_dir_option
def up(only: tuple[str, ...], extras: tuple[str, ...], no_apps: bool, timeout_s: float, data_dir: Path | None) -> None:
    """Start the platform in the background; returns when everything is healthy.

    What runs already is left alone. Endpoints are free loopback ports unless named by KOBAN_* variables, and are
    remembered in the data directory.
    """
    platform = _platform(data_dir)
    try:
        here = platform.up(only, with_apps=not no_apps, extras=extras, timeout_s=timeout_s)
    except (PlatformError, FetchError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if apps.CONSOLE in platform.site().components:
        _tell_first_account(here)


def _tell_first_account(here: Settings) -> None:
    """The console lets nobody in until there is an account; brings its tables up to date on the way."""
    people = People.of(here)
    try:
        if not people.accounts.count():
            click.echo("nobody can sign in yet: koban users add NAME --role operator", err=True)
    except Transient as error:
        click.echo(f"{error}: the console lets nobody in until it does", err=True)
    finally:
        people.close()


@click.command()
@data_dir_option
def down(data_dir: Path | None) -> None:
    """Stop everything of the platform, in order, and what a crash left behind."""
    _platform(data_dir).down()


@click.command()
@data_dir_option
@json_option
def status(data_dir: Path | None, as_json: bool) -> None:
    """Show each component; the exit code is 0 only when all are healthy."""
    platform = _platform(data_dir)
    try:
        rows = platform.status()
    except (PlatformError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    ok = bool(rows) and all(row.health == "healthy" for row in rows)
    if as_json:
        total = round(sum(row.rss_mb for row in rows), 1)
        shown = {"ok": ok, "data_dir": str(platform.data_dir), "rss_mb": total, "components": msgspec.to_builtins(rows)}
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        screen().print(_table(rows))
    sys.exit(0 if ok else 1)


def _table(rows: list[Status]) -> Table:
    table = Table("component", "health", "pid", "up", "restarts", "memory", "endpoint")
    colours = {"healthy": "green", "unhealthy": "red", "stopped": "red"}
    for row in rows:
        health = f"[{colours.get(row.health, 'yellow')}]{row.health}[/]"
        if row.reason:
            health += f" [dim]{escape(row.reason)}[/]"
        uptime = f"{row.uptime_s:.0f} s" if row.pid else "–"
        memory = f"{row.rss_mb:.0f} MB" if row.pid else "–"
        table.add_row(row.name, health, str(row.pid or "–"), uptime, str(row.restarts), memory, row.endpoint)
    return table


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added.")
@click.option("-n", "--lines", default=50, show_default=True, help="Lines from the end to begin with.")
@data_dir_option
def logs(name: str, follow: bool, lines: int, data_dir: Path | None) -> None:
    """Show a component's log (also: keeper, supervisord)."""
    folder = _platform(data_dir).data_dir / "logs"
    path = folder / f"{name}.log"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.log"))) or "none yet"
        raise click.ClickException(f"no log of {name!r} in {folder}; there are: {known}")
    with path.open("r", encoding="utf-8", errors="replace") as file:
        for line in deque(file, lines):
            click.echo(line, nl=False)
        while follow:
            if line := file.readline():
                click.echo(line, nl=False)
            elif path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                break  # rotated; the next call shows the new file
            else:
                time.sleep(0.2)


@click.command()
@data_dir_option
@json_option
def doctor(data_dir: Path | None, as_json: bool) -> None:
    """Say what is wrong with this machine or platform, and what mends it; the exit code is 0 when nothing is."""
    began = time.monotonic()
    folder = _platform(data_dir).data_dir
    findings = examine(folder)
    checks = [reports.Checked(name=f.name, ok=f.ok, detail=f.detail, mend=f.mend) for f in findings]
    reports.write(folder, "doctor", time.monotonic() - began, checks)
    ok = all(finding.ok for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": ok, "checks": msgspec.to_builtins(findings)}, ensure_ascii=False))
    else:
        table = Table("", "checked", "found", "what to do", show_edge=False)
        for finding in findings:
            mark = "[green]ok[/]" if finding.ok else "[red]no[/]"
            table.add_row(mark, finding.name, escape(finding.detail), escape(finding.mend))
        screen().print(table)
    sys.exit(0 if ok else 1)
