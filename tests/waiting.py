"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 240.0
"""Says nothing of how long something may take: it only ends a wait that would never end."""
POLL_S = 0.1


def wait_for(holds: Callable[[], object], told: str | Callable[[], str]) -> None:
    """Returns once ``holds`` answers something true. ``told`` says what did not come about, and may look it up then.

    Raises AssertionError when it never does, and at once whatever ``holds`` raises: a worker that has ended, say.
    """
    deadline = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S:.0f} s: {told if isinstance(told, str) else told()}")
        time.sleep(POLL_S)


def eventually(check: Callable[[], object]) -> None:
    """Returns once ``check`` raises no AssertionError any more; raises its last one when that never happens."""
    errors: list[AssertionError] = []

    def passes() -> bool:
        try:
            check()
        except AssertionError as error:
            errors[:] = [error]
            return False
        return True

    try:
        wait_for(passes, "no check passed")
    except AssertionError:
        raise errors[0] from None
