"""``koban tokens``: what programs send to the API as ``Authorization: Bearer``."""

from __future__ import annotations

import json

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from dashboards.people.accounts import account_name
from dashboards.people.roles import Role
from dashboards.people.tokens import DAYS_MAX
from ops.cli.screen import screen
from ops.cli.users import day, json_option, people, shell


@click.group()
def tokens() -> None:
    """Create, list and revoke API tokens."""


@tokens.command()
@click.argument("user")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="One of the user's own.")
@click.option("--label", required=True, help="What it is for.")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=90, show_default=True)
@json_option
def create(user: str, role: str, label: str, days: int, as_json: bool) -> None:
    """Make a token of USER. It is printed this once: only its hash is kept."""
    with people() as found:
        secret, row = found.tokens.create(user, Role(role), label, days, shell())
    if as_json:
        click.echo(json.dumps({"token": secret, **msgspec.to_builtins(row)}, ensure_ascii=False))
        return
    click.echo(secret)
    click.echo(f"{row.token_id}, until {day(row.expires_at_us)} JST; it is not shown again", err=True)


@tokens.command(name="list")
@click.option("--user", help="Only this account's.")
@json_option
def listing(user: str | None, as_json: bool) -> None:
    """Show the tokens, the newest first."""
    with people() as found:
        rows = found.tokens.of(account_name(user) if user else None)
    if as_json:
        click.echo(json.dumps({"tokens": msgspec.to_builtins(rows)}, ensure_ascii=False))
        return
    table = Table("token", "user", "role", "for", "last used (JST)", "ends (JST)", "revoked (JST)")
    for row in rows:
        times = day(row.used_at_us), day(row.expires_at_us), day(row.revoked_at_us)
        table.add_row(row.token_id, row.owner, row.role, escape(row.label), *times)
    screen().print(table)


@tokens.command()
@click.argument("token_id")
@json_option
def revoke(token_id: str, as_json: bool) -> None:
    """End the token TOKEN_ID, as `koban tokens list` names it."""
    with people() as found:
        found.tokens.revoke(token_id, shell())
    click.echo(json.dumps({"token_id": token_id, "revoked": True}) if as_json else f"{token_id} is revoked")
