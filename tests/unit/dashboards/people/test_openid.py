"""Signing in by OpenID Connect, against a provider that signs real tokens; each way in which one may be wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from dashboards.people.openid import OpenId, OpenIdError
from dashboards.people.openid_routes import COOKIE
from koban.settings import Settings
from tests.unit.dashboards.people.browsers import Browser, House
from tests.unit.dashboards.people.world import START_US

ISSUER = "https://id.example"
SECRET = "a secret of 32 characters, at least"
KEY = RSAKey.generate_key(2048, {"kid": "k-1", "use": "sig", "alg": "RS256"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "k-1", "use": "sig", "alg": "RS256"})


class Provider(httpx.AsyncBaseTransport):
    """A provider: gives a code for what it was asked, and an id token for the code; ``claims`` change what it says."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.key: Any = KEY
        self.algorithm = "RS256"
        self.up = True
        self._asked: dict[str, str] = {}

    def consent(self, address: str) -> str:
        """The way back of somebody who says yes at the provider."""
        place = urlsplit(address)
        assert address.startswith(f"{ISSUER}/authorize?")
        self._asked = {name: values[0] for name, values in parse_qs(place.query).items()}
        assert self._asked["scope"].split()[0] == "openid"
        assert self._asked["redirect_uri"] == "http://127.0.0.1:8080/sign-in/oidc/back"
        return f"/sign-in/oidc/back?code=c-1&state={self._asked['state']}"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.up:
            raise httpx.ConnectError("down")
        match request.url.path:
            case "/.well-known/openid-configuration":
                ends = {f"{name}_endpoint": f"{ISSUER}/{path}" for name, path in
                        (("authorization", "authorize"), ("token", "token"))}  # fmt: skip
                return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", **ends})
            case "/keys":
                return httpx.Response(200, json=KeySet([KEY]).as_dict(private=False))
        return await self._token(request)

    async def _token(self, request: httpx.Request) -> httpx.Response:
        given = {name: values[0] for name, values in parse_qs((await request.aread()).decode()).items()}
        basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        proof = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"].encode()).digest()).decode().rstrip("=")
        if (basic, given["code"], proof) != (f"koban:{SECRET}", "c-1", self._asked["code_challenge"]):
            return httpx.Response(400, json={"error": "invalid_grant"})
        now_s = START_US // 1_000_000
        claims = {"iss": ISSUER, "aud": "koban", "sub": "s-1", "iat": now_s, "exp": now_s + 60, "email_verified": True}
        claims |= {"email": "kei@example.jp", "nonce": self._asked["nonce"], **self.claims}
        token = jwt.encode({"alg": self.algorithm, "kid": "k-1"}, claims, self.key, algorithms=[self.algorithm])
        return httpx.Response(200, json={"access_token": "x", "token_type": "Bearer", "id_token": token})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def house(tmp_path: Path, provider: Provider) -> Iterator[House]:
    with asyncio.Runner() as runner:
        named = {"OIDC_ISSUER": ISSUER, "OIDC_CLIENT_ID": "koban", "OIDC_CLIENT_SECRET": SECRET}
        made = House(runner, tmp_path, provider, **named)
        made.world.add("kei@example.jp", "finance", password=None)
        yield made
        made.close()


def there_and_back(browser: Browser, provider: Provider) -> httpx.Response:
    return browser.get(provider.consent(browser.get("/sign-in/oidc?next=/ledger").headers["location"]))


def test_whom_the_provider_vouches_for_is_signed_in(house: House, provider: Provider) -> None:
    browser = house.browser()
    assert "/sign-in/oidc" in browser.get("/sign-in").text
    answer = there_and_back(browser, provider)
    assert answer.headers["location"] == "/ledger"
    assert "kei@example.jp" in browser.get("/account").text


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"}, {"aud": "another"}, {"aud": ["koban", "another"]}, {"nonce": "another"},
        {"exp": START_US // 1_000_000 - 3_600}, {"email_verified": False}, {"email_verified": "true"}, {"email": ""},
        {"email": "stranger@example.jp"}, {"nonce": None},
    ],
)  # fmt: skip
def test_a_token_that_is_not_for_this_very_sign_in_lets_nobody_in(
    house: House, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    browser = house.browser()
    assert there_and_back(browser, provider).status_code == 401
    assert browser.get("/account").status_code == 303


def test_only_the_providers_own_signature_counts(house: House, provider: Provider) -> None:
    """Not another key under the same name, and not the client's secret, which others may know."""
    for key, algorithm in ((OTHER_KEY, "RS256"), (OctKey.import_key(SECRET), "HS256")):
        provider.key, provider.algorithm = key, algorithm
        assert there_and_back(house.browser(), provider).status_code == 401


def test_a_way_back_that_this_browser_did_not_begin_lets_nobody_in(house: House, provider: Provider) -> None:
    """Somebody else's code in a link, or the same one twice."""
    browser, victim = house.browser(), house.browser()
    way = provider.consent(browser.get("/sign-in/oidc").headers["location"])
    assert victim.get(way).status_code == 401
    victim.get("/sign-in/oidc")
    assert victim.get(way).status_code == 401
    victim.client.cookies.set(COOKIE, "x!", domain="127.0.0.1", path="/")
    assert house.browser().get("/sign-in/oidc/back").status_code == 401
    assert browser.get(way).is_redirect
    assert browser.get(way).status_code == 401


def test_a_disabled_account_stays_out(house: House, provider: Provider) -> None:
    from tests.unit.dashboards.people.world import SHELL

    house.world.people.accounts.disable("kei@example.jp", SHELL)
    assert there_and_back(house.browser(), provider).status_code == 401


def test_a_provider_that_is_away_is_told_and_passwords_still_work(house: House, provider: Provider) -> None:
    provider.up = False
    house.world.add("mei", "finance")
    browser = house.browser()
    assert browser.get("/sign-in/oidc").status_code == 503
    assert browser.sign_in("mei", "correct horse battery").is_redirect


def test_a_provider_is_asked_over_https_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, lake_dir=tmp_path, oidc_issuer="http://id.example")
    with pytest.raises(OpenIdError, match="has to be https"):
        OpenId(settings, lambda size: "x" * size)
