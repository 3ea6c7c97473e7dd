"""Lets contenders race: each run a process of its own on its own core, in the order A B B A, answers checked."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import msgspec

from ops.bench.machine import confined
from ops.bench.meter import Cost
from ops.bench.report import ROOT, Row, Run
from ops.bench.task import Task

_GROUPS = itertools.count()


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A program under ``ops.bench.contenders``."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    guarantee: str = "at least once"
    note: str = ""
    writes: bool = False
    ours: bool = False
    answers: bool = True
    """It says its answer itself; else only what it wrote is looked at."""
    speed: float = 1.0
    """How many of the events it gets: slow contenders fewer, so that a run stays short, and one that is compiled as it
    runs more. Rates are per event."""
    run_s_max: float = 180.0
    """A run that takes longer is given up."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """Topics with their answers, and where contenders write."""

    bootstrap: str
    topics: dict[int, tuple[str, str]]
    """Events → topic, answer."""
    fresh_target: Callable[[], str]
    check_target: Callable[[str, int], bool]
    """Whether a target holds exactly the input of so many events."""


class ContenderFailedError(RuntimeError):
    """A contender ended without a result."""


def race_rows(
    contenders: list[Contender], field: Field, events: dict[str, int], runs: int, cores: set[int], **where: str
) -> list[Row]:
    """A row a contender; ``where`` is the rows' layout and input. Raises ContenderFailedError."""
    results = race(contenders, field, events, runs, cores)
    return [
        Row.of(results[one.name], contender=one.name, guarantee=one.guarantee, note=one.note, **where)
        for one in contenders
    ]


def race(
    contenders: list[Contender], field: Field, events: dict[str, int], runs: int, cores: set[int]
) -> dict[str, list[Run]]:
    """Contender → its runs. Raises ContenderFailedError."""
    results: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for turn in range(runs):
        for contender in _turn(contenders, turn):
            run = one_run(contender, field, events[contender.name], cores)
            results[contender.name].append(run)
            print(  # noqa: T201  # progress, on standard error
                f"{contender.name:32} run {turn + 1}: {run.rate_per_s:>9,.0f}/s  "
                f"{run.cpu_s_per_million:7.2f} CPU-s per million  {'correct' if run.correct else 'WRONG ANSWER'}",
                file=sys.stderr,
            )
    return results


def one_run(contender: Contender, field: Field, events: int, cores: set[int]) -> Run:
    topic, answer = field.topics[events]
    target = field.fresh_target() if contender.writes else ""
    group = f"bench-{os.getpid()}-{next(_GROUPS)}"
    task = Task(bootstrap=field.bootstrap, topic=topic, target=target, events=events, group=group)
    cost = run_program(contender, task, cores, Cost)
    correct = not contender.answers or cost.digest == answer
    if contender.writes:
        correct = correct and field.check_target(target, events)
    return Run(
        events=cost.events,
        wall_s=cost.wall_s,
        cpu_s=cost.cpu_s,
        rss_mb=cost.rss_mb,
        correct=correct,
        restored_s=cost.restored_s,
    )


T = TypeVar("T")


def run_program(contender: Contender, task: Task, cores: set[int], kind: type[T]) -> T:
    """What the contender printed, as a ``kind``. Raises ContenderFailedError with the end of its log.

    Contenders leave by ``os._exit``, so what they put on disk is put into a folder that goes with the run.
    """
    command = [sys.executable, "-m", f"ops.bench.contenders.{contender.module}", *contender.arguments]
    with tempfile.TemporaryDirectory(prefix="koban-bench-", ignore_cleanup_errors=True) as folder, confined(cores):
        environ = {**os.environ, **task.environ(), "TMPDIR": folder}
        done = _finished(contender, command, environ)
    try:
        return result_of(done.stdout, kind)
    except msgspec.DecodeError as error:
        log = done.stderr.decode(errors="replace")[-2000:]
        raise ContenderFailedError(f"{contender.name} ended with {done.returncode} and no result:\n{log}") from error


def _finished(contender: Contender, command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """The contender's process, ended; whatever it started ends with it, since all of it is one session."""
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            printed, log = process.communicate(timeout=contender.run_s_max)
        except subprocess.TimeoutExpired as error:
            raise ContenderFailedError(f"{contender.name} took more than {contender.run_s_max:.0f} s") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, printed, log)


def result_of(printed: bytes, kind: type[T]) -> T:
    """The JSON object at the end of what was printed; Faust puts codes for terminals before it."""
    line = printed.strip().rpartition(b"\n")[2]
    return msgspec.json.decode(line[max(0, line.find(b"{")) :], type=kind)


def _turn(contenders: list[Contender], turn: int) -> Iterable[Contender]:
    return contenders if turn % 2 == 0 else reversed(contenders)
