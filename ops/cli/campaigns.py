"""``koban campaigns check``, ``publish`` and ``list``."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec
from kafka.errors import KafkaError
from rich.markup import escape
from rich.table import Table

from jobs.definitions import DefinitionsUnreadError
from koban.business_time import JST, to_datetime
from koban.money import yen
from koban.records import Campaign
from ops import campaigns as catalogue
from ops.campaigns import CampaignRefusedError
from ops.cli.screen import screen
from ops.platform import settings

_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def campaigns() -> None:
    """Check and publish campaigns."""


@campaigns.command()
@_FILE
@_JSON
def check(file: Path, as_json: bool) -> None:
    """Say whether FILE (YAML or JSON) is a campaign that can be published, and what it means."""
    campaign = _read(file)
    if as_json:
        click.echo(json.dumps({"ok": True, "campaign": msgspec.to_builtins(campaign)}, ensure_ascii=False))
    else:
        _show([campaign])


@campaigns.command()
@_FILE
@click.option("--approved-by", "approvals", multiple=True, required=True, help="Who approves; at least two persons.")
@_JSON
def publish(file: Path, approvals: tuple[str, ...], as_json: bool) -> None:
    """Fund the pot of FILE's campaign and publish it. A start that is too near is moved."""
    campaign = _read(file)
    try:
        final = catalogue.publish(settings(), campaign, approvals)
    except CampaignRefusedError as error:
        raise click.ClickException(f"not published: {error}") from error
    except (KafkaError, DefinitionsUnreadError) as error:
        raise click.ClickException(_unreachable(error)) from error
    if as_json:
        click.echo(json.dumps({"ok": True, "campaign": msgspec.to_builtins(final)}, ensure_ascii=False))
        return
    if final.starts_at_us != campaign.starts_at_us:
        click.echo(f"It starts at {_time(final.starts_at_us)}, when every stage knows it.", err=True)
    _show([final])


@campaigns.command("list")
@_JSON
def list_published(as_json: bool) -> None:
    """Show the published campaigns."""
    try:
        found = catalogue.published(settings())
    except (KafkaError, DefinitionsUnreadError) as error:
        raise click.ClickException(_unreachable(error)) from error
    if as_json:
        click.echo(json.dumps({"campaigns": msgspec.to_builtins(found)}, ensure_ascii=False))
    elif found:
        _show(found)
    else:
        click.echo("No campaign has been published; `koban campaigns publish FILE` publishes one.")


def _read(file: Path) -> Campaign:
    try:
        return catalogue.read(file)
    except CampaignRefusedError as error:
        raise click.ClickException(f"no campaign: {error}") from error


def _show(found: list[Campaign]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("campaign", "version", "name", "from", "until"):
        table.add_column(column)
    for column in ("rate", "cap a payment", "budget"):
        table.add_column(column, justify="right")
    for c in found:
        money = (f"{c.rate_bp / 100:g} %", yen(c.cap_per_payment_minor), yen(c.budget_minor))
        span = (_time(c.starts_at_us), _time(c.ends_at_us))
        table.add_row(c.campaign_id, str(c.version), escape(c.name), *span, *money)
    screen().print(table)


def _time(at_us: int) -> str:
    return to_datetime(at_us).astimezone(JST).strftime("%Y-%m-%d %H:%M:%S JST")


def _unreachable(error: Exception) -> str:
    return f"Kafka: {error}\nStart the platform with `koban up`, or name its brokers with KOBAN_KAFKA_BOOTSTRAP."
