"""Starts a client of brokers that may not be there yet: on a platform that starts, or whose broker starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from aiokafka.errors import KafkaConnectionError

CONNECT_S_MAX = 30.0
PAUSE_S = 0.25


class Client(Protocol):
    """What can be started and stopped."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Client)


async def connected(make: Callable[[], ClientT]) -> ClientT:
    """A started client. Raises KafkaConnectionError when no broker could be reached for ``CONNECT_S_MAX`` seconds.

    A worker that ended by it instead would be started anew again and again, and each start takes seconds of the very
    processor that the broker starts on.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + CONNECT_S_MAX
    while True:
        client = make()
        try:
            await client.start()
        except KafkaConnectionError:
            await client.stop()
            if clock() >= deadline:
                raise
            await asyncio.sleep(PAUSE_S)
        else:
            return client
