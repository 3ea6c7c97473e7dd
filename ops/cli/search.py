"""``koban search``: a merchant's payments, from the shell."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import click
from rich.table import Table

from koban.business_time import JST, to_datetime
from koban.money import yen
from koban.search.query import Query, parse
from koban.search.request import PAGE_DEFAULT, PAGE_MAX, CursorError, Scope
from ops.cli.screen import screen
from ops.platform import settings
from schemas.errors import Transient
from sinks.payment_search import Found, PaymentSearch

_TIMEOUT_S = 10.0


@click.command()
@click.argument("query", nargs=-1)
@click.option("--merchant", metavar="ID", help="Find this merchant's payments and nothing else.")
@click.option("--all-merchants", is_flag=True, help="Find every merchant's payments, as an operator.")
@click.option("--limit", type=click.IntRange(1, PAGE_MAX), default=PAGE_DEFAULT, show_default=True)
@click.option("--next", "cursor", metavar="CURSOR", help="Go on where an earlier answer's `next` says.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def search(
    query: tuple[str, ...], merchant: str | None, all_merchants: bool, limit: int, cursor: str | None, as_json: bool
) -> None:
    """Find payments by whatever is at hand: 昨日 18時ごろ 1200円 渋谷, the last digits of a number, status:refunded."""
    if bool(merchant) == all_merchants:
        raise click.UsageError("say whose payments: --merchant ID, or --all-merchants")
    scope = Scope.of_merchant(merchant) if merchant else Scope.operator()
    # `--` ends the options, so that a word may begin with the minus that takes away.
    meant = parse(" ".join(query), time.time_ns() // 1000)
    try:
        found = asyncio.run(_find(meant, scope, limit, cursor))
    except CursorError as error:
        raise click.UsageError(str(error)) from error
    except Transient as error:
        print(f"{error.reason}; `koban status` shows whether OpenSearch runs", file=sys.stderr)  # noqa: T201  # the answer
        sys.exit(1)
    if as_json:
        print(json.dumps(answer(meant, found), ensure_ascii=False))  # noqa: T201  # the answer
    else:
        _show(meant, found)


async def _find(query: Query, scope: Scope, limit: int, cursor: str | None) -> Found:
    index = PaymentSearch(settings().opensearch_url, timeout_s=_TIMEOUT_S)
    try:
        return await index.search(query, scope, size=limit, cursor=cursor)
    finally:
        await index.close()


def answer(query: Query, found: Found) -> dict[str, Any]:
    """The answer as other programs read it."""
    return {
        "total": found.total,
        "totals": found.totals,
        "hits": found.hits,
        "next": found.next,
        "complete_to": None if found.complete_to_us is None else to_datetime(found.complete_to_us).isoformat(),
        "took_ms": found.took_ms,
        "query": {"text": query.text(), "cut": query.cut, "chips": [_chip(chip) for chip in query.chips]},
    }


def _chip(chip: Any) -> dict[str, Any]:
    return {
        "field": chip.field.value,
        "source": chip.source,
        "negated": chip.negated,
        "values": list(chip.values),
        "low": chip.low,
        "high": chip.high,
    }


def _show(query: Query, found: Found) -> None:
    console = screen()
    for chip in query.chips:
        console.print(f"[dim]{'not ' if chip.negated else ''}{chip.field.value}:[/] {chip.source}", highlight=False)
    table = Table("at (JST)")
    table.add_column("payment", no_wrap=True, overflow="fold")
    table.add_column("store", no_wrap=True)
    table.add_column("status")
    table.add_column("amount", justify="right")
    for hit in found.hits:
        at = to_datetime(hit["occurred_at_us"]).astimezone(JST).strftime("%m-%d %H:%M:%S")
        store = hit.get("store_name") or hit.get("store_id") or ""
        table.add_row(at, hit["payment_id"], _plain(store), hit["status"], yen(hit["amount_minor"]))
    console.print(table)
    if found.totals:
        sums = "  ".join(
            f"{name.removesuffix('_minor')} {yen(amount)}" for name, amount in found.totals.items() if name != "count"
        )
        console.print(f"{found.total:,} payments  {sums}", highlight=False)
    if found.complete_to_us:
        complete_to = to_datetime(found.complete_to_us).astimezone(JST)
        console.print(f"[dim]complete to {complete_to:%H:%M:%S} JST, {found.took_ms} ms[/]", highlight=False)
    if found.next:
        console.print(f"[dim]more: --next {found.next}[/]", highlight=False)


def _plain(text: str) -> str:
    """Text of others, without what would be markup here."""
    return text.replace("[", "\\[")
