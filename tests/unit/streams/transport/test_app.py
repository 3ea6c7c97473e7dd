"""What an app can say of itself, and how its worker is set up."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from koban.settings import Settings
from streams.transport import Batch, BatchApp, Lane
from streams.transport.logs import JsonFormatter, Throttle


@pytest.fixture
def app(tmp_path: Path) -> BatchApp:
    return BatchApp("gate", Settings(data_dir=tmp_path, lake_dir=tmp_path))


def test_the_group_is_the_stage_behind_the_platforms_name(app: BatchApp) -> None:
    assert app.conf.id == "koban-gate"


def test_fausts_web_server_and_pickle_are_off(app: BatchApp) -> None:
    """The web server shows tables to anyone; pickled values run code."""
    assert not app.conf.web_enabled
    assert app.conf.key_serializer == app.conf.value_serializer == "raw"
    services = [type(service).__name__ for service in app.boot_strategy.server()]
    assert services == ["HealthServer", "Consumer", "Subscriber", "Fetcher"]


def test_a_topic_has_one_handler(app: BatchApp) -> None:
    app.lanes(("payments", "payments-rekeyed"), Lane)
    with pytest.raises(ValueError, match="payments-rekeyed"):

        @app.batches("payments-rekeyed")
        async def second(batch: Batch) -> None: ...


@pytest.mark.parametrize("topics", [(), ("a", "b")])
def test_handlers_name_topics_and_there_is_one_set_of_lanes(app: BatchApp, topics: Iterable[str]) -> None:
    if topics:
        app.lanes(("payments",), Lane)
    with pytest.raises(ValueError, match="a topic is read by one handler"):
        app.lanes(tuple(topics), Lane)


def test_topics_of_a_lane_have_equal_numbers_of_partitions(app: BatchApp) -> None:
    app.lanes(("payments", "payments-rekeyed"), Lane)
    app.check_partitions({"payments": 4, "payments-rekeyed": 4})
    with pytest.raises(ValueError, match="payments has 4, payments-rekeyed has 3"):
        app.check_partitions({"payments": 4, "payments-rekeyed": 3})


def test_work_beside_the_batches_begins_once(app: BatchApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first share of lanes, which may be nothing; not again with each rebalance."""
    begun: list[str] = []
    monkeypatch.setattr(app, "add_future", lambda work: (begun.append(work.__name__), work.close()))

    @app.beside
    async def tell() -> None: ...

    monkeypatch.setattr(app.consumer, "hold", lambda tps: None)
    for _ in range(2):
        asyncio.run(app._on_partitions_assigned(set()))
    assert begun == ["tell"]


def test_a_stream_agent_is_refused_with_the_way_to_go(app: BatchApp) -> None:
    with pytest.raises(NotImplementedError, match=r"app\.batches"):
        app.agent()


def test_a_log_line_is_one_json_object_with_its_traceback() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        record = logging.LogRecord("koban", logging.ERROR, "", 1, "it %s", ("broke",), (ValueError, error, None))
    row = json.loads(JsonFormatter("gate").format(record))
    assert (row["level"], row["stage"], row["message"]) == ("error", "gate", "it broke")
    assert "ValueError: no" in row["error"]


def test_lines_of_a_kind_come_once_in_a_while_and_are_counted() -> None:
    now = 0.0
    throttle = Throttle(5.0, clock=lambda: now)

    def line(text: str = "no node %s") -> logging.LogRecord:
        return logging.LogRecord("aiokafka", logging.ERROR, "", 1, text, (1,), None)

    assert [throttle.filter(line()) for _ in range(4)] == [True, False, False, False]
    assert throttle.filter(line("another %s"))
    now = 6.0
    last = line()
    assert throttle.filter(last)
    assert last.getMessage() == "no node 1 (and 3 more like it)"


LEAVES_A_TASK = """
import asyncio, os, signal
import mode
from streams.transport.app import PromptWorker

sleep = asyncio.sleep

async def told(delay, *rest):
    if delay:
        print("slept", delay, flush=True)
    await sleep(delay, *rest)

async def linger():
    try:
        await asyncio.Event().wait()
    finally:
        print("let go", flush=True)

class Service(mode.Service):
    async def on_started(self):
        self.left = asyncio.create_task(linger())
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    async def on_stop(self):
        asyncio.sleep = told

PromptWorker(Service(), override_logging=False, quiet=True).execute_from_commandline()
"""


def test_a_worker_ends_without_a_pause_and_leaves_nothing_behind() -> None:
    """Whoever gets its lanes waits for its end."""
    ended = subprocess.run(
        [sys.executable, "-c", LEAVES_A_TASK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout.splitlines()) == (0, ["let go"]), ended.stderr
