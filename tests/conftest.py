"""What all tests share."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("koban", deadline=None)  # a busy machine is no bug; speed is measured by `koban bench`
settings.load_profile("koban")


@pytest.fixture(scope="module", autouse=True)
def clients_closed() -> Iterator[None]:
    """No module leaves a Kafka client open.

    One whose broker is gone goes on knocking in a thread of its own and draws its pauses from ``random``, whose state
    Hypothesis owns while a property is tried: the property would fail, far from the cause.
    """
    before = _client_threads()
    yield
    left = _client_threads() - before
    assert not left, f"left open: {sorted(thread.name for thread in left)}"


def _client_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("kafka-io-")}
