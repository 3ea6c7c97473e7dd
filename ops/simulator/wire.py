"""Events as bytes. The few types that make up the traffic have templates; all others are built typed and encoded.

A template writes the very bytes that the encoder would write, several times as fast; a test compares the two.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from koban.events import EVENT_TYPES, Actor, Body, Event, Tender
from ops.simulator.books import Part
from ops.simulator.population import Till
from schemas.codec import encode

PRODUCER = "simulator"
_TENDERS = msgspec.json.Decoder(tuple[Tender, ...])


def payment_completed(
    event_id: str, at_us: int, number: int, wallet: str, device: str, amount: int, tenders: str, till: Till
) -> bytes:
    """PaymentCompleted, the first event of payment ``number``. ``tenders`` are JSON items."""
    return (
        f'{{"event_type":"PaymentCompleted","event_id":"{event_id}","occurred_at_us":{at_us},"aggregate":"payment",'
        f'"aggregate_id":"{number}","aggregate_seq":1,"correlation_id":"{number}","producer":"{PRODUCER}",'
        f'"body":{{"wallet_id":"{wallet}",{till.shop},"amount_minor":{amount},"tenders":[{tenders}],'
        f'{till.counter},"device_id":"{device}",'
    ).encode() + till.tail


def top_up_completed(
    event_id: str, at_us: int, seq: int, wallet: str, amount: int, source: str, verified: bool, funding: str
) -> bytes:
    """TopUpCompleted. ``funding`` is the bank, acquirer or carrier that the money came from."""
    flag = '"verified":true,' if verified else ""
    return (
        f'{{"event_type":"TopUpCompleted","event_id":"{event_id}","occurred_at_us":{at_us},"aggregate":"wallet",'
        f'"aggregate_id":"{wallet}","aggregate_seq":{seq},"producer":"{PRODUCER}",'
        f'"body":{{"wallet_id":"{wallet}","amount_minor":{amount},"source":"{source}",{flag}'
        f'"funding_id":"{funding}"}}}}'
    ).encode()


def logged_in(event_id: str, at_us: int, seq: int, wallet: str, device: str, ip: str, ok: bool) -> bytes:
    """LoggedIn."""
    flag = "" if ok else ',"ok":false'
    return (
        f'{{"event_type":"LoggedIn","event_id":"{event_id}","occurred_at_us":{at_us},"aggregate":"wallet",'
        f'"aggregate_id":"{wallet}","aggregate_seq":{seq},"producer":"{PRODUCER}",'
        f'"body":{{"wallet_id":"{wallet}","device_id":"{device}","ip":"{ip}"{flag}}}}}'
    ).encode()


def typed(
    name: str,
    event_id: str,
    at_us: int,
    aggregate: str,
    aggregate_id: str,
    seq: int,
    body: Body,
    *,
    correlation_id: str | None = None,
    actor: Actor | None = None,
    reason: str | None = None,
) -> bytes:
    """Any event, by its Struct."""
    event_type = cast("type[Any]", EVENT_TYPES[name])
    event: Event = event_type(
        event_id=event_id,
        occurred_at_us=at_us,
        aggregate=aggregate,
        aggregate_id=aggregate_id,
        aggregate_seq=seq,
        correlation_id=correlation_id,
        producer=PRODUCER,
        actor=actor,
        reason=reason,
        body=body,
    )
    return encode(event)


def tenders(parts: list[Part]) -> tuple[Tender, ...]:
    """Tenders as the contract's Structs."""
    return tuple(Tender(kind=kind, amount_minor=amount, lot=lot) for kind, amount, lot in parts)  # type: ignore[arg-type]  # the books know no other kinds


def parts_of(tenders_json: str) -> list[Part]:
    """JSON items of tenders as the books' parts."""
    return [(tender.kind, tender.amount_minor, tender.lot) for tender in _TENDERS.decode(f"[{tenders_json}]")]
