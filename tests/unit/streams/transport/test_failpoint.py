"""Failpoints: off unless asked for, and deadly at the passing that was named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.transport.failpoint import VARIABLE, Failpoint, Place

ROOT = Path(__file__).resolve().parents[4]
PASS_THRICE = """
from failpoint import Place, passed
for number in range(3):
    passed(Place.AFTER_COMMIT)
    passed(Place.AFTER_PRODUCE)
    print(number, flush=True)
"""


def run(armed: str | None) -> tuple[int, list[str]]:
    """The exit code and what was printed. Without the transport's package, whose import takes a second."""
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environ["PYTHONPATH"] = str(ROOT / "streams" / "transport")
    if armed is not None:
        environ[VARIABLE] = armed
    done = subprocess.run([sys.executable, "-c", PASS_THRICE], env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split()


def test_the_process_ends_at_the_named_passing() -> None:
    assert run("after-produce:2") == (-signal.SIGKILL, ["0"])


def test_without_the_variable_or_elsewhere_nothing_happens() -> None:
    assert run(None) == run("in-restore:1") == (0, ["0", "1", "2"])


@pytest.mark.parametrize("text", ["", "after-produce", "after-produce:0", "after-produce:x", "nowhere:1"])
def test_what_names_no_passing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid|expected PLACE:N"):
        Failpoint.of(text)


def test_places_are_documented() -> None:
    page = (ROOT / "docs" / "drills.md").read_text("utf-8")
    assert all(f"`{place}`" in page for place in Place)
