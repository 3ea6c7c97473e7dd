"""``koban jobs list``, ``submit`` and ``stop``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.table import Table

from jobs import control, holds
from jobs.catalogue import JOBS
from jobs.cluster import Cluster, ClusterUnreachableError, Run, SavepointError
from ops.cli.screen import screen
from ops.engines import flink, site
from ops.platform import settings

_NAMES = click.Choice([job.name for job in JOBS])
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def jobs() -> None:
    """Submit, list and stop the Flink jobs."""


@jobs.command("list")
@_JSON
def list_jobs(as_json: bool) -> None:
    """Show each job, its checkpoints and its restarts. Exits 1 when one that should run does not."""
    with _cluster() as cluster:
        held = holds.held(settings())
        runs = {run.name: run for run in cluster.runs() if run.active}
        rows = [_row(cluster, job.name, runs.get(job.name), job.name in held) for job in JOBS]
    ok = all(row["running"] or row["held"] for row in rows)
    if as_json:
        click.echo(json.dumps({"ok": ok, "jobs": rows}))
    else:
        _show(rows)
    sys.exit(0 if ok else 1)


@jobs.command()
@click.argument("names", nargs=-1, type=_NAMES)
def submit(names: tuple[str, ...]) -> None:
    """Submit the named jobs (all, if none is named) that are not running, each from its newest checkpoint."""
    wanted = names or tuple(job.name for job in JOBS)
    for name in wanted:
        holds.release(settings(), name)
    platform = site.load(settings().data_dir)
    environ = {**os.environ, **(flink.environ(platform) if platform else {}), **settings().environ()}
    done = subprocess.run([sys.executable, "-m", "jobs.submit", *wanted], env=environ, check=False)
    sys.exit(done.returncode)


@jobs.command()
@click.argument("name", type=_NAMES)
@click.option("--savepoint", is_flag=True, help="First write down all that the job knows.")
def stop(name: str, savepoint: bool) -> None:
    """Stop a job and keep it stopped until `koban jobs submit`, which goes on where it stopped."""
    with _cluster() as cluster:
        was_running = control.active(cluster, name) is not None
        try:
            place = control.stop(settings(), cluster, name, with_savepoint=savepoint)
        except SavepointError as error:
            raise click.ClickException(f"{name} runs on: {error}") from error
        except control.StillEndingError as error:
            raise click.ClickException(f"{error}; see `koban jobs list`") from error
    if not was_running:
        click.echo(f"{name} is not running, and stays so.")
    else:
        click.echo(f"{name} stopped; it goes on from {place or 'its newest checkpoint'}")


@jobs.command("savepoint")
@click.argument("name", type=_NAMES)
def write_savepoint(name: str) -> None:
    """Write down all that a running job knows; it runs on."""
    with _cluster() as cluster:
        try:
            click.echo(control.savepoint(settings(), cluster, name))
        except (control.NotRunningError, SavepointError) as error:
            raise click.ClickException(str(error)) from error


@jobs.command()
@click.argument("name", type=_NAMES)
def resume(name: str) -> None:
    """Let a stopped job go on: the keeper submits it from where it stopped."""
    control.resume(settings(), name)
    click.echo(f"{name} goes on as soon as the keeper has submitted it; see `koban jobs list`")


@contextmanager
def _cluster() -> Iterator[Cluster]:
    cluster = Cluster(settings())
    try:
        yield cluster
    except ClusterUnreachableError as error:
        raise click.ClickException(f"{error}\nStart the platform with `koban up`.") from error
    finally:
        cluster.close()


def _row(cluster: Cluster, name: str, run: Run | None, held: bool) -> dict[str, object]:
    row: dict[str, object] = {"name": name, "running": run is not None and run.running, "held": held}
    if run is None:
        return {**row, "state": "STOPPED" if held else "MISSING"}
    progress = cluster.progress(run.job_id)
    return {
        **row,
        "state": run.state,
        "job_id": run.job_id,
        "tasks": run.tasks,
        "tasks_running": run.tasks_running,
        "restarts": progress.restarts,
        "checkpoints": progress.completed,
        "checkpoint_at_ms": progress.newest_at_ms,
        "checkpoint_ms": progress.newest_duration_ms,
        "checkpoint_bytes": progress.newest_bytes,
        "last_error": cluster.root_cause(run.job_id),
    }


def _show(rows: list[dict[str, object]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("job", "state", "tasks", "restarts", "checkpoints", "newest took", "size", "last error"):
        table.add_column(column)
    for row in rows:
        colour = "green" if row["running"] else "dim" if row["held"] else "red"
        took, size = row.get("checkpoint_ms"), row.get("checkpoint_bytes")
        table.add_row(
            str(row["name"]),
            f"[{colour}]{row['state']}[/]",
            f"{row['tasks_running']}/{row['tasks']}" if "tasks" in row else "",
            str(row.get("restarts", "")),
            str(row.get("checkpoints", "")),
            f"{took} ms" if took is not None else "",
            f"{int(str(size)) / 1e6:.1f} MB" if size is not None else "",
            str(row.get("last_error") or ""),
        )
    screen().print(table)
