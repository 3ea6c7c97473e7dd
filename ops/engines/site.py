"""A platform's place: its data directory, its ports and who runs in it, kept in ``platform.json``."""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from koban.settings import Settings

ENDPOINTS: dict[str, str] = {
    "kafka": "kafka_bootstrap",
    "opensearch": "opensearch_url",
    "mariadb": "mysql_url",
    "dynamodb": "dynamodb_url",
    "flink": "flink_url",
    "console": "console_url",
}
"""Port name → the setting that says where it is."""

INNER_PORTS = ("kafka-controller", "flink-rpc", "opensearch-transport", "keeper")
"""Ports that only the engines themselves use, and that of the keeper's own pages."""

SECRET_BYTES = 16
"""Of the secrets that a platform makes for itself, once, and keeps in ``platform.json``."""

FOR_LIFE = ("KOBAN_PAYMENT_PARTITIONS",)
"""Settings that a data directory keeps from its first start on."""

PORT_MIN, PORT_MAX = 15_000, 32_000
"""Ports are taken below the range from which the system gives outgoing connections theirs: a client that keeps dialling
the port of a broker that is down could otherwise be given that very port and connect to itself."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A platform's settings and ports. What ``platform.json`` holds."""

    settings: Settings
    ports: dict[str, int]
    """Port name → loopback port."""
    metrics_ports: dict[str, int] = msgspec.field(default_factory=dict)
    """Worker → port of its health and metrics pages."""
    components: tuple[str, ...] = ()
    """Names of the chosen components."""

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def run(self) -> Path:
        """Sockets, pid files and the state the keeper reports."""
        return self.data_dir / "run"


def platform_file(data_dir: Path) -> Path:
    return data_dir / "platform.json"


def load(data_dir: Path) -> Site | None:
    """The site remembered in a data directory, or None. Raises ValueError when the file is damaged."""
    try:
        text = platform_file(data_dir).read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        known = json.loads(text)
        environ = {name: value for name, value in known.items() if name.startswith("KOBAN_")}
        settings = Settings.from_environ({**environ, "KOBAN_DATA_DIR": str(data_dir)})
        return Site(
            settings=settings,
            ports=known["ports"],
            metrics_ports=known["metrics_ports"],
            components=tuple(known["components"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{platform_file(data_dir)} is damaged ({error}); remove it and run `koban up`") from error


def save(site: Site) -> None:
    """Writes ``platform.json`` whole; readable by its owner alone."""
    content = {
        **site.settings.environ(),
        "ports": site.ports,
        "metrics_ports": site.metrics_ports,
        "components": list(site.components),
    }
    path = platform_file(site.data_dir)
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    fresh.chmod(0o600)
    fresh.rename(path)


def write_targets(site: Site) -> None:
    """Writes ``run/targets.json``: where each process has its ``/metrics``, as Prometheus reads it."""
    ports = {**site.metrics_ports, "console": site.ports["console"]}
    if "keeper" in site.ports:
        ports["keeper"] = site.ports["keeper"]
    chosen = {name: port for name, port in ports.items() if name in site.components or name == "keeper"}
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"process": name}} for name, port in chosen.items()]
    path = site.run / "targets.json"
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps(targets, indent=1) + "\n", "utf-8")
    fresh.rename(path)


def merged_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the environment over those of the platform in its data directory over the defaults."""
    data_dir = Settings.from_environ(environ).data_dir.absolute()
    site = load(data_dir)
    remembered = site.settings.environ() if site else {}
    return Settings.from_environ({**remembered, **environ, "KOBAN_DATA_DIR": str(data_dir)})


def plan(
    data_dir: Path, components: tuple[str, ...], workers: tuple[str, ...], environ: Mapping[str, str], *, running: bool
) -> Site:
    """The site to start: endpoints named by the environment, else remembered, else free ones.

    While the platform runs, remembered ports stay. Otherwise a remembered port that somebody else took meanwhile is
    replaced, unless the environment names it. Raises ValueError for a chosen engine whose endpoint is named elsewhere.
    """
    known = load(data_dir)
    chooser = _Chooser(known.ports | known.metrics_ports if known else {}, running=running)
    ports: dict[str, int] = {}
    for name, setting in ENDPOINTS.items():
        named = environ.get(f"KOBAN_{setting.upper()}")
        local = _named_port(named) if named else None
        if named and local is None and any(part.startswith(name) for part in components):
            raise ValueError(f"KOBAN_{setting.upper()}={named!r} is elsewhere; engines are started on 127.0.0.1 only")
        ports[name] = local or chooser.port(name)
    ports |= {name: chooser.port(name) for name in INNER_PORTS}
    metrics_ports = {worker: chooser.port(worker) for worker in workers}
    made = {
        "KOBAN_KAFKA_BOOTSTRAP": f"127.0.0.1:{ports['kafka']}",
        "KOBAN_OPENSEARCH_URL": f"http://127.0.0.1:{ports['opensearch']}",
        "KOBAN_MYSQL_URL": f"mysql://koban:{_password(known)}@127.0.0.1:{ports['mariadb']}/koban",
        "KOBAN_FLINK_URL": f"http://127.0.0.1:{ports['flink']}",
        "KOBAN_CONSOLE_URL": f"http://127.0.0.1:{ports['console']}",
        "KOBAN_LEDGER_TOKEN": (known and known.settings.ledger_token) or secrets.token_urlsafe(SECRET_BYTES),
    }
    if "dynamodb" in components:
        made["KOBAN_DYNAMODB_URL"] = f"http://127.0.0.1:{ports['dynamodb']}"
    remembered = known.settings.environ() if known else {}
    if not running:
        # Limits are those of this start; what is fixed for the life of the data stays.
        remembered = {name: value for name, value in remembered.items() if name in FOR_LIFE}
    settings = Settings.from_environ({**remembered, **made, **environ, "KOBAN_DATA_DIR": str(data_dir)})
    return Site(settings=settings, ports=ports, metrics_ports=metrics_ports, components=components)


def _password(known: Site | None) -> str:
    """The database user's password: made once, kept in ``platform.json``, which only its owner reads."""
    remembered = urlsplit(known.settings.mysql_url).password if known else None
    return remembered or secrets.token_urlsafe(SECRET_BYTES)


def port_of(address: str) -> int:
    """The port of ``host:port`` or of a URL. Raises ValueError when there is none."""
    port = urlsplit(address if "//" in address else f"//{address}").port
    if port is None:
        raise ValueError(f"{address!r} names no port")
    return port


def _named_port(address: str) -> int | None:
    """The port of an address on this machine; None when it is elsewhere."""
    host = urlsplit(address if "//" in address else f"//{address}").hostname
    return port_of(address) if host in {"127.0.0.1", "localhost"} else None


class _Chooser:
    """Hands out remembered ports, and free ones for names it has not seen."""

    def __init__(self, remembered: Mapping[str, int], *, running: bool) -> None:
        self._remembered = remembered
        self._running = running
        self._given = set(remembered.values())

    def port(self, name: str) -> int:
        known = self._remembered.get(name)
        if known is not None:
            if self._running or is_free(known):
                return known
            print(f"port {known} of {name} is taken by another program; choosing a new one", file=sys.stderr)  # noqa: T201  # progress
        return self._free()

    def _free(self) -> int:
        for _ in range(1000):
            port = random.randint(PORT_MIN, PORT_MAX)
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        raise OSError(f"no free port between {PORT_MIN} and {PORT_MAX}")


def is_free(port: int) -> bool:
    """Whether a program could listen on a loopback port now."""
    with socket.socket() as probe:
        # Engines listen with this option too: connections of the last run that are still closing don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
