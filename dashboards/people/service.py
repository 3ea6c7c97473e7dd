"""People, as the console and the command line ask for them: one object over one database."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

from anyio import to_thread

from dashboards.people import audit
from dashboards.people.accounts import Accounts, Clock
from dashboards.people.attempts import OF_ACCOUNT, OF_ADDRESS, Attempts, address_key
from dashboards.people.audit import Actor
from dashboards.people.credentials import Randomness, hashed, system_randomness
from dashboards.people.database import Database
from dashboards.people.passwords import Passwords
from dashboards.people.roles import Person
from dashboards.people.sessions import Lifetimes, Sessions
from dashboards.people.tokens import Tokens
from koban.settings import Settings
from schemas.errors import Transient

KNOWN_MAX = 10_000
FRESH_S = 1.0
"""A credential that was looked up so recently is not looked up again: a page asks for several things at once. Also how
long a revocation from another process takes."""
ASKING_S_MAX = 2.0
"""While one request looks a credential up again, others that only read go on with what was known, so much longer."""
STALE_S = 900.0
"""While the database does not answer, who was known so recently still reads; nobody changes anything."""


class TooManyTriesError(Exception):
    """Signing in was tried too often; ``wait_s`` says when to come back."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"try again in {wait_s:.0f} s")
        self.wait_s = wait_s


def system_clock() -> int:
    """Now, in UTC microseconds."""
    return time.time_ns() // 1000


