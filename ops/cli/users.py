"""``koban users``: accounts of the console. Passwords come from a prompt or stdin, never from arguments."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click
import msgspec
from rich.table import Table

from dashboards.people.accounts import AccountError
from dashboards.people.audit import Actor
from dashboards.people.passwords import BusyError, PasswordError
from dashboards.people.roles import GrantError, Role, parsed
from dashboards.people.service import People
from koban.business_time import JST, to_datetime
from ops.cli.screen import screen
from ops.platform import settings
from schemas.errors import Transient

ROLES = f"{', '.join(role for role in Role if role is not Role.MERCHANT)}, merchant:ID or merchant:ID/STORE"
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@contextmanager
def people() -> Iterator[People]:
    """The platform's people; what is wrong is told as a command's error."""
    found = People.of(settings())
    try:
        yield found
    except (AccountError, GrantError, PasswordError) as error:
        raise click.ClickException(str(error)) from error
    except (Transient, BusyError) as error:
        raise click.ClickException(f"{error}; `koban status` shows whether mariadb runs") from error
    finally:
        found.close()


def shell() -> Actor:
    """Whoever runs this command."""
    return Actor.at_shell(getpass.getuser())


def day(at_us: int | None) -> str:
    """A time as tables show it."""
    return "–" if at_us is None else _jst(at_us).strftime("%Y-%m-%d %H:%M")


def _jst(at_us: int) -> datetime:
    return to_datetime(at_us).astimezone(JST)


def _password() -> str:
    """From the terminal, twice and unseen, or the first line of stdin."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline()
    if not line.strip("\r\n"):
        raise click.UsageError("no password: type it at a terminal, or send it as the first line of stdin")
    return line.rstrip("\r\n")


@click.group()
def users() -> None:
    """Add, list, disable and reset the accounts of the console."""


@users.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, metavar="ROLE", help=f"{ROLES}; may be repeated.")
@click.option("--no-password", is_flag=True, help="The account signs in by OpenID Connect alone.")
@json_option
def add(name: str, roles: tuple[str, ...], no_password: bool, as_json: bool) -> None:
    """Make the account NAME; its password is asked for, or read from stdin."""
    with people() as found:
        grants = [parsed(role) for role in roles]
        person = found.accounts.add(name, grants, None if no_password else _password(), shell())
    _tell(as_json, {"name": person.name, "roles": [grant.text() for grant in person.grants]}, f"{person.name} is added")


@users.command(name="list")
@json_option
def listing(as_json: bool) -> None:
    """Show every account with its roles."""
    with people() as found:
        accounts = found.accounts.all()
    if as_json:
        click.echo(json.dumps({"users": msgspec.to_builtins(accounts)}, ensure_ascii=False))
        return
    table = Table("account", "roles", "since (JST)", "state")
    for one in accounts:
        state = f"disabled {day(one.disabled_at_us)}" if one.disabled_at_us else "enabled"
        state += "" if one.has_password else ", without a password"
        table.add_row(one.name, ", ".join(one.roles), day(one.created_at_us), state)
    screen().print(table)
    if not accounts:
        click.echo("No account yet: koban users add NAME --role operator", err=True)


@users.command()
@click.argument("name")
@json_option
def disable(name: str, as_json: bool) -> None:
    """End the sessions, tokens and links of NAME, and let it in no more."""
    with people() as found:
        found.accounts.disable(name, shell())
    _tell(as_json, {"name": name, "disabled": True}, f"{name} is disabled")


@users.command()
@click.argument("name")
@json_option
def enable(name: str, as_json: bool) -> None:
    """Let NAME sign in again."""
    with people() as found:
        found.accounts.enable(name, shell())
    _tell(as_json, {"name": name, "disabled": False}, f"{name} is enabled")


@users.command()
@click.argument("name")
@json_option
def reset(name: str, as_json: bool) -> None:
    """Give NAME a new password, asked for or read from stdin; its sessions and tokens end."""
    with people() as found:
        found.accounts.reset(name, _password(), shell())
    _tell(as_json, {"name": name, "reset": True}, f"{name} has a new password; its sessions and tokens have ended")


def _tell(as_json: bool, document: dict[str, object], text: str) -> None:
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else text)
