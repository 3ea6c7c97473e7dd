"""``koban verify``."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console
from rich.table import Table

from ops.cli.screen import screen
from ops.kafka_log import LogUnavailableError
from ops.platform import settings
from ops.verify.checks import Check, missing_topics
from ops.verify.settled import StillFlowingError
from ops.verify.settled import verify as verify_settled

EXIT_DIFFERENT, EXIT_NOT_COMPARED = 1, 2


@click.command()
@click.option("--wait", "wait_s", default=60.0, show_default=True, help="Seconds the stages may take to catch up.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def verify(wait_s: float, as_json: bool) -> None:
    """Compare every store with an independent recomputation from the raw topic.

    Exits 0 when all agree, 1 when something differs, 2 when no comparison was possible.
    """
    err = Console(stderr=True)
    config = settings()
    try:
        missing = missing_topics(config)
        if missing:
            err.print(f"These topics do not exist: {', '.join(sorted(missing))}. `koban topics apply` creates them.")
            sys.exit(EXIT_NOT_COMPARED)
        checks = verify_settled(config, wait_s, lambda line: err.print(f"[dim]{line}[/]"))
    except (StillFlowingError, LogUnavailableError) as error:
        err.print(str(error))
        sys.exit(EXIT_NOT_COMPARED)
    ok = all(check.ok for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": ok, "checks": [check.as_dict() for check in checks]}, ensure_ascii=False))
    else:
        print_checks(checks, screen())
    sys.exit(0 if ok else EXIT_DIFFERENT)


def print_checks(checks: list[Check], out: Console) -> None:
    """The table of all checks, and below it the first differences of each that failed."""
    table = Table(title="Verify: stores beside an independent recomputation")
    for column, justify in (("check", "left"), ("expected", "right"), ("found", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich's literal type
    for check in checks:
        verdict = "[green]same[/]" if check.ok else "[red]different[/]"
        table.add_row(check.name, _number(check.expected), _number(check.actual), verdict)
    out.print(table)
    for check in checks:
        for difference in check.differences:
            out.print(f"[red]{check.name}[/]: {difference}", highlight=False)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
