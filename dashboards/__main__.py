"""Runs the console: ``python -m dashboards``, set up by ``KOBAN_*`` variables."""

from __future__ import annotations

import gc
import os
from urllib.parse import urlsplit

import uvicorn

from dashboards.app import create_app
from koban.settings import Settings

GRACE_S = 2
"""Live pages never end by themselves; at a stop they get so long."""

CONNECTIONS_MAX = 1_000
"""Open ones, live pages and browsers that wait for their next click included; more are told to come back (503)."""


GC_THRESHOLDS = (50_000, 20, 100)


def main() -> None:
    """Serve on the console's address until SIGTERM."""
    settings = Settings.from_environ(os.environ)
    place = urlsplit(settings.console_url)
    app = create_app(settings)
    # The libraries alone are 200,000 objects, which a search for cycles goes through in 110 ms, while every page waits:
    # they were a third of the console's time. What is there by now stays, so it is never looked at again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    uvicorn.run(
        app,
        host=place.hostname or "127.0.0.1",
        port=place.port or 8080,
        log_level="info",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=CONNECTIONS_MAX,
    )


if __name__ == "__main__":
    main()
