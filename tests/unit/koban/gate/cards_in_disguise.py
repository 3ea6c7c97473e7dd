"""Card numbers of the schemes' own test sets, and the disguises in which they turn up in text."""

from __future__ import annotations

TEST_CARDS = (
    "4111111111111111",
    "4012888888881881",
    "4222222222222",
    "5555555555554444",
    "5105105105105100",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "3530111333300000",
    "3566002020360505",
    "30569309025904",
    "36227206271667",
    "6200000000000005",
    "6304000000000000",
    "4000000000000000006",
)
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def fours(card: str, between: str) -> str:
    return between.join(card[at : at + 4] for at in range(0, len(card), 4))


DISGUISES = {
    "plain": lambda card: card,
    "spaces": lambda card: fours(card, " "),
    "dashes": lambda card: fours(card, "-"),
    "dots": lambda card: fours(card, "."),
    "two spaces": lambda card: fours(card, "  "),
    "spaced dashes": lambda card: fours(card, " - "),
    "full-width dash": lambda card: fours(card, "－"),
    "long vowel sign": lambda card: fours(card, "ー"),
    "wide space": lambda card: fours(card, "　"),
    "no-break space": lambda card: fours(card, "\u00a0"),
    "zero-width space": lambda card: fours(card, "\u200b"),
    "line breaks": lambda card: fours(card, "\n"),
    "every digit apart": lambda card: " ".join(card),
    "full-width": lambda card: card.translate(FULL_WIDTH),
    "full-width with dashes": lambda card: fours(card, "－").translate(FULL_WIDTH),
    "circled": lambda card: card.translate(CIRCLED),
    "arabic": lambda card: card.translate(ARABIC),
    "half full-width": lambda card: card[:8] + card[8:].translate(FULL_WIDTH),
    "in Japanese": lambda card: f"カード番号は{card}です",
    "beside latin": lambda card: f"No{card}x",
    "with expiry": lambda card: f"{card} 12/27",
    "after a date": lambda card: f"2026-11-23 {card}",
    "two cards": lambda card: f"{card} {card}",
    "behind zeros": lambda card: f"0000000{card}" if len(card) in (15, 16) else card,
    "with expiry, glued": lambda card: f"{card}122712" if len(card) in (15, 16) else card,
}
