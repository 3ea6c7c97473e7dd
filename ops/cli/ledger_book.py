"""``koban ledger balance``, ``statement``, ``entry``, ``trial-balance``: the HTTP API's answers, from the shell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import click
from pydantic import BaseModel
from rich.table import Table

from dashboards.api.ledger import (
    BadQuestionError,
    Balance,
    BalanceAt,
    JournalEntry,
    LedgerAnswers,
    NotKnownError,
    Statement,
    TrialBalance,
    instant_us,
)
from dashboards.sources.standings import LiveStandings
from koban.business_time import JST
from koban.ledger.history import Axis
from koban.money import yen
from ops.cli.screen import screen
from ops.platform import settings
from schemas.errors import Transient
from sinks.book import STATEMENT_LINES_MAX, TooManyAccountsError
from sinks.mysql_book_queries import MySqlBookQueries

EXIT_NOT_KNOWN, EXIT_NO_ANSWER = 1, 2
STATEMENT_LINES = 20

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.command()
@click.argument("account")
@click.option("--at", metavar="TIME", help="At this instant, like 2026-01-31T12:00:00Z; else now.")
@click.option(
    "--axis", type=click.Choice([axis.value for axis in Axis]), default=Axis.BUSINESS.value, show_default=True,
    help="With --at: when it happened, or when the ledger recorded it.",
)  # fmt: skip
@_as_json
def balance(account: str, at: str | None, axis: str, as_json: bool) -> None:
    """The balance of ACCOUNT, like U.w-1.money or A.bank."""
    if at is None:
        _answer(as_json, lambda answers: answers.balance(account), _show_balance)
    else:
        _answer(as_json, lambda answers: answers.balance_at(account, instant_us(at), Axis(axis)), _show_balance_at)


@click.command()
@click.argument("account")
@click.option("--limit", type=click.IntRange(1, STATEMENT_LINES_MAX), default=STATEMENT_LINES, show_default=True)
@click.option("--next", "cursor", metavar="CURSOR", help="Go on where an earlier answer's `next` says.")
@_as_json
def statement(account: str, limit: int, cursor: str | None, as_json: bool) -> None:
    """The lines of ACCOUNT, the last recorded first, with the balance after each."""
    _answer(as_json, lambda answers: answers.statement(account, limit, cursor), _show_statement)


@click.command()
@click.argument("entry_id")
@_as_json
def entry(entry_id: str, as_json: bool) -> None:
    """One entry of the journal with its lines."""
    _answer(as_json, lambda answers: answers.entry(entry_id), _show_entry)


@click.command(name="trial-balance")
@_as_json
def trial_balance(as_json: bool) -> None:
    """The whole book by kind of account; exits 1 when it does not sum to zero."""
    found = _answer(as_json, LedgerAnswers.trial_balance, _show_trial_balance)
    sys.exit(0 if found.total_minor == 0 else 1)


VERBS = (balance, statement, entry, trial_balance)


def _answer(as_json: bool, ask: Callable[[LedgerAnswers], AnswerT], show: Callable[[AnswerT], None]) -> AnswerT:
    """Asks and prints the answer; ends with an exit code that says why there is none."""
    here = settings()
    book, live = MySqlBookQueries(here.mysql_url), LiveStandings.of(here)
    try:
        found = ask(LedgerAnswers(book, here.payment_partitions, live))
    except (BadQuestionError, TooManyAccountsError) as error:
        raise click.UsageError(str(error)) from error
    except NotKnownError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOT_KNOWN)
    except Transient as error:
        click.echo(f"{error.reason}; `koban status` shows whether mariadb and book run", err=True)
        sys.exit(EXIT_NO_ANSWER)
    finally:
        book.close()
        live.close()
    if as_json:
        click.echo(found.model_dump_json())
    else:
        show(found)
    return found


def _show_balance(found: Balance) -> None:
    console = screen()
    console.print(f"{found.account}  [bold]{yen(found.posted_minor)}[/]", highlight=False)
    console.print(
        f"available {yen(found.available_minor)}, held {yen(found.held_minor)},"
        f" pending in {yen(found.pending_in_minor)}",
        highlight=False,
    )
    console.print(f"[dim]version {found.version}, told by the {found.told_by}; {_cause(found)}[/]", highlight=False)


def _cause(found: Balance) -> str:
    if found.as_of is None:
        return "not in the book yet"
    behind = "" if found.book_version == found.version else f"the book is at version {found.book_version}, "
    return f"{behind}by {found.event_id}, as of {_jst(found.as_of)}"


def _show_balance_at(found: BalanceAt) -> None:
    console = screen()
    console.print(f"{found.account}  [bold]{yen(found.posted_minor)}[/]", highlight=False)
    final = ", final" if found.final else ""
    told = f"{found.lines:,} lines up to {_jst(found.at)} in {found.axis.value} time{final}"
    console.print(f"[dim]{told}; {_complete(found.complete_to)}[/]", highlight=False)


def _show_statement(found: Statement) -> None:
    table = Table("recorded (JST)", "happened (JST)", "event", "entry")
    table.add_column("change", justify="right")
    table.add_column("balance", justify="right")
    for line in found.lines:
        times = _jst(line.recorded_at), _jst(line.occurred_at)
        table.add_row(*times, line.event_type, line.entry_id, yen(line.change_minor), yen(line.balance_minor))
    console = screen()
    console.print(table)
    console.print(f"[dim]{_complete(found.complete_to)}[/]", highlight=False)
    if found.next:
        console.print(f"[dim]more: --next {found.next}[/]", highlight=False)


def _show_entry(found: JournalEntry) -> None:
    console = screen()
    console.print(f"{found.event_type} {found.event_id}, payment {found.payment_id or 'none'}", highlight=False)
    console.print(f"[dim]happened {_jst(found.occurred_at)}, recorded {_jst(found.recorded_at)}[/]", highlight=False)
    table = Table("account")
    table.add_column("debit", justify="right")
    table.add_column("credit", justify="right")
    for line in found.lines:
        amounts = (yen(line.debit_minor), "") if line.debit_minor > 0 else ("", yen(-line.debit_minor))
        table.add_row(line.account, *amounts)
    console.print(table)
    for breach in found.breaches:
        console.print(f"breach: {breach.code} {breach.account or ''}", markup=False, highlight=False)


def _show_trial_balance(found: TrialBalance) -> None:
    table = Table("accounts")
    for column in ("number", "lines", "debits less credits"):
        table.add_column(column, justify="right")
    for one in found.kinds:
        table.add_row(one.kind, f"{one.accounts:,}", f"{one.lines:,}", yen(one.debit_minor))
    table.add_section()
    table.add_row("total", "", "", yen(found.total_minor))
    console = screen()
    console.print(table)
    flying = f"{yen(found.in_flight_minor)} in flight between lanes"
    console.print(f"[dim]{flying}; {_complete(found.complete_to)}[/]", highlight=False)


def _jst(at: datetime) -> str:
    return at.astimezone(JST).strftime("%Y-%m-%d %H:%M:%S")


def _complete(to: datetime | None) -> str:
    return "nothing is complete yet" if to is None else f"complete to {_jst(to)} JST"
