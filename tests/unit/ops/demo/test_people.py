"""The demo's people: their passwords and their link let them in, and a second demo on the same data makes new ones."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from dashboards.people.roles import Role
from dashboards.people.service import People
from koban.settings import Settings
from ops.demo.people import DemoPeople, make
from ops.demo.run import Plan, merchant_ids
from ops.simulator import World


def site(folder: Path) -> Settings:
    return Settings(data_dir=folder, lake_dir=folder, mysql_url=f"sqlite:///{folder / 'people.db'}")


def test_each_role_has_an_account_and_the_link_opens_all_of_the_platforms_own(tmp_path: Path) -> None:
    settings = site(tmp_path)
    first = make(settings, ["m-1", "m-2"])
    people = People.of(settings)
    assert len(first.accounts) == 8
    seen = set()
    for account in first.accounts:
        person = people.accounts.authenticated(account.name, account.password)
        assert person is not None
        seen |= {person.scope.merchant_id} | person.roles
    assert seen == {None, "m-1", "m-2", *Role}
    secret = people.sign_in_by_code(_code(first), "127.0.0.1", "r")
    assert secret is not None
    shown = people.by_session(secret, reads=True)
    assert shown is not None
    assert shown.roles == set(Role) - {Role.MERCHANT}
    people.close()


def test_a_second_demo_on_the_same_data_has_new_passwords(tmp_path: Path) -> None:
    settings = site(tmp_path)
    first, second = make(settings, ["m-1", "m-2"]), make(settings, ["m-1", "m-2"])
    people = People.of(settings)
    assert {one.password for one in first.accounts}.isdisjoint({one.password for one in second.accounts})
    assert people.accounts.authenticated(first.accounts[0].name, first.accounts[0].password) is None
    assert people.sign_in_by_code(_code(first), "127.0.0.1", "r") is None
    assert people.sign_in_by_code(_code(second), "127.0.0.1", "r") is not None
    people.close()


def test_the_merchants_are_the_busiest_of_the_demos_world(tmp_path: Path) -> None:
    plan = Plan(data_dir=tmp_path, seconds=1, tps=1, seed=5, users=700, merchants=40, check=False)
    world = World(plan.seed, plan.users, plan.merchants, 1_780_282_800_000_000)
    assert merchant_ids(plan, 2) == [merchant.id for merchant in world.population.merchants[:2]]


def _code(made: DemoPeople) -> str:
    return parse_qs(urlsplit(made.link).query)["code"][0]
