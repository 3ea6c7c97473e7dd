"""Whether an event has fields that the contract does not know, told without looking into the fields."""

from __future__ import annotations

from typing import Any, Union

import msgspec

from koban.events import EVENT_TYPES, Event, body_type

_ABSENT = msgspec.Raw(b"")


def _outline(name: str, fields: tuple[str, ...], **options: Any) -> type[msgspec.Struct]:
    """A Struct with these fields, each passed over unread, and no others."""
    return msgspec.defstruct(
        name, [(field, msgspec.Raw, _ABSENT) for field in fields], forbid_unknown_fields=True, gc=False, **options
    )


def _event_outline(name: str) -> type[msgspec.Struct]:
    body = _outline(f"{name}BodyOutline", body_type(name).__struct_fields__)
    envelope = tuple(field for field in Event.__struct_fields__ if field != "body")
    rest = _outline(f"{name}Rest", envelope)
    return msgspec.defstruct(
        f"{name}Outline",
        [("body", body, None)],
        bases=(rest,),
        tag_field="event_type",
        tag=name,
        forbid_unknown_fields=True,
    )


_decode = msgspec.json.Decoder(Union[tuple(map(_event_outline, EVENT_TYPES))]).decode  # noqa: UP007  # made of a tuple


def only_known_fields(value: bytes) -> bool:
    """Whether a valid event has the contract's fields alone. What lies within tenders, lines and actors is closed."""
    try:
        _decode(value)
    except msgspec.ValidationError:
        return False
    return True
