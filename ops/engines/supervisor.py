"""supervisord: its configuration for a platform, and the calls made to it over its socket."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from ops.engines import child
from ops.engines.component import Component
from ops.engines.rootless import engine_user
from ops.engines.site import Site

SOCKET_PATH_MAX = 100
"""Unix socket paths end at 104 to 108 bytes, and supervisord adds its process id for a moment."""
KEEPER = "keeper"
LOG_BYTES_MAX = "20MB"
LOG_BACKUPS = 3

HEAD = """\
[supervisord]
logfile={logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={run}/supervisord.pid
childlogdir={logs}
directory={data_dir}
umask=022
minfds=4096
{user}

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

PROGRAM = """
[program:{name}]
command={command}
directory={directory}
environment={environment}
autostart={autostart}
autorestart={autorestart}
startsecs=0
startretries=0
stopwaitsecs={stop_s_max}
stopsignal=TERM
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes={log_bytes_max}
stdout_logfile_backups={log_backups}
"""


def socket_path(data_dir: Path) -> Path:
    """The supervisor's socket: in the data directory, or under the temporary folder where that path is too long."""
    path = data_dir / "run" / "supervisor.sock"
    if len(str(path)) <= SOCKET_PATH_MAX:
        return path
    short = hashlib.sha256(str(data_dir).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"koban-{os.geteuid()}-{short}" / "supervisor.sock"


def configuration(site: Site, components: Iterable[Component]) -> str:
    """The text of ``supervisord.conf``: one program a component, and the keeper that decides when each runs."""
    head = HEAD.format(
        logs=_quoted(site.logs),
        run=_quoted(site.run),
        data_dir=_quoted(site.data_dir),
        socket=_quoted(socket_path(site.data_dir)),
        user="user=root" if os.geteuid() == 0 else "",  # said aloud, else supervisord warns of it
    )
    keeper = _program(
        site,
        KEEPER,
        (sys.executable, "-m", "ops.engines.keeper"),
        Path(__file__).resolve().parents[2],
        {"KOBAN_DATA_DIR": str(site.data_dir)},
        stop_s_max=10,
        always=True,
    )
    programs = [
        _program(
            site,
            component.name,
            _wrapped(component),
            component.directory,
            component.environ,
            stop_s_max=component.stop_s_max,
            always=False,
        )
        for component in components
    ]
    return "".join([head, keeper, *programs])


def _wrapped(component: Component) -> tuple[str, ...]:
    user = engine_user() if component.sheds_root else None
    shed = ("--user", f"{user[0]}:{user[1]}") if user else ()
    nice = ("--nice", str(component.niceness)) if component.niceness else ()
    return (sys.executable, "-I", "-S", str(Path(child.__file__)), *nice, *shed, *component.command)


def _program(
    site: Site,
    name: str,
    command: tuple[str, ...],
    directory: Path,
    environ: Mapping[str, str],
    *,
    stop_s_max: int,
    always: bool,
) -> str:
    # Restarts are the keeper's: it waits longer each time, and nothing is ever given up. Only the keeper itself is
    # started and restarted by supervisord.
    return PROGRAM.format(
        name=name,
        command=" ".join(map(_quoted_word, command)),
        directory=_quoted(directory),
        environment=",".join(f"{key}={_environment_value(value)}" for key, value in sorted(environ.items())),
        autostart=str(always).lower(),
        autorestart=str(always).lower(),
        stop_s_max=stop_s_max,
        logs=_quoted(site.logs),
        log_bytes_max=LOG_BYTES_MAX,
        log_backups=LOG_BACKUPS,
    )


def _quoted(value: object) -> str:
    """A value of the configuration file, which expands ``%(name)s``."""
    return str(value).replace("%", "%%")


def _environment_value(value: str) -> str:
    """A value in ``environment=``, where quotes protect but nothing escapes. Raises ValueError for both quotes."""
    quote = "'" if '"' in value else '"'
    if quote in value or "\n" in value:
        raise ValueError(f"a setting can't hold both kinds of quotes or a line break: {value!r}")
    return quote + _quoted(value) + quote


def _quoted_word(word: str) -> str:
    """A word of a command line that supervisord splits like a shell."""
    return '"' + _quoted(word).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Supervisor:
    """supervisord of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._socket = socket_path(data_dir)

    @property
    def pid_file(self) -> Path:
        return self.data_dir / "run" / "supervisord.pid"

    @property
    def config_file(self) -> Path:
        return self.data_dir / "run" / "supervisord.conf"

    def pid(self) -> int | None:
        """The process id of this data directory's supervisord, or None. A pid file alone proves nothing."""
        with suppress(OSError, ValueError, psutil.Error):
            pid = int(self.pid_file.read_text())
            if str(self.config_file) in psutil.Process(pid).cmdline():
                return pid
        return None

    def call(self, method: str, *arguments: Any) -> Any:
        """One call of the ``supervisor.*`` interface. Raises OSError or xmlrpc.client.Fault."""
        transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        # The address is a form the proxy insists on; the transport goes to the socket.
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def answers(self) -> bool:
        try:
            self.call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def processes(self) -> dict[str, dict[str, Any]]:
        """Process name → supervisord's information: ``statename``, ``pid``, ``start`` (s UTC), ``exitstatus``."""
        return {row["name"]: row for row in self.call("getAllProcessInfo")}

    def launch(self, environ: Mapping[str, str]) -> None:
        """Starts supervisord in the background. Raises TimeoutError when it does not answer."""
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.data_dir / "logs" / "supervisord.out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.data_dir,
                env=dict(environ),
            )
        deadline = time.monotonic() + 30
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"supervisord does not answer; see {self.data_dir}/logs/supervisord.out")
            time.sleep(0.05)
        _launched.append(process)

    def update(self) -> None:
        """Takes programs that the configuration gained; those that run stay as they are."""
        [[added, _changed, _removed]] = self.call("reloadConfig")
        for name in added:
            self.call("addProcessGroup", name)

    def start(self, name: str) -> None:
        self.call("startProcess", name, False)

    def stop(self, name: str, *, wait: bool = True) -> None:
        """Stops a component; one that is not running is fine."""
        with suppress(xmlrpc.client.Fault):
            self.call("stopProcess", name, wait)

    def shut_down(self, timeout_s: float = 30) -> None:
        """Ends supervisord itself."""
        pid = self.pid()
        if pid is None:
            return
        process = psutil.Process(pid)
        with suppress(OSError, xmlrpc.client.Error):
            self.call("shutdown")
        _, alive = psutil.wait_procs([process], timeout=timeout_s)
        for one in alive:
            one.kill()
        _launched[:] = [launched for launched in _launched if launched.poll() is None]


_launched: list[subprocess.Popen[bytes]] = []
"""Kept so that a supervisord started by this very process is reaped, and not reported as an abandoned child."""
