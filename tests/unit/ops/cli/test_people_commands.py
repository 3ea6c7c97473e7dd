"""``koban users``, ``tokens`` and ``audit``: what they do, and that no password is an argument."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from ops.cli.main import main
from tests.unit.dashboards.people.world import PASSWORD


class Shell:
    """The command line on a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.database = f"sqlite:///{folder / 'people.db'}"
        self._environ = {"KOBAN_DATA_DIR": str(folder), "KOBAN_MYSQL_URL": self.database}

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        result = CliRunner(env=self._environ).invoke(main, [*arguments], input=stdin)
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.output

    def json(self, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", stdin=stdin, code=code))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_an_account_from_beginning_to_end(shell: Shell) -> None:
    assert shell.json("users", "add", "Kei", "--role", "fraud", "--role", "finance", stdin=PASSWORD + "\n") == {
        "name": "kei",
        "roles": ["finance", "fraud"],
    }
    shell("users", "add", "shop", "--role", "merchant:m-1/s-2", stdin=PASSWORD)
    shell("users", "add", "sso", "--role", "auditor", "--no-password")
    assert "merchant:m-1/s-2" in shell("users", "list")
    shell("users", "disable", "kei")
    shell("users", "reset", "shop", stdin="another battery staple")
    listed = {one["name"]: one for one in shell.json("users", "list")["users"]}
    assert {name: one["disabled_at_us"] is not None for name, one in listed.items()} == {
        "kei": True, "shop": False, "sso": False,
    }  # fmt: skip
    assert not listed["sso"]["has_password"]
    shell("users", "enable", "kei")
    acts = [record["action"] for record in shell.json("audit", "show")["records"]]
    assert acts == ["users:enable", "users:reset", "users:disable", "users:add", "users:add", "users:add"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("users", "add", "kei", "--role", "king"), PASSWORD, "'king' is no role"),
        (("users", "add", "kei", "--role", "fraud"), "short\n", "12 to 128"),
        (("users", "disable", "nobody"), "", "no account 'nobody'"),
        (("tokens", "create", "nobody", "--role", "fraud", "--label", "x"), "", "no enabled account"),
        (("tokens", "revoke", "none"), "", "no token"),
    ],
)
def test_what_cannot_be_is_told(shell: Shell, arguments: tuple[str, ...], stdin: str, said: str) -> None:
    assert said in shell(*arguments, stdin=stdin, code=1)


def test_a_password_comes_by_stdin_or_not_at_all(shell: Shell) -> None:
    assert "stdin" in shell("users", "add", "kei", "--role", "fraud", code=2)
    assert "No such option" in shell("users", "add", "kei", "--role", "fraud", "--password", "x", code=2)


def test_a_token_is_printed_once(shell: Shell) -> None:
    shell("users", "add", "kei", "--role", "fraud", stdin=PASSWORD)
    made = shell.json("tokens", "create", "kei", "--role", "fraud", "--label", "[b]probe", "--days", "3")
    assert made["token"].startswith("koban_")
    (row,) = shell.json("tokens", "list", "--user", "kei")["tokens"]
    assert made["token"] not in json.dumps(row)
    assert "[b]probe" in shell("tokens", "list")
    shell("tokens", "revoke", row["token_id"])
    assert shell.json("tokens", "list")["tokens"][0]["revoked_at_us"] is not None


def test_the_audit_log_is_verified_and_the_first_broken_record_named(shell: Shell) -> None:
    for name in ("kei", "mei", "rei"):
        shell("users", "add", name, "--role", "fraud", stdin=PASSWORD)
    whole = shell.json("audit", "verify")
    assert (whole["ok"], whole["records"]) == (True, 3)
    head = f"{whole['head']['seq']}:{whole['head']['sha256']}"
    assert head in shell("audit", "verify", "--head", head)
    engine = create_engine(shell.database)
    with engine.begin() as here:
        here.execute(text("DROP TRIGGER audit_log_no_update"))
        here.execute(text("UPDATE audit_log SET actor = 'nobody' WHERE seq = 2"))
    engine.dispose()
    broken = shell.json("audit", "verify", code=1)
    assert broken["broken"] == {"seq": 2, "reason": "its content is not what was sealed"}
    assert "record 2" in shell("audit", "verify", code=1)
    assert "SEQ:HASH" in shell("audit", "verify", "--head", "x", code=2)
