"""Dead letters: found, read, mended, tried and sent again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from kafka.errors import KafkaError

from dashboards.console import Console
from dashboards.forms import BadFormError, fields
from dashboards.list_routes import add_data, shown
from dashboards.listing import Asked, BadListError, Column, Listing, Slice, asked, select
from dashboards.people.guard import requires
from dashboards.people.rights import Right
from dashboards.sources.bounded import Bounded
from dashboards.standing import Freshness
from schemas.errors import Transient
from streams import dead_letters
from streams.dead_letters import DeadLettersUnavailableError, Fate, Letter, NoSuchLetterError, Place, Replay

T = TypeVar("T")
SEE_OTHER = 303
LETTERS_MAX = 2_000
"""The list is of the newest so many; it says when there are more."""
LOOK_S_MAX = 4.0
"""Of a look at the topic, which has to find its brokers first; on a busy machine that alone takes a second."""
SEND_S_MAX = 8.0
RAW_BYTES_SHOWN = 16_384

LETTERS = Listing(
    name="letters",
    path="/operations/letters",
    columns=(
        Column("at_us", "moment", sorts=True),
        Column("place", "letter"),
        Column("reason_code", "tag", sorts=True),
        Column("reason", "wrap"),
        Column("stage", sorts=True),
        Column("producer", sorts=True),
        Column("origin", "mono"),
        Column("state", "tag", sorts=True),
        Column("topic", "mono", shown=False),
        Column("bytes", "count", shown=False),
    ),
    key="place",
    order="-at_us",
    facets=("reason_code", "state", "stage", "topic", "producer"),
)


def routes(console: Console) -> APIRouter:
    """``/operations/letters``, the same as data, and a page a letter."""
    router = APIRouter()
    log = Log(console)

    async def source(_: Request, ask: Asked) -> Slice:
        return select(LETTERS, [row(letter) for letter in (await log.newest()).letters], ask)

    @router.get(LETTERS.path)
    async def page(request: Request) -> Response:
        values: dict[str, Any] = {"complete": True, "limit": LETTERS_MAX, "trouble": ""}
        try:
            ask = asked(request.query_params, LETTERS)
            found = await log.newest()
            rows = select(LETTERS, [row(letter) for letter in found.letters], ask)
            values |= {"complete": found.complete and len(found.letters) < LETTERS_MAX, "fresh": _now()}
        except BadListError:
            return console.pages.error(request, 400, "error.list", title="error.bad", desk="operations")
        except Transient:
            rows = Slice((), 0, None, {})
            values |= {"trouble": "letters.down", "fresh": Freshness("down", since=time.time())}
        values |= shown(request, LETTERS, ask, rows)
        status = 503 if values["trouble"] else 200
        return console.pages.page(request, "operations_letters.html.j2", status=status, desk="operations", **values)

    add_data(router, LETTERS, source)
    _add_letter(router, console, log)
    return router


def _add_letter(router: APIRouter, console: Console, log: Log) -> None:
    def wrong(request: Request, status: int, text: str) -> Response:
        return console.pages.error(request, status, text, title="error.bad", desk="operations")

    def page(request: Request, letter: Letter, text: str | None, status: int = 200, **more: Any) -> Response:
        values = {"letter": letter, "text": text, "verdict": None, "problem": "", "sent": False, **_record(letter)}
        return console.pages.page(
            request, "operations_letter.html.j2", status=status, desk="operations", **(values | more)
        )

    @router.get("/operations/letters/{place}")
    async def one(request: Request, place: str) -> Response:
        try:
            letter = await log.letter(place)
        except (ValueError, NoSuchLetterError):
            return wrong(request, 404, "letter.missing")
        except Transient:
            return wrong(request, 503, "letters.down")
        return page(request, letter, readable(letter.value), sent="sent" in request.query_params)

    @router.post("/operations/letters/{place}", dependencies=[requires(Right.OPERATIONS_ACT, records="letters:mend")])
    async def mend(request: Request, place: str) -> Response:
        """``action=check`` says what would happen; ``action=replay`` sends what the gate would let through."""
        try:
            form = await fields(request)
            letter = await log.letter(place)
        except (NoSuchLetterError, BadFormError, ValueError):
            return wrong(request, 400, "letter.missing")
        except Transient:
            return wrong(request, 503, "letters.down")
        text = form.get("value")
        now_us = time.time_ns() // 1_000
        verdict = dead_letters.judge(letter, meant(letter.value, text), now_us // 1_000, console.settings)
        shown_text = readable(letter.value) if text is None else text
        if form.get("action") != "replay":
            return page(request, letter, shown_text, verdict=verdict)
        if verdict.fate is not Fate.VALID:
            return page(request, letter, shown_text, 422, verdict=verdict, problem="letter.refused")
        try:
            await log.send(verdict, now_us)
        except Transient:
            return page(request, letter, shown_text, 503, verdict=verdict, problem="letter.unsure")
        return RedirectResponse(f"/operations/letters/{letter.place}?sent=1", SEE_OTHER)


class Log:
    """The dead-letter topic, asked from threads of its own."""

    def __init__(self, console: Console) -> None:
        self._settings = console.settings
        self._threads = Bounded("Kafka", limit_s=LOOK_S_MAX, threads=4)

    async def newest(self) -> dead_letters.Found:
        """The newest letters. Raises Transient."""
        return await self._asked(lambda: dead_letters.search(self._settings, limit=LETTERS_MAX))

    async def letter(self, text: str) -> Letter:
        """The letter at a place. Raises ValueError for no place, NoSuchLetterError, Transient."""
        place = Place.parse(text)
        (found,) = await self._asked(lambda: dead_letters.fetch(self._settings, [place]))
        return found

    async def send(self, replay: Replay, now_us: int) -> None:
        """Sends a valid replay. Raises Transient when it is not known whether it was sent."""
        await self._asked(lambda: dead_letters.send(self._settings, [replay], now_us), SEND_S_MAX)

    async def _asked(self, question: Callable[[], T], limit_s: float | None = None) -> T:
        try:
            return await self._threads.ask(question, limit_s)
        except (KafkaError, DeadLettersUnavailableError) as error:
            raise Transient(f"Kafka does not answer: {error}") from error


def row(letter: Letter) -> dict[str, Any]:
    """A letter as a row of the list."""
    about = letter.about
    return {
        "at_us": letter.at_us,
        "place": str(letter.place),
        "reason_code": "foreign" if about is None else about.reason_code.value,
        "reason": "" if about is None else about.reason,
        "stage": "" if about is None else about.stage,
        "producer": "" if about is None else about.producer,
        "origin": "" if about is None else f"{about.origin_topic}/{about.origin_partition}@{about.origin_offset}",
        "topic": "" if about is None else about.origin_topic,
        "state": "waiting" if letter.replayed is None else "replayed",
        "bytes": len(letter.value or b""),
    }


def readable(value: bytes | None) -> str | None:
    """A letter's value to be mended: indented if it is a JSON object, else as it is; None for what is no text."""
    try:
        text = (value or b"").decode()
        document = json.loads(text)
    except UnicodeDecodeError:
        return None
    except (ValueError, RecursionError):
        return text
    return json.dumps(document, ensure_ascii=False, indent=2) if isinstance(document, dict) else text


def meant(value: bytes | None, text: str | None) -> bytes | None:
    """The bytes that a posted text stands for: the letter's own while it says what was shown, else its UTF-8."""
    if text is None:
        return value
    plain = text.replace("\r\n", "\n")  # browsers send text areas so
    shown_text = readable(value)
    if shown_text is not None and plain.strip("\n") == shown_text.replace("\r\n", "\n").strip("\n"):
        return value
    return plain.encode(errors="surrogatepass")


def _record(letter: Letter) -> dict[str, Any]:
    """Everything of the record as text: what is no UTF-8 is escaped."""
    raw = (letter.value or b"")[:RAW_BYTES_SHOWN].decode("utf-8", "backslashreplace")
    return {
        "key": "" if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
        "headers": [(name, (value or b"").decode("utf-8", "backslashreplace")) for name, value in letter.headers],
        "raw": raw,
    }


def _now() -> Freshness:
    now = time.time()
    return Freshness("ok", at=now, since=now)
