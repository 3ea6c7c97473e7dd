"""The true ledger: nobody spends what they don't have, told by an independent replay of the records."""

from __future__ import annotations

from ops.simulator.books import RIPE_US, Books, Lot


def test_no_account_is_ever_overdrawn_and_no_payment_over_refunded(run, ledger):
    for event in run.events:
        ledger.post(event)
    assert ledger.overdrawn == []
    assert ledger.faults == []
    assert ledger.refunds


def test_the_replayed_balances_are_those_of_the_simulators_books(run, ledger):
    for event in run.events:
        ledger.post(event)
    owned = {account: amount for account, amount in ledger.balance.items() if amount and account[:2] in ("U.", "M.")}
    assert owned == {account: amount for account, amount in run.balances.items() if ".held." not in account}
    held = sum(amount for account, amount in ledger.balance.items() if account.startswith("held "))
    assert held == sum(amount for account, amount in run.balances.items() if ".held." in account)


def test_wallets_stay_below_their_cap(run, ledger):
    for event in run.events:
        ledger.post(event)
        assert all(
            ledger.balance[f"U.{event['body'].get('wallet_id')}.{kind}"] <= 1_000_000
            for kind in ("money", "money_lite")
        )


def test_tenders_are_taken_in_spend_order():
    books = Books(1, 1)
    books.money[0], books.money_lite[0], books.points[0] = 500, 300, 20
    books.lots[0] = [Lot("l", "points_ltd", 7), Lot("v", "voucher", 5)]
    assert books.take(0, 400) == [
        ("voucher", 5, "v"),
        ("points_ltd", 7, "l"),
        ("points", 20, None),
        ("money_lite", 300, None),
        ("money", 68, None),
    ]
    assert books.spendable(0) == 432
    assert 0 not in books.lots


def test_what_is_too_much_is_not_taken_at_all():
    books = Books(1, 1)
    books.money[0] = 99
    assert books.take(0, 100) == []
    assert books.spend(0, 100) == ""
    assert books.spendable(0) == 99


def test_a_quick_spend_says_the_same_as_a_careful_one():
    quick, careful = Books(1, 1), Books(1, 1)
    for books in (quick, careful):
        books.money_lite[0], books.money[0] = 100, 1_000
    careful.points[0] = 0
    assert quick.spend(0, 100) == '{"kind":"money_lite","amount_minor":100}'
    assert careful.take(0, 100) == [("money_lite", 100, None)]
    assert quick.spend(0, 30) == '{"kind":"money","amount_minor":30}'
    assert careful.take(0, 30) == [("money", 30, None)]


def test_a_sale_is_free_for_refunds_only_when_it_is_ripe():
    books = Books(1, 1)
    books.ripen(0)
    books.earn(0, 700)
    books.ripen(RIPE_US - 1)
    assert (books.free[0], books.payable(0)) == (0, 700)
    books.ripen(RIPE_US)
    assert (books.free[0], books.payable(0)) == (0, 700)
    books.ripen(2 * RIPE_US)
    assert (books.free[0], books.payable(0)) == (700, 700)
