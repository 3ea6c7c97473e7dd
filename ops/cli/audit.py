"""``koban audit``: the log of who changed and exported what."""

from __future__ import annotations

import json
import sys

import click
from rich.markup import escape
from rich.table import Table

from dashboards.people import audit as log
from ops.cli.screen import screen
from ops.cli.users import day, json_option, people


@click.group()
def audit() -> None:
    """Show and verify the log of who changed and exported what."""


@audit.command()
@click.option("--head", metavar="SEQ:HASH", help="A record as an earlier verification told it, kept elsewhere.")
@json_option
def verify(head: str | None, as_json: bool) -> None:
    """Recompute every record's hash; name the first that is not as it was written. Exits 1 when there is one."""
    known = _head(head) if head else None
    with people() as found:
        verdict = log.verify(found.database, known)
    broken = verdict.broken
    if as_json:
        told = {"seq": broken.seq, "reason": broken.reason} if broken else None
        at = {"seq": verdict.head_seq, "sha256": verdict.head_sha256}
        click.echo(json.dumps({"ok": broken is None, "records": verdict.records, "head": at, "broken": told}))
    elif broken:
        click.echo(f"record {broken.seq}: {broken.reason}; {verdict.records:,} records before it hold")
    else:
        click.echo(f"{verdict.records:,} records hold; head {verdict.head_seq}:{verdict.head_sha256}")
    sys.exit(1 if broken else 0)


@audit.command()
@click.option("--actor", default="", help="Who.")
@click.option("--action", default="", help="What, or its beginning: users:add, users:")
@click.option("--target", default="", help="On what.")
@click.option("--limit", type=click.IntRange(1, log.PAGE_MAX), default=50, show_default=True)
@json_option
def show(actor: str, action: str, target: str, limit: int, as_json: bool) -> None:
    """Show records, the newest first."""
    with people() as found:
        records = log.newest(found.database, actor=actor, action=action, target=target, limit=limit)
    if as_json:
        click.echo(json.dumps({"records": [log.shown(record) for record in records]}, ensure_ascii=False))
        return
    table = Table("#", "at (JST)", "who", "roles", "what", "on what", "details")
    for one in records:
        cells = (one.actor, one.roles, one.action, one.target, one.details)
        table.add_row(str(one.seq), day(one.at_us), *(escape(cell) for cell in cells))
    screen().print(table)


def _head(text: str) -> tuple[int, str]:
    seq, _, sha256 = text.partition(":")
    if not seq.isdecimal() or len(sha256) != len(log.GENESIS):
        raise click.UsageError("--head takes SEQ:HASH, as `koban audit verify` prints it")
    return int(seq), sha256
