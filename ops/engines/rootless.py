"""Engines that refuse to run as root: the user they run as, and folders that user can reach."""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops.engines.cache import open_to_all
from ops.engines.site import Site

SYSTEM_DATA = Path("/var/lib/koban")


def engine_user() -> tuple[int, int] | None:
    """User and group id of these engines; None when the platform does not run as root and they run as its user."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def folder(site: Site, name: str) -> Path:
    """Where such an engine keeps its data: in the data directory, or under ``/var/lib/koban`` as root when the data
    directory lies behind a closed folder (``/root``) that the engine's user could not pass.
    """
    if engine_user() is None or open_to_all(site.data_dir):
        return site.data_dir / name
    return system_folder(site.data_dir) / name


def system_folder(data_dir: Path) -> Path:
    """Where a platform's engines keep what they can't keep in its data directory. Often there is no such folder."""
    return SYSTEM_DATA / hashlib.sha256(str(data_dir).encode()).hexdigest()[:10]


def make(path: Path) -> Path:
    """Makes a folder that belongs to the engine's user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    give(path)
    return path


def give(path: Path) -> None:
    """Makes a file or folder the engine's user's."""
    if user := engine_user():
        os.chown(path, *user)


def write(path: Path, text: str) -> None:
    """Writes a file that only the engine's user reads."""
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
    give(path)


def run(command: Sequence[str], *, directory: Path) -> None:
    """Runs a program as the engine's user to its end. Raises OSError with its output when it fails."""
    user = engine_user()
    identity: dict[str, Any] = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=directory, **identity)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
