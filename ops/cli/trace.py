"""``koban trace PAYMENT_ID``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from koban.business_time import JST, to_datetime
from koban.money import yen
from ops.cli.screen import screen
from ops.payment_trace import trace as follow
from ops.platform import settings
from streams.tracing.story import Trace


@click.command()
@click.argument("payment_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def trace(payment_id: str, as_json: bool) -> None:
    """Follow one payment through every stage, with times. Exits 1 when nothing is known of it."""
    result = follow(settings(), payment_id)
    if as_json:
        document = asdict(result)
        for hop in document["hops"]:
            hop["at"] = to_datetime(hop["at_us"]).isoformat()
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        _print(result)
    sys.exit(0 if result.found else 1)


def _print(result: Trace) -> None:
    out, err = screen(), Console(stderr=True)
    for problem in result.unavailable:
        err.print(f"[yellow]not asked:[/] {problem}")
    if not result.found:
        err.print(f"Nothing is known of payment {result.payment_id}. A payment is its 19-digit number; dead letters")
        err.print("without a readable number are under `koban dlq list`.")
        return
    table = Table(title=f"Payment {result.payment_id}")
    for column in ("at (JST)", "after", "stage", "where", "what"):
        table.add_column(column, justify="right" if column == "after" else "left")
    first_us = result.hops[0]["at_us"] if result.hops else 0
    for hop in result.hops:
        at = to_datetime(hop["at_us"]).astimezone(JST)
        after_ms = (hop["at_us"] - first_us) / 1000
        place = f"{hop['topic']} {hop['partition']}/{hop['offset']}"
        table.add_row(f"{at:%H:%M:%S.%f}"[:-3], f"{after_ms:,.0f} ms", hop["stage"], place, hop["summary"])
    for document in result.documents:
        state = f"{document.get('status')} {yen(document.get('amount_minor', 0))} (version {document['version']})"
        table.add_row("", "", "search_index", "OpenSearch payments", state)
    out.print(table)
