"""``koban doctor``: what on this machine, in the cache or in the platform would keep things from working."""

from __future__ import annotations

import os
import platform as machine
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import psutil

from koban.settings import Settings
from ops.engines import child, lock, mariadb, site
from ops.engines.cache import cache_dir
from ops.engines.fetch import repository_url
from ops.engines.report import REPORT_AGE_S_MAX, read_report
from ops.engines.rootless import engine_user
from ops.platform import Platform, leftovers

DISK_GB_MIN = 3.0
MEMORY_GB_MIN = 5.0
"""What the idle platform takes, with some room for a first load."""
OPEN_FILES_MIN = 4096


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    """What to do about it; empty when all is well."""


def examine(data_dir: Path, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Everything that can be known without changing anything."""
    platform = Platform(data_dir, say=lambda _: None)
    checks: list[Callable[[], Finding | list[Finding]]] = [
        _python,
        _system,
        lambda: _disk("data", platform.data_dir),
        lambda: _disk("cache", cache_dir(environ)),
        lambda: _writable(platform.data_dir),
        lambda: _memory(running=platform.running),
        _open_files,
        _privileges,
        lambda: _cache(environ),
        _mariadb_libraries,
        lambda: _settings(platform.data_dir, environ),
    ]
    checks.append((lambda: _running(platform)) if platform.running else (lambda: _stopped(platform)))
    return list(_flat(checks))


def _flat(checks: list[Callable[[], Finding | list[Finding]]]) -> Iterator[Finding]:
    for check in checks:
        found = check()
        yield from found if isinstance(found, list) else [found]


def _python() -> Finding:
    version = machine.python_version()
    ok = sys.version_info[:2] == (3, 11)
    return Finding(name="python", ok=ok, detail=version, mend="" if ok else "install Python 3.11 and run ./run again")


def _system() -> Finding:
    found = f"{machine.system()} {machine.machine()}"
    ok = found == "Linux x86_64"
    return Finding(
        name="system",
        ok=ok,
        detail=found,
        mend="" if ok else "engines.lock holds MariaDB for Linux x86_64 only; use docker-compose.yml here",
    )


def _disk(name: str, path: Path) -> Finding:
    there = next(folder for folder in [path, *path.parents] if folder.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    ok = free_gb >= DISK_GB_MIN
    mend = "" if ok else f"free at least {DISK_GB_MIN:.0f} GB, or move it with KOBAN_{name.upper()}_DIR"
    return Finding(name=f"disk for the {name}", ok=ok, detail=f"{free_gb:.1f} GB free in {there}", mend=mend)


def _writable(data_dir: Path) -> Finding:
    there = next(folder for folder in [data_dir, *data_dir.parents] if folder.exists())
    ok = os.access(there, os.W_OK | os.X_OK)
    mend = "" if ok else "name a folder of your own with KOBAN_DATA_DIR or --data-dir"
    return Finding(name="data folder", ok=ok, detail=str(data_dir), mend=mend)


def _memory(*, running: bool) -> Finding:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB available"
    ok = running or memory.available / 1e9 >= MEMORY_GB_MIN
    mend = (
        "" if ok else f"the platform takes about {MEMORY_GB_MIN:.0f} GB: end other programs, or use `koban up --only`"
    )
    return Finding(name="memory", ok=ok, detail=detail, mend=mend)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES_MIN
    mend = "" if ok else f"raise the hard limit of open files to {OPEN_FILES_MIN} (ulimit -Hn)"
    return Finding(name="open files", ok=ok, detail=f"{soft}, at most {hard}", mend=mend)


def _privileges() -> Finding:
    """As root, whether a program can be started as the user of the engines that refuse root."""
    user = engine_user()
    if user is None:
        return Finding(name="user", ok=True, detail=f"user id {os.geteuid()}; every engine runs as it")
    program = [sys.executable, "-I", "-S", str(Path(child.__file__)), "--user", f"{user[0]}:{user[1]}", "/bin/true"]
    ok = subprocess.run(program, check=False, capture_output=True).returncode == 0
    return Finding(
        name="user",
        ok=ok,
        detail=f"root; OpenSearch and MariaDB run as user id {user[0]}",
        mend="" if ok else "this container lets root take no other user id; run koban as a plain user",
    )


def _cache(environ: Mapping[str, str]) -> list[Finding]:
    folder = cache_dir(environ) / "artifacts"
    missing, damaged = [], []
    for artifact in (artifact for artifacts in lock.read().values() for artifact in artifacts):
        path = folder / artifact.path
        if not path.exists():
            missing.append(artifact)
        elif path.stat().st_size != artifact.size or lock.sha256_of(path) != artifact.sha256:
            damaged.append(path)
    megabytes = sum(artifact.size for artifact in missing) / 1e6
    detail = f"{len(missing)} files to fetch, {megabytes:.0f} MB" if missing else f"complete in {folder}"
    mend = f"remove them and {cache_dir(environ) / 'trees'}, then `koban up`: {' '.join(map(str, damaged))}"
    findings = [
        Finding(
            name="cache", ok=not damaged, detail=detail if not damaged else "damaged files", mend=mend * bool(damaged)
        )
    ]
    return [*findings, _repository(environ)] if missing else findings


def _repository(environ: Mapping[str, str]) -> Finding:
    url = repository_url(environ)
    mend = "check the network or proxy, or name a mirror with KOBAN_MAVEN_REPOSITORY"
    try:
        probe = f"{url}/org/apache/kafka/kafka_2.13/maven-metadata.xml"
        httpx.head(probe, timeout=10, follow_redirects=True).raise_for_status()
    except httpx.HTTPError as error:
        return Finding(name="repository", ok=False, detail=f"{url}: {error}", mend=mend)
    return Finding(name="repository", ok=True, detail=url)


def _mariadb_libraries() -> list[Finding]:
    """Whether the server's shared libraries are there; known only once it is unpacked."""
    if (server := mariadb.installed()) is None:
        return []
    done = subprocess.run([server / "bin" / "mariadbd", "--version"], check=False, capture_output=True, text=True)
    ok = done.returncode == 0
    mend = "" if ok else "install the named library with the system's package manager"
    return [Finding(name="mariadb", ok=ok, detail=(done.stdout if ok else done.stderr).strip(), mend=mend)]


def _settings(data_dir: Path, environ: Mapping[str, str]) -> Finding:
    try:
        site.merged_settings({**environ, "KOBAN_DATA_DIR": str(data_dir)})
    except ValueError as error:
        return Finding(name="settings", ok=False, detail=str(error), mend="correct the named variable or file")
    unknown = sorted(
        name
        for name in environ
        if name.startswith("KOBAN_") and name.removeprefix("KOBAN_").lower() not in known_variables()
    )
    return Finding(
        name="settings",
        ok=not unknown,
        detail="unknown: " + ", ".join(unknown) if unknown else "all variables are known",
        mend="remove or correct them" if unknown else "",
    )


def known_variables() -> set[str]:
    """Variables that mean something, in lower case and without their prefix."""
    return {*Settings.__struct_fields__, "cache_dir", "maven_repository", "platform", "python_mode"}


def _stopped(platform: Platform) -> list[Finding]:
    findings = [Finding(name="platform", ok=True, detail="not running")]
    left = leftovers(platform.data_dir)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        findings.append(Finding(name="leftovers", ok=False, detail=f"processes {pids}", mend="koban down"))
    return findings


def _running(platform: Platform) -> list[Finding]:
    report = read_report(platform.data_dir)
    age_s = time.time() - report.at if report else float("inf")
    ok = age_s <= REPORT_AGE_S_MAX
    findings = [
        Finding(
            name="keeper",
            ok=ok,
            detail=f"reported {age_s:.0f} s ago" if report else "has not reported yet",
            mend="" if ok else "`koban logs keeper`; `koban down` and `koban up` start it anew",
        )
    ]
    with suppress(ValueError):
        findings += [
            Finding(
                name=part.name,
                ok=part.health == "healthy",
                detail=" ".join(filter(None, [part.health, part.reason])),
                mend="" if part.health == "healthy" else f"koban logs {part.name}",
            )
            for part in platform.status()
        ]
    return findings
