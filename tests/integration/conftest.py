"""Real engines for tests. They are started once a session, in a folder of their own under the temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from koban.settings import Settings
from ops.engines import roster
from ops.platform import Platform, platform


@contextmanager
def fresh_platform(*only: str) -> Iterator[Settings]:
    """A platform that is gone afterwards.

    Its folder is not pytest's: that one is closed to other users, and as root two engines run as another user.
    """
    folder = Path(tempfile.mkdtemp(prefix="koban-"))
    with platform(folder, only=only, keep=False) as settings:
        yield settings


@pytest.fixture(scope="session")
def kafka() -> Iterator[Settings]:
    """A Kafka without topics, shared by the session: name topics so that tests don't meet."""
    with fresh_platform("kafka") as settings:
        yield settings


@pytest.fixture(scope="module")
def engines() -> Iterator[Platform]:
    """All standard engines, for one module."""
    with fresh_platform(*roster.STANDARD) as settings:
        yield Platform(settings.data_dir)
