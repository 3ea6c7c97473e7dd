"""A wire between browser and console that can be cut and mended."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class Relay:
    """Passes bytes on to a console. While it is cut, open connections are broken and new ones at once closed."""

    def __init__(self, url: str, listening: socket.socket) -> None:
        place = urlsplit(url)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._target = (place.hostname or "", place.port or 0)
        self._listening = listening
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Break the wire."""
        with self._lock:
            self._is_cut = True
            broken = list(self._open)
        for each in broken:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_cut = False

    def serve(self) -> None:
        """Take connections until the listening socket is closed."""
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target) as far:
            with self._lock:
                if self._is_cut:
                    return
                self._open |= {near, far}
            back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
            back.start()
            _pass_on(near, far)
            back.join()
            with self._lock:
                self._open -= {near, far}


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def relayed(url: str) -> Iterator[Relay]:
    """A relay in front of a console."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        relay = Relay(url, listening)
        thread = threading.Thread(target=relay.serve, daemon=True)
        thread.start()
        yield relay
        relay.cut()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
