"""What ``koban doctor`` and ``koban verify`` last said: each writes it into the data directory, where it is read."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import msgspec

from koban.settings import Settings

EVERY_S = 2.0
DOCTOR_S_MAX = 60.0
"""A doctor that takes longer is stopped: hashing the engines' cache takes seconds."""

Examiner = Literal["doctor", "verify"]


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; ``mend`` says what to do about it, and is empty when all is well."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that one examination found; ``at`` is when it ended, in seconds since the epoch."""

    at: float
    took_s: float
    checks: list[Checked]

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return all(check.ok for check in self.checks)


def file_of(data_dir: Path, examiner: Examiner) -> Path:
    """Where an examiner's report lies."""
    return data_dir / "run" / f"{examiner}.json"


def write(data_dir: Path, examiner: Examiner, took_s: float, checks: Iterable[Checked]) -> None:
    """Keeps a report, if the data directory is there and ours. It is a note, and never a reason to fail."""
    path = file_of(data_dir, examiner)
    fresh = path.with_suffix(".json.new")
    with suppress(OSError):
        fresh.write_bytes(msgspec.json.encode(Report(at=time.time(), took_s=took_s, checks=list(checks))))
        fresh.rename(path)


def read(data_dir: Path, examiner: Examiner) -> Report | None:
    """The last report; None when there is none that can be read."""
    try:
        return msgspec.json.decode(file_of(data_dir, examiner).read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return None


class Reports:
    """Reads the reports, and calls the doctor when asked to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._doctor: asyncio.Task[None] | None = None

    @property
    def examining(self) -> bool:
        """Whether the doctor is at work now."""
        return self._doctor is not None and not self._doctor.done()

    async def ask(self) -> dict[str, Report]:
        """Examiner → its last report; one that never reported is not there."""
        found = {name: read(self._settings.data_dir, name) for name in get_args(Examiner)}
        return {name: report for name, report in found.items() if report is not None}

    def call_doctor(self) -> None:
        """Begins an examination of the machine and the platform, unless one goes on; it reports when it is done."""
        if not self.examining:
            self._doctor = asyncio.create_task(self._examine())

    async def close(self) -> None:
        """Stops an examination under way."""
        if self._doctor is not None:
            self._doctor.cancel()
            with suppress(asyncio.CancelledError):
                await self._doctor

    async def _examine(self) -> None:
        # Its own process: it hashes files and starts programs, which the console must not wait for.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ops.cli.main", "doctor", "--json"),
            cwd=Path(__file__).parents[2],
            env={**os.environ, **self._settings.environ()},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(DOCTOR_S_MAX):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
