"""Where accounts are: those of one lane by the names that events use, and the ways to those of other lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from koban.ledger.accounts import IN_FLIGHT, SUSPENSE, base_of, parse, part_of_lane
from koban.ledger.facts import Body
from koban.ledger.postings import payable
from koban.ledger.slots import Slot

ROUTES_MAX = 500_000
"""Accounts of other lanes whose lane is remembered; beyond it the memory starts anew."""
IN_FLIGHT_FAMILY = "in_flight"


class Directory:
    """Of the accounts of lane `lane`; `lane_of` tells an owner's lane."""

    def __init__(self, lane: int, lane_of: Callable[[str], int]) -> None:
        self.lane = lane
        self.slots: dict[str, Slot] = {}
        """The lane's accounts, to be read; an account of the house by its name without the lane."""
        self.payees: dict[str, Slot] = {}
        """By merchant: what plain payments go to, as far as it was looked up."""
        self._lane_of = lane_of
        self._routes: dict[str, Slot] = {}
        """Accounts of other lanes."""
        self.in_flight = self._part(IN_FLIGHT)
        """Legs in flight: kept apart, so that no event can name it."""

    def find(self, name: str) -> Slot:
        """The slot behind a name, made when it is new; suspense for a name that is no account."""
        return self.slots.get(name) or self.route(name)

    def route(self, name: str) -> Slot:
        """The slot behind a name that is none of `slots` yet; see `find`."""
        slot = self._routes.get(name)
        if slot is not None:
            return slot
        account = parse(name)
        if account is None or name == IN_FLIGHT:
            return self.find(SUSPENSE)
        lane = self.lane if account.of_house else self._lane_of(account.owner)
        if lane == self.lane:
            slot = self.slots[name] = self._part(name) if account.of_house else Slot.of(account, self.lane)
            return slot
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        slot = self._routes[name] = Slot.of(account, lane)
        return slot

    def payee(self, body: Body) -> Slot | None:
        """Where a plain payment to a merchant goes; remembered. None for what is no account."""
        account = payable(body)
        slot = self.find(account)
        if slot.account != account:
            return None
        if len(self.payees) >= ROUTES_MAX:
            self.payees.clear()
        self.payees[body.merchant_id] = slot
        return slot

    def known(self, name: str) -> Slot | None:
        """The lane's slot behind an account's full name, or behind its name without the lane, if there is one."""
        base = base_of(name)
        slot = self._at(base)
        return None if slot is None or name not in (base, slot.account) else slot

    def restored(self, name: str) -> Slot:
        """The slot of an account of this lane, by its full name. Any other name is asserted against."""
        slot = self.slots.get(name)
        if slot is not None:
            return slot
        base = base_of(name)
        slot = self._at(base)
        if slot is None:
            account = parse(base)
            assert account is not None, f"{name} is no account of the chart"
            slot = self.slots[base] = self._part(base) if account.of_house else Slot.of(account, self.lane)
        assert slot.account == name, f"{name} is not of lane {self.lane}"
        return slot

    def _at(self, base: str) -> Slot | None:
        return self.in_flight if base == IN_FLIGHT else self.slots.get(base)

    def __iter__(self) -> Iterator[Slot]:
        """Every account of the lane."""
        yield self.in_flight
        yield from self.slots.values()

    def _part(self, base: str) -> Slot:
        """A new slot for this lane's part of an account of the house."""
        account = parse(base)
        assert account is not None
        family = IN_FLIGHT_FAMILY if base == IN_FLIGHT else base[0]
        return Slot(account.nature, self.lane, part_of_lane(base, self.lane), base, family, of_house=True)
