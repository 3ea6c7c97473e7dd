"""Compiled jobs, kept on disk: what a client hands to the cluster, so that a lost run is started without a client.

To compile a job takes a Java client some seconds, and tens of seconds beside traffic; the outcome depends on nothing
but code and settings. Where a run starts from, and its id, are all that differ from run to run. Both lie in a plan as
marks of the Java serialization protocol: sixteen raw bytes, and a string behind its type and length.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec

from jobs.catalogue import Job, sql_values
from jobs.environment import job_options
from jobs.statements import statements
from koban.settings import Settings

SOURCES = Path(__file__).parent
PLACE_MARK = "file:///koban/where/a/run/starts/from"
"""Stands for the checkpoint's path in a plan for restored runs."""
_STRING = b"\x74"
"""Before a string's length and bytes, in the protocol."""
RUN_ID_BYTES = 16


class StalePlanError(ValueError):
    """A plan does not look like one; compiling it again mends that."""


class Plan(msgspec.Struct, frozen=True):
    """A job as the cluster takes it, twice: with nothing to start from, and with ``PLACE_MARK`` to start from."""

    run_id: bytes
    """That it was compiled with."""
    fresh: bytes
    restored: bytes

    def graph(self, run_id: bytes, start_from: str | None) -> bytes:
        """For one run. Raises StalePlanError."""
        if start_from is None:
            return _replaced(self.fresh, self.run_id, run_id)
        return _replaced(
            _replaced(self.restored, self.run_id, run_id), _java_string(PLACE_MARK), _java_string(start_from)
        )


def _replaced(plan: bytes, mark: bytes, value: bytes) -> bytes:
    if plan.count(mark) != 1:
        raise StalePlanError(f"a mark is there {plan.count(mark)} times instead of once")
    return plan.replace(mark, value)


def _java_string(text: str) -> bytes:
    """A path in ASCII, as ``Path.as_uri`` gives it, which is at most 65,535 bytes long."""
    return _STRING + struct.pack(">H", len(text)) + text.encode("ascii")


class Plans:
    """The plans of one platform."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data_dir / "flink" / "plans"

    def find(self, job: Job) -> Plan | None:
        """The job's plan, None when it was never compiled, or from other code or other settings."""
        try:
            return msgspec.msgpack.decode(self._file(job).read_bytes(), type=Plan)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def keep(self, job: Job, plan: Plan) -> None:
        """In place of the job's former plan."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"{job.name}.new"
        fresh.write_bytes(msgspec.msgpack.encode(plan))
        self.drop(job)
        fresh.replace(self._file(job))

    def drop(self, job: Job) -> None:
        for old in self._folder.glob(f"{job.name}-*.plan"):
            old.unlink(missing_ok=True)

    def _file(self, job: Job) -> Path:
        return self._folder / f"{job.name}-{digest(self._settings, job)}.plan"


def digest(settings: Settings, job: Job) -> str:
    """Of all that a plan is made of, as sixteen hex digits."""
    found = hashlib.sha256()
    for part in _ingredients(settings, job):
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()[:16]


def _ingredients(settings: Settings, job: Job) -> Iterator[bytes]:
    # Functions in a plan are this Python's code, objects those of Flink and of the jars in the folder, which is named
    # by their hashes.
    for text in (sys.version, version("apache-flink"), os.environ.get("FLINK_LIB_DIR", "")):
        yield text.encode()
    yield msgspec.json.encode(job_options(settings, job), order="sorted")
    for name in job.sql:
        for statement in statements(name, sql_values(settings, job.name)):
            yield statement.encode()
    # The settings that a Python function was made with, and the code that makes it. A worker's own port is neither.
    yield msgspec.json.encode(msgspec.to_builtins(msgspec.structs.replace(settings, metrics_port=0), enc_hook=str))
    for file in sorted(SOURCES.rglob("*.py")):
        yield file.read_bytes()
