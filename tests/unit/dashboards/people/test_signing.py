"""Signing in and out as a browser does it: cookies, ways back, forms of others, tokens, limits."""

from __future__ import annotations

import json

import pytest

from dashboards.people import audit
from dashboards.people.database import Database
from dashboards.people.paths import local
from dashboards.people.roles import Role
from schemas.errors import Transient
from tests.unit.dashboards.people.browsers import House, token_on
from tests.unit.dashboards.people.world import IDLE_S, PASSWORD, SHELL


def acts(house: House) -> list[str]:
    return [record.action for record in reversed(audit.newest(house.world.people.database, limit=100))]


def test_who_is_not_signed_in_signs_in_and_comes_back(house: House) -> None:
    house.world.add("kei", "finance")
    browser = house.browser()
    asked = browser.get("/payments?q=1200円")
    assert asked.status_code == 303
    page = browser.get(asked.headers["location"])
    assert page.status_code == 200
    answer = browser.post(
        "/sign-in", {"csrf": token_on(page), "name": "kei", "password": PASSWORD, "next": "/payments?q=1200%E5%86%86"}
    )
    assert answer.headers["location"] == "/payments?q=1200%E5%86%86"
    cookie = answer.headers["set-cookie"]
    for part in ("koban_session=", "HttpOnly", "SameSite=lax", "Path=/"):
        assert part in cookie, part
    assert browser.get("/account").status_code == 200


def test_over_https_the_cookie_is_secure_and_of_this_host_alone(house: House) -> None:
    house.world.add("kei", "finance")
    browser = house.browser()
    browser.client.base_url = "https://127.0.0.1:8080"  # type: ignore[assignment]  # httpx makes a URL of it
    cookies = browser.sign_in("kei", PASSWORD).headers.get_list("set-cookie")
    (session,) = (cookie for cookie in cookies if cookie.startswith("__Host-koban="))
    assert "Secure" in session
    assert "Domain" not in session


def test_a_wrong_password_and_an_unknown_name_look_the_same(house: House) -> None:
    house.world.add("kei", "finance")
    pages = [house.browser().sign_in(name, "wrong") for name in ("kei", "nobody")]
    assert [page.status_code for page in pages] == [401, 401]
    assert pages[0].text.replace(token_on(pages[0]), "") == pages[1].text.replace(token_on(pages[1]), "")
    assert acts(house) == ["users:add", "session:refused", "session:refused"]


