"""``koban ledger``: the books' own verbs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TextIO

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from koban.business_time import JST, to_datetime
from ops.audit.findings import LaneAudit, NothingSealedError
from ops.audit.ledger import audit as audit_ledger
from ops.audit.proof import proof_of
from ops.audit.state import stored_hash
from ops.cli import ledger_book
from ops.cli.screen import screen
from ops.kafka_log import LogUnavailableError
from ops.platform import settings

EXIT_DIFFERENT, EXIT_NOT_AUDITED = 1, 2


@click.group()
def ledger() -> None:
    """Ask the books, audit them, prove entries, and hash the state."""


for verb in ledger_book.VERBS:
    ledger.add_command(verb)


@ledger.command()
@click.option("--lane", type=click.IntRange(0), help="This lane alone.")
@click.option("--prefix", default="", help="Audit a copy whose topics' names begin so, as a mirrored cluster's do.")
@click.option("--kept", type=click.File(), help="An earlier --json answer: its seals must still be there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def audit(lane: int | None, prefix: str, kept: TextIO | None, as_json: bool) -> None:
    """Recompute every seal from the topics; names the window and the record that differ.

    Exits 0 when all holds, 1 when something differs, 2 when there was nothing to audit.
    """
    try:
        lanes = audit_ledger(settings(), lane, prefix, _hashes(kept))
    except (NothingSealedError, LogUnavailableError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOT_AUDITED)
    ok = all(each.ok for each in lanes)
    if as_json:
        click.echo(json.dumps({"ok": ok, "lanes": [_document(each) for each in lanes]}, ensure_ascii=False))
    else:
        _show(lanes)
    sys.exit(0 if ok else EXIT_DIFFERENT)


@ledger.command()
@click.argument("entry_id")
def prove(entry_id: str) -> None:
    """Prove that an entry is under a seal: the entry, the hashes up to the root, and the seal, as one JSON object.

    Exits 0 when the proof holds, 1 when it does not, 2 when there is no such entry or no seal over it yet.
    """
    try:
        proof = proof_of(settings(), entry_id)
    except (NothingSealedError, LogUnavailableError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOT_AUDITED)
    click.echo(json.dumps({"ok": proof.ok, **msgspec.to_builtins(proof)}, ensure_ascii=False))
    sys.exit(0 if proof.ok else EXIT_DIFFERENT)


@ledger.command("hash")
def hash_() -> None:
    """Print one hash of all state, balances, versions, payments, waiting refunds: a replay must give the same.

    Exits 1 when the topics contradict themselves, 2 when they could not be read.
    """
    try:
        click.echo(stored_hash(settings()))
    except LogUnavailableError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOT_AUDITED)
    except AssertionError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_DIFFERENT)


def _hashes(kept: TextIO | None) -> dict[int, str]:
    if kept is None:
        return {}
    try:
        return {int(lane["lane"]): str(lane["hash"]) for lane in json.load(kept)["lanes"]}
    except (ValueError, KeyError, TypeError) as error:
        raise click.BadParameter("it is no answer of `koban ledger audit --json`", param_hint="--kept") from error


def _document(lane: LaneAudit) -> dict[str, object]:
    return {"ok": lane.ok, **asdict(lane)}


def _show(lanes: list[LaneAudit]) -> None:
    out = screen()
    table = Table(title="Ledger: the topics beside their seals")
    for column in ("lane", "seals", "entries", "balances", "compacted", "unsealed"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("sealed to", "last seal", ""):
        table.add_column(column, no_wrap=True)
    for lane in lanes:
        figures = (lane.lane, lane.seals, lane.journal, lane.balances, lane.compacted, lane.unsealed)
        to = to_datetime(lane.sealed_to_us).astimezone(JST).strftime("%m-%d %H:%M") if lane.seals else "–"
        verdict = "[green]holds[/]" if lane.ok else "[red]differs[/]"
        table.add_row(*(f"{n:,}" for n in figures), to, lane.hash[:8], verdict)
    out.print(table)
    for lane in lanes:
        for difference in lane.differences:
            out.print(f"[red]{escape(str(difference))}[/]", highlight=False, soft_wrap=True)
        if lane.more:
            out.print(f"[red]lane {lane.lane}: {lane.more:,} more differences[/]", highlight=False)
        if lane.not_folded:
            out.print(f"[yellow]lane {lane.lane}: {lane.not_folded:,} balances were not folded: their legs are gone[/]")
