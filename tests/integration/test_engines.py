"""The engines as a whole: they come back from any kill where they were, keep to this machine, and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pymysql
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from koban.settings import Settings
from ops.engines.report import Health, read_report
from ops.engines.supervisor import Supervisor
from ops.platform import MARK, Platform, Status, leftovers, platform
from tests.integration.conftest import fresh_platform
from tests.waiting import wait_for

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

PATIENCE_S = 240
"""A loaded machine may be this slow; a quick one is done in seconds."""


def status(here: Platform, name: str) -> Status:
    return next(row for row in here.status() if row.name == name)


def kill_and_wait(here: Platform, name: str) -> Status:
    """Kills a component without warning; its status once it is well again."""
    before = status(here, name)
    os.kill(before.pid, signal.SIGKILL)

    def back() -> bool:
        now = status(here, name)
        return now.pid not in {0, before.pid} and now.health == Health.HEALTHY

    wait_for(back, f"{name} did not come back")
    return status(here, name)


def settings_of(here: Platform) -> Settings:
    return here.site().settings


def get(url: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict[str, object] = json.load(response)
    return found


def processes(here: Platform) -> Iterator[psutil.Process]:
    for row in here.status():
        process = psutil.Process(row.pid)
        yield from [process, *process.children(recursive=True)]


def test_a_killed_broker_is_back_on_its_port_with_its_records(engines: Platform) -> None:
    bootstrap = settings_of(engines).kafka_bootstrap
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics([NewTopic("kept", 1, 1)])
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    producer.send("kept", b"before").get(60)
    producer.close()

    after = kill_and_wait(engines, "kafka")

    assert after.restarts == 1
    assert after.endpoint == bootstrap
    consumer = KafkaConsumer("kept", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found: list[bytes] = []
    wait_for(lambda: found.extend(r.value for rs in consumer.poll(500).values() for r in rs) or found, "no record")
    consumer.close()
    assert found == [b"before"]


@pytest.mark.parametrize("name", ["flink-jobmanager", "flink-taskmanager", "opensearch", "mariadb"])
def test_any_killed_engine_is_back_where_it_was(engines: Platform, name: str) -> None:
    before = status(engines, name)
    after = kill_and_wait(engines, name)
    assert after.restarts == before.restarts + 1
    assert after.endpoint == before.endpoint


def test_the_taskmanager_offers_its_slots(engines: Platform) -> None:
    url = f"{settings_of(engines).flink_url}/overview"
    wait_for(lambda: get(url)["slots-total"] == 10, "no slots")


def test_japanese_is_taken_apart_into_words(engines: Platform) -> None:
    url = f"{settings_of(engines).opensearch_url}/_analyze"
    found = get(url, {"analyzer": "kuromoji", "text": "渋谷駅前店のコーヒー"})["tokens"]
    assert isinstance(found, list)
    assert [token["token"] for token in found][:2] == ["渋谷", "駅前"]


def test_a_misspelt_index_is_not_made(engines: Platform) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{settings_of(engines).opensearch_url}/paymets/_doc", {"a": 1})


def test_the_book_speaks_japanese_and_only_to_its_user(engines: Platform) -> None:
    url = urlsplit(settings_of(engines).mysql_url)
    place = {"host": url.hostname, "port": url.port, "database": "koban", "charset": "utf8mb4"}
    with pymysql.connect(user=url.username, password=url.password or "", **place) as book, book.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE words (word VARCHAR(20))")
        cursor.execute("INSERT INTO words VALUES (%s)", ["小判🪙"])
        cursor.execute("SELECT word FROM words")
        assert cursor.fetchall() == (("小判🪙",),)
    for user in ("root", "koban", ""):
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            pymysql.connect(user=user, password="", **place)


def test_nothing_listens_beyond_this_machine(engines: Platform) -> None:
    open_ports = [
        (process.name(), connection.laddr.ip, connection.laddr.port)
        for process in processes(engines)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    loopback = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert open_ports
    assert [found for found in open_ports if found[1] not in loopback] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to shed")
def test_as_root_the_engines_that_refuse_root_run_as_another_user(engines: Platform) -> None:
    for name in ("opensearch", "mariadb"):
        assert all(uid != 0 for uid in psutil.Process(status(engines, name).pid).uids())


def test_a_killed_keeper_takes_over_what_runs(engines: Platform) -> None:
    before = {row.name: (row.pid, row.restarts) for row in engines.status()}
    report = read_report(engines.data_dir)
    assert report is not None
    os.kill(report.keeper_pid, signal.SIGKILL)

    def new_keeper() -> bool:
        now = read_report(engines.data_dir)
        return now is not None and now.keeper_pid != report.keeper_pid

    wait_for(new_keeper, "no new keeper")
    assert {row.name: (row.pid, row.restarts) for row in engines.status()} == before


def test_memory_is_within_what_is_promised(engines: Platform) -> None:
    assert sum(row.rss_mb for row in engines.status()) < 4000


def test_two_platforms_run_side_by_side_and_leave_nothing(kafka: Settings) -> None:
    with fresh_platform("kafka") as other:
        assert other.kafka_bootstrap != kafka.kafka_bootstrap
        for settings in (kafka, other):
            with KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap) as admin:
                admin.list_topics()
    assert not other.data_dir.exists()
    assert leftovers(other.data_dir) == []
    assert status(Platform(kafka.data_dir), "kafka").health == Health.HEALTHY


def test_a_second_start_has_the_same_ports_and_says_what_runs() -> None:
    with fresh_platform("kafka") as first:
        here = Platform(first.data_dir)
        pid = status(here, "kafka").pid
        again = here.up(("kafka",), environ={})
        assert again.kafka_bootstrap == first.kafka_bootstrap
        assert status(here, "kafka").pid == pid
        here.down()
        assert [row.health for row in here.status()] == ["stopped"]
        with platform(first.data_dir, only=("kafka",)) as later:
            assert later.kafka_bootstrap == first.kafka_bootstrap


def test_when_the_supervisor_is_killed_all_ends_and_a_start_mends_it() -> None:
    with fresh_platform("kafka") as settings:
        here = Platform(settings.data_dir)
        broker = psutil.Process(status(here, "kafka").pid)
        assert broker.environ()[MARK] == str(settings.data_dir)
        supervisor = Supervisor(settings.data_dir).pid()
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
        broker.wait(PATIENCE_S)
        assert not here.running
        here.up(("kafka",), environ={})
        assert status(here, "kafka").health == Health.HEALTHY
