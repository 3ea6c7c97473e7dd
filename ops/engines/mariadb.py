"""MariaDB, standing in for Aurora MySQL: the book that is queried with SQL."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pymysql

from ops.engines import lock, rootless
from ops.engines.cache import cache_dir, tree
from ops.engines.component import ASKED, Component
from ops.engines.fetch import fetch
from ops.engines.site import Site
from sinks.mysql import place_of

INNER_FOLDER = "linux"
"""The server lies in ``…/linux/`` of the jar."""
PROGRAMS = ("bin/mariadbd", "bin/my_print_defaults", "bin/resolveip", "scripts/mariadb-install-db")

OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--default-time-zone=+00:00",
    # The book appends to as many chains as there are accounts, each on a page of its own. What holds those pages, and
    # the log that lets one be written once for many lines, decide how fast it is; memory is used as it fills.
    "--innodb-buffer-pool-size=512M",
    "--innodb-log-file-size=512M",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=8M",
    "--performance-schema=OFF",
    "--max-connections=64",
    "--table-open-cache=256",
    "--max-allowed-packet=64M",
    "--local-infile=OFF",
    "--symbolic-links=OFF",
    # Else it makes itself a key pair at every start, which takes up to half a minute; it is on loopback only.
    "--skip-ssl",
    # Relative to the data directory: the path of a Unix socket must be short.
    "--socket=mariadb.sock",
    "--pid-file=mariadb.pid",
    "--init-file=koban.sql",
)

# Runs at every start. root stays without a password, so it is left to the socket, which only the engine's own user and
# root can reach; the network has the one user named in the settings.
INIT_SQL = """\
CREATE DATABASE IF NOT EXISTS `{database}`;
CREATE USER IF NOT EXISTS '{user}'@'127.0.0.1';
ALTER USER '{user}'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON `koban%`.* TO '{user}'@'127.0.0.1';
GRANT ALL ON `{database}`.* TO '{user}'@'127.0.0.1';
DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';
DELETE FROM mysql.global_priv WHERE User = '';
FLUSH PRIVILEGES;
"""


def installed() -> Path | None:
    """The unpacked server, if it is there already."""
    folder = cache_dir() / "trees" / _tree_name()
    return folder if folder.exists() else None


def _tree_name() -> str:
    return f"mariadb-{lock.digest(lock.read()['mariadb'])}"


def install() -> Path:
    """The unpacked server."""
    (jar,) = fetch(lock.read()["mariadb"], cache_dir() / "artifacts")

    def build(folder: Path) -> None:
        with zipfile.ZipFile(jar) as file:
            for info in file.infolist():
                _, found, inner = info.filename.partition(f"/{INNER_FOLDER}/")
                if not found or info.is_dir() or ".." in inner or inner.startswith("libs/"):
                    continue
                target = folder / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(info) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
        for path in folder.rglob("*"):
            runs = path.is_dir() or str(path.relative_to(folder)) in PROGRAMS
            path.chmod(0o755 if runs else 0o644)

    return tree(_tree_name(), build)


def prepare(site: Site) -> None:
    """Makes the system tables of an empty data directory, and the statements that run at each start."""
    server = install()
    folder = rootless.make(rootless.folder(site, "mariadb"))
    data = folder / "data"
    if not (data / "mysql").exists():
        _initialise(server, folder)
    rootless.write(data / "koban.sql", INIT_SQL.format(**_account(site)))


def _initialise(server: Path, folder: Path) -> None:
    """Into a fresh folder that gets its name when it is whole."""
    fresh = folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command = (
        "sh",
        str(server / "scripts" / "mariadb-install-db"),
        "--no-defaults",
        f"--basedir={server}",
        f"--datadir={fresh}",
        "--auth-root-authentication-method=normal",
        "--skip-name-resolve",
        "--skip-test-db",
        "--force",
    )
    rootless.run(command, directory=folder)
    shutil.rmtree(folder / "data", ignore_errors=True)
    fresh.rename(folder / "data")


def _account(site: Site) -> dict[str, str]:
    place = place_of(site.settings.mysql_url)
    parts = {
        "user": place["user"] or "koban",
        "password": place["password"],
        "database": place["database"],
    }
    if bad := [name for name, value in parts.items() if any(sign in value for sign in "'\"`\\\n\0")]:
        raise ValueError(f"KOBAN_MYSQL_URL: no quotes or backslashes in the {bad[0]}")
    return parts


def components(site: Site) -> tuple[Component, ...]:
    server = install()
    folder = rootless.folder(site, "mariadb")
    port = site.ports["mariadb"]
    paths = (f"--basedir={server}", f"--datadir={folder}/data", f"--lc-messages-dir={server}/share", f"--port={port}")
    return (
        Component(
            name="mariadb",
            command=(str(server / "bin" / "mariadbd"), "--no-defaults", *paths, *OPTIONS),
            probe=lambda: answers_query(site.settings.mysql_url),
            endpoint=f"127.0.0.1:{port}",
            directory=folder,
            sheds_root=True,
            stop_s_max=30,
            niceness=ASKED,
        ),
    )


def answers_query(mysql_url: str, timeout_s: int = 3) -> None:
    """Runs a query as the platform's user. Raises OSError when that fails."""
    try:
        connection = pymysql.connect(**place_of(mysql_url), connect_timeout=timeout_s, read_timeout=timeout_s)
    except pymysql.Error as error:
        raise OSError(str(error)) from error
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
