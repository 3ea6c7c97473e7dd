"""A benchmark's result: every run of every contender, medians, ratios; and the page that is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from ops.bench import machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "benchmarks"
"""One JSON file a stage: its last full run."""
PAGE = ROOT / "docs" / "benchmarks.md"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    wall_s: float
    cpu_s: float
    rss_mb: float
    correct: bool
    restored_s: float = 0.0

    @property
    def rate_per_s(self) -> float:
        return self.events / self.wall_s

    @property
    def cpu_s_per_million(self) -> float:
        return self.cpu_s * 1e6 / self.events


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contender in one layout; the figures are medians of its runs."""

    contender: str
    layout: str
    input: str
    guarantee: str
    note: str
    """What it is configured like, and the page that recommends it."""
    events: int
    rate_per_s: float
    cpu_s_per_million: float
    rss_mb: float
    correct: bool
    """Every run gave the oracle's answer. A row that is not correct has no score."""
    runs: list[Run]

    @classmethod
    def of(cls, runs: list[Run], **rest: str) -> Row:
        return cls(
            events=runs[0].events,
            rate_per_s=median(run.rate_per_s for run in runs),
            cpu_s_per_million=median(run.cpu_s_per_million for run in runs),
            rss_mb=median(run.rss_mb for run in runs),
            correct=all(run.correct for run in runs),
            runs=runs,
            **rest,
        )


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. The report's ``latency_of`` says from when to when."""

    contender: str
    rate_per_s: int
    events: int
    p50_ms: float
    p99_ms: float
    p999_ms: float


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """From a contender's start until it has so many accounts again, seconds."""

    contender: str
    accounts: int
    seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    date: str
    """In UTC, ISO 8601."""
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    rows: list[Row]
    ratios: dict[str, float]
    """Peer → ours over the peer's, in events per CPU-second."""
    target: str
    """What the stage must reach."""
    ok: bool
    """It was reached, and nobody gave a wrong answer."""
    latency: list[Latency] = []
    latency_of: str = "open loop, from the intended send to the handler"
    restores: list[Restore] = []
    absent: dict[str, str] = {}
    """Contender → why it did not race."""

    @classmethod
    def of_now(cls, stage: str, packages: Iterable[str], options: str = "", **figures: Any) -> Report:
        """Of what was just measured, here, with these versions of these packages."""
        return cls(
            stage=stage,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=f"koban bench {stage.partition('-')[0]}{options}",
            machine=machine.describe(),
            versions=machine.versions(*packages),
            **figures,
        )


def options_of(*, quick: bool, events: int | None, part: str | None = None) -> str:
    """The options with which a benchmark was called, as they are typed."""
    return (
        (f" --part {part}" if part else "") + (" --quick" if quick else "") + (f" --events {events}" if events else "")
    )


def ratio(ours: Row, peer: Row) -> float:
    return round(peer.cpu_s_per_million / ours.cpu_s_per_million, 2)


def save(report: Report, folder: Path = RESULTS) -> Path:
    """Keeps a full run as the stage's last one. That of a whole stage takes the place of its parts' (`stage-part`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(f"{report.stage}-*.json"):
        with suppress(FileNotFoundError):
            part.unlink()
    file = folder / f"{report.stage}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return file


def load(folder: Path = RESULTS) -> list[Report]:
    """The last full runs, by stage."""
    return [msgspec.json.decode(file.read_bytes(), type=Report) for file in sorted(folder.glob("*.json"))]


def page(reports: Iterable[Report]) -> str:
    """The Markdown page. Written by the program alone, so that every figure on it was measured."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `koban bench report` from the last full run of each stage in `docs/benchmarks/`; all runs are in "
        "those files. Figures are medians, with lowest and highest. Absolute figures move with the machine and its "
        "load; ratios and CPU-seconds hold. In the layout *one core* the broker and the generator have one core and "
        "the contender with all its processes the other.",
    ]
    for report in reports:
        lines += ["", *_section(report)]
    return "\n".join(lines) + "\n"


def _section(report: Report) -> list[str]:
    machine = ", ".join(report.machine.values())
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [
        f"## {report.stage}",
        "",
        f"{report.date[:10]}, {machine}; {versions}. `{report.command}`",
        "",
        "| contender | guarantee | input | layout | events/s | CPU-s per million | peak RSS MB | correct |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in report.rows]
    lines += ["", *(f"- not run: {name}: {why}" for name, why in report.absent.items())] if report.absent else []
    ratios = ", ".join(f"{value:.1f} × {peer}" for peer, value in report.ratios.items())
    lines += ["", f"Events per CPU-second, ours over the peer's: {ratios}. " if ratios else ""]
    lines[-1] += f"Target: {report.target}: {'reached' if report.ok else 'not reached'}."
    if report.latency:
        lines += ["", f"Latency, {report.latency_of}:", ""]
        lines += ["| contender | events/s | p50 ms | p99 ms | p99.9 ms |", "|---|---|---|---|---|"]
        lines += [
            f"| {one.contender} | {one.rate_per_s} | {one.p50_ms:.1f} | {one.p99_ms:.1f} | {one.p999_ms:.1f} |"
            for one in report.latency
        ]
    for one in report.restores:
        lines += ["", f"{one.contender}: {one.accounts:,} accounts restored in {one.seconds:.1f} s."]
    notes = {row.contender: row.note for row in report.rows if row.note}
    return [*lines, "", *(f"- {contender}: {note}" for contender, note in notes.items())]


def _line(row: Row) -> str:
    rates = [run.rate_per_s for run in row.runs]
    costs = [run.cpu_s_per_million for run in row.runs]
    return (
        f"| {row.contender} | {row.guarantee} | {row.input} | {row.layout} "
        f"| {row.rate_per_s:,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) "
        f"| {row.cpu_s_per_million:.2f} ({min(costs):.2f}-{max(costs):.2f}) "
        f"| {row.rss_mb:.0f} | {'yes' if row.correct else 'NO'} |"
    )
