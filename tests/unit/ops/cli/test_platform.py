"""The platform's commands without a platform: they say what to do, and their exit codes tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli import platform as commands
from ops.engines.doctor import Finding
from ops.platform import Status


def call(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(getattr(commands, command), arguments)


def row(name: str, health: str) -> Status:
    return Status(
        name=name,
        kind="engine",
        health=health,
        reason="[refused]",
        state="RUNNING",
        pid=7,
        uptime_s=3.0,
        restarts=1,
        rss_mb=100.5,
        endpoint="127.0.0.1:1",
        log="x.log",
    )


@pytest.mark.parametrize("command", ["status", "logs"])
def test_without_a_platform_the_way_to_one_is_said(tmp_path: Path, command: str) -> None:
    arguments = ["kafka"] if command == "logs" else []
    result = call(command, *arguments, "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert ("koban up" if command == "status" else "no log of 'kafka'") in result.output


def test_down_without_a_platform_is_fine(tmp_path: Path) -> None:
    assert call("down", "--data-dir", str(tmp_path)).exit_code == 0


def test_up_refuses_an_unknown_name_before_it_does_anything(tmp_path: Path) -> None:
    result = call("up", "--only", "kafak", "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert "unknown: kafak" in result.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("health", "code"), [("healthy", 0), ("starting", 1), ("stopped", 1)])
def test_status_is_one_object_and_its_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, health: str, code: int
) -> None:
    monkeypatch.setattr(commands.Platform, "status", lambda _: [row("kafka", "healthy"), row("flink", health)])
    result = call("status", "--json", "--data-dir", str(tmp_path))
    shown = json.loads(result.stdout)
    assert result.exit_code == code
    assert shown["ok"] is (code == 0)
    assert shown["rss_mb"] == 201.0
    assert [part["health"] for part in shown["components"]] == ["healthy", health]
    assert {"name", "state", "pid", "uptime_s", "restarts", "rss_mb", "endpoint"} <= set(shown["components"][0])


def test_status_for_people_shows_the_reason_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.Platform, "status", lambda _: [row("kafka", "unhealthy")])
    assert "[refused]" in call("status", "--data-dir", str(tmp_path)).stdout


def test_logs_shows_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "kafka.log").write_text("".join(f"{number}\n" for number in range(100)))
    result = call("logs", "kafka", "-n", "3", "--data-dir", str(tmp_path))
    assert result.stdout == "97\n98\n99\n"
    assert "there are: kafka" in call("logs", "kafak", "--data-dir", str(tmp_path)).output


@pytest.mark.parametrize("ok", [True, False])
def test_doctor_s_exit_code_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ok: bool) -> None:
    finding = Finding(name="disk", ok=ok, detail="[1 GB]", mend="" if ok else "free some")
    monkeypatch.setattr(commands, "examine", lambda _: [finding])
    result = call("doctor", "--json", "--data-dir", str(tmp_path))
    assert result.exit_code == (0 if ok else 1)
    assert json.loads(result.stdout)["checks"][0]["detail"] == "[1 GB]"
    assert "[1 GB]" in call("doctor", "--data-dir", str(tmp_path)).stdout
