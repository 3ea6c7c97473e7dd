"""The legs that a book sends."""

from __future__ import annotations

from koban.ledger.book import Book
from koban.ledger.moves import Moves
from koban.records import Leg


def legs_of(book: Book, moves: Moves) -> dict[int, list[Leg]]:
    """By lane, those since the last call, in the order of their entries; `moves` are what the book took with them."""
    return {
        lane: [moves.leg(leg) if isinstance(leg, int) else leg for leg in legs]
        for lane, legs in book.take_outbox().items()
    }
