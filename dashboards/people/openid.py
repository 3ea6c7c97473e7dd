"""OpenID Connect: the authorization code flow with PKCE. Whoever the provider vouches for signs in to their account.

The provider says who somebody is and whether a second factor was shown; what they may is the account's own. Nobody gets
an account by it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dashboards.people.credentials import SECRET_BYTES, Randomness
from koban.settings import Settings
from schemas.errors import Transient

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures with the provider's own key; never ``none``, never one that the client's secret would make."""
ANSWER_S_MAX = 5.0
ANSWER_BYTES_MAX = 1_000_000
CLOCK_SKEW_S = 60
BACK = "/sign-in/oidc/back"


class OpenIdError(ValueError):
    """The provider's answer is not one that lets anybody in; says why."""


class Start(msgspec.Struct, frozen=True):
    """A sign-in under way; kept in the browser's cookie until it comes back."""

    state: str
    nonce: str
    verifier: str
    back: str


class Provider(msgspec.Struct, frozen=True):
    """What the provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class OpenId:
    """The console as a client of a provider. ``transport`` replaces the network in tests."""

    def __init__(
        self, settings: Settings, randomness: Randomness, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._client_id, self._client_secret = settings.oidc_client_id, settings.oidc_client_secret
        self._name_claim = settings.oidc_name_claim
        self._redirect = settings.console_url.rstrip("/") + BACK
        self._randomness = randomness
        self._http = httpx.AsyncClient(timeout=ANSWER_S_MAX, transport=transport)
        self._provider: Provider | None = None
        if self.is_on:
            _secure(self._issuer, "KOBAN_OIDC_ISSUER")

    @property
    def is_on(self) -> bool:
        """Whether there is a provider."""
        return bool(self._issuer)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def begin(self, back: str) -> tuple[str, Start]:
        """The provider's address to go to, and what to remember until then. Raises Transient, OpenIdError."""
        provider = await self._known()
        state, nonce, verifier = (self._randomness(SECRET_BYTES) for _ in range(3))
        start = Start(state, nonce, verifier, back)
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect,
            "scope": "openid email profile",
            "state": start.state,
            "nonce": start.nonce,
            "code_challenge": _unpadded(hashlib.sha256(start.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(provider.authorization_endpoint).query else "?"
        return f"{provider.authorization_endpoint}{joint}{urlencode(asked)}", start

    async def name(self, start: Start, code: str, now_s: int) -> str:
        """The account's name that the provider vouches for. Raises Transient, OpenIdError."""
        provider = await self._known()
        answer = await self._ask(
            "POST",
            provider.token_endpoint,
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect,
                "code_verifier": start.verifier,
            },
            auth=(self._client_id, self._client_secret),
        )
        claims = self._verified(answer.get("id_token"), await self._keys(provider), provider, start.nonce, now_s)
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name:
            raise OpenIdError(f"the id token has no claim {self._name_claim}")
        if self._name_claim == "email" and claims.get("email_verified") is not True:
            raise OpenIdError("the provider has not verified this e-mail address")
        return name

    def _verified(self, token: Any, keys: KeySet, provider: Provider, nonce: str, now_s: int) -> dict[str, Any]:
        if not isinstance(token, str):
            raise OpenIdError("the provider sent no id token")
        try:
            claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            wanted = jwt.JWTClaimsRegistry(
                now=now_s,
                leeway=CLOCK_SKEW_S,
                iss={"essential": True, "value": provider.issuer},
                aud={"essential": True, "value": self._client_id},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            wanted.validate(claims)
        except (JoseError, ValueError) as error:
            raise OpenIdError(f"the id token is not good: {error}") from error
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._client_id:
            raise OpenIdError("the id token is for another client")
        return dict(claims)

    async def _known(self) -> Provider:
        if self._provider is None:
            told = await self._ask("GET", f"{self._issuer}/.well-known/openid-configuration")
            try:
                provider = msgspec.convert(told, Provider)
            except msgspec.ValidationError as error:
                raise OpenIdError(f"the provider's description is not whole: {error}") from error
            if provider.issuer.rstrip("/") != self._issuer:
                raise OpenIdError(f"the provider calls itself {provider.issuer}")
            for place in (provider.authorization_endpoint, provider.token_endpoint, provider.jwks_uri):
                _secure(place, "the provider's endpoint")
            self._provider = provider
        return self._provider

    async def _keys(self, provider: Provider) -> KeySet:
        """Asked for anew at each sign-in: they are rotated, and people sign in rarely."""
        told = await self._ask("GET", provider.jwks_uri)
        try:
            return KeySet.import_key_set(told)  # type: ignore[arg-type]  # checked by the import itself
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OpenIdError(f"the provider's keys can't be read: {error}") from error

    async def _ask(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, url, **more)
        except httpx.HTTPError as error:
            raise Transient(f"the sign-in provider does not answer: {type(error).__name__}") from error
        if answer.status_code >= 500:
            raise Transient(f"the sign-in provider answers {answer.status_code}")
        if answer.status_code != 200 or len(answer.content) > ANSWER_BYTES_MAX:
            raise OpenIdError(f"the sign-in provider answers {answer.status_code}")
        try:
            found = answer.json()
        except ValueError as error:
            raise OpenIdError("the sign-in provider's answer is no JSON") from error
        if not isinstance(found, dict):
            raise OpenIdError("the sign-in provider's answer is no object")
        return found


def packed(start: Start) -> str:
    """A start as a cookie's value."""
    return _unpadded(json.dumps([start.state, start.nonce, start.verifier, start.back]).encode())


def unpacked(cookie: str) -> Start | None:
    """The start that a cookie holds, or None."""
    try:
        raw = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        return Start(*msgspec.json.decode(raw, type=tuple[str, str, str, str]))
    except (ValueError, msgspec.DecodeError):
        return None


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _secure(url: str, what: str) -> None:
    """Who vouches for people must not be anybody on the way."""
    place = urlsplit(url)
    if place.scheme != "https" and place.hostname not in {"127.0.0.1", "localhost"}:
        raise OpenIdError(f"{what} has to be https: {url!r}")
