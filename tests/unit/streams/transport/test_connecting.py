"""A client waits for brokers that are not there yet, and not for ever."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, UnsupportedVersionError

from streams.transport import connecting
from streams.transport.connecting import connected


class Client:
    """Reaches the brokers at the given try."""

    def __init__(self, reaches: bool, error: type[Exception] = KafkaConnectionError) -> None:
        self.reaches = reaches
        self.error = error
        self.stopped = False

    async def start(self) -> None:
        if not self.reaches:
            raise self.error

    async def stop(self) -> None:
        self.stopped = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PAUSE_S", 0.0)


def test_it_tries_with_a_new_client_until_one_gets_through() -> None:
    clients = [Client(False), Client(False), Client(True), Client(True)]
    left = iter(clients)
    assert asyncio.run(connected(lambda: next(left))) is clients[2]
    assert [client.stopped for client in clients] == [True, True, False, False], "nothing is left open"


def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_S_MAX", 0.05)
    with pytest.raises(KafkaConnectionError):
        asyncio.run(connected(lambda: Client(False)))


def test_other_errors_are_not_waited_out() -> None:
    with pytest.raises(UnsupportedVersionError):
        asyncio.run(connected(lambda: Client(False, UnsupportedVersionError)))
