"""Accounts: names, roles, passwords, and what ends when one is disabled or reset."""

from __future__ import annotations

import pytest

from dashboards.people.accounts import AccountError
from dashboards.people.passwords import PasswordError, Passwords
from dashboards.people.roles import GrantError, Role, parsed
from dashboards.people.service import People, TooManyTriesError
from dashboards.people.sessions import Lifetimes
from koban.search.request import Scope
from tests.unit.dashboards.people.world import PASSWORD, SHELL, World


def test_who_knows_the_password_gets_in_whatever_the_case_of_the_name(world: World) -> None:
    world.add("kei@example.jp", "fraud", "finance")
    person = world.people.accounts.authenticated(" Kei@Example.jp ", PASSWORD)
    assert person is not None
    assert person.roles == {Role.FRAUD, Role.FINANCE}
    assert world.people.accounts.authenticated("kei@example.jp", PASSWORD + "x") is None
    assert world.people.accounts.authenticated("nobody", PASSWORD) is None
    assert world.people.accounts.authenticated("no name at all", PASSWORD) is None


def test_an_account_without_a_password_has_none_that_fits(world: World) -> None:
    world.add("sso", "auditor", password=None)
    for tried in ("", "the password of nobody"):
        assert world.people.accounts.authenticated("sso", tried) is None


@pytest.mark.parametrize(
    ("name", "roles", "said"),
    [
        ("kei", (), "at least one role"),
        ("kei", ("merchant",), "names its merchant"),
        ("kei", ("fraud:m-1",), "no other does"),
        ("kei", ("merchant:m-1", "finance"), "no second role"),
        ("kei", ("merchant:m-1", "merchant:m-2"), "one merchant"),
        ("-kei", ("fraud",), "letters"),
        ("k" * 101, ("fraud",), "letters"),
        ("there", ("fraud",), "already"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, name: str, roles: tuple[str, ...], said: str) -> None:
    world.add("there", "fraud")
    with pytest.raises((GrantError, AccountError), match=said):
        world.add(name, *roles)
    assert [account.name for account in world.people.accounts.all()] == ["there"]


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(GrantError, match="'king' is no role; there are fraud"):
        parsed("king")


@pytest.mark.parametrize("password", ["short", "a" * 20, "KeiKei-2026-!", "x" * 129])
def test_a_password_that_is_easy_to_guess_is_refused(world: World, password: str) -> None:
    with pytest.raises(PasswordError):
        world.add("kei", "fraud", password=password)


def test_a_merchant_is_held_to_its_brand_or_its_stores(world: World) -> None:
    assert world.add("brand", "merchant:m-1").scope == Scope.of_merchant("m-1")
    assert world.add("shop", "merchant:m-1/s-2", "merchant:m-1/s-1").scope == Scope.of_merchant("m-1", ("s-1", "s-2"))
    assert world.add("both", "merchant:m-1", "merchant:m-1/s-1").scope == Scope.of_merchant("m-1")
    assert world.add("staff", "finance").scope == Scope.operator()


@pytest.mark.parametrize("act", ["disable", "reset"])
def test_what_an_account_lets_in_by_ends_with_it(world: World, act: str) -> None:
    """Sessions, tokens and links; the token's owner may sign in anew after a reset, not when disabled."""
    people = world.people
    session = world.signed_in("kei", "fraud")
    token, _ = people.tokens.create("kei", Role.FRAUD, "probe", 10, SHELL)
    person = people.accounts.named("kei")
    assert person is not None
    code = people.sessions.make_code(person, 60, SHELL)
    if act == "disable":
        people.accounts.disable("kei", SHELL)
    else:
        people.accounts.reset("kei", "another battery staple", SHELL)
    world.later(2)
    assert people.by_session(session, reads=True) is None
    assert people.by_token(token, reads=True) is None
    assert people.sign_in_by_code(code, "127.0.0.1", "r") is None
    assert people.sign_in("kei", PASSWORD, "127.0.0.1", "r") is None
    again = people.sign_in("kei", "another battery staple", "127.0.0.1", "r")
    assert (again is None) == (act == "disable")
    if act == "disable":
        people.accounts.enable("kei", SHELL)
        assert people.sign_in("kei", PASSWORD, "127.0.0.1", "r") is not None


def test_a_hash_of_older_parameters_is_made_anew_at_the_next_sign_in(world: World) -> None:
    world.add("kei", "fraud")
    dearer = Passwords(time_cost=2, memory_kib=16)
    people = People(world.people.database, Lifetimes(60, 60), passwords=dearer, clock=lambda: world.now_us)
    assert people.accounts.authenticated("kei", PASSWORD) is not None
    with world.people.database.transaction() as session:
        from dashboards.people.models import User

        made = session.query(User).one().password_hash
    assert made is not None
    assert "m=16,t=2" in made
    assert people.accounts.authenticated("kei", PASSWORD) is not None


def test_tries_are_limited_by_account_and_by_address(world: World) -> None:
    """The right password, too, has to wait; after a while it is taken again."""
    world.add("kei", "fraud")
    people = world.people
    for number in range(6):
        assert people.sign_in("kei", "wrong", f"10.0.0.{number}", "r") is None
    with pytest.raises(TooManyTriesError) as stopped:
        people.sign_in("KEI", PASSWORD, "10.0.0.9", "r")
    world.later(stopped.value.wait_s)
    assert people.sign_in("kei", PASSWORD, "10.0.0.9", "r") is not None
    for number in range(20):
        assert people.sign_in(f"guess-{number}", "wrong", f"2001:db8::{number:x}", "r") is None
    with pytest.raises(TooManyTriesError):
        people.sign_in("guess-x", "wrong", "2001:db8::ffff", "r")
    assert people.sign_in("guess-x", "wrong", "2001:db8:0:1::1", "r") is None


def test_ones_own_password_is_changed_by_showing_the_old_one(world: World) -> None:
    people = world.people
    secret = world.signed_in("kei", "fraud")
    person = people.by_session(secret, reads=True)
    assert person is not None
    with pytest.raises(PasswordError, match="another"):
        people.change_password(person, "wrong", "another battery staple", SHELL)
    people.change_password(person, PASSWORD, "another battery staple", SHELL)
    assert people.by_session(secret, reads=True) is None
    assert people.sign_in("kei", "another battery staple", "127.0.0.1", "r") is not None
