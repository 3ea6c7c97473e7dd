"""``koban lake check`` and ``koban lake partitions``."""

from __future__ import annotations

import json
import sys

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from ops import lake as hours
from ops.cli.screen import screen
from ops.lake import LakeError, Report
from ops.platform import settings

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
EXIT_NOTHING = 2


@click.group()
def lake() -> None:
    """Check the lake's partitions."""


@lake.command()
@click.option("--partition", "name", help="An hour, as dt=2026-01-31/hour=09; without it the newest closed one.")
@_JSON
def check(name: str | None, as_json: bool) -> None:
    """Check one hour of the lake with Great Expectations.

    Exits 0 when all expectations are met, 1 when one is not, 2 when there is no hour to check.
    """
    try:
        report = hours.check(settings(), hours.choose(settings(), name))
    except LakeError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOTHING)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report), ensure_ascii=False))
    else:
        _show(report)
    sys.exit(0 if report.ok else 1)


@lake.command()
@_JSON
def partitions(as_json: bool) -> None:
    """List the hours of the lake, and which of them are closed."""
    found = hours.partitions(settings())
    if as_json:
        rows = [{"partition": p.name, "closed": p.closed, "files": len(p.files)} for p in found]
        click.echo(json.dumps({"partitions": rows}))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("hour", "", "files"):
        table.add_column(column)
    for p in found:
        table.add_row(p.name, "closed" if p.closed else "open", str(len(p.files)))
    screen().print(table)


def _show(report: Report) -> None:
    table = Table(title=f"{report.partition}: {report.rows:,} rows in {report.files} files")
    for column in ("expectation", "", "unexpected", "examples"):
        table.add_column(column)
    for finding in report.findings:
        verdict = "[green]met[/]" if finding.ok else "[red]not met[/]"
        table.add_row(finding.expectation, verdict, str(finding.unexpected), escape(", ".join(finding.examples)))
    screen().print(table)
