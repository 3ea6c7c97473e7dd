"""The keeper's own pages: what it saw of each component, and whether it still looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

from ops.engines.keeper_pages import KeeperPages, resident_bytes
from ops.engines.report import Health, State


def test_every_component_is_told_with_its_memory_and_restarts() -> None:
    """As Prometheus asks for it, and the keeper's own memory beside."""
    pages = KeeperPages()
    pages.show({"gate": State(health=Health.HEALTHY, starts=3, since=17.0, resident_bytes=1000), "book": State()})
    metrics = pages.page("/metrics")[2].decode()
    for line in (
        'koban_component_up{component="gate"} 1.0',
        'koban_component_up{component="book"} 0.0',
        'koban_component_restarts{component="gate"} 2.0',
        'koban_component_resident_bytes{component="gate"} 1000.0',
        'koban_component_since_seconds{component="gate"} 17.0',
        "process_resident_memory_bytes",
    ):
        assert line in metrics, line


def test_ready_means_that_every_component_is_well() -> None:
    """Else the page says which is not, and why; before the first look it is not ready either."""
    pages = KeeperPages()
    assert pages.page("/-/ready")[0] == 503
    pages.show({"gate": State(health=Health.HEALTHY), "book": State(reason="it ended; its log says why")})
    status, _, body = pages.page("/-/ready")
    assert (status, json.loads(body)["waiting_for"]) == (503, {"book": "it ended; its log says why"})
    pages.show({"gate": State(health=Health.HEALTHY)})
    assert pages.page("/-/ready")[0] == 200
    assert pages.page("/elsewhere")[0] == 404


def test_the_pages_are_served_on_loopback() -> None:
    """On a free port, where none is named."""
    server = KeeperPages().serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}/-/live", timeout=10) as answer:
            assert json.load(answer) == {"live": True, "stage": "keeper"}
    finally:
        server.shutdown()
        server.server_close()


def test_memory_is_that_of_a_process_and_all_it_started() -> None:
    """A component is often a small parent with a large child."""
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        sizes = resident_bytes([os.getpid(), child.pid, 2**22 + 1])
        assert sizes.keys() == {os.getpid(), child.pid}
        assert sizes[os.getpid()] > sizes[child.pid] > 1_000_000
    finally:
        child.communicate(b"\n")
