"""Dead letters: found from the newest back, judged anew by the gate's own rules, and sent again after a fix."""

from streams.dead_letters.letters import DeadLettersUnavailableError, Letter, NoSuchLetterError, Place
from streams.dead_letters.log import SCANNED_MAX, Found, Tally, fetch, search, tally
from streams.dead_letters.mending import Fate, Replay, judge, with_fields
from streams.dead_letters.replay import send

__all__ = [
    "SCANNED_MAX",
    "DeadLettersUnavailableError",
    "Fate",
    "Found",
    "Letter",
    "NoSuchLetterError",
    "Place",
    "Replay",
    "Tally",
    "fetch",
    "judge",
    "search",
    "send",
    "tally",
    "with_fields",
]
