"""The fields of a posted form, within limits."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

BODY_BYTES_MAX = 1_000_000
FIELDS_MAX = 50


class BadFormError(ValueError):
    """A body that is no form of ours, or too large."""


async def fields(request: Request) -> dict[str, str]:
    """Name → value of a form as browsers post it; of a name that comes twice the last. Raises BadFormError.

    The application lets no larger body in. It is kept, so that the guard and the route can both read it.
    """
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise BadFormError("the body is no form") from error
    return dict(pairs)
