"""supervisord's configuration, as supervisord itself reads it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from ops.engines import apps, supervisor
from ops.engines.component import WAITED_FOR, WORKS, Component
from ops.engines.site import Site, plan
from ops.engines.supervisor import SOCKET_PATH_MAX, Supervisor, configuration, socket_path


@pytest.fixture
def here(tmp_path: Path) -> Site:
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    return plan(tmp_path, ("one",), (), {}, running=False)


def component(here: Site, **changes: object) -> Component:
    made: dict[str, object] = {
        "name": "one",
        "command": ("/bin/echo", "100 %", 'a "b"', "c;d", "\\e"),
        "probe": lambda: None,
        "endpoint": "",
        "directory": here.data_dir,
        **changes,
    }
    return Component(**made)  # type: ignore[arg-type]


def read(here: Site, part: Component) -> dict[str, object]:
    """The programs in the written file, by name."""
    path = Supervisor(here.data_dir).config_file
    path.write_text(configuration(here, [part]), "utf-8")
    options = ServerOptions()
    options.realize(["-c", str(path)])
    return {group.name: group.process_configs[0] for group in options.process_group_configs}


def test_a_command_arrives_word_by_word(here: Site) -> None:
    program = read(here, component(here))["one"]
    assert shlex.split(program.command)[-5:] == ["/bin/echo", "100 %", 'a "b"', "c;d", "\\e"]  # type: ignore[attr-defined]


def test_variables_arrive_as_they_are(here: Site) -> None:
    environ = {"KOBAN_X": 'a,b="c" 5%', "KOBAN_Y": "d\\e's;f", "PLAIN": "1"}
    program = read(here, component(here, environ=environ))["one"]
    assert program.environment == environ  # type: ignore[attr-defined]


def test_a_value_that_cannot_be_written_is_refused(here: Site) -> None:
    with pytest.raises(ValueError, match="both kinds of quotes"):
        configuration(here, [component(here, environ={"KOBAN_X": "'\""})])


def test_only_the_keeper_starts_by_itself_and_nothing_is_given_up(here: Site) -> None:
    programs = read(here, component(here))
    assert set(programs) == {"keeper", "one"}
    assert programs["keeper"].autostart  # type: ignore[attr-defined]
    assert not programs["one"].autostart  # type: ignore[attr-defined]
    assert programs["one"].stopasgroup  # type: ignore[attr-defined]
    assert programs["one"].killasgroup  # type: ignore[attr-defined]


def test_an_engine_that_refuses_root_is_started_as_another_user(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "engine_user", lambda: (65534, 65533))
    assert '"--user" "65534:65533"' in configuration(here, [component(here, sheds_root=True)])
    assert "--user" not in configuration(here, [component(here)])
    monkeypatch.setattr(supervisor, "engine_user", lambda: None)
    assert "--user" not in configuration(here, [component(here, sheds_root=True)])


@pytest.mark.parametrize(("niceness", "expected"), [(WORKS, WORKS), (WAITED_FOR, 0)])
def test_a_component_gives_way_as_far_as_it_should(here: Site, niceness: int, expected: int) -> None:
    """In the started process itself, and with its command as it was."""
    tell = (sys.executable, "-c", "import os, sys; print(os.nice(0), sys.argv[1:])", "--nice", "a b")
    program = read(here, component(here, command=tell, niceness=niceness))["one"]
    told = subprocess.run(shlex.split(program.command), capture_output=True, text=True, check=True)  # type: ignore[attr-defined]
    assert told.stdout.strip() == f"{min(os.nice(0) + expected, 19)} ['--nice', 'a b']"


def test_the_console_gives_way_to_nobody(tmp_path: Path) -> None:
    """Work in the topics waits for who looks at a page."""
    here = plan(tmp_path, (), apps.NAMES, {}, running=False)
    found = {part.name: part.niceness for part in apps.components(here)}
    assert found.pop(apps.CONSOLE) == WAITED_FOR
    assert set(found.values()) == {WORKS}


def test_a_socket_path_is_short_enough_for_the_kernel(tmp_path: Path) -> None:
    assert socket_path(Path("/d")) == Path("/d/run/supervisor.sock")
    deep = Path("/d" * 100)
    assert len(str(socket_path(deep))) <= SOCKET_PATH_MAX
    assert socket_path(deep) != socket_path(deep / "other")


def test_a_pid_file_of_a_stranger_proves_nothing(here: Site) -> None:
    import os

    own = Supervisor(here.data_dir)
    assert own.pid() is None
    own.pid_file.write_text(str(os.getpid()))
    assert own.pid() is None
    assert not own.answers()
