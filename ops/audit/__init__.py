"""Recomputes every seal of the ledger from the topics, and says which window and which record differ.

Shares nothing with the sealer but the meaning of the bytes: hashes, chain, sums and balances are worked out here anew,
by the shortest code that says them. Records are compared in their order, not by their offsets, so that a copy of the
topics in another cluster can be audited too.
"""
