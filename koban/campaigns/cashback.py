"""Cashback decided payment by payment: pots that can't be overdrawn, grants, and what refunds take back.

One :class:`CashbackDesk` decides for all campaigns of a shard, one event after another, so a pot has a single writer.
What it knows is in two places, and whoever runs it keeps both: a :class:`Pot` a campaign (held by the desk) and a
:class:`Story` a payment (handed in with each event and handed back).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from koban.campaigns.rewards import Terms, basis_minor, paid_tenders, reward_minor, sums, takes_part, terms_of
from koban.events import EVENT_TYPES, Cashback, Event, TenderKind, payment_id
from koban.records import Campaign

PAID = frozenset({"PaymentCompleted", "PaymentCaptured"})
TAKEN_BACK = frozenset({"RefundCompleted", "PaymentCanceled"})
EVENT_NAMES = tuple(sorted(PAID | TAKEN_BACK))
"""The events that can change a cashback; no other needs to reach the desk."""
PRODUCER = "cashback"


class Pot(msgspec.Struct, kw_only=True):
    """A campaign's money: ``granted_minor`` never passes the budget. ``decisions`` numbers what came out of it."""

    campaign: Campaign
    granted_minor: int = 0
    clawed_back_minor: int = 0
    decisions: int = 0

    @property
    def left_minor(self) -> int:
        """Yen that can still be granted. A budget cut below what was granted leaves nothing, and takes nothing back.

        What refunds bring back is not granted again: it returns to the sponsor when the campaign is closed.
        """
        return max(0, self.campaign.budget_minor - self.granted_minor)

    def grant(self, wanted_minor: int) -> int:
        """Takes the wanted yen out of the pot, or what is left of it; the last payment gets the remainder."""
        granted = min(wanted_minor, self.left_minor)
        self.granted_minor += granted
        assert granted >= 0
        return granted


class Grant(msgspec.Struct, kw_only=True, array_like=True):
    """What one payment got from one campaign, and under which terms: refunds follow those."""

    campaign_id: str
    terms: Terms
    granted_minor: int
    clawed_back_minor: int = 0


class Story(msgspec.Struct, kw_only=True, array_like=True):
    """What a payment's later events need to know of the earlier ones.

    ``paid`` is None while only a refund of the payment has been seen: events of one payment may arrive in any order.
    """

    paid: dict[TenderKind, int] | None = None
    refunded: dict[TenderKind, int] = {}
    grants: list[Grant] = []


