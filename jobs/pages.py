"""A process's own pages on loopback, from a thread of their own: for processes without an event loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Page = tuple[int, str, bytes]
"""Status, content type and body."""


def json_page(status: int, content: dict[str, object]) -> Page:
    """A page of one JSON object."""
    return status, "application/json", json.dumps(content).encode()


def serve(page: Callable[[str], Page], port: int) -> ThreadingHTTPServer:
    """Serves what ``page`` makes of a path; port 0 takes a free one. Raises OSError when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        """Seconds that a silent client may hold a thread."""

        def do_GET(self) -> None:  # the name that http.server calls
            status, content_type, body = page(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own name
            """Nothing: health checks come every few seconds."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
