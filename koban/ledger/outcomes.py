"""What may become of a record that the ledger takes in."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """One of these, in order of precedence; the ledger counts them by these names."""

    REJECTED = "rejected"
    """It can't be read, or is no event of these books: a dead letter with the contract's reason."""
    REFUSED = "refused"
    """It breaks a rule of `RefusalCode`: a dead letter that names it, to be replayed once the event is true."""
    NO_EFFECT = "no_effect"
    """It moves no money and changes nothing that the books know: a log-in, a failed top-up."""
    NOTED = "noted"
    """A refund was asked for: an entry without lines here, and the money is reserved in the merchant's lane."""
    POSTED_WITH_BREACH = "posted_with_breach"
    """Posted, though a balance's limit is violated: the entry says which, and somebody must look at it."""
    POSTED = "posted"
    """Posted in full."""