class People:
    """Who somebody is. Its methods block: call them from a thread."""

    def __init__(
        self,
        database: Database,
        lifetimes: Lifetimes,
        *,
        passwords: Passwords | None = None,
        clock: Clock = system_clock,
        randomness: Randomness = system_randomness,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self.clock = clock
        self.randomness = randomness
        self.accounts = Accounts(database, passwords or Passwords(), clock, randomness)
        self.sessions = Sessions(database, lifetimes, clock, randomness)
        self.tokens = Tokens(database, clock, randomness)
        self._known = Known(monotonic)
        self.look_ups = LookUps()
        self._of_account, self._of_address = Attempts(OF_ACCOUNT), Attempts(OF_ADDRESS)

    @classmethod
    def of(cls, settings: Settings) -> People:
        """People of a platform."""
        return cls(Database(settings.mysql_url), Lifetimes(settings.session_s_max, settings.session_idle_s))

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    def sign_in(self, name: str, password: str, address: str, request_id: str) -> str | None:
        """A session's secret id; None for a wrong name or password. Raises TooManyTriesError, BusyError, Transient."""
        now_s = self.clock() / 1_000_000
        wait_s = self._of_address.take(address_key(address), now_s)
        wait_s = wait_s or self._of_account.take(hashed(name.lower()), now_s)
        if wait_s:
            raise TooManyTriesError(wait_s)
        person = self.accounts.authenticated(name, password)
        if person is None:
            # The name is not recorded as it was typed: people type passwords into the wrong field.
            self.record(Actor.nobody(request_id, address), "session:refused", hashed(name.lower())[:12], {})
            return None
        return self.sessions.open(person, address, "password", request_id)

    def sign_in_by_code(self, code: str, address: str, request_id: str) -> str | None:
        """The same by a link that is good once. Raises TooManyTriesError, Transient."""
        if wait_s := self._of_address.take(address_key(address), self.clock() / 1_000_000):
            raise TooManyTriesError(wait_s)
        person = self.sessions.use_code(code)
        return None if person is None else self.sessions.open(person, address, "link", request_id)

    def by_session(self, secret: str, *, reads: bool) -> Person | None:
        """Whose session it is. Raises Transient, but for somebody known a moment ago who only ``reads``."""
        return self._known.person(hashed(secret), lambda: self.sessions.person(secret), reads=reads)

    def by_token(self, secret: str, *, reads: bool) -> Person | None:
        """Whose token it is. Raises Transient as ``by_session`` does."""
        return self._known.person(hashed(secret), lambda: self.tokens.person(secret), reads=reads)

    def known(self, secret: str, within_s: float = STALE_S) -> Person | None:
        """Who was last known by this session or token, where that is not too long ago; by default, to read by. Does not
        block."""
        return self._known.last(hashed(secret), within_s)

    def sign_out(self, secret: str, by: Actor) -> None:
        """Ends a session. Raises Transient."""
        self.sessions.close(secret, by)
        self._known.forget()

    def sign_out_everywhere(self, person: Person, by: Actor) -> int:
        """Ends all sessions of a person; gives how many there were. Raises Transient."""
        closed = self.sessions.close_all(person, by)
        self._known.forget()
        return closed

    def change_password(self, person: Person, old: str, new: str, by: Actor) -> None:
        """One's own password; all sessions end. Raises TooManyTriesError, PasswordError, BusyError, Transient."""
        if wait_s := self._of_account.take(hashed(person.name), self.clock() / 1_000_000):
            raise TooManyTriesError(wait_s)
        self.accounts.change_password(person, old, new, by)
        self._known.forget()

    def revoke_token(self, token_id: str, by: Actor, owner: str) -> None:
        """Ends a token of one's own. Raises AccountError, Transient."""
        self.tokens.revoke(token_id, by, owner=owner)
        self._known.forget()

    def record(self, actor: Actor, action: str, target: str, details: Mapping[str, Any]) -> None:
        """Appends to the audit log what is done elsewhere than in these tables: before it is done. Raises Transient."""
        with self.database.transaction() as session:
            audit.append(session, actor, action, target, details, self.clock())


class LookUps:
    """Look-ups under way in an event loop. Requests that ask the same meanwhile get one answer.

    Hundreds with a credential that nobody has looked up yet would else queue up for threads and connections, each to
    learn what the first one learns.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Person | None]] = {}

    async def answer(self, key: Hashable, look_up: Callable[[], Person | None]) -> Person | None:
        """What ``look_up`` says in a thread, raises included. A caller that gives up takes nothing from the others."""
        task = self._under_way.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._under_way[key] = asyncio.create_task(_in_thread(look_up))
            task.add_done_callback(partial(self._ended, key))
        return await asyncio.shield(task)

    def _ended(self, key: Hashable, task: asyncio.Task[Person | None]) -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it; that nobody did is no error


async def _in_thread(look_up: Callable[[], Person | None]) -> Person | None:
    return await to_thread.run_sync(look_up, abandon_on_cancel=True)


class Known:
    """Who was looked up lately, by the hash of their credential; bounded."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._found: OrderedDict[str, tuple[float, Person]] = OrderedDict()
        self._asking: set[str] = set()
        """Credentials that somebody looks up right now."""
        self._forgotten = 0
        """How often everybody was forgotten: what was looked up before that is not kept after it."""
        self._turn = threading.Lock()

    def person(self, key: str, look_up: Callable[[], Person | None], *, reads: bool) -> Person | None:
        """Whose credential it is, looked up or known. Raises Transient where it can't be looked up and must be."""
        now_s = self._monotonic()
        with self._turn:
            at_s, known = self._found.get(key, (-STALE_S, None))
            age_s = now_s - at_s
            # One looks up for all readers: a page's requests must not queue up behind each other in the database.
            is_asked = reads and key in self._asking and age_s <= FRESH_S + ASKING_S_MAX
            if known is not None and (age_s <= FRESH_S or is_asked):
                return known
            self._asking.add(key)
            forgotten = self._forgotten
        try:
            person = look_up()
        except Transient:
            if known is not None and reads and age_s <= STALE_S:
                return known
            raise
        finally:
            with self._turn:
                self._asking.discard(key)
        with self._turn:
            self._found.pop(key, None)
            if person is not None and forgotten == self._forgotten:
                self._found[key] = (now_s, person)
                while len(self._found) > KNOWN_MAX:
                    self._found.popitem(last=False)
        return person

    def last(self, key: str, within_s: float) -> Person | None:
        """Whose credential it was when it was last looked up, if that is not longer ago."""
        with self._turn:
            at_s, person = self._found.get(key, (-STALE_S, None))
        return person if self._monotonic() - at_s <= within_s else None

    def forget(self) -> None:
        """Everybody: looked up again at their next request."""
        with self._turn:
            self._found.clear()
            self._forgotten += 1
