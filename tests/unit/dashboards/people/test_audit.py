"""The audit log: who did what, chained; and the first record that was tampered with is named."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import text

from dashboards.people import audit
from dashboards.people.models import AuditRecord
from dashboards.people.roles import Role
from tests.unit.dashboards.people.world import PASSWORD, SHELL, World


def records(world: World) -> list[AuditRecord]:
    return list(reversed(audit.newest(world.people.database, limit=200)))


def tamper(world: World, *statements: str) -> None:
    """As somebody who owns the database and takes its guards off first."""
    with world.people.database.engine.begin() as here:
        for statement in ("DROP TRIGGER audit_log_no_update", "DROP TRIGGER audit_log_no_delete", *statements):
            here.execute(text(statement))


def test_every_change_has_one_record_with_who_what_and_before_and_after(world: World) -> None:
    people = world.people
    secret = world.signed_in("kei", "fraud")
    _, token = people.tokens.create("kei", Role.FRAUD, "probe", 1, SHELL)
    people.revoke_token(token.token_id, SHELL, "kei")
    assert people.sign_in("kei", "wrong", "10.0.0.1", "r-2") is None
    people.sign_out(secret, SHELL)
    people.accounts.reset("kei", "another battery staple", SHELL)
    people.accounts.disable("kei", SHELL)
    acts = [record.action for record in records(world)]
    assert acts == [
        "users:add", "session:open", "tokens:create", "tokens:revoke", "session:refused", "session:close",
        "users:reset", "users:disable",
    ]  # fmt: skip
    opened, disabled = records(world)[1], records(world)[-1]
    assert (opened.actor, opened.roles, opened.request_id, opened.target) == ("kei", "fraud", "r-1", "kei")
    assert disabled.actor == "shell:root"
    assert json.loads(disabled.details)["before"] == {"disabled_at_us": None}
    assert PASSWORD not in " ".join(record.details for record in records(world))
    assert audit.verify(people.database).broken is None


@pytest.mark.parametrize(
    ("statements", "seq", "said"),
    [
        (["UPDATE audit_log SET target = 'mei' WHERE seq = 3"], 3, "not what was sealed"),
        (["UPDATE audit_log SET at_us = at_us + 1 WHERE seq = 5"], 5, "not what was sealed"),
        (["DELETE FROM audit_log WHERE seq = 2"], 2, "missing"),
        (["DELETE FROM audit_log WHERE seq >= 5"], 5, "removed"),
        (["UPDATE audit_log SET previous_sha256 = 'x' WHERE seq = 4"], 4, "does not follow"),
    ],
)
def test_the_first_record_that_was_tampered_with_is_named(
    world: World, statements: list[str], seq: int, said: str
) -> None:
    for number in range(6):
        world.people.record(SHELL, "letters:replay", f"l-{number}", {"number": number})
    tamper(world, *statements)
    broken = audit.verify(world.people.database).broken
    assert broken is not None
    assert broken.seq == seq
    assert said in broken.reason


def test_a_log_written_anew_is_told_by_a_hash_kept_elsewhere(world: World) -> None:
    """Whoever owns the database can recompute the chain; not what somebody noted down."""
    for number in range(3):
        world.people.record(SHELL, "letters:replay", f"l-{number}", {})
    noted = audit.verify(world.people.database)
    tamper(
        world, "DELETE FROM audit_log", f"UPDATE audit_head SET seq = 0, sha256 = '{audit.GENESIS}'",
    )  # fmt: skip
    assert audit.verify(world.people.database).broken is None
    assert audit.verify(world.people.database, (noted.head_seq, noted.head_sha256)).broken == audit.Break(
        1, "the log ends at 0, and was written up to 3: what follows was removed"
    )
    for number in range(3):
        world.people.record(SHELL, "letters:replay", f"other-{number}", {})
    broken = audit.verify(world.people.database, (noted.head_seq, noted.head_sha256)).broken
    assert broken is not None
    assert broken.seq == 3


def test_records_side_by_side_make_one_chain(world: World) -> None:
    """Two never follow the same one."""
    world.people.database.migrate()
    threads = [
        threading.Thread(target=lambda: [world.people.record(SHELL, "x:y", "t", {"n": n}) for n in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = audit.verify(world.people.database)
    assert (verdict.records, verdict.broken) == (40, None)


def test_pages_go_on_and_filters_hold(world: World) -> None:
    for number in range(5):
        world.people.record(SHELL, "letters:replay" if number % 2 else "rules:publish", f"t-{number}", {"n": "50%"})

    def page(text: str = "", after: int | None = None, falls: bool = True, **chosen: tuple[str, ...]) -> audit.Page:
        return audit.page(world.people.database, text=text, chosen=chosen, after=after, falls=falls, limit=2)

    def targets(found: audit.Page) -> list[str]:
        return [record.target for record in found.records]

    first = page()
    assert (targets(first), first.total, first.more) == (["t-4", "t-3"], 5, True)
    assert first.counts == {"action": {"rules:publish": 3, "letters:replay": 2}, "actor": {"shell:root": 5}}
    assert targets(page(after=first.records[-1].seq)) == ["t-2", "t-1"]
    assert targets(page(falls=False, after=4)) == ["t-4"]
    chosen = page(action=("letters:replay",))
    assert (targets(chosen), chosen.more) == (["t-3", "t-1"], False)
    assert chosen.counts["action"]["rules:publish"] == 3, "what else could be chosen"
    assert targets(page(text="50% t-2")) == ["t-2"]
    assert not page(text="5_%").records
    assert [r.target for r in audit.newest(world.people.database, action="letters:", limit=9)] == ["t-3", "t-1"]


def test_details_that_are_too_long_are_kept_by_their_hash(world: World) -> None:
    world.people.record(SHELL, "rules:publish", "r", {"text": "あ" * 100_000})
    kept = json.loads(records(world)[0].details)
    assert kept["beginning"].startswith('{"text":"あ')
    assert len(kept["sha256"]) == 64
    assert audit.verify(world.people.database).broken is None
