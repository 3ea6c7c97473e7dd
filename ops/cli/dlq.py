"""``koban dlq list``, ``koban dlq show`` and ``koban dlq replay``."""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from koban.business_time import JST, to_datetime
from ops.cli.screen import screen
from ops.platform import settings
from schemas.errors import ReasonCode
from streams import dead_letters
from streams.dead_letters import DeadLettersUnavailableError, Fate, Letter, NoSuchLetterError, Place, Replay

_ADVICE = "Start the platform with `koban up`, or name its brokers with KOBAN_KAFKA_BOOTSTRAP."
_SHOWN_CHARACTERS_MAX = 4_000
_REASONS = [code.value for code in ReasonCode]
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_AGO = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

T = TypeVar("T")


def safe(text: str) -> str:
    """The text with every sign that could steer a terminal, or hide other signs, written as an escape."""
    return _UNSAFE.sub(lambda sign: sign.group().encode("unicode_escape", "surrogatepass").decode(), text)


class PlaceType(click.ParamType):
    name = "P:OFFSET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        try:
            return value if isinstance(value, Place) else Place.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SinceType(click.ParamType):
    """A time (ISO 8601; Japanese time unless it says otherwise) or an age (15m, 2h, 1d), as UTC microseconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if ago := _AGO.fullmatch(value):
            at = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            try:
                at = datetime.fromisoformat(value)
            except ValueError:
                self.fail(f"{value!r} is no time: write 2026-11-23T10:00 or an age like 15m, 2h, 1d", param, ctx)
            at = at if at.tzinfo is not None else at.replace(tzinfo=JST)
        return int(at.timestamp() * 1_000_000)


_reason_option = click.option(
    "--reason", type=click.Choice(_REASONS, case_sensitive=False), help="Only letters with this reason."
)
_since_option = click.option("--since", type=SinceType(), help="Rejected since a time (2026-11-23T10:00) or age (2h).")
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def dlq() -> None:
    """List, show and replay dead letters."""


@dlq.command("list")
@_reason_option
@_since_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@_json_option
def list_(reason: str | None, since: int | None, limit: int, as_json: bool) -> None:
    """List dead letters, newest first."""
    found = _asked(lambda: dead_letters.search(settings(), reason=_code(reason), since_us=since, limit=limit))
    if as_json:
        rows = [_summary(letter) for letter in found.letters]
        click.echo(json.dumps({"letters": rows, "complete": found.complete}, ensure_ascii=False))
        return
    out = screen()
    if not found.letters:
        out.print("No dead letters." if reason is None and since is None else "No such dead letters.")
    else:
        out.print(_table(found.letters))
    if not found.complete:
        Console(stderr=True).print(f"Looked {dead_letters.SCANNED_MAX:,} records back; there may be older ones.")


@dlq.command()
@click.argument("place", type=PlaceType())
@_json_option
def show(place: Place, as_json: bool) -> None:
    """Show one dead letter: why, from where, and its bytes."""
    (letter,) = _asked(lambda: dead_letters.fetch(settings(), [place]))
    if as_json:
        click.echo(json.dumps({**_summary(letter), **_contents(letter)}, ensure_ascii=False))
        return
    out = Console(highlight=False, soft_wrap=True)
    for name, value in _summary(letter).items():
        out.print(Text.assemble((f"{name:>12}  ", "bold"), safe(str(value))))
    for name, header in letter.headers:
        out.print(Text.assemble((f"{'header':>12}  ", "dim"), safe(f"{name}: {_text(header)}")))
    out.print()
    out.print(Text(_body(letter.value)))


@dlq.command()
@click.argument("places", type=PlaceType(), nargs=-1)
@_reason_option
@_since_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Of --reason.")
@click.option(
    "--edit", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Send this file's bytes instead."
)
@click.option("--set", "fields", multiple=True, metavar="PATH=VALUE", help="Set a field: --set body.amount_minor=100")
@click.option("--dry-run", is_flag=True, help="Say what would happen, send nothing.")
@_json_option
def replay(
    places: tuple[Place, ...],
    reason: str | None,
    since: int | None,
    limit: int,
    edit: Path | None,
    fields: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send dead letters to the gate again, as they are or mended.

    Each is judged first by the gate's own rules; what it would reject again is not sent. What the ledger refused goes
    to the ledger alone, to be judged anew under its own id. Sending twice does no harm:
    the gate knows the event by its id, the ledger what it is about. Exits 1 unless all could be sent.
    """
    _check_choice(places, reason, edit, fields)
    configured = settings()
    if places:
        letters = _asked(lambda: dead_letters.fetch(configured, dict.fromkeys(places)))
    else:
        found = _asked(lambda: dead_letters.search(configured, reason=_code(reason), since_us=since, limit=limit))
        letters = found.letters[::-1]  # oldest first, as they came
    now_ms = time.time_ns() // 1_000_000
    replays = [dead_letters.judge(l, _mended(l, edit, fields), now_ms, configured) for l in letters]  # noqa: E741
    good = [replay for replay in replays if replay.fate is Fate.VALID]
    if good and not dry_run:
        _asked(lambda: dead_letters.send(configured, good, now_ms * 1_000))
    _report(replays, sent=not dry_run, as_json=as_json)
    sys.exit(0 if len(good) == len(replays) else 1)


