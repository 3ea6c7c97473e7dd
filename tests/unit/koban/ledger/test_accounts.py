"""The chart of accounts: names, sides, owners."""

from __future__ import annotations

import pytest

from koban.ledger.accounts import Use, base_of, owner_of, parse, part, part_of_lane

NAMES = [
    # name, owner, sign, limited, use
    ("U.u1.money", "u1", -1, True, Use.FREE),
    ("U.u1.points_ltd.lot-1", "u1", -1, True, Use.FREE),
    ("U.u1.held.money", "u1", -1, True, Use.HELD),
    ("U.u1.held.voucher.v.1", "u1", -1, True, Use.HELD),
    ("U.u1.grant_pending.c1", "u1", -1, True, Use.PENDING_IN),
    ("U.u1.clawback_due", "u1", 1, True, Use.FREE),
    ("U.a%2Eb.points", "a.b", -1, True, Use.FREE),
    ("M.m1.payable", "m1", -1, True, Use.FREE),
    ("C.c1.lease.s1", "c1", -1, True, Use.FREE),
    ("A.bank", "A.bank", 1, False, Use.FREE),
    ("A.card_recv.visa", "A.card_recv.visa", 1, False, Use.FREE),
    ("L.p2p_transit", "L.p2p_transit", -1, True, Use.FREE),
    ("R.fee", "R.fee", -1, False, Use.FREE),
    ("X.promo.c.1", "X.promo.c.1", 1, False, Use.FREE),
]
STRANGERS = [
    "", "U", "U.", "U.u1", "U.u1.gold", "U.u1.money.more", "U.u1.points_ltd", "U..money", "U.u 1.money", "A.bank.x",
    "A.card_recv", "A.bank@1", "Z.fee", "M.m1.payable\n", "C.c1.lease.",
]  # fmt: skip


@pytest.mark.parametrize(("name", "owner", "sign", "limited", "use"), NAMES)
def test_a_name_says_whose_account_it_is_and_on_which_side(name, owner, sign, limited, use):
    """Owner, normal side, limit and use follow from the name alone."""
    account = parse(name)
    assert account is not None
    assert (account.owner, account.nature.sign, account.nature.limited, account.nature.use) == (
        owner,
        sign,
        limited,
        use,
    )
    assert owner_of(name) == owner


@pytest.mark.parametrize("name", STRANGERS)
def test_a_name_outside_the_chart_is_no_account(name):
    """Misspelt, incomplete and overlong names are recognised, and so are a lane's parts, which no event may name."""
    assert parse(name) is None


def test_the_owner_of_a_stranger_is_an_error():
    """owner_of says which name it does not know."""
    with pytest.raises(ValueError, match=r"U\.u1\.gold"):
        owner_of("U.u1.gold")


def test_a_lanes_part_leads_back_to_its_account():
    """The part of a lane belongs to the account of the house."""
    assert base_of(part_of_lane("A.bank", 3)) == "A.bank"
    assert owner_of(part_of_lane("A.bank", 3)) == "A.bank"


def test_different_ids_never_share_a_part_of_a_name():
    """Escaping dots keeps ids apart."""
    ids = ["a.b", "a", "a-b", "a_b", "a.b.c", "a:b"]
    assert len({part(i) for i in ids}) == len(ids)
    assert all("." not in part(i) for i in ids)
