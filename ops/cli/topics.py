"""``koban topics plan`` and ``koban topics apply``."""

from __future__ import annotations

import json
import sys

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from ops import topics as cluster
from ops.cli.screen import screen
from ops.platform import settings
from ops.topics import BrokerUnreachableError, Change, TopicsRefusedError

_COLOURS = {"create": "green", "grow": "green", "set": "yellow", "unset": "yellow", "note": "dim", "refuse": "red"}
_ADVICE = "Start the platform with `koban up`, or name its brokers with KOBAN_KAFKA_BOOTSTRAP."


@click.group()
def topics() -> None:
    """Plan and create the topics of the contracts."""


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def plan(as_json: bool) -> None:
    """Show how the cluster's topics differ from the contracts. Exits 1 when something would change or is refused."""
    try:
        found = cluster.plan(settings())
    except BrokerUnreachableError as error:
        raise click.ClickException(f"{error}\n{_ADVICE}") from error
    open_ones = [change for change in found if change.action != "note"]
    _show(found, as_json, not open_ones, "The topics are as the contracts say.")
    sys.exit(1 if open_ones else 0)


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def apply(as_json: bool) -> None:
    """Create missing topics and mend their settings; doing it again changes nothing. Exits 1 when one is refused."""
    try:
        found = cluster.apply(settings())
    except BrokerUnreachableError as error:
        raise click.ClickException(f"{error}\n{_ADVICE}") from error
    except TopicsRefusedError as error:
        raise click.ClickException(f"these topics can't be made as their contracts say:\n{error}") from error
    _show(found, as_json, True, "Nothing to do: the topics are as the contracts say.")


def _show(found: list[Change], as_json: bool, ok: bool, nothing: str) -> None:
    if as_json:
        click.echo(json.dumps({"ok": ok, "changes": msgspec.to_builtins(found)}, ensure_ascii=False))
        return
    out = screen()
    if not any(change.action != "note" for change in found):
        out.print(nothing)
    if not found:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", "topic", "what", "is", "shall be"):
        table.add_column(column)
    for change in found:
        colour = _COLOURS[change.action]
        row = (change.topic, change.what, change.before, change.after or change.why)
        table.add_row(f"[{colour}]{change.action}[/]", *map(escape, row))
    out.print(table)