class CashbackDesk:
    """Grants and takes back. Not thread-safe; the caller keeps ``pot`` and the stories in step with what it emits."""

    def __init__(self, pots: Iterable[Pot] = ()) -> None:
        self._pots = {pot.campaign.campaign_id: pot for pot in pots}
        self._terms = {name: terms_of(pot.campaign) for name, pot in self._pots.items()}
        self._touched: set[str] = set()

    def on_definition(self, campaign: Campaign) -> None:
        """Takes a definition in. A version that is not newer than the known one changes nothing."""
        known = self._pots.get(campaign.campaign_id)
        if known is None:
            self._pots[campaign.campaign_id] = Pot(campaign=campaign)
        elif campaign.version > known.campaign.version:
            known.campaign = campaign
        else:
            return
        self._terms[campaign.campaign_id] = terms_of(campaign)
        self._touched.add(campaign.campaign_id)

    def on_event(self, event: Event, story: Story | None) -> tuple[Story | None, list[Event]]:
        """The payment's story after the event (None: nothing worth keeping), and the cashback events it causes.

        ``story`` is what the last event of the same payment gave back, None if there was none.
        """
        name = type(event).__name__
        if payment_id(event) is None:
            return story, []  # belongs to no payment, so nothing could be kept or taken back
        if name in PAID:
            return self._on_paid(event, story)
        if name in TAKEN_BACK:
            return self._on_taken_back(event, story)
        return story, []

    def snapshot(self) -> list[Pot]:
        """The pots that changed since the last call."""
        changed = [self._pots[name] for name in sorted(self._touched)]
        self._touched.clear()
        return changed

    def _on_paid(self, event: Event, story: Story | None) -> tuple[Story | None, list[Event]]:
        if story is not None and story.paid is not None:
            return story, []  # a second completion of one payment earns nothing
        paid = paid_tenders(event)
        out: list[Event] = []
        grants: list[Grant] = []
        for pot in self._pots.values():
            if takes_part(pot.campaign, event.body.merchant_id, event.occurred_at_us):
                grants += self._grant(pot, event, paid, out)
        if story is None and not grants:
            return None, []
        refunded = story.refunded if story is not None else {}
        after = Story(paid=paid, refunded=refunded, grants=grants)
        if refunded:
            out += self._unwind(event, after)
        return after, out

    def _grant(self, pot: Pot, event: Event, paid: dict[TenderKind, int], out: list[Event]) -> list[Grant]:
        terms = self._terms[pot.campaign.campaign_id]
        basis = basis_minor(terms, paid, {})
        wanted = reward_minor(terms, basis)
        granted = pot.grant(wanted)
        if granted == 0:
            return []
        out.append(self._decision("CashbackGranted", pot, event, terms, granted, basis, wanted))
        return [Grant(campaign_id=pot.campaign.campaign_id, terms=terms, granted_minor=granted)]

    def _on_taken_back(self, event: Event, story: Story | None) -> tuple[Story | None, list[Event]]:
        story = story or Story()
        refunded = dict(story.refunded)
        for kind, amount in sums(event.body.tenders).items():
            refunded[kind] = refunded.get(kind, 0) + amount
        after = Story(paid=story.paid, refunded=refunded, grants=story.grants)
        return after, self._unwind(event, after) if story.grants else []

    def _unwind(self, event: Event, story: Story) -> list[Event]:
        """Takes back what the rest of the payment would not have earned, under the definition of the grant."""
        assert story.paid is not None
        out: list[Event] = []
        for grant in story.grants:
            basis = basis_minor(grant.terms, story.paid, story.refunded)
            keeps = min(grant.granted_minor, reward_minor(grant.terms, basis))
            back = grant.granted_minor - grant.clawed_back_minor - keeps
            if back <= 0:
                continue
            grant.clawed_back_minor += back
            pot = self._pots[grant.campaign_id]
            pot.clawed_back_minor += back
            out.append(self._decision("CashbackClawedBack", pot, event, grant.terms, back, basis, keeps))
        return out

    def _decision(self, name: str, pot: Pot, event: Event, terms: Terms, amount: int, basis: int, wanted: int) -> Event:
        payment = payment_id(event)
        assert payment is not None
        pot.decisions += 1
        campaign_id = pot.campaign.campaign_id
        self._touched.add(campaign_id)
        return EVENT_TYPES[name](
            event_id=decision_id(name, campaign_id, event.event_id),
            occurred_at_us=event.occurred_at_us,
            aggregate="campaign",
            aggregate_id=campaign_id,
            aggregate_seq=pot.decisions,
            correlation_id=payment,
            causation_id=event.event_id,
            producer=PRODUCER,
            body=Cashback(
                wallet_id=event.body.wallet_id,
                campaign_id=campaign_id,
                definition_hash=terms.definition_hash,
                payment_id=payment,
                amount_minor=amount,
                basis_minor=basis,
                rate_bp=terms.rate_bp,
                wanted_minor=wanted,
                budget_left_minor=pot.left_minor,
            ),
        )


def decision_id(name: str, campaign_id: str, cause_id: str) -> str:
    """The id of a decision: the same for the same campaign and cause, so that a repeat is seen as one."""
    digest = blake2b(f"{name}\0{campaign_id}\0{cause_id}".encode(), digest_size=16).hexdigest()
    return f"cb-{digest}"