def _check_choice(places: tuple[Place, ...], reason: str | None, edit: Path | None, fields: tuple[str, ...]) -> None:
    if bool(places) == bool(reason):
        raise click.UsageError("say which: places (0:17 1:4), or --reason CODE for all of one kind")
    if edit is not None and (fields or len(places) != 1):
        raise click.UsageError("--edit mends exactly one dead letter, and goes without --set")


def _mended(letter: Letter, edit: Path | None, fields: tuple[str, ...]) -> bytes | None:
    if edit is not None:
        return edit.read_bytes()
    if not fields:
        return letter.value
    try:
        return dead_letters.with_fields(letter.value, [_field(field) for field in fields])
    except ValueError as error:
        raise click.ClickException(f"{letter.place}: {error}") from error


def _field(text: str) -> tuple[str, Any]:
    """PATH=VALUE; the value is JSON if it can be read as such, else text. `null` takes the field out."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise click.UsageError(f"--set {text}: write PATH=VALUE, as in body.amount_minor=100")
    try:
        return path, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return path, value


def _report(replays: list[Replay], *, sent: bool, as_json: bool) -> None:
    if as_json:
        rows = [
            {"place": str(r.place), "fate": r.fate.value, "detail": r.detail, "event_id": r.event_id, "owner": r.owner}
            for r in replays
        ]
        number = sum(r.fate is Fate.VALID for r in replays) if sent else 0
        click.echo(json.dumps({"replays": rows, "sent": number}, ensure_ascii=False))
        return
    out = screen()
    if not replays:
        out.print("No such dead letters.")
        return
    table = Table()
    for column in ("place", "what happened" if sent else "what would happen", "detail"):
        table.add_column(column)
    words = {Fate.VALID: "sent" if sent else "valid", Fate.REJECTED: "rejected again", Fate.KNOWN: "id already used"}
    for each in replays:
        table.add_row(str(each.place), words[each.fate], Text(safe(each.detail)))
    out.print(table)


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except (NoSuchLetterError, DeadLettersUnavailableError) as error:
        raise click.ClickException(str(error)) from error
    except KafkaError as error:
        raise click.ClickException(f"Kafka does not answer ({type(error).__name__}).\n{_ADVICE}") from error


def _code(reason: str | None) -> ReasonCode | None:
    return None if reason is None else next(code for code in ReasonCode if code.value == reason)


def _summary(letter: Letter) -> dict[str, Any]:
    about = letter.about
    return {
        "place": str(letter.place),
        "at": _time(letter.at_us),
        "reason_code": "" if about is None else about.reason_code.value,
        "reason": "not a dead letter's headers" if about is None else about.reason,
        "stage": "" if about is None else about.stage,
        "producer": "" if about is None else about.producer,
        "origin": "" if about is None else f"{about.origin_topic}/{about.origin_partition}:{about.origin_offset}",
        "bytes": len(letter.value or b""),
        "masked": letter.masked,
        "replayed_at": "" if letter.replayed is None else _time(letter.replayed.replayed_at_us),
    }


def _time(at_us: int) -> str:
    return to_datetime(at_us).astimezone(JST).isoformat(timespec="milliseconds")


def _contents(letter: Letter) -> dict[str, Any]:
    contents: dict[str, Any] = {"headers": {name: _text(value) for name, value in letter.headers}}
    for name, value in (("key", letter.key), ("value", letter.value)):
        try:
            contents[name] = None if value is None else value.decode()
        except UnicodeDecodeError:
            contents[f"{name}_base64"] = base64.b64encode(value or b"").decode()
    return contents


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def _body(value: bytes | None) -> str:
    """The value for a terminal: indented if it is JSON, escaped, and cut where a screen ends."""
    if value is None:
        return "(no value)"
    try:
        text = json.dumps(json.loads(value), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        text = _text(value)
    if len(text) > _SHOWN_CHARACTERS_MAX:
        text = f"{text[:_SHOWN_CHARACTERS_MAX]}…\n({len(text):,} characters; --json gives all of them)"
    return safe(text)


def _table(letters: list[Letter]) -> Table:
    table = Table()
    for column in ("place", "at (JST)", "reason", "producer", "origin", "bytes"):
        table.add_column(
            column, justify="right" if column == "bytes" else "left", no_wrap=column in ("place", "at (JST)")
        )
    for letter in letters:
        row = _summary(letter)
        at = to_datetime(letter.at_us).astimezone(JST)
        reason = Text.assemble((row["reason_code"], "bold"), f" {safe(row['reason'])}")
        size = f"{row['bytes']:,}" + (" masked" if row["masked"] else "") + (" replayed" if row["replayed_at"] else "")
        table.add_row(
            row["place"], f"{at:%m-%d %H:%M:%S}", reason, Text(safe(row["producer"])), Text(safe(row["origin"])), size
        )
    return table
