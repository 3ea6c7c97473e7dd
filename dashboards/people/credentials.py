"""Random secrets that let somebody in. Who has one shows it; here only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

SECRET_BYTES = 32
"""256 bits: nobody guesses one, so a plain hash of it is enough."""
TOKEN_PREFIX = "koban_"  # noqa: S105  # so that scanners for leaked secrets know one when they see it
CHARACTERS_MAX = 200

Randomness = Callable[[int], str]
"""Number of bytes → text that is safe in addresses, like ``secrets.token_urlsafe``."""

system_randomness: Randomness = secrets.token_urlsafe


def hashed(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def short_id(secret_sha256: str) -> str:
    """A name for a credential in lists and logs."""
    return secret_sha256[:12]


def form_token(secret: str) -> str:
    """What a page's forms carry to show that they come from a page of this very session; not the secret itself."""
    return hmac.new(secret.encode(), b"koban form", hashlib.sha256).hexdigest()


def is_form_token(secret: str, given: str) -> bool:
    """Whether a form carried the token of its session."""
    return hmac.compare_digest(form_token(secret).encode(), given.encode())