def test_too_many_tries_have_to_wait(house: House) -> None:
    browser = house.browser()
    answers = [browser.sign_in("kei", "wrong") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 6 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "path",
    ["//evil.example/x", "/\\evil.example", "https://evil.example", "evil", "/a\r\nb", "/\tx", "js:x", "/sign-out"],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_signing_in(house: House, path: str) -> None:
    assert local(path) == ""
    house.world.add("kei", "finance")
    assert house.browser().sign_in("kei", PASSWORD, back=path).headers["location"] == "/"


def test_signing_out_ends_the_session_on_the_server(house: House) -> None:
    """A copy of the cookie is worth nothing afterwards."""
    browser = house.browser("kei", "finance")
    copy = house.browser()
    copy.has_session(browser.session)
    assert copy.get("/account").status_code == 200
    assert browser.send("/account", "/sign-out").headers["location"] == "/sign-in"
    assert copy.get("/account").headers["location"] == "/sign-in?next=%2Faccount"


def test_an_expired_session_goes_to_the_sign_in_and_data_gets_a_401(house: House) -> None:
    browser = house.browser("kei", "finance")
    house.world.later(IDLE_S)
    assert browser.get("/payments?q=1").headers["location"] == "/sign-in?next=%2Fpayments%3Fq%3D1"
    answer = browser.get("/payments.json")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert browser.get("/live", headers={"accept": "text/event-stream"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"},
     {"origin": "null"}],
)  # fmt: skip
def test_a_form_from_elsewhere_changes_nothing(house: House, headers: dict[str, str]) -> None:
    """Even with the right token."""
    browser = house.browser("kei", "finance")
    token = token_on(browser.get("/account"))
    assert browser.post("/sign-out", {"csrf": token}, headers=headers).status_code == 403
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_its_sessions_token_changes_nothing(house: House, token: str) -> None:
    browser, other = house.browser("kei", "finance"), house.browser("mei", "finance")
    others = token_on(other.get("/account"))
    for given in (token, others):
        assert browser.post("/account/sign-out-everywhere", {"csrf": given}).status_code == 403
    assert house.browser().post("/sign-in", {"csrf": token, "name": "kei", "password": PASSWORD}).status_code == 403
    assert browser.get("/account").status_code == 200


def test_the_token_may_come_in_a_header(house: House) -> None:
    """As scripts of our pages send it."""
    browser = house.browser("kei", "finance")
    token = token_on(browser.get("/account"))
    assert browser.post("/sign-out", {}, headers={"x-csrf-token": token, "sec-fetch-site": "same-origin"}).is_redirect


def test_a_link_signs_in_once(house: House) -> None:
    person = house.world.add("kei", "finance")
    code = house.world.people.sessions.make_code(person, 60, SHELL)
    browser = house.browser()
    assert browser.get(f"/sign-in/once?code={code}&next=/ledger").headers["location"] == "/ledger"
    assert browser.get("/account").status_code == 200
    assert house.browser().get(f"/sign-in/once?code={code}").status_code == 401


def test_a_token_opens_what_its_role_may_and_needs_no_form_token(house: House) -> None:
    house.world.add("kei", "finance", "fraud")
    token, _ = house.world.people.tokens.create("kei", Role.FRAUD, "probe", 1, SHELL)
    program = house.browser(authorization=f"Bearer {token}")
    assert program.get("/ledger.json").status_code == 403, "finance's, not fraud's"
    assert program.get("/v1/trial-balance").status_code == 503, "let in; MySQL is away"
    assert program.get("/account").status_code == 403, "a token changes no account"
    for wrong in ("Bearer ", "Bearer x", f"Bearer {token}x", "Basic eDp4"):
        assert house.browser(authorization=wrong).get("/v1/trial-balance").status_code == 401, wrong


def test_ones_own_tokens_are_made_shown_once_and_revoked(house: House) -> None:
    browser = house.browser("kei", "finance")
    page = browser.send("/account", "/account/tokens", label="<b>close</b>", role="finance", days="30")
    secret = page.text.split('class="mono secret">')[1].split("<")[0]
    assert secret.startswith("koban_")
    assert "&lt;b&gt;close&lt;/b&gt;" in page.text
    assert secret not in browser.get("/account").text
    assert house.browser(authorization=f"Bearer {secret}").get("/ledger.json").status_code == 200
    (row,) = house.world.people.tokens.of("kei")
    assert browser.send("/account", f"/account/tokens/{row.token_id}/revoke").is_redirect
    assert house.browser(authorization=f"Bearer {secret}").get("/ledger.json").status_code == 401
    for fields in ({"role": "operator"}, {"role": "king"}, {"days": "0"}, {"days": "x"}, {"label": " "}):
        wanted = {"label": "x", "role": "finance", "days": "1", **fields}
        assert browser.send("/account", "/account/tokens", **wanted).status_code == 400, fields
    mei = house.browser("mei", "finance")
    assert mei.send("/account", f"/account/tokens/{row.token_id}/revoke").status_code == 404


def test_a_changed_password_ends_the_other_sessions(house: House) -> None:
    browser = house.browser("kei", "finance")
    before = browser.session
    fields = {"old_password": PASSWORD, "new_password": "another battery staple"}
    assert browser.send("/account", "/account/password", **{**fields, "old_password": "x"}).status_code == 400
    assert browser.send("/account", "/account/password", **fields).headers["location"] == "/account?done=password"
    assert browser.session != before
    assert browser.get("/account").status_code == 200
    other = house.browser()
    other.has_session(before)
    assert other.get("/account").status_code == 303


def test_exports_are_in_the_log_with_what_was_asked_for(house: House) -> None:
    browser = house.browser("kei", "auditor")
    answer = browser.get("/audit.json?actor=kei&password=hunter2")
    assert answer.status_code == 200
    record = audit.newest(house.world.people.database, limit=1)[0]
    assert (record.actor, record.roles) == ("kei", "auditor")
    assert (record.action, record.target) == ("audit:export", "/audit.json")
    assert json.loads(record.details) == {"path": "/audit.json", "parameters": {"actor": "kei"}}
    assert record.request_id == answer.headers["x-request-id"]
    rows = browser.get("/audit?action=audit:export&lang=en").text.split("<tbody>")[1]
    assert "audit:export" in rows
    assert "session:open" not in rows


def test_text_in_the_log_stays_text(house: House) -> None:
    """Whatever somebody put into an address or a name."""
    browser = house.browser("kei", "auditor")
    browser.get("/audit.json", params={"actor": "<script>alert(1)</script>", "target": "=1+1"})
    page = browser.get("/audit", params={"actor": "", "target": ""}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    echoed = browser.get("/audit", params={"actor": '"><img src=x>'}).text
    assert "<img src=x" not in echoed


def test_nobody_gets_in_while_the_accounts_cannot_be_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed, with a page that says so; health stays open for the supervisor, and nothing is exported unrecorded."""
    browser, stranger = house.browser("kei", "operator"), house.browser()
    assert browser.get("/").status_code == 200

    def away(_: Database) -> None:
        raise Transient("away")

    token = token_on(browser.get("/account"))
    monkeypatch.setattr(Database, "transaction", away)
    stranger.has_session("x" * 43)
    house.world.later(5)
    assert stranger.get("/").status_code == 503
    assert stranger.get("/-/ready").status_code == 200
    assert stranger.get("/metrics").status_code == 200
    assert browser.get("/").status_code == 200, "who was in looks on at what is down"
    assert browser.get("/ledger.json").status_code == 503
    assert browser.post("/sign-out", {"csrf": token}).status_code == 503
    assert stranger.get("/sign-in").status_code == 200


def test_a_form_has_a_size(house: House) -> None:
    answer = house.browser().post("/sign-in", {"name": "x" * 100_000})
    assert answer.status_code == 413
