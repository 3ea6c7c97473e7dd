"""A platform's place: ports are chosen once, remembered, and never another program's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ops.engines import site
from ops.engines.site import Site, plan, port_of

WORKERS = ("gate", "ledger")


def planned(data_dir: Path, environ: dict[str, str] | None = None, *, running: bool = False) -> Site:
    made = plan(data_dir, ("kafka",), WORKERS, environ or {}, running=running)
    site.save(made)
    return made


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_first_start_takes_free_ports_below_the_system_s_own_range(tmp_path: Path) -> None:
    made = planned(tmp_path)
    ports = [*made.ports.values(), *made.metrics_ports.values()]
    assert len(set(ports)) == len(ports) == len(site.ENDPOINTS) + len(site.INNER_PORTS) + len(WORKERS)
    assert all(site.PORT_MIN <= port <= site.PORT_MAX for port in ports)
    assert made.settings.kafka_bootstrap == f"127.0.0.1:{made.ports['kafka']}"
    assert port_of(made.settings.console_url) == made.ports["console"]


def test_the_next_start_has_the_same_ports_and_password(tmp_path: Path) -> None:
    assert planned(tmp_path) == planned(tmp_path)


def test_what_is_saved_is_loaded_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = planned(tmp_path)
    assert site.load(tmp_path) == made
    assert site.platform_file(tmp_path).stat().st_mode & 0o777 == 0o600
    written = json.loads(site.platform_file(tmp_path).read_text("utf-8"))
    assert written["KOBAN_KAFKA_BOOTSTRAP"] == made.settings.kafka_bootstrap
    assert written["metrics_ports"] == made.metrics_ports


def test_prometheus_is_told_where_every_chosen_process_listens(tmp_path: Path) -> None:
    """Each with its name; the keeper always, what was not chosen never."""
    made = msgspec.structs.replace(planned(tmp_path), components=(WORKERS[0], "kafka"))
    made.run.mkdir()
    site.write_targets(made)
    targets = json.loads((made.run / "targets.json").read_text("utf-8"))
    assert targets == [
        {"targets": [f"127.0.0.1:{made.metrics_ports[WORKERS[0]]}"], "labels": {"process": WORKERS[0]}},
        {"targets": [f"127.0.0.1:{made.ports['keeper']}"], "labels": {"process": "keeper"}},
    ]


def test_a_port_that_another_program_took_is_replaced(
    tmp_path: Path, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    made = planned(tmp_path)
    site.save(Site(settings=made.settings, ports={**made.ports, "kafka": taken}, metrics_ports=made.metrics_ports))
    again = planned(tmp_path)
    assert again.ports["kafka"] != taken
    assert again.ports | {"kafka": 0} == made.ports | {"kafka": 0}
    assert f"port {taken} of kafka is taken" in capsys.readouterr().err


def test_while_the_platform_runs_its_ports_stay(tmp_path: Path, taken: int) -> None:
    made = planned(tmp_path)
    site.save(Site(settings=made.settings, ports={**made.ports, "kafka": taken}, metrics_ports=made.metrics_ports))
    assert planned(tmp_path, running=True).ports["kafka"] == taken


def test_a_named_endpoint_wins(tmp_path: Path) -> None:
    made = planned(tmp_path, {"KOBAN_KAFKA_BOOTSTRAP": "127.0.0.1:19999"})
    assert made.ports["kafka"] == 19999
    assert made.settings.kafka_bootstrap == "127.0.0.1:19999"


def test_an_engine_is_not_started_when_its_endpoint_is_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="KOBAN_KAFKA_BOOTSTRAP"):
        planned(tmp_path, {"KOBAN_KAFKA_BOOTSTRAP": "kafka.example:9092"})


def test_what_is_not_started_here_may_be_elsewhere(tmp_path: Path) -> None:
    made = planned(tmp_path, {"KOBAN_FLINK_URL": "http://flink.example:8081"})
    assert made.settings.flink_url == "http://flink.example:8081"


def test_limits_are_those_of_the_start_but_partitions_are_for_life(tmp_path: Path) -> None:
    planned(tmp_path, {"KOBAN_BATCH_RECORDS_MAX": "7", "KOBAN_PAYMENT_PARTITIONS": "8"})
    again = planned(tmp_path)
    assert again.settings.batch_records_max != 7
    assert again.settings.payment_partitions == 8


def test_settings_are_the_environment_over_the_platform_over_the_defaults(tmp_path: Path) -> None:
    made = planned(tmp_path)
    environ = {"KOBAN_DATA_DIR": str(tmp_path), "KOBAN_FLINK_URL": "http://127.0.0.1:1"}
    found = site.merged_settings(environ)
    assert found.kafka_bootstrap == made.settings.kafka_bootstrap
    assert found.flink_url == "http://127.0.0.1:1"


def test_without_a_platform_there_are_the_defaults(tmp_path: Path) -> None:
    assert site.load(tmp_path) is None
    assert site.merged_settings({"KOBAN_DATA_DIR": str(tmp_path)}).kafka_bootstrap == "127.0.0.1:9092"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"ports": {}, "metrics_ports": {}}'])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    site.platform_file(tmp_path).write_text(text)
    with pytest.raises(ValueError, match="remove it and run `koban up`"):
        site.load(tmp_path)
