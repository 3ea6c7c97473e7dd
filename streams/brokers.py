"""Clients of brokers that may be away: whoever asks hears so soon, and no half-made client stays behind."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

from kafka.errors import NodeNotReadyError
from kafka.net.compat import KafkaNetClient

CONNECT_MS_MAX = 15_000
_KNOCK_S_MAX = 2.0

ClientT = TypeVar("ClientT")


def connect(
    make: Callable[..., ClientT], bootstrap: str, *, bootstrap_timeout_ms: int = CONNECT_MS_MAX, **config: Any
) -> ClientT:
    """What `make`, a client's class of kafka-python, makes for these servers (``host:port`` separated by commas).

    A client whose making fails would keep its thread and its sockets, and knock on for as long as it was given.
    Raises KafkaError, at once when nothing listens at any of the servers.
    """
    if not any(listens(server) for server in bootstrap.split(",")):
        raise NodeNotReadyError(f"nothing listens at {bootstrap}")
    networks: list[KafkaNetClient] = []

    def network(**settings: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**settings))
        return networks[-1]

    try:
        return make(
            bootstrap_servers=bootstrap, bootstrap_timeout_ms=bootstrap_timeout_ms, kafka_client=network, **config
        )
    except BaseException:
        for left in networks:
            left.close()
        raise


def listens(server: str) -> bool:
    """Whether something takes connections at ``host:port``."""
    host, _, port = server.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S_MAX).close()
    except OSError:
        return False
    return True
