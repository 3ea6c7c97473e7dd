"""The API as an application of its own, mounted under ``/v1``; errors are ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends as Dependency
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from dashboards.api.ledger import (
    BadQuestionError,
    Balance,
    BalanceAt,
    JournalEntry,
    LedgerAnswers,
    NotKnownError,
    OwnersBalances,
    Statement,
    TrialBalance,
    instant_us,
)
from dashboards.sources.bounded import Bounded
from koban.ledger.history import Axis
from schemas.errors import Transient
from sinks.book import STATEMENT_LINES_MAX, TooManyAccountsError

RETRY_AFTER_S = 1
STATEMENT_LINES = 50
TRIAL_BALANCE_S_MAX = 8.0
"""It sums over every account, of which there may be millions."""

AccountName = Annotated[str, Path(min_length=3, max_length=160, examples=["U.w-1.money"])]
OwnerName = Annotated[str, Path(min_length=3, max_length=80, examples=["U.w-1"])]
EntryId = Annotated[str, Path(min_length=1, max_length=200)]
Instant = Annotated[str, Query(max_length=40, description="ISO 8601 with an offset, to the microsecond.")]
Lines = Annotated[int, Query(ge=1, le=STATEMENT_LINES_MAX)]
Cursor = Annotated[str | None, Query(max_length=600, description="`next` of the page before.")]


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (400, 404, 503)
}


def create_api(answers: LedgerAnswers, guards: Sequence[Dependency] = (), threads: Bounded | None = None) -> FastAPI:
    """The API over ``answers``, which are asked from ``threads``: a book that hangs is told within their limit.

    Every route is behind ``guards``: dependencies that decide who may ask.
    """
    api = FastAPI(
        title="Koban",
        version="1",
        description="A wallet's books. Ids are strings; amounts are whole yen; times are ISO 8601 in UTC.",
        docs_url=None,
        redoc_url=None,
        dependencies=list(guards),
        responses=_PROBLEMS,
    )
    _add_problems(api)
    _add_ledger(api, answers, threads or Bounded("the book"))
    return api


def _add_ledger(api: FastAPI, answers: LedgerAnswers, threads: Bounded) -> None:
    @api.get("/accounts/{account}/balance", tags=["ledger"])
    async def balance(account: AccountName) -> Balance:
        """An account's balance now."""
        return await threads.ask(lambda: answers.balance(account))

    @api.get("/accounts/{account}/balance-at", tags=["ledger"])
    async def balance_at(account: AccountName, at: Instant, axis: Axis = Axis.BUSINESS) -> BalanceAt:
        """An account's balance at an instant, in business time or in the time at which the ledger recorded it."""
        at_us = instant_us(at)
        return await threads.ask(lambda: answers.balance_at(account, at_us, axis))

    @api.get("/accounts/{account}/statement", tags=["ledger"])
    async def statement(account: AccountName, limit: Lines = STATEMENT_LINES, cursor: Cursor = None) -> Statement:
        """An account's lines with its balance after each, the last recorded first."""
        return await threads.ask(lambda: answers.statement(account, limit, cursor))

    @api.get("/owners/{owner}/balances", tags=["ledger"])
    async def balances_of(owner: OwnerName) -> OwnersBalances:
        """The balances now of all accounts of a wallet (`U.…`), merchant (`M.…`) or campaign (`C.…`)."""
        return await threads.ask(lambda: answers.balances_of(owner))

    @api.get("/entries/{entry_id}", tags=["ledger"])
    async def entry(entry_id: EntryId) -> JournalEntry:
        """One entry of the journal with its lines."""
        return await threads.ask(lambda: answers.entry(entry_id))

    @api.get("/trial-balance", tags=["ledger"])
    async def trial_balance() -> TrialBalance:
        """The whole book by kind of account, which sums to zero, and what is in flight between lanes."""
        await threads.ask(answers.complete_to_us)  # a book that is not there is told at once; its sums may take longer
        return await threads.ask(answers.trial_balance, TRIAL_BALANCE_S_MAX)


def _add_problems(api: FastAPI) -> None:
    @api.exception_handler(NotKnownError)
    async def not_known(_: Request, error: Exception) -> Response:
        return problem(HTTPStatus.NOT_FOUND, str(error))

    @api.exception_handler(BadQuestionError)
    @api.exception_handler(TooManyAccountsError)
    async def bad_question(_: Request, error: Exception) -> Response:
        return problem(HTTPStatus.BAD_REQUEST, str(error))

    @api.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return problem(HTTPStatus.BAD_REQUEST, "; ".join(faults))

    @api.exception_handler(Transient)
    async def not_now(_: Request, error: Exception) -> Response:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": str(RETRY_AFTER_S)})

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = error.status_code != HTTPStatus.NOT_FOUND
        detail = str(error.detail) if known else f"{request.url.path} is no address of this API"
        return problem(HTTPStatus(error.status_code), detail, error.headers)


def problem(status: HTTPStatus, detail: str, headers: Any = None) -> JSONResponse:
    """An answer that says what went wrong."""
    body = Problem(title=status.phrase, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, media_type="application/problem+json")
