"""Connecting to brokers that are away, or that are no brokers."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from streams.brokers import connect


def test_where_nothing_listens_it_is_said_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(KafkaError, match=f"nothing listens at {address}"):
        connect(KafkaConsumer, address)


@pytest.mark.parametrize("make", [KafkaConsumer, KafkaProducer, KafkaAdminClient])
def test_what_could_not_connect_leaves_no_thread(make: Callable[..., Any]) -> None:
    """The server takes the connection and never says a word."""
    before = set(threading.enumerate())
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        with pytest.raises(KafkaError):
            connect(make, f"127.0.0.1:{mute.getsockname()[1]}", bootstrap_timeout_ms=200)
        assert set(threading.enumerate()) <= before


def test_it_is_enough_that_one_of_the_servers_is_there() -> None:
    """The knock tries them all before it gives up."""
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        away = f"127.0.0.1:{gone.getsockname()[1]}"
    with closing(socket.create_server(("127.0.0.1", 0))) as there:
        servers = f"{away},127.0.0.1:{there.getsockname()[1]}"
        assert connect(lambda **config: config, servers, client_id="x")["bootstrap_servers"] == servers
