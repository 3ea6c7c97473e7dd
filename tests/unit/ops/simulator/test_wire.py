"""The byte templates write the very bytes of the contract's encoder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from koban.events import EVENT_TYPES, Account, Payment, TopUp
from ops.simulator import wire
from ops.simulator.books import tenders_json
from ops.simulator.population import Population
from schemas.codec import encode

POPULATION = Population(1, 20, 60)
EVENT_ID = "01972e95-8451-723c-9c03-0f7cebf16aac"
AT_US = 1_748_833_240_145_629
parts = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["points", "money_lite", "money", "card"]), st.integers(1, 99_999), st.none()),
        st.tuples(st.sampled_from(["voucher", "points_ltd"]), st.integers(1, 99_999), st.just("lot-1")),
    ),
    min_size=1,
    max_size=5,
)


def event(name: str, aggregate: str, aggregate_id: str, seq: int, body: object, **more: object) -> bytes:
    return encode(
        EVENT_TYPES[name](
            event_id=EVENT_ID,
            occurred_at_us=AT_US,
            aggregate=aggregate,
            aggregate_id=aggregate_id,
            aggregate_seq=seq,
            producer=wire.PRODUCER,
            body=body,
            **more,
        )
    )


@given(st.sampled_from(POPULATION.tills), parts)
def test_a_payment(till, tenders):
    store = POPULATION.stores[till.store]
    merchant = POPULATION.merchants[store.merchant]
    amount = sum(part[1] for part in tenders)
    number = 1_748_833_240_145_629_123
    body = Payment(
        wallet_id="w-1",
        merchant_id=merchant.id,
        store_id=store.id,
        amount_minor=amount,
        tenders=wire.tenders(tenders),
        code=till.code,
        terminal_id=till.terminal_id,
        device_id="d-1",
        store_name=store.name,
        mcc=POPULATION.mcc(store.merchant),
    )
    written = wire.payment_completed(EVENT_ID, AT_US, number, "w-1", "d-1", amount, tenders_json(tenders), till)
    assert written == event("PaymentCompleted", "payment", str(number), 1, body, correlation_id=str(number))
    assert wire.parts_of(tenders_json(tenders)) == tenders


@given(st.sampled_from(["bank", "card", "carrier", "paylater"]), st.booleans(), st.integers(1, 10**6))
def test_a_top_up(source, verified, amount):
    body = TopUp(wallet_id="w-1", amount_minor=amount, source=source, verified=verified, funding_id="bank-1")
    written = wire.top_up_completed(EVENT_ID, AT_US, 7, "w-1", amount, source, verified, "bank-1")
    assert written == event("TopUpCompleted", "wallet", "w-1", 7, body)


@given(st.booleans())
def test_a_log_in(ok):
    body = Account(wallet_id="w-1", device_id="d-1", ip="192.0.2.1", ok=ok)
    written = wire.logged_in(EVENT_ID, AT_US, 3, "w-1", "d-1", "192.0.2.1", ok)
    assert written == event("LoggedIn", "wallet", "w-1", 3, body)
