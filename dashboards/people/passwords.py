"""Passwords: Argon2id, a bound on how many are computed at once, the same work for accounts that don't exist."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

CHARACTERS_MIN, CHARACTERS_MAX = 12, 128
HASHES_AT_ONCE_MAX = 2
"""Each takes 46 MiB and a core: more at once would be a way to bring the console down."""
WAIT_S_MAX = 5.0

T = TypeVar("T")


class PasswordError(ValueError):
    """A password that is not taken; says why."""


class BusyError(Exception):
    """Too many sign-ins at once: try again in a moment."""


class Passwords:
    """Hashes and verifies. OWASP's parameters for Argon2id: 46 MiB, one pass, one lane."""

    def __init__(self, *, time_cost: int = 1, memory_kib: int = 47_104) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._turns = threading.BoundedSemaphore(HASHES_AT_ONCE_MAX)
        self._nobodys = self._hasher.hash("the password of nobody")

    def hashed(self, password: str, name: str) -> str:
        """The hash of a new password of the account ``name``. Raises PasswordError, BusyError."""
        if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX:
            raise PasswordError(f"a password has {CHARACTERS_MIN} to {CHARACTERS_MAX} characters")
        if len(set(password)) < CHARACTERS_MIN // 2 or (len(name) > 2 and name in password.lower()):
            raise PasswordError("this password is too easy to guess: few different characters, or the account's name")
        return self._in_turn(lambda: self._hasher.hash(password))

    def matches(self, password: str, known: str | None) -> bool:
        """Whether a password is the hashed one. ``known`` None takes as long, and is False. Raises BusyError."""
        given = password[: CHARACTERS_MAX + 1]
        return self._in_turn(lambda: self._verified(known or self._nobodys, given)) and known is not None

    def is_outdated(self, known: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(known)

    def _verified(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password)
        except (Argon2Error, InvalidHashError):
            return False

    def _in_turn(self, work: Callable[[], T]) -> T:
        if not self._turns.acquire(timeout=WAIT_S_MAX):
            raise BusyError
        try:
            return work()
        finally:
            self._turns.release()
