"""``koban contracts check``, ``generate`` and ``publish``. Needs no engine, only the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from schemas import published
from schemas import topics as topic_files
from schemas.check import ROOT, Before, Result
from schemas.check import check as check_contracts
from schemas.check import generate as generate_files
from schemas.json_schemas import FOLDER, GlossaryError, Schema, json_schemas
from schemas.topics import Topic

_SCHEMAS_AT = FOLDER.relative_to(ROOT).as_posix()
_TOPICS_AT = topic_files.FOLDER.relative_to(ROOT).as_posix()


@click.group()
def contracts() -> None:
    """Check, generate and publish the contracts."""


@contracts.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option(
    "--against", metavar="REV|DIR", help="Compare with a git revision, or a folder, instead of the published."
)
def check(as_json: bool, against: str | None) -> None:
    """Check the contracts; exits 1 when a change would break a consumer, naming the field and who is hit."""
    try:
        before = None if against is None else _before(against)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    results = check_contracts(before)
    ok = all(result.ok for result in results)
    if as_json:
        rows = [{"ok": result.ok, **msgspec.to_builtins(result)} for result in results]
        click.echo(json.dumps({"ok": ok, "checks": rows}, ensure_ascii=False))
    else:
        _print(results)
    sys.exit(0 if ok else 1)


@contracts.command()
def generate() -> None:
    """Write the JSON Schemas, the AsyncAPI document and docs/contracts.md anew."""
    try:
        changed = generate_files()
    except (GlossaryError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for name in changed:
        click.echo(name)
    if not changed:
        click.echo("Everything is up to date.", err=True)


@contracts.command()
@click.option("--replace", is_flag=True, help="Write over the last version; only while nobody outside reads it.")
def publish(replace: bool) -> None:
    """Record the present schemas as the published ones; refused when that would break a consumer."""
    try:
        written = published.publish(json_schemas(), topic_files.load(), replace=replace)
    except (GlossaryError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for name in written:
        click.echo(f"schemas/published/{name}")
    if not written:
        click.echo("Nothing has changed since the last publication.", err=True)


def _print(results: list[Result]) -> None:
    out = Console(soft_wrap=True)
    for result in results:
        verdict = "[green]ok[/]    " if result.ok else "[red]failed[/]"
        out.print(f"{verdict} {result.name}")
        for problem in result.problems:
            out.print(f"       [red]{escape(problem)}[/]", highlight=False)
        for note in result.notes:
            out.print(f"       [dim]{escape(note)}[/]", highlight=False)


def _before(against: str) -> Before:
    """The contracts of a folder (a checkout, its schemas/, or bare JSON Schemas) or of a git revision."""
    folder = Path(against)
    return _before_of_folder(folder) if folder.is_dir() else _before_of_revision(against)


def _before_of_folder(folder: Path) -> Before:
    root = next((each for each in (folder / "schemas", folder) if (each / "json").is_dir()), None)
    schemas = published.from_folder(folder if root is None else root / "json")
    if not schemas:
        raise ValueError(f"{folder} holds no JSON Schemas: expected a checkout, its schemas folder, or *.json files")
    topics = {} if root is None or not (root / "topics").is_dir() else topic_files.load(root / "topics")
    return Before(title=str(folder), schemas=schemas, topics=topics)


def _before_of_revision(revision: str) -> Before:
    names = _git("ls-tree", "-r", "--name-only", "--end-of-options", revision, _SCHEMAS_AT, _TOPICS_AT).splitlines()
    files = {Path(name): _git("show", "--end-of-options", f"{revision}:{name}") for name in names}
    schemas: dict[str, Schema] = {
        path.stem: msgspec.json.decode(text) for path, text in files.items() if path.suffix == ".json"
    }
    topics: dict[str, Topic] = {
        path.stem: msgspec.yaml.decode(text, type=Topic) for path, text in files.items() if path.suffix == ".yaml"
    }
    if not schemas:
        raise ValueError(f"revision {revision} holds no JSON Schemas under {_SCHEMAS_AT}")
    return Before(title=f"revision {revision}", schemas=schemas, topics=topics)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout
